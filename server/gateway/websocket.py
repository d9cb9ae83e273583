"""A charge point's WebSocket as the gateway uses it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import structlog
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import NegotiationError, PayloadTooBig, ProtocolError, TooManyFragments
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Event, State

from server.gateway.flow_control import FlowControl, Intake

logger = structlog.get_logger()

MOST_UNSENT = 1024 * 1024
"""Maximum number of bytes in the write buffer, beyond the operating system's buffers; a peer that exceeds it is
dropped."""
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_FAILURES: tuple[tuple[tuple[type[Exception], ...], CloseCode], ...] = (
    ((ProtocolError,), CloseCode.PROTOCOL_ERROR),
    ((UnicodeDecodeError,), CloseCode.INVALID_DATA),
    ((PayloadTooBig, TooManyFragments), CloseCode.MESSAGE_TOO_BIG),
)


class Refusal(StrEnum):
    """Reasons for refusing a connection.

    Members:
        PATH: it is not the path of a charge point.
        CHARGE_POINT_ID: the path's last part is no valid charge point id.
        ORIGIN: a web page of an origin that is not allowed.
        CERTIFICATE: the client certificate belongs to another charge point.
        CREDENTIALS: no password, or a wrong one.
        SUBPROTOCOL: none was offered that is spoken here.
        REQUEST: it is no WebSocket handshake.
        FULL: there are as many connections as the process can have.
        TLS: the TLS handshake failed, or did not come in time.
        TIMEOUT: the request did not come in time.
        CLOSED: the other end has gone before the handshake was over.
        STOPPING: the server stops.
    """

    PATH = "path"
    CHARGE_POINT_ID = "charge_point_id"
    ORIGIN = "origin"
    CERTIFICATE = "certificate"
    CREDENTIALS = "credentials"
    SUBPROTOCOL = "subprotocol"
    REQUEST = "request"
    FULL = "full"
    TLS = "tls"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    STOPPING = "stopping"


class Socket(ServerConnection):
    """A WebSocket that records the time of the last received data and passes on single-frame messages immediately.

    Only what comes in fragments, and what comes behind that or before anybody takes messages, goes the long way of
    `recv`: through a queue, and a task that has to be woken for each message.

    Attributes:
        heard: when something last came, on the monotonic clock.
        gateway_id: the charge point id; empty until the handshake was looked at.
        take: gets each message that arrived in one frame; `None` before the session is open.
        refusal: the reason of a refusal; `None` without one.
        over: is called once, when no message will come any more, before the connection is gone; `None` as with `take`.
        queued: messages that have begun to come and that `recv` has not returned yet.
    """

    heard = 0.0
    gateway_id = ""
    refusal: Refusal | None = None
    take: Callable[[bytes], None] | None = None
    over: Callable[[], None] | None = None
    queued = 0

    def __init__(
        self,
        opening: set[Socket],
        on_refused: Callable[[Socket], None],
        control: FlowControl,
        *arguments: Any,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._control = control
        self._intake = Intake(control)
        self._opening = opening
        self._on_refused = on_refused
        self._made = False

    def __del__(self) -> None:
        # A failed TLS handshake is reported to no callback: the objects of the connection are dropped.
        if not getattr(self, "_made", True):
            self.refusal = Refusal.TLS
            self._on_refused(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the opening handshake; with TLS, its handshake is over."""
        self._made = True
        self._opening.add(self)
        self._control.connections += 1
        super().connection_made(transport)
        # Fragments have flow control of their own, which must not end a pause of ours.
        self.recv_messages.resume = self.resume_reading
        if self._control.full:
            self.refusal = Refusal.FULL
            self.transport.write(_FULL)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and its descriptor is free."""
        self._control.connections -= 1
        self._intake.end(self)
        self._intake.gone()
        self.recv_messages.resume = self.transport.resume_reading
        super().connection_lost(exc)

    async def handshake(self, *arguments: Any, **options: Any) -> None:
        """Carry out the opening handshake, and report a failure to the gateway."""
        opened = False
        try:
            await super().handshake(*arguments, **options)
            opened = self.protocol.state is State.OPEN
        except asyncio.CancelledError:
            # `websockets` has set a time for it.
            self.refusal = self.refusal or Refusal.TIMEOUT
            raise
        finally:
            self._opening.discard(self)
            if not opened:
                self._on_refused(self)

    @property
    def why_refused(self) -> tuple[Refusal, str | None]:
        """The reason of a failed opening handshake, and the message of `websockets`, if any."""
        error = self.protocol.handshake_exc
        if self.refusal is not None:
            return self.refusal, None
        if isinstance(error, NegotiationError):
            return Refusal.SUBPROTOCOL, str(error)
        if error is None or isinstance(error.__cause__, EOFError):
            return Refusal.CLOSED, None
        # Its text quotes the request, in which there may be a password, in the wrong place too.
        name = getattr(error, "name", "")
        return Refusal.REQUEST, f"{type(error).__name__} {name}".strip()

    def process_event(self, event: Event) -> None:
        """Take a frame."""
        self._intake.messages += 1
        if isinstance(event, Frame) and event.opcode in {Opcode.TEXT, Opcode.BINARY}:
            if event.fin and not self.queued and self.take is not None:
                try:
                    self.take(bytes(event.data))
                except Exception:
                    logger.exception("frame_failed", charge_point_id=self.gateway_id)
                    self.begin_close(CloseCode.INTERNAL_ERROR, "")
                return
            self.queued += 1
        super().process_event(event)

    def data_received(self, data: bytes) -> None:
        """Receive bytes from the transport."""
        self.heard = time.monotonic()
        self._intake.receive(self, data)

    def feed(self, data: bytes) -> None:
        """Process received bytes, as far as flow control allows."""
        self.heard = time.monotonic()
        super().data_received(data)
        # Pongs, one for each ping, do not go out through `push`.
        self._is_read()
        self.look_if_over()

    def eof_received(self) -> None:
        """Nothing will come any more."""
        self._intake.end(self)
        super().eof_received()

    def pause_reading(self) -> None:
        """Take nothing more from the wire: the other end sends more than it may."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the wire again, unless flow control of ours or of fragments is against it."""
        if not (self.transport.is_closing() or self._intake.paused or self.recv_messages.paused):
            self.transport.resume_reading()

    def end_if_reset(self) -> bool:
        """End the connection if the peer has reset it; what it sent before is of no use to anybody then."""
        end = self.transport.get_extra_info("socket")
        if end is None or not end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return False
        self.transport.abort()
        return True

    def close_flooded(self, reason: str) -> None:
        """Close the connection of a charge point that stays at its limit."""
        self.begin_close(CloseCode.POLICY_VIOLATION, reason)

    def look_if_over(self) -> None:
        """Call `over` if the closing handshake has begun, or the connection failed, and each whole message is taken.

        That must not wait for the end of the connection: the other end may keep it open for as long as it likes.
        """
        incomplete = self.protocol.current_size is not None
        if self.protocol.state is not State.OPEN and self.queued <= incomplete and self.over is not None:
            over, self.over = self.over, None
            over()

    @property
    def failure(self) -> tuple[CloseCode, str] | None:
        """The protocol error of the peer: close code (RFC 6455 section 7.4.1) and a sentence; `None` without an
        error."""
        error = self.connection_exc if isinstance(self.connection_exc, TooManyFragments) else self.protocol.parser_exc
        if error is None or isinstance(error, EOFError):
            return None
        code = next((code for kinds, code in _FAILURES if isinstance(error, kinds)), CloseCode.INTERNAL_ERROR)
        name = code.name.lower().replace("_", " ")
        return code, f"the WebSocket connection failed with {int(code)} ({name}): {error}"

    def _is_read(self) -> bool:
        """True if the peer reads; a peer that has stopped reading is dropped."""
        if self.transport.is_closing():
            return False
        if self.transport.get_write_buffer_size() > MOST_UNSENT:
            logger.warning("slow_reader", charge_point_id=self.gateway_id)
            self.transport.abort()
            return False
        return True

    def push(self, frame: bytes) -> bool:
        """Send a text frame without waiting; `False` if the connection is no longer open."""
        if self.protocol.state is not State.OPEN or not self._is_read():
            return False
        broadcast((self,), frame, text=True)
        return True

    def ping_now(self) -> None:
        """Send a ping; any received byte counts as a sign of life."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_ping(b"")
            self.send_data()

    def begin_close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code, reason)
            self.send_data()


def address_of(connection: ServerConnection) -> str:
    """The other end, as `host:port`; empty if it is not known any more."""
    if not hasattr(connection, "transport"):
        return ""
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) and len(address) > 1 else str(address or "")
