"""What the terminal shows of a training: one progress line, one line for each validation."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smstune.progress import Progress

logger = logging.getLogger(__name__)


class TerminalReport(TrainerCallback):
    """Shows steps, rate, time left and loss while training runs inside the ``with`` block."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, traceback)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Start the progress line, at the step of the checkpoint if there is one."""
        logger.info(
            "%d steps in %g epochs, batches of %d",
            state.max_steps,
            args.num_train_epochs,
            args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        )
        if state.global_step:
            logger.info("resumed at step %d of %d", state.global_step, state.max_steps)
        self._progress = Progress("training", state.max_steps, "steps", already=state.global_step)
        self._progress.__enter__()

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Count the step."""
        if self._progress is not None:
            self._progress.update()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Show the loss behind the progress."""
        if self._progress is not None and logs and "loss" in logs:
            self._progress.say(f"loss {float(logs['loss']):.3f}")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Report the scores on validation, in one line."""
        if metrics:
            epochs = f"epoch {state.epoch:g} of {args.num_train_epochs:g}"
            logger.info("%s: %s", epochs, _scores(metrics))


def describe_kept(state: TrainerState) -> str:
    """Return which checkpoint became the run's model, with its scores on validation."""
    best = state.best_model_checkpoint
    if best is None:
        return f"kept the weights of step {state.global_step}"
    step = int(Path(best).name.rpartition("-")[2])
    rows: list[dict[str, Any]] = state.log_history
    evaluated = (row for row in rows if row["step"] == step and "eval_macro_f1" in row)
    row = next(evaluated, None)
    scores = f": {_scores(row)}" if row else ""
    return f"kept the checkpoint of step {step}, the best macro-F1{scores}"


def _scores(metrics: dict[str, Any]) -> str:
    names = {
        "eval_loss": "validation loss",
        "eval_macro_f1": "macro-F1",
        "eval_accuracy": "accuracy",
    }
    return ", ".join(f"{name} {metrics[key]:.3f}" for key, name in names.items() if key in metrics)
