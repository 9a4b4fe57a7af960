"""Going on after a stop: which checkpoint is whole, and what to tell the user."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from shutil import rmtree

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from smstune.errors import UserError
from smstune.files import file_hash, remove_leftovers, write_json
from smstune.inference.manifest import MANIFEST, PRETRAINING
from smstune.language import Message
from smstune.training.interrupt import epoch_ends

#: Written into a checkpoint: the SHA-256 of every other file, which a resumed run compares.
_HASHES = "sha256.json"
#: Written into a checkpoint when all else is there: the name and size in bytes of every file.
_MARK = "complete.json"

logger = logging.getLogger(__name__)


class CompleteCheckpoints(TrainerCallback):
    """Saves every ``save_steps`` steps and marks a checkpoint as whole once all of it is written.

    Only then are older ones removed, down to ``save_total_limit``, but never the best one. A
    checkpoint holds the losses of all steps before it, so that a resumed run knows them.
    """

    def __init__(self, save_steps: int, save_total_limit: int) -> None:
        self._save_steps = save_steps
        self._save_total_limit = save_total_limit

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Remove what a killed run left besides the checkpoints that it would have kept."""
        if state.best_global_step:
            # The state says where it lay then; transformers keeps other weights if it is not there.
            state.best_model_checkpoint = str(_checkpoint(args, state.best_global_step))
        if state.is_world_process_zero:
            self._clean(args, state)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Ask for a checkpoint, but at an epoch's end, where there is one anyway."""
        due = self._save_steps and state.global_step % self._save_steps == 0
        if due and not epoch_ends(state) and state.global_step < state.max_steps:
            control.should_log = control.should_save = True

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Let the checkpoint of an epoch hold the losses up to its end."""
        control.should_log = control.should_log or control.should_save

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Mark the new checkpoint and remove older ones."""
        # Every process writes the state of its random numbers.
        PartialState().wait_for_everyone()
        if not state.is_world_process_zero:
            return
        folder = _checkpoint(args, state.global_step)
        write_json(folder / _HASHES, _hashes(folder))
        write_json(folder / _MARK, _sizes(folder))
        self._clean(args, state)

    def _clean(self, args: TrainingArguments, state: TrainerState) -> None:
        """Leave whole checkpoints alone, and of these no more than are kept."""
        checkpoints = Path(str(args.output_dir))
        for folder in checkpoints.glob("checkpoint-*"):
            if _is_whole(folder):
                remove_leftovers(folder / _MARK)
            else:
                rmtree(folder, ignore_errors=True)
        rotate_checkpoints(str(checkpoints), self._save_total_limit, state.best_model_checkpoint)


def _checkpoint(args: TrainingArguments, step: int) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{step}"


def _files(folder: Path, excluded: Collection[str]) -> dict[str, Path]:
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in excluded
    }


def _sizes(folder: Path) -> dict[str, int]:
    return {name: path.stat().st_size for name, path in _files(folder, {_MARK}).items()}


def _hashes(folder: Path) -> dict[str, str]:
    return {name: file_hash(path) for name, path in _files(folder, {_MARK, _HASHES}).items()}


def _is_whole(folder: Path) -> bool:
    mark = folder / _MARK
    return mark.is_file() and _holds(mark, _sizes(folder))


def _whole_checkpoints(run: Path) -> list[Path]:
    return [folder for folder in run.glob("checkpoints/checkpoint-*") if _is_whole(folder)]


def _is_unchanged(folder: Path) -> bool:
    # Earlier versions wrote no hashes.
    hashes = folder / _HASHES
    return not hashes.is_file() or _holds(hashes, _hashes(folder))


def _holds(file: Path, expected: Mapping[str, int | str]) -> bool:
    """Say whether a JSON file has this content; one that is damaged has not."""
    try:
        return bool(json.loads(file.read_text("utf-8")) == expected)
    except ValueError:
        return False


def checkpoint_to_resume(run: Path, *, resume: bool) -> str | None:
    """Return the last whole checkpoint of ``run``, or ``None`` for a fresh start.

    Raises:
        UserError: if the folder holds a finished run, or an unfinished one and ``resume`` is off,
            or if the content of a checkpoint is not what was written.
    """
    finished = (run / MANIFEST, run / PRETRAINING)
    # A kill right after the manifest was put in place leaves a finished run, and scratch.
    if run.is_dir():
        for file in finished:
            remove_leftovers(file)
    if any(file.exists() for file in finished):
        raise UserError(
            "expected a new run folder, found a finished run in {run}: choose another "
            "training.output_dir or remove it",
            run=run,
        )
    whole = _whole_checkpoints(run)
    if not whole:
        if resume:
            logger.warning("warning: no checkpoint in %s, starting from the beginning", run)
        return None
    if not resume:
        raise UserError(
            "expected a new run folder, found checkpoints of an unfinished run in {run}: add "
            "training.resume_from_checkpoint=true to resume, choose another training.output_dir, "
            "or remove it",
            run=run,
        )
    changed = [folder.name for folder in whole if not _is_unchanged(folder)]
    if changed:
        raise UserError(
            "expected checkpoints as they were written, found other content in "
            "{changed} of {run}: restore or remove what was changed, or choose another "
            "training.output_dir",
            changed=", ".join(changed),
            run=run,
        )
    return str(max(whole, key=lambda folder: int(folder.name.rpartition("-")[2])))


def how_to_resume(run: Path) -> Message:
    """Say how to resume the unfinished ``run``."""
    if not _whole_checkpoints(run):
        return Message(
            "the run in {run} ended before its first checkpoint: start it again", run=run
        )
    return Message(
        "the run in {run} is unfinished: the same command with "
        "training.resume_from_checkpoint=true resumes from its last checkpoint",
        run=run,
    )
