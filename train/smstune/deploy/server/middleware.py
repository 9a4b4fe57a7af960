"""What stands before every route of the server: the key, the size of the body, the counts."""

from __future__ import annotations

import hmac
import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smstune.deploy.server.metrics import Metrics
from smstune.deploy.server.responses import RefusedError, body_too_large

_REASONS = {401: "key", 413: "too large", 422: "invalid", 503: "busy or stopping"}
#: Whoever may reach the port may see these: they tell nothing of messages.
_OPEN = {"/", "/page.css", "/page.js", "/healthz", "/readyz", "/openapi.json"}


class Door:
    """Turns away whoever lacks the key or brings too much, before the body is read; counts."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        paths: Collection[str],
        max_body_bytes: int,
        key: str | None,
    ) -> None:
        self.app = app
        self._metrics = metrics
        self._paths = frozenset(paths)
        self._max_body_bytes = max_body_bytes
        self._key = key.encode() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status, size = 500, 0

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def bounded() -> Message:
            # A body without Content-Length tells its size by growing.
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body_bytes:
                raise HTTPException(413)
            return message

        try:
            refusal = self._refusal(scope["path"], Headers(scope=scope))
            answer = refusal.response() if refusal else self.app
            await answer(scope, bounded, noting_status)
        finally:
            # A path that is none of ours may hold anything.
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)
            if status in _REASONS:
                self._metrics.rejected.labels(_REASONS[status]).inc()

    def _refusal(self, path: str, headers: Headers) -> RefusedError | None:
        if self._key and path not in _OPEN and not self._has_key(headers):
            what = "send it as Authorization: Bearer KEY or X-API-Key: KEY"
            found = "none or another one"
            challenge = {"WWW-Authenticate": "Bearer"}
            return RefusedError(401, "the server's API key", found, what, challenge)
        if int(headers.get("content-length", "0")) > self._max_body_bytes:
            return body_too_large(self._max_body_bytes)
        return None

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # Headers reach us as latin-1.
        return hmac.compare_digest(given.encode("latin-1"), self._key or b"")
