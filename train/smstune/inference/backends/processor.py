"""The processor's name and what it can multiply, without torch."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
#: Those that decide the speed of fp32, bf16 and int8, as Linux names them.
_INSTRUCTION_SETS = (
    "avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8",
)  # fmt: skip


def processor_name() -> str:
    """Return the processor's name and the number of cores that this process may use."""
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    # Those that this process may use, which a container or taskset limits.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def instruction_sets() -> tuple[str, ...]:
    """Return the processor's instruction sets for fast products; none where Linux names none.

    Of avx2, avx512f, avx512_bf16, avx512_vnni, avx_vnni, amx_bf16 and amx_int8.
    """
    flags = _cpuinfo("flags").split()
    return tuple(name for name in _INSTRUCTION_SETS if name in flags)


def _cpuinfo(key: str) -> str:
    """Return the first value of ``key`` in /proc/cpuinfo, empty where there is none."""
    if not _CPUINFO.is_file():
        return ""
    line = re.search(rf"^{key}\s*:\s*(.+)", _CPUINFO.read_text("utf-8"), re.M)
    return line[1].strip() if line else ""
