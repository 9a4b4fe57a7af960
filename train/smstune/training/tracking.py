"""Trackers: which of them follow a run, and where TensorBoard's files lie."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, TensorBoardCallback

from smstune.errors import UserError


def tracking_callbacks(report_to: Sequence[str] | None, run: Path) -> list[TrainerCallback]:
    """Return transformers' callbacks for the trackers in ``report_to``.

    ``None`` is TensorBoard where it is installed, an empty list no tracker. TensorBoard writes to
    ``RUN/logs``, unless TENSORBOARD_LOGGING_DIR names another place. Trackers are sent numbers, the
    arguments of the training and the model's configuration, never a message.

    Raises:
        UserError: if a tracker is asked for that is not installed.
    """
    if report_to is None:
        names = ["tensorboard"] if _installed("tensorboard") else []
    else:
        names = list(dict.fromkeys(report_to))
    missing = [name for name in names if not _installed(name)]
    if missing:
        raise UserError(
            "training.report_to: expected trackers that are installed, found {missing}: pip "
            "install {packages}",
            missing=", ".join(missing),
            packages=" ".join(missing),
        )
    callbacks: list[TrainerCallback] = [INTEGRATION_TO_CALLBACK[name]() for name in names]
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(run / "logs")
    return callbacks


def _installed(package: str) -> bool:
    # Not by import: wandb and mlflow leave folders of their own name where they were run.
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
