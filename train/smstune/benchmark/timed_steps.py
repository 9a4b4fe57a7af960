"""Commands run one after the other within a time limit; what each did becomes a table."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from smstune.language import Message
from smstune.reporting.document import Table

Processor = Literal["GPU", "CPU"]
#: What a step measured, by name.
Numbers = Mapping[str, float | str]


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Step:
    """A command with the seconds that it may take, and how to read what it measured.

    A step of the CPU does not see the GPU. ``read`` gets what the command printed to stdout;
    ``before`` is called first. Steps of one name are shown in one row for each number.
    """

    name: str
    processor: Processor
    command: Sequence[str]
    seconds: float
    read: Callable[[str], Numbers]
    before: Callable[[], None] = _nothing


@dataclass(frozen=True)
class Outcome:
    """How a step ended, ``DONE`` or what went wrong, and what it measured."""

    step: Step
    status: str
    seconds: float = 0.0
    numbers: Numbers = field(default_factory=dict)


DONE = Message("done")


def run_steps(steps: Sequence[Step], seconds: float) -> Iterator[Outcome]:
    """Run the steps and yield how each ended; none makes the others fail.

    All together take at most ``seconds``: a step that is due later is not started, and one that
    is running then, or longer than its own limit, is ended with all processes it started.
    """
    end = time.monotonic() + seconds
    for step in steps:
        allowed = min(step.seconds, end - time.monotonic())
        if allowed <= 0:
            yield Outcome(step, Message("not started: no time was left"))
        else:
            yield _run(step, allowed)


def _run(step: Step, seconds: float) -> Outcome:
    started = time.monotonic()
    environment = {**os.environ}
    if step.processor == "CPU":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    try:
        step.before()
    except OSError as error:
        return Outcome(step, Message("not started: {error}", error=error))
    # A session of its own, so that its workers can be ended with it.
    process = subprocess.Popen(
        step.command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        printed, log = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return Outcome(
            step,
            Message("ended after {seconds:.0f} s, its limit", seconds=seconds),
            time.monotonic() - started,
        )
    finally:
        _end(process)
    passed = time.monotonic() - started
    if process.returncode:
        last = (log.strip() or printed.strip() or "–").splitlines()[-1]
        status = Message(
            "failed with exit status {status}: {last}", status=process.returncode, last=last
        )
        return Outcome(step, status, passed)
    try:
        return Outcome(step, DONE, passed, step.read(printed))
    except (OSError, LookupError, ValueError) as error:
        status = Message("ended, but left no numbers to read: {error}", error=error)
        return Outcome(step, status, passed)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a process that still runs, and all of its session."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def steps_table(outcomes: Sequence[Outcome]) -> Table:
    """Return how each step ended and how long it took."""
    head = [Message("command"), Message("processor"), Message("how it ended"), Message("seconds")]
    rows = [
        [
            outcome.step.name,
            outcome.step.processor,
            outcome.status,
            f"{outcome.seconds:.1f}",
        ]
        for outcome in outcomes
    ]
    return Table(head, rows, text_columns=head[:3])


def numbers_table(outcomes: Sequence[Outcome]) -> Table:
    """Return each number that was measured, that of the GPU beside that of the CPU."""
    cells: dict[tuple[str, str], dict[Processor, float | str]] = {}
    for outcome in outcomes:
        for name, number in outcome.numbers.items():
            row = cells.setdefault((outcome.step.name, name), {})
            row[outcome.step.processor] = number
    head = [Message("command"), Message("number"), "GPU", "CPU"]
    rows = [[*names, row.get("GPU"), row.get("CPU")] for names, row in cells.items()]
    return Table(head, rows, text_columns=head[:2])
