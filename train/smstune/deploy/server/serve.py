"""A run behind an address: where it listens, how it starts and how it stops."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import time
from collections.abc import Callable

import uvicorn

from smstune.config.schema import ServeConfig
from smstune.deploy.server.app import create_app
from smstune.deploy.server.batcher import Batcher
from smstune.deploy.server.metrics import Metrics
from smstune.deploy.server.protocol import Http11
from smstune.deploy.server.responses import WithoutValues
from smstune.errors import UserError
from smstune.inference.classifier import SmsClassifier

#: Seconds for the last answers to leave, once nothing is scored any more.
_LAST_ANSWERS = 2
#: Connections that may wait for the model to be loaded, and after that to be accepted.
_BACKLOG = 2048
#: Largest head of a request in bytes.
_MAX_HEAD_BYTES = 16_384
#: Seconds that an idle connection is kept for the next request.
_KEEP_ALIVE_SECONDS = 5


def bind(host: str, port: int, key: str | None) -> socket.socket:
    """Return a socket that listens on ``host`` and ``port`` (0: any that is free).

    Raises:
        UserError: if others could reach it and there is no ``key``, or it cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        if not key and not ipaddress.ip_address(address[0]).is_loopback:
            raise UserError(
                f"expected an API key to listen on {host}, where others can reach it, found none: "
                "set the environment variable SMSTUNE_API_KEY, or leave out --host"
            )
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # getaddrinfo takes any number for a port.
        listener.bind((address[0], port, *address[2:]))
        # Before the model is loaded: two sockets may be bound to a port, but only one listens.
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"expected an address to listen on, found {host} port {port}: {error}: "
            "choose another by --host and --port"
        ) from error
    return listener


def serve(
    classifier: SmsClassifier,
    section: ServeConfig,
    listener: socket.socket,
    *,
    key: str | None,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGTERM, SIGHUP or Ctrl-C; ``announce`` gets the address once all is ready.

    Then nothing new is taken, and what was is answered, for ``stop_seconds`` at most; a second
    Ctrl-C ends at once.

    Raises:
        UserError: if the model gives no finite scores.
    """
    for handler in logging.getLogger().handlers:
        handler.setFormatter(WithoutValues("%(message)s"))
    metrics = Metrics()
    batcher = Batcher(classifier, section, metrics)
    batcher.warm()
    app = create_app(batcher, metrics, section, name=classifier.artifact.path.name, key=key)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # What a client sends writes no line of the log.
        log_level="error",
        http=Http11,
        # uvicorn refuses from this number on.
        limit_concurrency=section.max_connections + 1,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LAST_ANSWERS,
        backlog=_BACKLOG,
        # Others are taken up by themselves where they are installed.
        ws="none",
        loop="asyncio",
    )
    server = _Server(config, batcher, section.stop_seconds, announce)
    # uvicorn takes the first two, and raises them once more when it has stopped: no failure.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # nohup has its process ignore SIGHUP: it is to outlive its terminal.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run([listener])


class _Server(uvicorn.Server):
    """Goes on listening while it finishes, so that who asks is told that it stops."""

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
