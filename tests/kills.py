"""Commands that are killed, at random moments or before a chosen file operation.

python tests/kills.py FOLDER SCRIPT

forks for each line of its input, {"argv", "operation", "seconds"}, a process that runs
scripts/SCRIPT.py with these arguments. It kills itself before the operation of that number on a
path below FOLDER, or is killed after that time. What came of it is a line of output.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from doors import ROOT, script

#: What changes files or their names, as Python's audit events call it; the event comes before.
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree"}


@dataclass(frozen=True)
class Ended:
    """How a process ended; negative statuses are signals."""

    status: int
    seconds: float
    operations: int
    stderr: str

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


@contextmanager
def killable(folder: Path, name: str) -> Iterator[Callable[..., Ended]]:
    """Give what runs a script, each time in a process forked from one that has its imports.

    It takes the script's arguments and where its process is killed: before the file ``operation``
    of that number (from 1) below ``folder``, or after so many ``seconds``. ``folder / "tmp"`` is
    the process's folder for temporary files.
    """
    stderr = folder.with_name(f"{folder.name}.stderr")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "train"),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder / "tmp"),
    }
    with (
        stderr.open("ab") as stream,
        subprocess.Popen(
            [sys.executable, __file__, folder, name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        ) as server,
    ):

        def run(argv: Sequence[str], *, operation: int = 0, seconds: float | None = None) -> Ended:
            stderr.write_bytes(b"")
            order = {"argv": argv, "operation": operation, "seconds": seconds}
            server.stdin.write(json.dumps(order) + "\n")
            server.stdin.flush()
            answer = server.stdout.readline()
            said = stderr.read_text("utf-8", "replace")
            assert answer, said
            return Ended(**json.loads(answer), stderr=said)

        yield run


def kill_and_run_again(
    folder: Path,
    command: Sequence[object],
    kills: int,
    *,
    lay: Callable[[Path], None] = lambda _folder: None,
    again: Sequence[str] = (),
    facts: Callable[[Path], dict[str, object]] | None = None,
) -> int:
    """Kill a command that often and run it again, ``again`` added; each time all must be as ever.

    One half of the kills come before file operations that are spread over all, the other half at
    random moments. ``lay`` makes what is in ``folder`` before a start; ``facts`` are what must be
    as an undisturbed command left them (every file, if not given). Returns the number of file
    operations.
    """
    name, *argv = (str(word) for word in command)
    facts = facts or tree
    draw = random.Random(0)

    def start_anew() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tmp").mkdir(parents=True)
        lay(folder)

    def kill(number: int) -> None:
        start_anew()
        if number < kills // 2:
            # From the first to the last.
            operation = 1 + number * (undisturbed.operations - 1) // (kills // 2 - 1)
            assert run(argv, operation=operation).killed
            return
        # No two take the same time: it may have ended before its moment comes.
        while not (ended := run(argv, seconds=draw.uniform(0, undisturbed.seconds))).killed:
            assert ended.status == 0, ended.stderr
            start_anew()

    with killable(folder, name) as run:
        # The first process has everything to import and counts for nothing.
        for _ in range(2):
            start_anew()
            undisturbed = run(argv)
            assert undisturbed.status == 0, undisturbed.stderr
        whole = facts(folder)
        for number in range(kills):
            kill(number)
            left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
            ended = run([*argv, *again])
            # A kill after the last step leaves all of it, which a command may not overwrite.
            assert ended.status in (0, 2), (number, left, ended.stderr)
            now = facts(folder)
            wrong = {name for name in now.keys() | whole.keys() if now.get(name) != whole.get(name)}
            assert not wrong, (number, wrong, left, ended.stderr)
    return undisturbed.operations


def tree(folder: Path) -> dict[str, object]:
    """Return the SHA-256 of every file below a folder, hidden ones too; "" for a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }


def _serve(folder: str, name: str) -> None:
    if name == "predict":
        from scoring_child import ROWS_AT_ONCE

        from smstune.deploy.batch import score_file

        score_file._ROWS_AT_ONCE = ROWS_AT_ONCE
    main = script(name)
    answers = os.fdopen(os.dup(1), "w")
    # A command's results are nobody's here.
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        receiving, sending = os.pipe()
        began = time.monotonic()
        child = os.fork()
        if not child:
            os.close(receiving)
            seen = _kill_before(order["operation"], folder)
            code = main(order["argv"])
            with os.fdopen(sending, "w") as report:
                json.dump({"operations": len(seen), "modules": list(sys.modules)}, report)
            atexit._run_exitfuncs()
            # The rest of an end is for threads that a fork does not take along.
            os._exit(code)
        os.close(sending)
        # It has something to say, or nothing any more.
        if not select.select([receiving], [], [], order["seconds"])[0]:
            os.kill(child, signal.SIGKILL)
        with os.fdopen(receiving) as report:
            text = report.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ended = {"status": status, "seconds": time.monotonic() - began, "operations": 0}
        if text:
            said = json.loads(text)
            ended["operations"] = said["operations"]
            _import(said["modules"])
        answers.write(json.dumps(ended) + "\n")
        answers.flush()


def _kill_before(number: int, folder: str) -> list[str]:
    """Kill this process before the file operation of a number; return those seen until then."""
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


def _import(modules: list[str]) -> None:
    for module in modules:
        # Some are made by others as these are imported.
        with suppress(Exception):
            importlib.import_module(module)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
