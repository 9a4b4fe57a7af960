"""Finds a finished run of the configuration that a sweep is about to train."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from smstune.config.loading import load_config
from smstune.config.schema import Config
from smstune.data.absolute import with_absolute_data
from smstune.data.prepared import load_preparation
from smstune.errors import UserError
from smstune.inference.manifest import CONFIG, MANIFEST, WEIGHTS, Manifest, load_manifest
from smstune.paths import user_path
from smstune.sweep.plan import PlannedRun
from smstune.training.learning_rate import auto_learning_rate


@dataclass(frozen=True)
class FinishedRun:
    """A planned run, the folder in which it is finished, and the file of its time and memory."""

    planned: PlannedRun
    folder: Path
    usage: Path


#: Keys of ``training`` that change no weight.
_WITHOUT_EFFECT = (
    "output_dir", "resume_from_checkpoint", "report_to", "logging_steps", "save_steps",
    "save_total_limit", "dataloader_num_workers", "per_device_eval_batch_size",
)  # fmt: skip


#: Sections that concern no training.
_OF_NO_TRAINING = ("prepare", "pretrain", "export", "serve", "sweep", "memory")
#: Keys of ``evaluation`` by which a run is calibrated.
_FITTED = ("label_bias", "operating_points", "cascade")


def find_finished(run: PlannedRun) -> Path | None:
    """Return the folder of a finished run of the same training beside ``run``, itself first.

    It must have the same prepared files and the same configuration, but for keys that change no
    answer. So runs that were trained before, copied or linked there, are used.

    Raises:
        UserError: if the run's own folder holds a finished run of another training.
    """
    run_folder = run.folder
    if (run_folder / MANIFEST).is_file():
        if not _is_same(run_folder, run.config):
            raise UserError(
                "{folder} holds a run of another configuration or of other data: remove it, or "
                "choose another sweep.output_dir",
                folder=run_folder,
            )
        return run_folder
    others = sorted(path.parent for path in run_folder.parent.glob(f"*/{MANIFEST}"))
    return next((folder for folder in others if _is_same(folder, run.config)), None)


def _is_same(folder: Path, config: Config) -> bool:
    path = folder / "config.yaml"
    if not path.is_file():
        return False
    trained = with_absolute_data(load_config(path))
    manifest = load_manifest(folder)
    return (
        _of_answers(folder, trained) == _of_answers(folder, config)
        and _same_data(manifest, config)
        and _same_teacher(manifest, config)
    )


def _of_answers(folder: Path, config: Config) -> Config:
    """Return a configuration with all that changes no answer of the run at its default."""
    training = type(config.training)()
    update: dict[str, object] = {name: getattr(training, name) for name in _WITHOUT_EFFECT}
    if config.training.learning_rate == "auto":
        width = json.loads((folder / CONFIG).read_text("utf-8")).get("hidden_size", 0)
        update["learning_rate"] = auto_learning_rate(width)
    encoder = config.model.name_or_path
    if user_path(encoder).exists():
        encoder = str(user_path(encoder).resolve())
    defaults = Config(data=config.data)
    fitted = {name: getattr(config.evaluation, name) for name in _FITTED}
    sections = {name: getattr(defaults, name) for name in _OF_NO_TRAINING}
    if config.distillation is not None and config.distillation.unlabelled:
        # It says how the unlabelled messages are read.
        sections["prepare"] = config.prepare
    return config.model_copy(
        update={
            **sections,
            "data": config.data.model_copy(update={"path": Path()}),
            "model": config.model.model_copy(update={"name_or_path": encoder}),
            "training": config.training.model_copy(update=update),
            "evaluation": defaults.evaluation.model_copy(update=fitted),
        }
    )


def _same_teacher(manifest: Manifest, config: Config) -> bool:
    """Say whether a student's teacher still has the weights that it learned from."""
    if config.distillation is None or manifest.distillation is None:
        return config.distillation is None and manifest.distillation is None
    teacher = load_manifest(config.distillation.teacher)
    return teacher.sha256.get(WEIGHTS) == manifest.distillation.teacher_sha256


def _same_data(manifest: Manifest, config: Config) -> bool:
    return manifest.data.sha256 == load_preparation(config.data.path).sha256
