"""Frames on a charge point's WebSocket, with time and meaning (OCPP-J section 4)."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.text import shortened


class MessageType(enum.IntEnum):
    """The message type numbers (OCPP-J section 4.1.3); the last two are those of OCPP 2.1."""

    CALL = 2
    CALLRESULT = 3
    CALLERROR = 4
    CALLRESULTERROR = 5
    SEND = 6


REQUESTS = (MessageType.CALL, MessageType.SEND)
_ELEMENTS = {
    MessageType.CALL: 4,
    MessageType.CALLRESULT: 3,
    MessageType.CALLERROR: 5,
    MessageType.CALLRESULTERROR: 5,
    MessageType.SEND: 4,
}


class Direction(enum.Enum):
    """Seen from the charge point."""

    SENT = "sent"
    RECEIVED = "received"


@dataclass(slots=True, kw_only=True)
class Frame:
    """One WebSocket message.

    Attributes:
        direction: sent by the charge point, or received by it.
        data: the message: text, or bytes of a binary one.
        number: its place among all that the charge point sent and received, from 1.
        at: when, in seconds of `time.monotonic`.
        time: when, in seconds since 1970.
        connection: the number of the connection that it went over, from 1; 0 if that does not matter.
        kind: its message type; `None` if it is not an OCPP-J message of the version.
        message_id: its message id; `None` if that cannot be read.
        action: the action of a CALL or SEND.
        payload: the payload of a CALL, SEND or CALLRESULT.
        code: the error code of a CALLERROR or CALLRESULTERROR.
        description: its description.
        details: its details.
    """

    direction: Direction
    data: str | bytes = field(repr=False)
    number: int
    at: float
    time: float
    connection: int = 0
    kind: MessageType | None = None
    message_id: str | None = None
    action: str | None = None
    payload: Any = None
    code: str | None = None
    description: str | None = None
    details: Any = None

    @property
    def text(self) -> str:
        """The message as text."""
        return self.data if isinstance(self.data, str) else f"<binary> {self.data.decode('utf-8', 'backslashreplace')}"

    @property
    def timestamp(self) -> str:
        """The time as RFC 3339 in UTC with milliseconds."""
        return rfc3339(self.time)

    def __str__(self) -> str:
        if self.kind in REQUESTS:
            return f"{self.action} (message id {self.message_id})"
        if self.kind is MessageType.CALLRESULT:
            return f"the answer to {self.message_id}: {shortened(self.text)}"
        if self.kind in {MessageType.CALLERROR, MessageType.CALLRESULTERROR}:
            return f"{self.kind.name} {self.code} to {self.message_id}"
        return f"the frame {shortened(self.text)}"


def read_frame(
    data: str | bytes,
    *,
    direction: Direction,
    number: int,
    at: float,
    time: float,
    connection: int = 0,
    message_types: Collection[int] = (2, 3, 4),
) -> Frame:
    """Recognise a WebSocket message, as far as it can be read; anything may come.

    `message_types` are those of the OCPP version; the other arguments are the attributes of the frame.
    """
    frame = Frame(direction=direction, data=data, number=number, at=at, time=time, connection=connection)
    if isinstance(data, bytes):
        return frame
    try:
        parts = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return frame
    if not isinstance(parts, list) or len(parts) < 3 or type(parts[0]) is not int or parts[0] not in message_types:
        return frame
    kind = MessageType(parts[0])
    if len(parts) != _ELEMENTS[kind] or not isinstance(parts[1], str):
        return frame
    if kind is not MessageType.CALLRESULT and not isinstance(parts[2], str):
        return frame
    frame.kind = kind
    frame.message_id = parts[1]
    if kind in REQUESTS:
        frame.action, frame.payload = parts[2], parts[3]
    elif kind is MessageType.CALLRESULT:
        frame.payload = parts[2]
    else:
        frame.code, frame.description, frame.details = parts[2], str(parts[3]), parts[4]
    return frame


def in_short(frames: Iterable[Frame], *, most: int = 5) -> str:
    """The frames for a failure message: the newest of them, `nothing` if there are none."""
    all_of_them = list(frames)
    if not all_of_them:
        return "nothing"
    shown = [str(frame) for frame in all_of_them[-most:]]
    left_out = len(all_of_them) - len(shown)
    return "; ".join(([f"{left_out} others"] if left_out else []) + shown)
