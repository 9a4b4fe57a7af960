"""ASGI middleware in front of every route: API key, limits on bodies, metrics."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from smstune.deploy.server.metrics import Metrics
from smstune.deploy.server.responses import CLOSE, RefusedError, busy, request_language
from smstune.language import Message

_REASONS = {
    400: "malformed",
    401: "key",
    403: "key",
    408: "slow",
    413: "too large",
    422: "invalid",
    503: "busy or stopping",
}
#: Need no key: they contain nothing of any message.
_PUBLIC_PATHS = {"/", "/page.css", "/page.js", "/healthz", "/readyz", "/openapi.json"}
_REPORTS = "/v1/reports"


@dataclass(frozen=True)
class Keys:
    """The keys that clients send: for all routes but reports, and for those."""

    api: str | None = None
    reports: str | None = None


@dataclass(frozen=True)
class BodyLimits:
    """Bytes of one body, bytes of all unanswered requests together, seconds to send one body."""

    bytes: int
    bytes_in_flight: int
    seconds: float


class RequestGuard:
    """Checks key and framing before the body is read, limits bodies, records metrics.

    HEAD is handled like GET; uvicorn omits the body.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        paths: Collection[str],
        limits: BodyLimits,
        keys: Keys,
    ) -> None:
        self.app = app
        self._metrics = metrics
        self._paths = frozenset(paths)
        self._limits = limits
        self._bytes_in_flight = 0
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        status, size, complete = 500, 0, False

        async def send_noting_status(message: Event) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def receive_within_limits() -> Event:
            nonlocal size, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            # Counted as it arrives: a body may come without Content-Length.
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
            answer = refusal.response(_language(scope)) if refusal else self.app
            await answer(scope, receive_within_limits, send_noting_status)
        finally:
            self._bytes_in_flight -= size
            # An unknown path may contain anything, even part of a message.
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)
            if status in _REASONS:
                self._metrics.rejected.labels(_REASONS[status]).inc()

    def _refusal(self, scope: Scope, headers: Headers) -> RefusedError | None:
        if "transfer-encoding" in headers and (
            "content-length" in headers or scope["http_version"] == "1.0"
        ):
            # A proxy in front of us may see the request end elsewhere (RFC 9112, 6.1); what follows
            # on this connection could then be smuggled in as another client's request.
            return RefusedError(
                400,
                Message("one way to delimit the body"),
                Message("Transfer-Encoding beside Content-Length or in HTTP/1.0"),
                Message("send Content-Length alone"),
                CLOSE,
            )
        reports = scope["path"] == _REPORTS
        key = self._keys.reports if reports else self._keys.api
        if key and scope["path"] not in _PUBLIC_PATHS and not _has_key(headers, key):
            return RefusedError(
                401,
                Message("the server's key for reports")
                if reports
                else Message("the server's API key"),
                Message("none or another one"),
                Message("send it as Authorization: Bearer KEY or X-API-Key: KEY"),
                {"WWW-Authenticate": "Bearer"},
            )
        if int(headers.get("content-length", "0")) > self._limits.bytes:
            return self._too_large()
        return None

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413,
            Message("a body of at most {limit} bytes", limit=self._limits.bytes),
            Message("a larger one"),
            Message("send fewer messages in a request"),
        )

    def _too_slow(self) -> RefusedError:
        return RefusedError(
            408,
            Message("a whole body within {seconds:g} s", seconds=self._limits.seconds),
            Message("an incomplete one"),
            Message("send it faster"),
            CLOSE,
        )

    def _too_many_bytes(self) -> RefusedError:
        expected = Message(
            "at most {limit} bytes of requests at a time", limit=self._limits.bytes_in_flight
        )
        # Closed, so that clients that hold back the rest of their bodies do not use up connections.
        return busy(expected, Message("more"), 1, close=True)


def _has_key(headers: Headers, key: str) -> bool:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    sent = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    # Starlette decodes headers as latin-1.
    return hmac.compare_digest(sent.encode("latin-1"), key.encode())


def _language(scope: Scope) -> str:
    return request_language(Headers(scope=scope).get("accept-language", ""))
