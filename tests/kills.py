"""Commands that are killed, at random moments or before a chosen file operation.

python tests/kills.py NUMBER FOLDER COUNT_FILE SCRIPT [ARGUMENT ...]

runs scripts/SCRIPT.py and kills itself before the operation of that number on a file below FOLDER
(0: never); COUNT_FILE then holds how many there were.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from doors import ROOT, script

#: What changes files or their names, as Python's audit events call it; the event comes before.
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree"}


class Killed:
    """A command that is started again and again on the same arguments, and killed each time."""

    def __init__(self, folder: Path, *command: object) -> None:
        """Take the folder that the command writes below, the script's name and its arguments."""
        self._folder = folder
        self._command = [str(word) for word in command]

    def undisturbed(self) -> tuple[int, float]:
        """Run to the end; return the number of file operations and the seconds."""
        began = time.monotonic()
        counted = self._folder.with_name(f"{self._folder.name}.count")
        status = self._start(0, counted).wait()
        assert status == 0, status
        number = int(counted.read_text())
        counted.unlink()
        return number, time.monotonic() - began

    def at_operation(self, number: int) -> None:
        """Kill before the file operation of this number, from 1; fewer end by themselves."""
        status = self._start(number).wait()
        assert status in (0, -signal.SIGKILL), status

    def after(self, seconds: float) -> None:
        """Kill after this time; what ends earlier ends by itself."""
        process = self._start(0)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        status = process.wait()
        assert status in (0, -signal.SIGKILL), status

    def _start(self, number: int, counted: Path = Path(os.devnull)) -> subprocess.Popen[bytes]:
        words = [sys.executable, str(Path(__file__)), str(number), str(self._folder), str(counted)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*words, *self._command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def moments(kills: int, operations: int, seconds: float, seed: int = 0) -> list[tuple[str, float]]:
    """Return half as many file operations, spread over all, as kills; random times for the rest."""
    half = kills // 2
    chosen = [("at_operation", 1 + index * operations // half) for index in range(half)]
    draw = random.Random(seed)
    return [*chosen, *(("after", draw.uniform(0, seconds)) for _ in range(kills - half))]


def tree(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, hidden ones too; "" for a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def _kill_before(number: int, folder: str) -> list[str]:
    seen: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in OPERATIONS or not arguments:
            return
        path = arguments[0]
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(folder):
            seen.append(event)
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


if __name__ == "__main__":
    wanted, below, counted, name, *words = sys.argv[1:]
    if name == "predict":
        from scoring_child import ROWS_AT_ONCE

        from smstune.deploy.batch import score_file

        score_file._ROWS_AT_ONCE = ROWS_AT_ONCE
    main = script(name)
    events = _kill_before(int(wanted), below)
    code = main(words)
    total = len(events)
    Path(counted).write_text(str(total))
    sys.exit(code)
