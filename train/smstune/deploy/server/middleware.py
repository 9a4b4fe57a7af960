"""What stands before every route of the server: the key, the limits of a body, the counts."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smstune.deploy.server.metrics import Metrics
from smstune.deploy.server.responses import CLOSE, RefusedError, busy

_REASONS = {
    400: "malformed",
    401: "key",
    408: "slow",
    413: "too large",
    422: "invalid",
    503: "busy or stopping",
}
#: Whoever may reach the port may see these: they tell nothing of messages.
_OPEN = {"/", "/page.css", "/page.js", "/healthz", "/readyz", "/openapi.json"}


@dataclass(frozen=True)
class BodyLimits:
    """Bounds on bodies: bytes of one, bytes of all that are not answered yet, seconds to send."""

    bytes: int
    bytes_in_flight: int
    seconds: float


class Door:
    """ASGI middleware: checks key and framing before the body is read, bounds it, counts.

    HEAD is answered as GET is; uvicorn leaves out the body.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        paths: Collection[str],
        limits: BodyLimits,
        key: str | None,
    ) -> None:
        self.app = app
        self._metrics = metrics
        self._paths = frozenset(paths)
        self._limits = limits
        self._bytes_in_flight = 0
        self._key = key.encode() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        status, size, complete = 500, 0, False

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def bounded() -> Message:
            nonlocal size, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            # A body without Content-Length tells its size by growing.
            body = message.get("body", b"")
            size += len(body)
            self._bytes_in_flight += len(body)
            if size > self._limits.bytes:
                raise self._too_large()
            if self._bytes_in_flight > self._limits.bytes_in_flight:
                raise self._too_many_bytes()
            complete = not message.get("more_body", False)
            return message

        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        try:
            refusal = self._refusal(scope, Headers(scope=scope))
            answer = refusal.response() if refusal else self.app
            await answer(scope, bounded, noting_status)
        finally:
            self._bytes_in_flight -= size
            # A path that is none of ours may hold anything.
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)
            if status in _REASONS:
                self._metrics.rejected.labels(_REASONS[status]).inc()

    def _refusal(self, scope: Scope, headers: Headers) -> RefusedError | None:
        if "transfer-encoding" in headers and (
            "content-length" in headers or scope["http_version"] == "1.0"
        ):
            # A proxy before us may see another end of this request (RFC 9112, 6.1): what follows
            # on this connection may be the body of one and the request of another client.
            return RefusedError(
                400,
                "one way to tell the end of the body",
                "Transfer-Encoding beside Content-Length or in HTTP/1.0",
                "send Content-Length alone",
                CLOSE,
            )
        if self._key and scope["path"] not in _OPEN and not self._has_key(headers):
            what = "send it as Authorization: Bearer KEY or X-API-Key: KEY"
            found = "none or another one"
            challenge = {"WWW-Authenticate": "Bearer"}
            return RefusedError(401, "the server's API key", found, what, challenge)
        if int(headers.get("content-length", "0")) > self._limits.bytes:
            return self._too_large()
        return None

    def _too_large(self) -> RefusedError:
        expected = f"a body of at most {self._limits.bytes} bytes"
        return RefusedError(413, expected, "a larger one", "send fewer messages in a request")

    def _too_slow(self) -> RefusedError:
        expected = f"a whole body within {self._limits.seconds:g} s"
        return RefusedError(408, expected, "a part of it", "send it faster", CLOSE)

    def _too_many_bytes(self) -> RefusedError:
        expected = f"at most {self._limits.bytes_in_flight} bytes of requests at a time"
        # Closed, or clients that hold back the rest of their bodies would fill the connections.
        return busy(expected, "more", 1, close=True)

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        sent = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # Headers reach us as latin-1.
        return hmac.compare_digest(sent.encode("latin-1"), self._key or b"")
