"""Trains a run of a sweep, or resumes it, and scores it on validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from transformers import TrainerCallback

from smstune.config.schema import Config
from smstune.evaluation.metrics import Metrics
from smstune.evaluation.run import evaluate_run
from smstune.files import locked_folder
from smstune.inference.classifier import SmsClassifier
from smstune.inference.manifest import MANIFEST
from smstune.training.finetune import finetune


def train_and_score(config: Config, callbacks: Sequence[TrainerCallback] = ()) -> float:
    """Train a run unless its folder is finished, and return its macro-F1 on validation.

    An unfinished run is resumed from its last checkpoint. The folder is locked meanwhile, so that a
    process that outlived its sweep for a moment and its successor do not both write.
    """
    folder = config.training.output_dir
    with locked_folder(folder):
        if not (folder / MANIFEST).is_file():
            resume = any(folder.glob("checkpoints/checkpoint-*"))
            training = config.training.model_copy(update={"resume_from_checkpoint": resume})
            finetune(config.model_copy(update={"training": training}), callbacks)
        return macro_f1(folder, "validation", config)


def macro_f1(run: Path, split: Literal["validation", "test"], config: Config) -> float:
    """Return a finished run's macro-F1 on a split, by its deployed answers.

    It is evaluated now if it was not before: on test as `smstune eval` does, on validation without
    baseline, intervals and gates. Calibration was fitted on validation, too.
    """
    path = run / "eval" / split / "metrics.json"
    if not path.is_file():
        update: dict[str, object] = {"split": split}
        if split == "validation":
            update |= {"baseline": False, "bootstrap_samples": 0, "gates": []}
        section = config.evaluation.model_copy(update=update)
        classifier = SmsClassifier.from_pretrained(run, backend="torch")
        evaluate_run(classifier, config.model_copy(update={"evaluation": section}))
    return Metrics.model_validate_json(path.read_bytes()).macro_f1
