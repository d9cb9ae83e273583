"""HTTP connections with bounds: on how long a request may take to come and an answer to be taken, and on how many wait.

uvicorn bounds only the idle time between two requests: a client that sends a byte of a header or a body now and then,
sends a body that no handler reads, or never reads the response, would hold a connection for ever.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import h11
import msgspec
import structlog
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from server import descriptors

logger = structlog.get_logger()

MOST_UNFINISHED = 2000
"""Maximum number of connections with an incomplete request; beyond it, the oldest of them is closed."""
STOP_SECONDS = 0.5
"""Time limit in seconds for requests in progress when the server stops."""
LOG_EVERY = 10.0
"""Seconds between two records about requests that were cut."""

_encode = msgspec.json.Encoder().encode
_UNFINISHED = {h11.IDLE, h11.SEND_BODY}


class Guard:
    """State shared by the connections of one server.

    Args:
        timeout: seconds that a request may take to come, from the connection's start or the answer before, and that an
            answer may take to be read.
        most: see `MOST_UNFINISHED`; the API's share of the file descriptors, where that is less.
    """

    def __init__(self, timeout: float, most: int = MOST_UNFINISHED) -> None:
        self.timeout = timeout
        self._most = most
        self.connections = 0
        self._unfinished: dict[GuardedConnection, None] = {}
        self._cut = 0
        self._why = ""
        self._next_log = 0.0

    @property
    def most(self) -> int:
        """The allowed number of unfinished requests; the gateway may have raised the file limit since the start."""
        return min(self._most, descriptors.for_requests())

    def begin(self, connection: GuardedConnection) -> None:
        """A connection waits for the rest of its request from now on."""
        self._unfinished[connection] = None
        if self.connections > (most := self.most):
            oldest = next(iter(self._unfinished))
            oldest.cut(503, f"more than {most} connections are open, and this one waits the longest for its request")

    def end(self, connection: GuardedConnection) -> None:
        """It does not any more."""
        self._unfinished.pop(connection, None)

    def note(self, why: str) -> None:
        """A request was cut: one record, and then at most one in ten seconds with how many there were."""
        self._cut += 1
        self._why = why
        if time.monotonic() >= self._next_log:
            self._next_log = time.monotonic() + LOG_EVERY
            self.report()

    def hold(self) -> None:
        """The server stops: say nothing before `report`."""
        self._next_log = float("inf")

    def report(self) -> None:
        """Log the refusals that were held back, with the reason of the latest."""
        if self._cut:
            logger.warning("http_requests_cut", count=self._cut, reason=self._why)
            self._cut = 0


class GuardedConnection(H11Protocol):
    """One HTTP connection.

    Args:
        guard: the state shared by the connections.
        arguments: uvicorn's own.
    """

    def __init__(self, *, guard: Guard, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._guard = guard
        self._begun = False
        self._ending = False
        self._answers = 0
        self._coming: asyncio.TimerHandle | None = None
        self._going: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock begins with the connection, not with its first byte."""
        super().connection_made(transport)
        self._guard.connections += 1
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._guard.connections -= 1
        self._guard.end(self)
        for timer in (self._coming, self._going):
            if timer is not None:
                timer.cancel()
        self._coming = self._going = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A request continues or is complete."""
        if self.transport.is_closing():
            return
        self._begun = True
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The answer is written; it has still to be taken, and the next request's time begins."""
        self._begun = bool(self.conn.trailing_data[0])
        self._answers += 1
        self._unwatch()
        super().on_response_complete()
        self._watch()
        self._flush_within(self._guard.timeout)

    def shutdown(self) -> None:
        """Do not wait for incomplete requests and clients that do not read."""
        if self._unfinished and self._begun:
            self.cut(503, "the server stops")
        else:
            super().shutdown()
        self._ending = True
        self._flush_within(STOP_SECONDS)

    def cut(self, status: int, why: str) -> None:
        """Close the connection, with an answer where something of a request came that has none."""
        self._unwatch()
        if self.transport.is_closing():
            return
        running = self.cycle is not None and not self.cycle.response_complete
        if self._begun:
            self._answer(status, why)
            self._guard.note(why)
        if running:
            # Reading the body raises the disconnect of the client.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
        self._ending = True
        self._flush_within(STOP_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP in the format of all error responses."""
        self._answer(400, msg)
        self.transport.close()
        self._ending = True
        self._flush_within(STOP_SECONDS)

    def _unsupported_upgrade_warning(self) -> None:
        """The request is answered as if it had not asked; this is nothing that the operator has to know."""

    @property
    def _unfinished(self) -> bool:
        return self.conn.their_state in _UNFINISHED

    def _watch(self) -> None:
        if not self._unfinished or self.transport.is_closing():
            self._unwatch()
        elif self._coming is None:
            why = f"the request was not complete within {self._guard.timeout:g} s"
            self._coming = self.loop.call_later(self._guard.timeout, self.cut, 408, why)
            self._guard.begin(self)

    def _unwatch(self) -> None:
        self._guard.end(self)
        if self._coming is not None:
            self._coming.cancel()
            self._coming = None

    def _flush_within(self, seconds: float) -> None:
        """Close the connection after `seconds` unless a response is on its way by then; an earlier deadline stays."""
        if not self.transport.get_write_buffer_size():
            return
        when = self.loop.time() + seconds
        if self._going is not None:
            if self._going.when() <= when:
                return
            self._going.cancel()
        self._going = self.loop.call_later(seconds, self._not_taken, self._answers)

    def _not_taken(self, answers: int) -> None:
        self._going = None
        if answers != self._answers and not self._ending:
            self._flush_within(self._guard.timeout)
        elif self.transport.get_write_buffer_size():
            self._guard.note("the answer was not read")
            self.transport.abort()

    def _answer(self, status: int, why: str) -> None:
        """Answer, unless the bytes belong to a request whose response is written or on its way."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        head = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
        body = _encode({"success": False, "message": why, "data": None})
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status]),
            h11.Data(data=b"" if head else body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
