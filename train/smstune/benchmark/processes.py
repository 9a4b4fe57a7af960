"""Processes that a benchmark starts: their memory, and their end with the benchmark's."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from types import FrameType
from typing import TypeVar

from smstune.errors import Interrupted

Returned = TypeVar("Returned")

_STATUS = Path("/proc/self/status")


def call_in_fresh_process(function: Callable[..., Returned], *arguments: object) -> Returned:
    """Return what ``function`` returns in a new interpreter; its errors are raised here.

    The process is killed if this call is left before its end, as by Ctrl-C.
    """
    earlier = set(active_children())
    # Ctrl-C reaches the new process too, which would print a traceback.
    with ProcessPoolExecutor(
        1, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BaseException:
            # Otherwise leaving the pool would wait for the function's end.
            for process in set(active_children()) - earlier:
                process.kill()
            raise


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Raise Interrupted on SIGTERM within the block, so that everything started is ended."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    # Python lets only the main thread handle signals.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def peak_rss_gib() -> float:
    """Return the largest resident memory of this process so far, in GiB.

    On Linux it is read from /proc: getrusage counts the memory that the parent process had when it
    started this one.
    """
    if _STATUS.is_file():
        _, _, peak = _STATUS.read_text("utf-8").partition("VmHWM:")
        return int(peak.split(maxsplit=1)[0]) / 2**20
    import resource

    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, the others KiB.
    return peak_rss / 2**30 if sys.platform == "darwin" else peak_rss / 2**20
