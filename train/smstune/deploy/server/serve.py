"""Serves a run over HTTP: binding the port, starting, stopping."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import time
from collections.abc import Callable

import uvicorn

from smstune.config.schema import ServeConfig
from smstune.deploy.server.app import create_app
from smstune.deploy.server.batcher import Batcher
from smstune.deploy.server.metrics import Metrics
from smstune.deploy.server.middleware import Keys
from smstune.deploy.server.protocol import Http11
from smstune.deploy.server.reports import ReportDesk, ReportDoor
from smstune.deploy.server.responses import WithoutValues
from smstune.errors import UserError
from smstune.inference.classifier import SmsClassifier

#: Seconds to send the last answers after the last message was scored.
_LAST_ANSWERS = 2
#: Connections that may wait to be accepted, at first until the model is loaded.
_BACKLOG = 2048
#: Largest request line and headers, in bytes.
_MAX_HEAD_BYTES = 16_384
#: Seconds that an idle connection is kept for the next request.
_KEEP_ALIVE_SECONDS = 5


def bind(host: str, port: int, key: str | None) -> socket.socket:
    """Return a socket that listens on ``host`` and ``port`` (0: any that is free).

    Raises:
        UserError: if other machines could reach it without a ``key``, or it cannot be bound.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = addresses[0]
        if not key and not ipaddress.ip_address(address[0]).is_loopback:
            raise UserError(
                "other machines can reach {host}, so the server needs an API key: set the "
                "environment variable SMSTUNE_API_KEY, or omit --host",
                host=host,
            )
        listener = socket.socket(family, kind, protocol)
        # On Windows the option would let two servers listen on one port.
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # getaddrinfo wraps a port that is too large; bind refuses it.
        listener.bind((address[0], port, *address[2:]))
        # Before the model is loaded: two sockets may be bound to a port, but only one listens.
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        raise UserError(
            "cannot listen on {host} port {port}: {error}: choose another with --host and --port",
            host=host,
            port=port,
            error=error,
        ) from error
    return listener


def serve(
    classifier: SmsClassifier,
    section: ServeConfig,
    listener: socket.socket,
    *,
    key: str | None,
    door: ReportDoor | None,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGTERM, SIGHUP or Ctrl-C; ``announce`` is called with the address once ready.

    ``key`` is the clients' API key, ``door`` what takes reports.

    After the signal new requests are refused, and the accepted ones are answered, for at most
    ``stop_seconds``; a second Ctrl-C ends at once.

    Raises:
        UserError: if the model gives no finite scores, or the run's memory is broken.
    """
    for handler in logging.getLogger().handlers:
        handler.setFormatter(WithoutValues("%(message)s"))
    # A broken memory is refused here, not at the first request.
    classifier.refresh_memory()
    metrics = Metrics(classifier)
    batcher = Batcher(classifier, section, metrics)
    batcher.warm()
    app = create_app(
        batcher,
        metrics,
        section,
        name=classifier.run.path.name,
        keys=Keys(key, door.key if door else None),
        desk=ReportDesk(door, classifier.labels, section, metrics) if door else None,
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing that a client sends is logged.
        log_level="error",
        http=Http11,
        # uvicorn refuses the connection that reaches this number.
        limit_concurrency=section.max_connections + 1,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LAST_ANSWERS,
        backlog=_BACKLOG,
        # uvicorn would otherwise use other implementations wherever they are installed.
        ws="none",
        loop="asyncio",
    )
    server = _Server(config, batcher, section.stop_seconds, announce)
    # uvicorn handles the first two, but raises them again after it stopped, as if it had failed.
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        # Windows has no SIGHUP. Under nohup it is ignored and must stay so.
        number = getattr(signal, name, None)
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            continue
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run([listener])


class _Server(uvicorn.Server):
    """Keeps listening while it drains, so that new requests get 503, not a refused connection."""

    def __init__(
        self,
        config: uvicorn.Config,
        batcher: Batcher,
        stop_seconds: float,
        announce: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._batcher = batcher
        self._stop_seconds = stop_seconds
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            self._announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._batcher.stopping = True
        end = time.monotonic() + self._stop_seconds
        while self._batcher.messages and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        await self._batcher.close()
        await super().shutdown(sockets)
