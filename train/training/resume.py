"""Going on after a stop: which checkpoint is whole, and what to tell the user."""

from __future__ import annotations

import logging
from pathlib import Path

from train.command import UserError

logger = logging.getLogger(__name__)


def checkpoint_to_resume(run: Path, *, resume: bool) -> str | None:
    """Return the last whole checkpoint of ``run``, or ``None`` for a fresh start.

    Raises:
        UserError: if the folder holds a finished run, or an unfinished one and ``resume`` is off.
    """
    if (run / "manifest.json").exists():
        raise UserError(
            f"expected a new run folder, found a finished run in {run}: choose another "
            "training.output_dir or remove it"
        )
    # The trainer writes its state last; a checkpoint without it was cut off.
    whole = [
        folder
        for folder in run.glob("checkpoints/checkpoint-*")
        if (folder / "trainer_state.json").exists()
    ]
    if not whole:
        if resume:
            logger.warning("warning: no checkpoint in %s, starting from the beginning", run)
        return None
    if not resume:
        raise UserError(
            f"expected a new run folder, found checkpoints of an unfinished run in {run}: add "
            "training.resume_from_checkpoint=true to go on, choose another training.output_dir, "
            "or remove it"
        )
    return str(max(whole, key=lambda folder: int(folder.name.rpartition("-")[2])))


def how_to_resume(run: Path) -> str:
    """Say how to go on with the unfinished ``run``."""
    if not any(run.glob("checkpoints/checkpoint-*/trainer_state.json")):
        return f"the run in {run} ended before its first checkpoint: start it again"
    return (
        f"the run in {run} is unfinished: the same command with "
        "training.resume_from_checkpoint=true goes on from its last checkpoint"
    )
