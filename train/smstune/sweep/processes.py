"""Runs one fine-tune in a process of its own, passes signals on, and measures it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from smstune.errors import Interrupted
from smstune.files import write_json
from smstune.language import reader_language
from smstune.results import Result

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_KIB_PER_GIB = 2**20


class Usage(Result):
    """Seconds of all processes that worked on a run, and the largest resident memory of one.

    Memory is ``None`` where the system does not tell (Windows). A process that was killed together
    with the sweep is not counted.
    """

    seconds: float
    peak_memory_gib: float | None


def run_process(words: Sequence[str], usage: Path) -> int:
    """Run ``python -m`` these words to its end, add its usage to a file, and return its status.

    SIGTERM and Ctrl-C are passed on once each, so that a training ends at a checkpoint; then
    Interrupted is raised. The process sees its standard input end when we are gone.

    Raises:
        Interrupted: if a signal came.
    """
    started = time.perf_counter()
    # A group of its own: the terminal's Ctrl-C would reach it a second time, which stops at once.
    with subprocess.Popen(
        [sys.executable, "-m", *words, *_log_flags(), "--lang", reader_language()],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        with _passed_on(process) as received:
            peak = _wait(process)
        _add_usage(usage, time.perf_counter() - started, peak)
    if received:
        raise Interrupted(received[0])
    return process.returncode


def load_usage(path: Path) -> Usage | None:
    """Return what ``run_process`` wrote, ``None`` if it ran nothing."""
    return Usage.model_validate_json(path.read_bytes()) if path.is_file() else None


def _log_flags() -> list[str]:
    level = logging.getLogger("smstune").getEffectiveLevel()
    if level >= logging.WARNING:
        return ["--quiet"]
    return ["--verbose"] if level <= logging.DEBUG else []


@contextmanager
def _passed_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Pass signals on to a process within the block; gives the list of those received."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # Not Popen.send_signal, which would wait for a process that ``_wait`` waits for.
        os.kill(process.pid, number)

    # Python lets only the main thread handle signals.
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, receive) for number in _SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(process: subprocess.Popen[bytes]) -> float | None:
    """Wait for the end of a process and return its largest resident memory in GiB."""
    if not hasattr(os, "wait4"):
        process.wait()
        return None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    # macOS counts bytes, the others KiB.
    bytes_per_unit = 1024 if sys.platform == "darwin" else 1
    return usage.ru_maxrss / bytes_per_unit / _KIB_PER_GIB


def _add_usage(path: Path, seconds: float, peak: float | None) -> None:
    earlier = load_usage(path)
    if earlier is not None:
        seconds += earlier.seconds
        peaks = [memory for memory in (peak, earlier.peak_memory_gib) if memory is not None]
        peak = max(peaks, default=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, Usage(seconds=round(seconds, 1), peak_memory_gib=peak).to_json())
