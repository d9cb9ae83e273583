"""Flow control: how much one charge point may make the gateway do, and how many connections there may be.

A charge point that sends as fast as it can must not delay the others. Each connection has a token bucket of messages; a
long message counts as one for each KiB, since that is what it costs. An empty bucket pauses reading, so that TCP slows
the sender down. A connection that stays at its limit is closed; one that its peer has reset ends at once. Connections
at their limit share the rate of one: five of them cost the others no more than one does. A large read is taken in
slices, with turns for the other connections in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from server import descriptors
from server.rate_limited_log import LogRateLimit

logger = structlog.get_logger()

SLICE_BYTES = 1024
"""Bytes that are taken of a read before the messages in them are counted, at most; so many count as one message at
least."""
FIRST_SLICE_BYTES = 256
"""Bytes of the first slice of a connection. The later ones have about the messages of a turn: 1 KiB may be 170 frames
without content, each of which is refused, logged and kept."""
TURN_MESSAGES = 32
"""Messages of one connection in one turn of the event loop, at most; a slice that was begun is finished. Bytes of long
messages count as in the bucket."""
BURST_SECONDS = 1.0
"""The size of the bucket: as many messages as the rate allows in this time."""
LEAST_SHARE = 0.1
"""The least part of the rate that a connection at its limit has, so that many charge points which catch up after an
outage are slowed down, and not taken for floods."""
FLOOD_SECONDS = 10.0
"""A connection that stays at its limit for so long is closed."""


class Throttled(Protocol):
    """A connection that flow control acts on."""

    gateway_id: str

    def feed(self, data: bytes) -> None:
        """Process received bytes."""

    def pause_reading(self) -> None:
        """Take nothing more from the wire."""

    def resume_reading(self) -> None:
        """Take from the wire again."""

    def close_flooded(self, reason: str) -> None:
        """Close the connection with 1008."""

    def end_if_reset(self) -> bool:
        """End the connection if the peer has reset it, which nobody sees while nothing is read; whether it had."""


class FlowControl:
    """State shared by the connections of one gateway.

    Args:
        rate: messages a second of one connection; 0 for no limit.

    Attributes:
        rate: as given.
        connections: how many there are.
        at_limit: how many of them are at their limit.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.connections = 0
        self.at_limit = 0
        self._records = LogRateLimit()

    @property
    def full(self) -> bool:
        """Whether the process has as many connections as it can serve besides its other work."""
        return self.connections > descriptors.for_charge_points()

    @property
    def share(self) -> float:
        """Messages a second of a connection at its limit."""
        return self.rate * max(LEAST_SHARE, 1 / max(1, self.at_limit))

    def note(self, event: str, charge_point_id: str) -> None:
        """Log an action on a connection; within a second a few are logged, and the others are counted."""
        if self._records.allows(event):
            logger.warning(event, charge_point_id=charge_point_id, messages_per_second=self.rate)

    def report(self, *, at_the_end: bool = False) -> None:
        """Log how many were left out of the log."""
        for kind, count in self._records.left_out(at_the_end=at_the_end).items():
            logger.warning("connections_limited", kind=kind, left_out=count)


class Intake:
    """Passes on the received bytes of one connection at the allowed rate.

    Args:
        control: the state shared by the connections.
        clock: seconds, monotonic.
    """

    __slots__ = (
        "_backlog",
        "_clock",
        "_control",
        "_limited_since",
        "_refilled",
        "_slice",
        "_timer",
        "_tokens",
        "messages",
    )

    # It does not keep its connection: the two would hold each other until the garbage collector comes by.

    def __init__(self, control: FlowControl, clock: Callable[[], float] = time.monotonic) -> None:
        self._control = control
        self._clock = clock
        self._tokens = control.rate * BURST_SECONDS
        self._refilled = clock()
        self._limited_since: float | None = None
        self._backlog = b""
        self._slice = FIRST_SLICE_BYTES
        self._timer: asyncio.TimerHandle | None = None
        self.messages = 0

    @property
    def paused(self) -> bool:
        """Whether nothing may be read now."""
        return self._timer is not None

    def receive(self, connection: Throttled, data: bytes) -> None:
        """Receive bytes."""
        if self._timer is not None:
            # The read was under way when reading was paused.
            self._backlog += data
        else:
            self._take(connection, data)

    def end(self, connection: Throttled) -> None:
        """The peer has ended its side: process one last slice of the backlog and drop the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            connection.feed(self._backlog[:SLICE_BYTES])
        self._backlog = b""

    def gone(self) -> None:
        """The connection is gone, and leaves its share to the others."""
        self._below_limit()

    def _below_limit(self) -> None:
        if self._limited_since is not None:
            self._limited_since = None
            self._control.at_limit -= 1

    def _take(self, connection: Throttled, data: bytes) -> None:
        self._refill()
        position, taken = 0, 0.0
        while position < len(data):
            before = self.messages
            part = data[position : position + self._slice]
            connection.feed(part)
            position += len(part)
            messages = self.messages - before
            if messages > TURN_MESSAGES:
                self._slice = max(1, self._slice * TURN_MESSAGES // messages)
            elif messages <= TURN_MESSAGES / 2 and len(part) == self._slice:
                self._slice = min(2 * self._slice, SLICE_BYTES)
            cost = max(messages, len(part) / SLICE_BYTES)
            taken += cost
            self._tokens -= cost
            if taken >= TURN_MESSAGES or self._limited:
                break
        if position < len(data) or self._limited:
            self._wait(connection, data[position:])

    @property
    def _limited(self) -> bool:
        return self._tokens < 0 and self._control.rate > 0

    def _refill(self) -> None:
        now = self._clock()
        most = self._control.rate * BURST_SECONDS
        rate = self._control.rate if self._limited_since is None else self._control.share
        self._tokens = min(most, self._tokens + (now - self._refilled) * rate)
        self._refilled = now
        if self._tokens > most / 2:
            self._below_limit()

    def _wait(self, connection: Throttled, rest: bytes) -> None:
        delay = 0.0
        if self._limited:
            if self._limited_since is None:
                self._limited_since = self._refilled
                self._control.at_limit += 1
                self._control.note("connection_throttled", connection.gateway_id)
            elif self._refilled - self._limited_since > FLOOD_SECONDS:
                self._control.note("connection_flooded", connection.gateway_id)
                connection.close_flooded(f"more than {self._control.rate:g} messages or KiB a second")
                rest = b""
            delay = -self._tokens / self._control.share
        self._backlog = rest
        connection.pause_reading()
        self._timer = asyncio.get_running_loop().call_later(delay, self._go_on, connection)

    def _go_on(self, connection: Throttled) -> None:
        self._timer = None
        backlog, self._backlog = self._backlog, b""
        if self._limited_since is not None and connection.end_if_reset():
            return
        self._take(connection, backlog)
        if self._timer is None:
            connection.resume_reading()
