"""What the terminal shows of a training: one progress line, one line for each validation."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smstune.language import Message, joined
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
            logger.info("epoch %g of %g: %s", state.epoch, args.num_train_epochs, _scores(metrics))


def describe_kept(state: TrainerState) -> Message:
    """Return which checkpoint became the run's model, with its scores on validation."""
    best = state.best_model_checkpoint
    if best is None:
        return Message("kept the weights of step {step}", step=state.global_step)
    step = int(Path(best).name.rpartition("-")[2])
    rows: list[dict[str, Any]] = state.log_history
    evaluated = (row for row in rows if row["step"] == step and "eval_loss" in row)
    row = next(evaluated, None)
    if row is None:
        return Message("kept the checkpoint of step {step}, the best one", step=step)
    return Message(
        "kept the checkpoint of step {step}, the best one: {scores}",
        step=step,
        scores=_scores(row),
    )


def _scores(metrics: dict[str, Any]) -> Message:
    names = {
        "eval_loss": Message("validation loss"),
        "eval_macro_f1": Message("macro-F1"),
        "eval_accuracy": Message("accuracy"),
        "eval_masked_accuracy": Message("accuracy on masked tokens"),
    }
    scores = [
        Message("{name} {score:.3f}", name=name, score=metrics[key])
        for key, name in names.items()
        if key in metrics
    ]
    return joined(scores, ", ")
