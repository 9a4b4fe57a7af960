"""uvicorn's HTTP/1.1 protocol with limits on idle, half-closed and surplus connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from smstune.deploy.server.responses import RefusedError, busy
from smstune.language import Message

#: Seconds for a new connection to send the headers of its first request.
_HEAD_SECONDS = 10
#: Seconds that a client answered early has to finish sending its body.
_REST_OF_BODY_SECONDS = 10
#: Seconds between probes of whether a client that has stopped sending still listens.
_PROBE_SECONDS = 0.2


class Http11(H11Protocol):
    """One connection.

    Beyond ``limit_concurrency`` connections a new one is answered 503 and closed at once. (uvicorn
    alone would keep it and answer 503 to every request of every client, health checks included.) A
    connection that sends no request is closed. A malformed request is answered with a ``Problem``.
    A client that has closed its sending half is still answered.
    """

    cycle: RequestResponseCycle | None  # type: ignore[assignment]

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self._half_closed = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it if there are too many."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            # Not counted from here on, so that no other connection is refused because of it.
            self.connections.discard(self)
            limit = self.limit_concurrency - 1
            self._refuse(
                busy(
                    Message("at most {limit} connections", limit=limit),
                    Message("{n_connections} connections", n_connections=limit + 1),
                    1,
                )
            )
            return
        self._set_timer(_HEAD_SECONDS, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._unset_timer()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to keep the connection because a response is still due."""
        cycle = self.cycle
        in_head = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        in_body = self.conn.their_state is h11.SEND_BODY
        if in_head or (in_body and cycle is not None and not cycle.response_started):
            self.send_400_response(
                Message("the connection was closed before the end of the request")
            )
        if self.transport.is_closing() or cycle is None or cycle.response_complete:
            return False
        # A response to a complete request, or to one refused early, is still on its way.
        self._half_closed = True
        # HTTP/1.0 has no 100 Continue to probe with: such a client is answered in any case.
        if self.scope["http_version"] == "1.1":
            self._set_timer(_PROBE_SECONDS, self._probe, cycle)
        return True

    def on_response_complete(self) -> None:
        """Close a half-closed connection; give a client that still sends a time limit."""
        super().on_response_complete()
        cycle = self.cycle
        if self.transport.is_closing() or cycle is None or not cycle.response_complete:
            return
        if self._half_closed:
            self.transport.close()
        elif self.conn.their_state is h11.SEND_BODY:
            self._set_timer(_REST_OF_BODY_SECONDS, self._close_if_still_sending, cycle)

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request in JSON, and close the connection."""
        self._refuse(
            RefusedError(
                400,
                Message("a request of HTTP/1.1"),
                Message(msg),
                Message("send a well-formed request"),
            )
        )

    def _refuse(self, error: RefusedError) -> None:
        if self.cycle is not None:
            # If the body was malformed, the application still waits for the rest of it.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            # Without complete headers the language that the client prefers is unknown.
            response = error.response("en")
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

    def _probe(self, cycle: RequestResponseCycle) -> None:
        """Write to a client that has stopped sending; the connection is reset if it has gone."""
        if not cycle.response_started and not self.transport.is_closing():
            event = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self.transport.write(self.conn.send(event) or b"")
            self._set_timer(_PROBE_SECONDS, self._close_if_reset, cycle)

    def _close_if_reset(self, cycle: RequestResponseCycle) -> None:
        # asyncio no longer reads from the socket, so it does not notice the reset.
        peer = self.transport.get_extra_info("socket")
        if peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        elif not cycle.response_complete:
            self._set_timer(_PROBE_SECONDS, self._close_if_reset, cycle)

    def _set_timer(self, seconds: float, callback: Callable[..., None], *arguments: object) -> None:
        self._unset_timer()
        self._timer = self.loop.call_later(seconds, callback, *arguments)

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
