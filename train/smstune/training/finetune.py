"""A fine-tune: prepared data and a configuration in, a run folder out."""

from __future__ import annotations

import logging
import platform
import shlex
import sys
import time
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel, Trainer, set_seed
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import TrainOutput

from smstune.config.loading import dump_config
from smstune.config.schema import Config
from smstune.data.prepared import provenance
from smstune.errors import UserError
from smstune.evaluation.calibration.fit import fit_run
from smstune.inference.backends.torch_backend import TorchBackend
from smstune.inference.backends.torch_devices import pick_precision
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import Calibration
from smstune.inference.linear import LinearModel, fit_linear
from smstune.inference.manifest import Manifest, TextOptions
from smstune.inference.run import Artifact
from smstune.modeling.lora import merge_lora
from smstune.training.assemble import Assembled, assemble
from smstune.training.interrupt import Interruption
from smstune.training.resume import CompleteCheckpoints, checkpoint_to_resume, how_to_resume
from smstune.training.save import save_artifact
from smstune.training.terminal import TerminalReport, describe_kept

_LIBRARIES = ("smstune", "torch", "transformers", "datasets", "accelerate", "tokenizers")

logger = logging.getLogger(__name__)


def finetune(config: Config) -> Path:
    """Fine-tune as ``config`` says and return the run folder.

    The best checkpoint by macro-F1 on validation becomes the run's model, calibrated there. A run
    that fails or is killed leaves its checkpoints; ``training.resume_from_checkpoint=true`` goes on
    to the weights that an uninterrupted run would have had. Under a launcher every process calls
    this, and the first one writes.

    Raises:
        UserError: if data, checkpoint or configuration do not fit, or the run folder is taken.
        Interrupted: if SIGTERM or Ctrl-C ended the training at a checkpoint.
    """
    config = _with_absolute_data(config)
    section = config.training
    run = section.output_dir
    checkpoint = checkpoint_to_resume(run, resume=section.resume_from_checkpoint)
    parts = assemble(config)
    # Another node may not see the first one's checkpoints: all go on from the same, or fail.
    (checkpoint,) = broadcast_object_list([checkpoint])
    # Before the training: what cannot be fitted is known at once.
    linear = _linear(config, parts) if parts.trainer.is_world_process_zero() else None
    # Each process draws dropout masks of its own.
    set_seed(section.seed + parts.trainer.args.process_index)
    interruption = Interruption()
    parts.trainer.add_callback(interruption)
    parts.trainer.add_callback(CompleteCheckpoints(section.save_steps, section.save_total_limit))
    _log_start(config, parts)
    started = time.perf_counter()
    try:
        # Trackers write their address to stdout, where results belong.
        with redirect_stdout(sys.stderr), interruption, TerminalReport() as report:
            parts.trainer.add_callback(report)
            output = parts.trainer.train(resume_from_checkpoint=checkpoint)
    except UserError:
        # The training diverged: going on would end as it did.
        raise
    except BaseException:
        logger.error(how_to_resume(run))
        raise
    weights = _gathered_weights(parts.trainer)
    if parts.trainer.is_world_process_zero():
        manifest = _manifest(config, parts, output, time.perf_counter() - started)
        model = merge_lora(parts.model)
        artifact = Artifact(run, manifest, parts.labels, model.config, parts.tokenizer, linear)
        artifact = _calibrated(artifact, config, parts.place.device, weights or model.state_dict())
        save_artifact(artifact, model, parts.trainer.state, dump_config(config), weights)
        logger.info("%s", describe_kept(parts.trainer.state))
        logger.info("next: smstune eval %s", shlex.quote(str(run)))
    return run


def _calibrated(
    artifact: Artifact, config: Config, device: torch.device, weights: dict[str, torch.Tensor]
) -> Artifact:
    """Return a run that lies on no disk yet with the calibration that its ``weights`` need."""
    backend = TorchBackend(artifact, device, pick_precision(device), weights)
    calibration = fit_run(SmsClassifier(artifact, backend), config.evaluation)
    manifest = artifact.manifest.model_copy(update={"calibration": calibration})
    return artifact._replace(manifest=manifest)


def _with_absolute_data(config: Config) -> Config:
    """Return the configuration with a data path that an evaluation finds from any folder."""
    data = config.data.model_copy(update={"path": config.data.path.resolve()})
    return config.model_copy(update={"data": data})


def _log_start(config: Config, parts: Assembled) -> None:
    place = parts.place
    train: Any = parts.trainer.train_dataset
    validation: Any = parts.trainer.eval_dataset
    model = config.model.name_or_path if config.model.from_scratch is None else "a new BERT"
    logger.info("fine-tuning %s on %s, %s", model, place.device.type, place.precision)
    logger.info(
        "%s messages to train on, %s of validation, %d labels",
        f"{len(train):,}",
        f"{len(validation):,}",
        len(parts.labels.names),
    )


def _linear(config: Config, parts: Assembled) -> LinearModel | None:
    if not config.model.linear:
        return None
    labels = parts.labels
    train = parts.splits["train"]
    truth = np.array([labels.label2id[name] for name in train["label"]])
    return fit_linear(list(train["text"]), truth, len(labels.names))


def _gathered_weights(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """Return the whole weights where each process holds a shard of them; all must ask together."""
    if not trainer.is_fsdp_enabled:
        return None
    weights: dict[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model)
    return weights


def _manifest(config: Config, parts: Assembled, output: TrainOutput, seconds: float) -> Manifest:
    prepared = ("sha256", "contamination", "split")
    return Manifest(
        labels=list(parts.labels.names),
        parents=list(parts.labels.parents),
        text=TextOptions.model_validate(parts.preparation["text"]),
        max_length=config.data.max_length,
        calibration=Calibration(checkpoints_compared=_checkpoints_compared(parts.trainer.state)),
        data={
            "path": str(config.data.path),
            **{name: parts.preparation[name] for name in prepared},
            **provenance(parts.preparation),
        },
        base_model=_base_model(config, parts.model),
        training=_training_facts(config, parts, output, seconds),
        versions={name: version(name) for name in _LIBRARIES}
        | {"python": platform.python_version()},
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


def _training_facts(
    config: Config, parts: Assembled, output: TrainOutput, seconds: float
) -> dict[str, Any]:
    return {
        "device": parts.place.device.type,
        "precision": parts.place.precision,
        "attention": parts.place.attention,
        "seed": config.training.seed,
        "wall_seconds": round(seconds, 1),
        "steps": output.global_step,
        "train_loss": output.training_loss,
        "messages_per_second": output.metrics.get("train_samples_per_second"),
        "best_validation_macro_f1": parts.trainer.state.best_metric,
    }
