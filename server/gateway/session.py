"""One charge point's connection, and the messages that wait for their turn on it."""

from __future__ import annotations

import secrets
import time
from collections import deque
from typing import NamedTuple

from server.gateway.websocket import Socket
from server.ocpp import envelope
from server.ocpp.version import Version
from server.redis.link import now


class Entry:
    """An entry for the request queue, or a dead letter.

    Attributes:
        raw: the envelope, or the dead letter.
        session: the session that it came over; `None` for a dead letter.
        message_id: of a CALL, which is refused when it cannot be pushed; `None` for anything else.
        heartbeat: whether it is a Heartbeat, which the gateway can answer itself.
        since: when it came, on the monotonic clock.
    """

    __slots__ = ("heartbeat", "message_id", "raw", "session", "since")

    def __init__(
        self, raw: bytes | str, session: Session | None, message_id: str | None, *, heartbeat: bool = False
    ) -> None:
        self.heartbeat = heartbeat
        self.raw = raw
        self.session = session
        self.message_id = message_id
        self.since = time.monotonic()


class PendingCommand(NamedTuple):
    """A CALL for a charge point that waits for the answer to the one before.

    Attributes:
        message_id: its message id.
        frame: the CALL as it goes over the WebSocket.
        until: when it is given up, on the monotonic clock.
    """

    message_id: str
    frame: bytes
    until: float


class Session:
    """One charge point's connection.

    Attributes:
        charge_point_id: the charge point.
        version: the version of OCPP that was agreed on.
        connection: the WebSocket.
        connection_id: identifies the connection among all others of the charge point, here and elsewhere.
        origin: the end of its envelopes (`server.ocpp.envelope.origin`).
        remote_addr: the other end.
        connected_at: RFC 3339.
        since: when it connected, on the monotonic clock.
        announced: whether Redis knows of it.
        tried: whether telling Redis was tried at least once.
        closed: whether the connection is over, or about to be.
        call: the message id of the charge point's CALL that is under way.
        call_since: since when, on the monotonic clock.
        given_up: message ids of CALLs that no longer hold up the next one, and were never answered; `None` as with
            `held`.
        held: the charge point's further CALLs, oldest first; `None` while there never was one.
        command: the message id of the CALL that was sent to the charge point and is not answered yet.
        command_until: when it is given up, on the monotonic clock.
        commands: further CALLs to the charge point, oldest first; `None` while there never was one.
        carried_out: fingerprints of the last CALLs that were sent to the charge point; `None` as with `held`.
        sent: the messages that were sent and still stand in the list of responses, oldest first; `None` without any.
        pinged: when it was last pinged, on the monotonic clock.
        closing: when the close was begun, on the monotonic clock.
    """

    __slots__ = (
        "announced",
        "call",
        "call_since",
        "carried_out",
        "charge_point_id",
        "closed",
        "closing",
        "command",
        "command_until",
        "commands",
        "connected_at",
        "connection",
        "connection_id",
        "given_up",
        "held",
        "origin",
        "pinged",
        "remote_addr",
        "sent",
        "since",
        "tried",
        "version",
    )

    def __init__(
        self, charge_point_id: str, connection: Socket, remote_addr: str, *, version: Version, server_id: str
    ) -> None:
        self.charge_point_id = charge_point_id
        self.version = version
        self.connection = connection
        self.connection_id = secrets.token_hex(8)
        self.origin = envelope.origin(server_id, self.connection_id, version.protocol)
        self.remote_addr = remote_addr
        self.connected_at = now()
        self.since = time.monotonic()
        self.announced = False
        self.tried = False
        self.closed = False
        self.call: str | None = None
        self.call_since = 0.0
        self.given_up: deque[str] | None = None
        self.held: deque[Entry] | None = None
        self.command: str | None = None
        self.command_until = 0.0
        self.commands: deque[PendingCommand] | None = None
        self.carried_out: deque[bytes] | None = None
        self.sent: list[bytes | str] | None = None
        self.pinged = 0.0
        self.closing = 0.0
