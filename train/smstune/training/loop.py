"""A Trainer run to its end, to a signal, or to an error that says how to go on."""

from __future__ import annotations

import logging
import sys
from contextlib import redirect_stdout

from transformers.trainer_utils import TrainOutput

from smstune.config.schema import Config
from smstune.errors import UserError, is_out_of_memory
from smstune.training.interrupt import Interruption
from smstune.training.resume import CompleteCheckpoints, how_to_resume
from smstune.training.terminal import TerminalReport
from smstune.training.trainer import SmsTrainer

logger = logging.getLogger(__name__)


def train_to_the_end(trainer: SmsTrainer, config: Config, checkpoint: str | None) -> TrainOutput:
    """Train, from ``checkpoint`` where there is one, and return what the trainer says.

    The terminal shows the progress, and checkpoints are kept as ``config.training`` says.

    Raises:
        UserError: if the training diverged or memory ran out.
        Interrupted: if SIGTERM or Ctrl-C ended the training at a checkpoint.
    """
    section = config.training
    interruption = Interruption()
    trainer.add_callback(interruption)
    trainer.add_callback(CompleteCheckpoints(section.save_steps, section.save_total_limit))
    try:
        # Trackers write their address to stdout, where results belong.
        with redirect_stdout(sys.stderr), interruption, TerminalReport() as report:
            trainer.add_callback(report)
            output: TrainOutput = trainer.train(resume_from_checkpoint=checkpoint)
    except UserError:
        # The training diverged: resuming would end in the same way.
        raise
    except BaseException as error:
        if is_out_of_memory(error):
            raise _out_of_memory(config) from error
        logger.error("%s", how_to_resume(section.output_dir))
        raise
    return output


def _out_of_memory(config: Config) -> UserError:
    """Return the error of a training that needs more memory than there is, with what needs less."""
    section = config.training
    return UserError(
        "out of memory with training.per_device_train_batch_size="
        "{per_device_train_batch_size} (in evaluations per_device_eval_batch_size="
        "{per_device_eval_batch_size}): try, in this order, half of it with twice the "
        "training.gradient_accumulation_steps (now {gradient_accumulation_steps}), "
        "training.gradient_checkpointing=true, a smaller data.max_length (now "
        "{max_length}), model.lora",
        per_device_train_batch_size=section.per_device_train_batch_size,
        per_device_eval_batch_size=section.per_device_eval_batch_size,
        gradient_accumulation_steps=section.gradient_accumulation_steps,
        max_length=config.data.max_length,
    )
