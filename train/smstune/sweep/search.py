"""A search of a space of settings: an optuna study whose journal is in the sweep's folder."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import optuna
import psutil
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smstune.config.schema import Config, SearchedKeyConfig, SweepConfig
from smstune.errors import UserError
from smstune.files import locked_folder
from smstune.sweep.plan import is_whole_number
from smstune.sweep.training import train_and_score

JOURNAL = "journal.log"
_STUDY = "sweep"
#: Attributes of a trial: who works on it.
_HOST, _PID, _STARTED = "host", "pid", "process_started"

logger = logging.getLogger(__name__)


def open_study(journal: Path, seed: int = 0) -> optuna.Study:
    """Return the study of a journal, which is created if missing.

    It maximises, samples by TPE, and prunes by the median of the other trials at the same epoch.
    The seed of a trial is ``seed`` plus its number, so that a study that is continued samples as
    one that was never stopped.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=_STUDY,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(),
        load_if_exists=True,
    )
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def next_trial(folder: Path, section: SweepConfig) -> int | None:
    """Return the number of a trial to work on, ``None`` if there is none left.

    It is one whose process on this machine is gone, or else a new one, up to ``n_trials``. Of
    several processes one asks at a time.
    """
    with locked_folder(folder):
        study = open_study(folder / JOURNAL, section.seeds[0])
        for running in study.get_trials(states=(TrialState.RUNNING,)):
            if running.user_attrs.get(_HOST) == socket.gethostname() and not _is_alive(running):
                _sign(_trial(study, running.number))
                return running.number
        if len(study.trials) >= (section.n_trials or 0):
            return None
        space = section.space or {}
        trial = study.ask({key: _distribution(key, searched) for key, searched in space.items()})
        # Until the child signs it.
        _sign(trial)
        return trial.number


def train_trial(config: Config, journal: Path, number: int) -> None:
    """Train a trial's run, or resume it, and tell the study its score or that it was pruned."""
    study = open_study(journal)
    trial = _trial(study, number)
    _sign(trial)
    try:
        score = train_and_score(config, [_EpochScores(trial)])
    except _PrunedError:
        study.tell(number, state=TrialState.PRUNED)
        logger.info("trial %d was pruned: below the median of the others", number)
        return
    study.tell(number, score)


def tell_failed(study: optuna.Study, number: int) -> None:
    """Mark a trial whose process ended without a score as failed."""
    study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


class _PrunedError(UserError):
    """Ends a fine-tune that is not to be resumed, of which it says so after other errors."""


class _EpochScores(TrainerCallback):
    """Tells a study each epoch's macro-F1 on validation, and ends a trial that is to be pruned."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Report the score; raise _PrunedError if the study asks for it."""
        if metrics is None or state.epoch is None:
            return
        self._trial.report(metrics["eval_macro_f1"], round(state.epoch))
        # The last epoch's scores are those of a complete trial.
        if state.global_step < state.max_steps and self._trial.should_prune():
            raise _PrunedError("the trial was pruned")


def _distribution(key: str, searched: SearchedKeyConfig) -> BaseDistribution:
    if searched.choices is not None:
        return CategoricalDistribution(searched.choices)
    low, high = float(searched.low or 0), float(searched.high or 0)
    if is_whole_number(key):
        return IntDistribution(int(low), int(high), log=searched.log)
    return FloatDistribution(low, high, log=searched.log)


def _trial(study: optuna.Study, number: int) -> optuna.Trial:
    """Return a running trial; optuna has no public way to come back to one from a process."""
    return optuna.Trial(study, study.trials[number]._trial_id)


def _sign(trial: optuna.Trial) -> None:
    trial.set_user_attr(_HOST, socket.gethostname())
    trial.set_user_attr(_PID, os.getpid())
    trial.set_user_attr(_STARTED, psutil.Process().create_time())


def _is_alive(trial: FrozenTrial) -> bool:
    """Say whether the process that signed a trial lives; another may have its number now."""
    try:
        started = psutil.Process(trial.user_attrs[_PID]).create_time()
    except (KeyError, psutil.NoSuchProcess):
        return False
    return bool(abs(started - trial.user_attrs[_STARTED]) < 1)
