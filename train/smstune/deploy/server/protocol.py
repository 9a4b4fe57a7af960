"""HTTP/1.1 as uvicorn speaks it, but for connections that would do harm."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from smstune.deploy.server.responses import RefusedError, busy

#: Seconds for a new connection to send the head of its first request.
_HEAD_SECONDS = 10
#: Seconds in which a client that was answered early may go on with its body.
_REST_OF_BODY_SECONDS = 10


class Http11(H11Protocol):
    """One connection.

    Beyond ``limit_concurrency`` connections a new one is answered 503 and closed at once: uvicorn
    alone would keep it and answer 503 to every request of everybody, the health checks included. A
    connection that asks nothing is closed.
    """

    cycle: RequestResponseCycle | None  # type: ignore[assignment]

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it where there are too many."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            # At once, so that no other is refused because of this one.
            self.connections.discard(self)
            self._refuse(busy(f"at most {self.limit_concurrency - 1} connections", "one more", 1))
            return
        self._set_timer(_HEAD_SECONDS, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._unset_timer()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Bound what a client may go on to send after an answer."""
        super().on_response_complete()
        cycle = self.cycle
        if self.transport.is_closing() or cycle is None or not cycle.response_complete:
            return
        if self.conn.their_state is h11.SEND_BODY:
            self._set_timer(_REST_OF_BODY_SECONDS, self._close_if_still_sending, cycle)

    def _refuse(self, error: RefusedError) -> None:
        response = error.response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        reason = HTTPStatus(error.status_code).phrase.encode()
        for event in (
            h11.Response(status_code=error.status_code, headers=headers, reason=reason),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _close_if_silent(self) -> None:
        if self.cycle is None:
            self.transport.close()

    def _close_if_still_sending(self, cycle: RequestResponseCycle) -> None:
        if self.cycle is cycle and self.conn.their_state is h11.SEND_BODY:
            self.transport.close()

    def _set_timer(self, seconds: float, callback: Any, *arguments: Any) -> None:  # noqa: ANN401
        self._unset_timer()
        self._timer = self.loop.call_later(seconds, callback, *arguments)

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
