"""Cost of the first answer of a fresh process, compared with transformers' pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from smstune.benchmark.inference import exported_precisions
from smstune.inference.manifest import load_manifest

_MESSAGE = "恭喜您中奖，请点击链接领取奖品"
#: Runs after the first answer: processor seconds of all threads, then GiB.
_REPORT = """
import time
seconds = time.process_time()
from smstune.benchmark.processes import peak_rss_gib
print(seconds, peak_rss_gib())
"""
_SMSTUNE = """
import sys
from smstune.commands.__main__ import main
if main(sys.argv[1:]):
    sys.exit(1)
"""
_PIPELINE = """
import sys
from transformers import pipeline
classify = pipeline("text-classification", model=sys.argv[1], device="cpu")
print(classify(sys.argv[2], truncation=True))
"""


@dataclass(frozen=True)
class StartUp:
    """The cost of one answer from the shell: Python's start, imports, loading, one message.

    ``ratio`` is ``processor_seconds`` divided by that of the first method.
    """

    method: str
    processor_seconds: float
    peak_rss_mib: float
    ratio: float


def benchmark_startup(run: Path) -> list[StartUp]:
    """Answer one message in two fresh processes by each method on the CPU; the faster one counts.

    The pipeline loads and answers in a script of four lines; ``smstune`` answers by ``smstune
    predict RUN --text MESSAGE --json``, in torch and, if the run has that form, in int8.

    Raises:
        CalledProcessError: if a method fails; its own message is on stderr.
    """
    predict = ["predict", str(run), f"--text={_MESSAGE}", "--json", "--device", "cpu"]
    commands = {
        "pipeline": [_PIPELINE, str(run), _MESSAGE],
        "smstune torch": [_SMSTUNE, *predict, "--backend", "torch"],
    }
    if "int8" in exported_precisions(run, load_manifest(run)):
        int8 = ["--backend", "onnx", "--precision", "int8"]
        commands["smstune int8"] = [_SMSTUNE, *predict, *int8]
    rows: list[StartUp] = []
    for method, (code, *arguments) in commands.items():
        # The first process also fills the caches of the disk and of compiled modules.
        seconds, peak = min(_to_the_first_answer(code, arguments) for _ in range(2))
        rows.append(
            StartUp(
                method=method,
                processor_seconds=seconds,
                peak_rss_mib=peak * 1024,
                ratio=seconds / (rows[0].processor_seconds if rows else seconds),
            )
        )
    return rows


def _to_the_first_answer(code: str, arguments: list[str]) -> tuple[float, float]:
    """Return processor seconds and peak memory in GiB of a process that runs ``code``.

    ``subprocess.run`` kills the process if it is left before its end.
    """
    words = [sys.executable, "-c", code + _REPORT, *arguments]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    # Where this is set, our own modules are compiled each time, installed packages are not.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak = map(float, done.stdout.splitlines()[-1].split())
    return seconds, peak
