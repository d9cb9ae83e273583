"""A connection that its charge point has abandoned, while the gateway may still consider it alive."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection

from ocpp_resilience.ocpp.frames import Frame, MessageType


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a connection.

    Attributes:
        code: the close code; 1006 where there was no closing handshake (RFC 6455 section 7.1.5).
        reason: the reason that was given.
        by_us: whether the charge point ended it.
        at: when, in seconds of `time.monotonic`.
    """

    code: int
    reason: str
    by_us: bool
    at: float

    def __str__(self) -> str:
        who = "by itself" if self.by_us else "by the gateway"
        return f"{who} with code {self.code}{f' ({self.reason})' if self.reason else ''}"


@dataclass(slots=True, kw_only=True, eq=False)
class Ghost:
    """A connection whose charge point has reconnected without closing it, as after a power failure.

    Attributes:
        charge_point: the id of the charge point.
        since: when the newer connection was open, in seconds of `time.monotonic`.
        received: the frames received over it since then; none of them is answered.
        end: how it ended; `None` while it is open.
    """

    charge_point: str
    since: float
    socket: ClientConnection = field(repr=False)
    reader: asyncio.Task[None] = field(repr=False)
    received: list[Frame] = field(default_factory=list)
    end: End | None = None

    @property
    def commands(self) -> list[Frame]:
        """Commands that came over it although there was a newer connection."""
        return [frame for frame in self.received.copy() if frame.kind is MessageType.CALL]

    @property
    def seconds(self) -> float | None:
        """Seconds of overlap with the newer connection, 0 if it ended before; `None` while it is open."""
        return None if self.end is None else max(0.0, self.end.at - self.since)

    async def cut(self) -> None:
        """End it immediately."""
        self.socket.transport.abort()
        await asyncio.wait([self.reader])
