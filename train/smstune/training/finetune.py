"""A fine-tune: prepared data and a configuration in, a run folder out."""

from __future__ import annotations

import dataclasses
import logging
import platform
import shlex
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel, Trainer, TrainerCallback, set_seed
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import TrainOutput

from smstune.config.loading import dump_config
from smstune.config.schema import Config
from smstune.data.absolute import with_absolute_data
from smstune.data.prepared import provenance
from smstune.evaluation.calibration.fit import fit_run
from smstune.inference.backends.torch_backend import TorchBackend
from smstune.inference.backends.torch_devices import pick_precision
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import Calibration
from smstune.inference.linear import LinearModel
from smstune.inference.manifest import Manifest
from smstune.inference.origin import DataFacts, TrainingFacts
from smstune.inference.run import Run
from smstune.language import Message
from smstune.modeling.fit_linear import fit_linear
from smstune.modeling.lora import merge_lora
from smstune.text.probes import probe_digest, text_versions
from smstune.training.assemble import Assembled, assemble
from smstune.training.loop import train_to_the_end
from smstune.training.resume import checkpoint_to_resume
from smstune.training.save import save_run
from smstune.training.terminal import describe_kept

_LIBRARIES = ("smstune", "torch", "transformers", "datasets", "accelerate", "tokenizers")

logger = logging.getLogger(__name__)


def finetune(config: Config, callbacks: Sequence[TrainerCallback] = ()) -> Path:
    """Fine-tune as ``config`` says, with further ``callbacks``, and return the run folder.

    The best checkpoint by macro-F1 on validation becomes the run's model, calibrated there. A run
    that fails or is killed leaves its checkpoints; ``training.resume_from_checkpoint=true``
    resumes, and ends with the same weights as an uninterrupted run. Under a launcher every process
    calls this, and the first one writes.

    Raises:
        UserError: if data, checkpoint or configuration do not fit, or the run folder is taken.
        Interrupted: if SIGTERM or Ctrl-C ended the training at a checkpoint.
    """
    # An evaluation must find the data from any folder.
    config = with_absolute_data(config)
    section = config.training
    run_folder = section.output_dir
    checkpoint = checkpoint_to_resume(run_folder, resume=section.resume_from_checkpoint)
    assembled = assemble(config)
    config = assembled.config
    # Another node may not see the first one's checkpoints: all resume from the same, or fail.
    (checkpoint,) = broadcast_object_list([checkpoint])
    # Fitted before training, so that an error shows at once.
    linear = _linear(config, assembled) if assembled.trainer.is_world_process_zero() else None
    # Each process draws dropout masks of its own.
    set_seed(section.seed + assembled.trainer.args.process_index)
    _log_start(config, assembled)
    started = time.perf_counter()
    for callback in callbacks:
        assembled.trainer.add_callback(callback)
    output = train_to_the_end(assembled.trainer, config, checkpoint)
    weights = _gathered_weights(assembled.trainer)
    if assembled.trainer.is_world_process_zero():
        manifest = _manifest(config, assembled, output, time.perf_counter() - started)
        model = merge_lora(assembled.model)
        run = Run(run_folder, manifest, assembled.data.labels, assembled.encoder, linear)
        backend = _backend(run_folder, model, weights, assembled.setup.device)
        calibration = fit_run(SmsClassifier(run, backend), config.evaluation)
        manifest = manifest.model_copy(update={"calibration": calibration})
        run = dataclasses.replace(run, manifest=manifest)
        save_run(
            run,
            model,
            assembled.tokenizer,
            assembled.trainer.state,
            dump_config(config),
            weights,
        )
        logger.info("%s", describe_kept(assembled.trainer.state))
        logger.info("next: smstune eval %s", shlex.quote(str(run_folder)))
    return run_folder


def _backend(
    path: Path,
    model: PreTrainedModel,
    weights: dict[str, torch.Tensor] | None,
    device: torch.device,
) -> TorchBackend:
    """Return a trained model, which is not saved yet, as a loaded run would compute with it."""
    return TorchBackend.with_weights(
        path, model.config, weights or model.state_dict(), device, pick_precision(device)
    )


def _log_start(config: Config, assembled: Assembled) -> None:
    setup = assembled.setup
    splits = assembled.data.splits
    model = (
        config.model.name_or_path if config.model.from_scratch is None else Message("a new BERT")
    )
    logger.info("fine-tuning %s on %s, %s", model, setup.device.type, setup.precision)
    logger.info(
        "%s messages to train on, %s of validation, %d labels",
        f"{len(splits['train']):,}",
        f"{len(splits['validation']):,}",
        len(assembled.data.labels.names),
    )


def _linear(config: Config, assembled: Assembled) -> LinearModel | None:
    if not config.model.linear:
        return None
    labels = assembled.data.labels
    train = assembled.data.splits["train"]
    truth = np.array([labels.label2id[name] for name in train["label"]])
    return fit_linear(
        list(train["text"]),
        truth,
        len(labels.names),
        groups=np.array(train["group"]),
        min_campaigns=config.model.linear_min_campaigns,
    )


def _gathered_weights(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """Return the whole weights where each process holds a shard of them; all must ask together."""
    if not trainer.is_fsdp_enabled:
        return None
    weights: dict[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model)
    return weights


def _manifest(
    config: Config, assembled: Assembled, output: TrainOutput, seconds: float
) -> Manifest:
    preparation, distilled = assembled.data.preparation, assembled.distilled
    return Manifest(
        labels=list(assembled.data.labels.names),
        parents=list(assembled.data.labels.parents),
        text=preparation.text,
        probe_digest=probe_digest(),
        max_length=config.data.max_length,
        padding=assembled.encoder.padding,
        calibration=Calibration(
            checkpoints_compared=_checkpoints_compared(assembled.trainer.state)
        ),
        data=DataFacts(
            path=str(config.data.path),
            sha256=preparation.sha256,
            contamination=preparation.contamination,
            split=preparation.split,
            **(distilled.provenance if distilled else provenance(preparation)).given(),
        ),
        base_model=_base_model(config, assembled.model),
        pretraining=assembled.pretraining,
        training=_training_facts(config, assembled, output, seconds),
        distillation=distilled.facts if distilled else None,
        versions={name: version(name) for name in _LIBRARIES}
        | {"python": platform.python_version()}
        | text_versions(),
    )


def _checkpoints_compared(state: TrainerState) -> int:
    """Return how many checkpoints were scored on validation, before a resume included."""
    return sum("eval_macro_f1" in row for row in state.log_history)


def _base_model(config: Config, model: PreTrainedModel) -> dict[str, str | None]:
    if config.model.from_scratch is not None:
        return {"name_or_path": None, "revision": None}
    commit = getattr(model.config, "_commit_hash", None)
    return {
        "name_or_path": config.model.name_or_path,
        "revision": commit or config.model.revision,
    }


def _train_loss(state: TrainerState) -> float:
    """Return the mean loss of a step, before a resume included."""
    total, before = 0.0, 0.0
    for row in state.log_history:
        if "loss" in row:
            # Of all steps since the row before.
            total += row["loss"] * (row["step"] - before)
            before = row["step"]
    return total / max(before, 1)


def _training_facts(
    config: Config, assembled: Assembled, output: TrainOutput, seconds: float
) -> TrainingFacts:
    return TrainingFacts(
        device=assembled.setup.device.type,
        precision=assembled.setup.precision,
        attention=assembled.setup.attention,
        seed=config.training.seed,
        wall_seconds=round(seconds, 1),
        steps=output.global_step,
        train_loss=_train_loss(assembled.trainer.state),
        messages_per_second=output.metrics.get("train_samples_per_second"),
        best_validation_macro_f1=assembled.trainer.state.best_metric,
    )
