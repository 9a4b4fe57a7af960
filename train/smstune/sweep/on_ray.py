"""Makes several calls at once on a Ray cluster that is connected to."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from smstune.errors import Interrupted

T = TypeVar("T")

logger = logging.getLogger(__name__)


def call_on_ray(function: Callable[..., T], calls: Sequence[Sequence[Any]]) -> list[T]:
    """Call ``function`` with each of these arguments on a Ray cluster; return what the calls give.

    A call has a GPU to itself or, on a cluster without GPUs, as many cores as the smallest machine
    has. A call whose machine is lost is made again on another. All machines must reach the files
    under the same paths.

    Raises:
        Interrupted: if a signal came; the calls end with the connection to the cluster.
    """
    import ray

    task = ray.remote(function).options(max_retries=-1, **_share_of_one_call())
    numbers = {task.remote(*call): number for number, call in enumerate(calls)}
    results: dict[int, T] = {}
    with _sigterm_interrupts():
        while len(results) < len(calls):
            (done,), _ = ray.wait([ref for ref in numbers if numbers[ref] not in results])
            results[numbers[done]] = ray.get(done)
            logger.info("%d of %d done", len(results), len(calls))
    return [results[number] for number in range(len(calls))]


def n_calls_at_once() -> int:
    """Return how many calls the cluster makes at once."""
    import ray

    ((resource, amount),) = _share_of_one_call().items()
    available = ray.cluster_resources()["GPU" if resource == "num_gpus" else "CPU"]
    return max(1, int(available // amount))


def _share_of_one_call() -> dict[str, float]:
    import ray

    if ray.cluster_resources().get("GPU", 0) >= 1:
        return {"num_gpus": 1}
    machines = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return {"num_cpus": max(1, min(cores for cores in machines if cores))}


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end the block with Interrupted, as Ctrl-C does with KeyboardInterrupt."""
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        # Ray raises one of its own in place of ours.
        if received:
            raise Interrupted(received[0]) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
