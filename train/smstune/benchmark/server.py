"""A server under load: waiting times, memory while bodies are held back, answers when it stops."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import cycle, islice
from pathlib import Path
from socket import create_connection, socket

import numpy as np

from smstune.benchmark.inference import benchmark_messages
from smstune.errors import UserError
from smstune.inference.manifest import load_manifest

_CLASSIFY = "/v1/classify"
#: Longer than a server should ever make a client wait.
_TIMEOUT = 180
#: Seconds after which a refused client tries again.
_PAUSE = 0.5
_BODY_BYTES = 1_048_576
_HEAD = (
    "POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    f"Content-Length: {_BODY_BYTES}\r\n\r\n"
).encode()
_IN_FLIGHT = 12


@dataclass(frozen=True)
class _Load:
    """Clients that each send ``messages`` in a request as soon as the previous one is answered."""

    clients: int
    messages: int
    explaining: int = 0

    @property
    def name(self) -> str:
        clients = f"{self.clients} clients, {self.messages} messages each"
        return f"{clients}, {self.explaining} explain" if self.explaining else clients


_LOADS = (_Load(16, 32), _Load(16, 4), _Load(256, 4), _Load(16, 4, explaining=20))


@dataclass(frozen=True)
class LoadResult:
    """Requests under a load by outcome, and the waits of the answered ones.

    ``lost`` counts requests whose connection ended without an answer.
    """

    load: str
    answered: int
    refused: int
    lost: int
    messages_per_second: float
    median_s: float
    p99_s: float
    explained: int


@dataclass(frozen=True)
class HeldBodiesResult:
    """Resident memory of the server before, while and after clients hold back bodies."""

    bodies: int
    sent: int
    before_mib: float
    during_mib: float
    after_mib: float
    #: HTTP status of a health check while the bodies are held back.
    healthz_meanwhile: int


@dataclass(frozen=True)
class StopResult:
    """Outcomes of requests that were in flight when a signal stopped the server."""

    signal: str
    in_flight: int
    answered: int
    refused: int
    lost: int
    exit_status: int


@dataclass(frozen=True)
class ServerBenchmark:
    """The three tables of a server's benchmark."""

    loads: list[LoadResult]
    held_bodies: HeldBodiesResult
    stops: list[StopResult]


@dataclass(frozen=True)
class _Server:
    process: subprocess.Popen[str]
    host: str
    port: int

    def request(self, connection: HTTPConnection, path: str, content: object) -> tuple[int, bytes]:
        """Return status and body of the response; status 0 if the connection was lost."""
        headers = {"Content-Type": "application/json"}
        method, body = ("GET", None) if content is None else ("POST", json.dumps(content))
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            connection.close()
            return 0, b""

    def connection(self) -> HTTPConnection:
        return HTTPConnection(self.host, self.port, timeout=_TIMEOUT)

    def memory_mib(self) -> float:
        import resource

        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text("utf-8").split()[1])
        return pages * resource.getpagesize() / 2**20


def benchmark_server(
    run: Path, messages_file: Path | None = None, *, seconds: float = 20, bodies: int = 1500
) -> ServerBenchmark:
    """Measure a server that is started on ``run`` with its defaults.

    The messages are those of ``messages_file``, by default of the run's test split. Each load lasts
    ``seconds``; a refused client tries again after half a second. Then clients hold back the last
    byte of ``bodies`` of 1 MiB. Finally signals stop the server with 12 requests in flight. Needs
    Linux, because the memory is read from ``/proc``.

    Raises:
        UserError: if there is no message, the run is missing or the server does not start.
    """
    import resource

    texts = benchmark_messages(load_manifest(run), messages_file)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    with _serving(run) as server:
        loads = [_loaded(server, load, texts, seconds) for load in _LOADS]
    with _serving(run) as server:
        held_bodies = _with_held_bodies(server, bodies)
    stops = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        with _serving(run) as server:
            stops.append(_stopped(server, number, texts))
    return ServerBenchmark(loads, held_bodies, stops)


@contextmanager
def _serving(run: Path) -> Iterator[_Server]:
    words = [sys.executable, "-m", "smstune.commands", "serve", str(run), "--port", "0"]
    variables = {name: text for name, text in os.environ.items() if name != "SMSTUNE_API_KEY"}
    # If this command runs under nohup, the server would ignore SIGHUP.
    hang_up = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    with subprocess.Popen(
        words, env=variables, stdout=subprocess.PIPE, text=True, preexec_fn=hang_up
    ) as process:
        try:
            address = process.stdout.readline().strip() if process.stdout else ""
            if not address:
                raise UserError(
                    "the server of {run} did not start: see its own message above", run=run
                )
            host, _, port = address.removeprefix("http://").rpartition(":")
            yield _Server(process, host, int(port))
        finally:
            process.kill()


def _loaded(server: _Server, load: _Load, texts: Sequence[str], seconds: float) -> LoadResult:
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(load.clients + load.explaining) as pool:
        explaining = [
            pool.submit(
                _ask, server, "/v1/explain", cycle([{"text": texts[number % len(texts)]}]), end
            )
            for number in range(load.explaining)
        ]
        classifying = [
            pool.submit(_ask, server, _CLASSIFY, _requests(texts, number, load.messages), end)
            for number in range(load.clients)
        ]
        started = time.monotonic()
        answers = [answer for client in classifying for answer in client.result()]
        passed = time.monotonic() - started
        explained = [status for client in explaining for status, _ in client.result()]
    waits = [wait for status, wait in answers if status == 200]
    statuses = [status for status, _ in answers]
    return LoadResult(
        load=load.name,
        answered=len(waits),
        refused=statuses.count(503),
        lost=statuses.count(0),
        messages_per_second=len(waits) * load.messages / passed,
        median_s=float(np.median(waits)) if waits else float("nan"),
        p99_s=float(np.percentile(waits, 99)) if waits else float("nan"),
        explained=explained.count(200),
    )


def _requests(texts: Sequence[str], client: int, messages: int) -> Iterator[object]:
    """Yield request bodies of ``messages`` texts each; each client starts at another text."""
    stream = cycle(texts)
    next(islice(stream, client * messages, None))
    while True:
        yield {"texts": list(islice(stream, messages))}


def _ask(
    server: _Server, path: str, requests: Iterator[object], end: float
) -> list[tuple[int, float]]:
    """Return status and wait in seconds of requests sent one after the other until ``end``."""
    answers: list[tuple[int, float]] = []
    connection = server.connection()
    while (started := time.monotonic()) < end:
        status, _ = server.request(connection, path, next(requests))
        answers.append((status, time.monotonic() - started))
        if status != 200:
            time.sleep(_PAUSE)
    connection.close()
    return answers


def _with_held_bodies(server: _Server, bodies: int) -> HeldBodiesResult:
    before = server.memory_mib()
    with ThreadPoolExecutor(32) as pool:
        connections = list(pool.map(lambda _: _hold(server), range(bodies)))
        during = server.memory_mib()
        # Another client must still be answered.
        status, _ = server.request(server.connection(), "/healthz", None)
    for connection in connections:
        if connection is not None:
            connection.close()
    time.sleep(5)
    return HeldBodiesResult(
        bodies=bodies,
        sent=sum(connection is not None for connection in connections),
        before_mib=before,
        during_mib=during,
        after_mib=server.memory_mib(),
        healthz_meanwhile=status,
    )


def _hold(server: _Server) -> socket | None:
    """Return a connection that has sent a body except its last byte, ``None`` if lost."""
    try:
        connection = create_connection((server.host, server.port), timeout=10)
        connection.sendall(_HEAD + b" " * (_BODY_BYTES - 1))
    except OSError:
        return None
    return connection


def _stopped(server: _Server, number: signal.Signals, texts: Sequence[str]) -> StopResult:
    bodies = [next(_requests(texts, client, 32)) for client in range(_IN_FLIGHT)]
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        in_flight = [
            pool.submit(server.request, server.connection(), _CLASSIFY, body) for body in bodies
        ]
        # Long enough for all to be accepted, too short for all to be answered.
        time.sleep(_PAUSE)
        server.process.send_signal(number)
        statuses = [request.result()[0] for request in in_flight]
    return StopResult(
        signal=number.name,
        in_flight=_IN_FLIGHT,
        answered=statuses.count(200),
        refused=statuses.count(503),
        lost=statuses.count(0),
        exit_status=server.process.wait(60),
    )
