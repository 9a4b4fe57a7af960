"""Our training section as transformers' TrainingArguments: the only file that knows its names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import torch
from transformers import TrainingArguments
from transformers.utils.import_utils import is_torch_tf32_available

from smstune.config.choices import Precision
from smstune.config.schema import TrainingConfig
from smstune.errors import UserError

logger = logging.getLogger(__name__)


def training_arguments(
    section: TrainingConfig,
    checkpoints: Path,
    device: torch.device,
    precision: Precision,
    *,
    best: Literal["macro_f1", "loss"] = "macro_f1",
) -> TrainingArguments:
    """Return the arguments of a training whose checkpoints go to ``checkpoints``.

    ``best`` is the score of validation by which the checkpoint to keep is chosen.

    Batches are grouped by length always: on SMS it is worth a factor of 1.8 and costs nothing.

    Raises:
        UserError: if TF32 is asked for where there is none.
    """
    if section.tf32 and not is_torch_tf32_available():
        raise UserError(
            "training.tf32: expected an NVIDIA GPU from Ampere on, found none: leave it false"
        )
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        use_cpu=device.type == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        seed=section.seed,
        num_train_epochs=section.num_train_epochs,
        max_steps=section.max_steps,
        # ``assemble`` has replaced auto by a number.
        learning_rate=float(section.learning_rate),
        lr_scheduler_type=section.lr_scheduler_type,
        warmup_steps=section.warmup_ratio,
        weight_decay=section.weight_decay,
        max_grad_norm=section.max_grad_norm,
        per_device_train_batch_size=section.per_device_train_batch_size,
        per_device_eval_batch_size=section.per_device_eval_batch_size,
        gradient_accumulation_steps=section.gradient_accumulation_steps,
        activation_checkpointing=section.gradient_checkpointing,
        tf32=section.tf32 or None,
        torch_compile=section.torch_compile,
        dataloader_num_workers=section.dataloader_num_workers,
        dataloader_pin_memory=device.type == "cuda",
        # With pinned memory a batch is copied while the step before it is computed.
        accelerator_config={"non_blocking": device.type == "cuda"},
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        eval_strategy="epoch",
        save_strategy="epoch",
        # A resumed run continues to count its epochs without a better score.
        restore_callback_states_from_checkpoint=True,
        load_best_model_at_end=True,
        metric_for_best_model=best,
        greater_is_better=best != "loss",
        logging_steps=section.logging_steps,
        logging_first_step=True,
        # It would hide a loss that is not finite; SmsTrainer stops there instead.
        logging_nan_inf_filter=False,
        # Trackers come as callbacks (tracking.py); they name a run after its folder.
        report_to="none",
        # The terminal is ours (terminal.py).
        disable_tqdm=True,
        run_name=section.output_dir.name,
        # The sampler reads the length column, which the trainer would drop before it is asked.
        remove_unused_columns=False,
        label_names=["labels"],
    )
    _use_one_gpu(arguments)
    return arguments


def _use_one_gpu(arguments: TrainingArguments) -> None:
    """Keep transformers from spreading the batches of one process over all GPUs it sees.

    It does so by DataParallel, under which our loss, a sum over the whole step, and its gradient
    would be multiplied by the number of GPUs.
    """
    visible = arguments.n_gpu
    if visible > 1:
        logger.warning(
            "warning: of %d GPUs one process uses the first. To use all: accelerate launch "
            "--num_processes %d scripts/finetune.py CONFIG",
            visible,
            visible,
        )
        arguments._n_gpu = 1
