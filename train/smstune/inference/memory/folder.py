"""Where a run keeps its memory; light, because every answer looks for one."""

from __future__ import annotations

from pathlib import Path

MEMORY = "memory"
MEMORY_MANIFEST = "manifest.json"


def memory_stamp(run: Path) -> tuple[int, ...] | None:
    """Return what changes with each generation and costs nothing to read; ``None`` without one."""
    try:
        status = (run / MEMORY / MEMORY_MANIFEST).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
