"""How many threads compute."""

from __future__ import annotations

import os


def available_threads() -> int:
    """Return ``OMP_NUM_THREADS``, or else the number of cores that this process may use.

    Counted by affinity, which containers and ``taskset`` limit.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
