"""A signal during training: a checkpoint at the next step, then the end."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smstune.command import is_main_process
from smstune.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nstopping: a checkpoint is written at the next step; Ctrl-C again stops at once\n"


class Interruption(TrainerCallback):
    """Ends training at a checkpoint when SIGTERM or Ctrl-C arrives within the ``with`` block.

    A signal to one of several processes stops all of them at the same step. A second Ctrl-C ends
    the process at once. Leaving the block raises Interrupted if training was stopped before its
    end.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._agreed = 0
        self._stopped = False
        self._group: distributed.ProcessGroup | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        # Python lets only the main thread handle signals.
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._stopped and error is None:
            if self._group is not None:
                # The launcher ends all processes as soon as one has left.
                distributed.barrier(self._group)
            raise Interrupted(self._agreed)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in self._received:
            raise KeyboardInterrupt
        self._received.append(number)
        # Workers of the data loader inherit the handler. A logger may be in the middle of a line.
        if parent_process() is None and is_main_process():
            os.write(2, _NOTICE)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Open a channel between the hosts: asking each other must not wait for a GPU."""
        if args.world_size > 1:
            self._group = distributed.new_group(backend="gloo")

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Save and stop if any process was told to, unless an epoch or the run ends anyway."""
        self._agreed = self._highest_received()
        if self._agreed and not epoch_ends(state) and state.global_step < state.max_steps:
            self._stop(control)
            control.should_log = control.should_save = True

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Evaluate and save nothing more: the epoch was left in its middle."""
        if self._stopped:
            control.should_evaluate = control.should_save = control.should_log = False

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        """Stop after an epoch's own evaluation and checkpoint, unless the run ends there."""
        if self._agreed and not control.should_training_stop:
            self._stop(control)

    def _stop(self, control: TrainerControl) -> None:
        self._stopped = control.should_training_stop = True

    def _highest_received(self) -> int:
        here = max(self._received, default=0)
        if self._group is None:
            return here
        highest = torch.tensor(here)
        distributed.all_reduce(highest, distributed.ReduceOp.MAX, group=self._group)
        return int(highest)


def epoch_ends(state: TrainerState) -> bool:
    """Say whether the step just taken was the last of its epoch."""
    return float(state.epoch or 0).is_integer()
