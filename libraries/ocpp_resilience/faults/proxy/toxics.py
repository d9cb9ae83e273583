"""Toxiproxy's toxics and our own: one class each.

An effect takes pieces of a stream, each with the moment at which it is due, and gives pieces that are due later. It
never waits; the pipe writes each piece when it is due. A delay of the machine is made up for; delays do not add up.
"""

from __future__ import annotations

import abc
import math
import random
from collections.abc import Iterator
from typing import ClassVar, Literal, Protocol, TypeAlias

import msgspec

from ocpp_resilience.faults.proxy.requests import Refused

Stream = Literal["upstream", "downstream"]
"""`upstream` is from the client to the server, `downstream` is back."""
Piece: TypeAlias = tuple[bytes, float]
"""Bytes, and the moment at which they are due, in seconds of the monotonic clock."""
NEVER = math.inf
HOLD = 1024 * 1024
"""Bytes that one direction holds back before it stops reading."""
LONG_HOLD = 64 * 1024 * 1024
"""The same where a long line has much under way."""
SEGMENT = 1448
"""Bytes in a TCP segment on Ethernet."""


class Flow(Protocol):
    """The direction of a connection, as the toxic on it sees it."""

    dropped: int
    written: int

    @property
    def since_last_byte(self) -> float:
        """Seconds since a byte last passed on the connection, in whichever direction."""

    def now(self) -> float:
        """The time of the monotonic clock."""

    def close(self) -> None:
        """Close the connection."""

    def reset(self) -> None:
        """Reset the connection."""


class Toxic(msgspec.Struct, kw_only=True):
    """One toxic, in the fields of Toxiproxy's API.

    Attributes:
        name: unique in its proxy.
        type: one of `EFFECTS`.
        stream: the direction that it works on.
        toxicity: the share of connections that it works on, 0 to 1.
        attributes: those of its effect.
    """

    name: str = ""
    type: str = ""
    stream: Stream = "downstream"
    toxicity: float = 1.0
    attributes: dict[str, int | float] = {}

    def checked(self) -> Toxic:
        """This toxic with its name and all of its attributes.

        Raises:
            Refused: there is no such toxic, or a value cannot be used.
        """
        effect = EFFECTS.get(self.type)
        if effect is None:
            raise Refused(f"invalid toxic type '{self.type}'; there are {', '.join(EFFECTS)}")
        known = effect.attributes
        if unknown := sorted(self.attributes.keys() - known.keys()):
            raise Refused(f"{self.type} has no attribute '{unknown[0]}'; it has {', '.join(known)}")
        if not 0 <= self.toxicity <= 1:
            raise Refused(f"toxicity has to be from 0 to 1, not {self.toxicity}")
        for name, value in sorted(self.attributes.items()):
            if not 0 <= value <= effect.most.get(name, math.inf):
                limit = f" to {effect.most[name]:g}" if name in effect.most else " or more"
                raise Refused(f"{name} must not be below 0 or too large: allowed is 0{limit}, not {value}")
        return Toxic(
            name=self.name or f"{self.type}_{self.stream}",
            type=self.type,
            stream=self.stream,
            toxicity=self.toxicity,
            attributes=known | self.attributes,
        )

    def effect(self, flow: Flow, dice: random.Random) -> ToxicEffect:
        """Its effect on one direction of one connection."""
        return EFFECTS[self.type](self.attributes, flow, dice)


class ToxicEffect(abc.ABC):
    """The effect of a toxic on one direction of one connection.

    Args:
        values: its attributes.
        flow: the direction.
        dice: its chance, the same in each run with the same seed.

    Attributes:
        type: its name in the API.
        attributes: its attributes and their defaults. Units are Toxiproxy's: milliseconds, KB/s (1,000 bytes), bytes,
            and microseconds for the delay of the slicer.
        most: the largest value of an attribute, where there is one.
        drops: it swallows bytes, so that the stream is useless after its removal.
    """

    type: ClassVar[str]
    attributes: ClassVar[dict[str, int | float]]
    most: ClassVar[dict[str, float]] = {}
    drops: ClassVar[bool] = False

    def __init__(self, values: dict[str, int | float], flow: Flow, dice: random.Random) -> None:
        self.values = values
        self.flow = flow
        self.dice = dice

    @abc.abstractmethod
    def through(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The pieces that come out, none due before it came in. A piece is taken when those before it are written."""

    def end(self, at: float) -> float:
        """The time at which the end of a stream that arrives now is due."""
        return at

    @property
    def holds(self) -> int:
        """Bytes that the direction may hold back."""
        return HOLD

    @property
    def lifetime(self) -> float | None:
        """Seconds after which it ends the connection; `None` for never."""
        return None

    def expire(self) -> None:
        """End the connection, when its lifetime is over."""
        self.flow.close()


class LatencyToxic(ToxicEffect):
    """Each byte arrives later; with `jitter`, evenly distributed around `latency`."""

    type = "latency"
    attributes: ClassVar[dict[str, int | float]] = {"latency": 0, "jitter": 0}

    def through(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        latency, jitter = self.values["latency"], self.values["jitter"]
        for data, at in pieces:
            extra = self.dice.uniform(-jitter, jitter) if jitter else 0
            yield data, at + max(0.0, latency + extra) / 1000

    @property
    def holds(self) -> int:
        return LONG_HOLD


class BandwidthToxic(ToxicEffect):
    """A line that needs its time for each byte: `rate` KB a second; 0 lets nothing pass."""

    type = "bandwidth"
    attributes: ClassVar[dict[str, int | float]] = {"rate": 0}
    PIECES = 50
    """Pieces in a second."""
    CREDIT = 0.2
    """Seconds of delay that the line makes up for, when the machine was late."""

    def __init__(self, values: dict[str, int | float], flow: Flow, dice: random.Random) -> None:
        super().__init__(values, flow, dice)
        self._free_at = 0.0

    def through(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        rate = self.values["rate"] * 1000
        size = max(1, int(rate / self.PIECES))
        for data, at in pieces:
            if not rate:
                yield data, NEVER
                continue
            for piece in _cut(data, size):
                self._free_at = max(self._free_at, at, self.flow.now() - self.CREDIT) + len(piece) / rate
                yield piece, self._free_at

    @property
    def holds(self) -> int:
        return max(HOLD, int(self.values["rate"] * 1000 * self.CREDIT))


class SlicerToxic(ToxicEffect):
    """Pieces of `average_size` ± `size_variation` bytes, `delay` apart."""

    type = "slicer"
    attributes: ClassVar[dict[str, int | float]] = {"average_size": 0, "size_variation": 0, "delay": 0}

    def __init__(self, values: dict[str, int | float], flow: Flow, dice: random.Random) -> None:
        super().__init__(values, flow, dice)
        self._next_at = 0.0

    def through(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        average, variation = self.values["average_size"], self.values["size_variation"]
        delay = self.values["delay"] / 1_000_000
        for data, at in pieces:
            start = 0
            while start < len(data):
                size = max(1, round(average + self.dice.uniform(-variation, variation)))
                due = max(at, self._next_at)
                yield data[start : start + size], due
                start += size
                self._next_at = due + delay


class SlowCloseToxic(ToxicEffect):
    """The end of the stream comes `delay` later."""

    type = "slow_close"
    attributes: ClassVar[dict[str, int | float]] = {"delay": 0}

    def through(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        return pieces

    def end(self, at: float) -> float:
        return at + self.values["delay"] / 1000


class TimeoutToxic(ToxicEffect):
    """Nothing passes; after `timeout` the connection is closed, 0 keeps it open."""

    type = "timeout"
    attributes: ClassVar[dict[str, int | float]] = {"timeout": 0}
    drops = True

    def through(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for data, _ in pieces:
            self.flow.dropped += len(data)
        return iter(())

    def end(self, at: float) -> float:
        del at
        return NEVER

    @property
    def lifetime(self) -> float | None:
        return self.values["timeout"] / 1000 or None


class ResetPeerToxic(TimeoutToxic):
    """Nothing passes; after `timeout` the connection is reset."""

    type = "reset_peer"

    @property
    def lifetime(self) -> float:
        return self.values["timeout"] / 1000

    def expire(self) -> None:
        self.flow.reset()


class LimitDataToxic(ToxicEffect):
    """After this many `bytes` the connection is closed."""

    type = "limit_data"
    attributes: ClassVar[dict[str, int | float]] = {"bytes": 0}

    def __init__(self, values: dict[str, int | float], flow: Flow, dice: random.Random) -> None:
        super().__init__(values, flow, dice)
        self._start = flow.written

    def through(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for data, at in pieces:
            left = int(self.values["bytes"]) - (self.flow.written - self._start)
            if left > 0:
                yield data[:left], at
            if len(data) >= left:
                self.flow.close()
                return


class PacketLossToxic(ToxicEffect):
    """Segments are lost with the probability `loss` (0 to 1) and retransmitted by TCP; later ones wait for them.

    A lost segment comes `rto` milliseconds later, TCP's least time until it sends again; one that is lost again needs
    twice as long each time. Not in Toxiproxy.
    """

    type = "packet_loss"
    attributes: ClassVar[dict[str, int | float]] = {"loss": 0, "rto": 200}
    most: ClassVar[dict[str, float]] = {"loss": 0.99}

    def __init__(self, values: dict[str, int | float], flow: Flow, dice: random.Random) -> None:
        super().__init__(values, flow, dice)
        self._passed_at = 0.0
        self._whole = self._draw()

    def _draw(self) -> float:
        """Segments that pass before the next one is lost."""
        loss = self.values["loss"]
        return math.floor(math.log(1 - self.dice.random()) / math.log(1 - loss)) if loss else math.inf

    def through(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for whole, at in pieces:
            data = whole
            while data:
                segments = math.ceil(len(data) / SEGMENT)
                if self._whole >= segments:
                    self._whole -= segments
                    yield data, max(at, self._passed_at)
                    break
                passing = int(self._whole) * SEGMENT
                if passing:
                    yield data[:passing], max(at, self._passed_at)
                wait = rto = self.values["rto"] / 1000
                while self.dice.random() < self.values["loss"]:
                    rto *= 2
                    wait += rto
                self._passed_at = max(at, self._passed_at) + wait
                yield data[passing : passing + SEGMENT], self._passed_at
                data = data[passing + SEGMENT :]
                self._whole = self._draw()

    @property
    def holds(self) -> int:
        return LONG_HOLD


class NatTimeoutToxic(ToxicEffect):
    """A connection that is idle for `timeout` is dropped on the way: nothing passes any more, and no side gets an
    error.

    To be put on both directions. Not in Toxiproxy.
    """

    type = "nat_timeout"
    attributes: ClassVar[dict[str, int | float]] = {"timeout": 0}
    drops = True

    def __init__(self, values: dict[str, int | float], flow: Flow, dice: random.Random) -> None:
        super().__init__(values, flow, dice)
        self._forgotten = False

    def through(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for data, at in pieces:
            self._forgotten = self._forgotten or self.flow.since_last_byte > self.values["timeout"] / 1000
            if self._forgotten:
                self.flow.dropped += len(data)
            else:
                yield data, at

    def end(self, at: float) -> float:
        forgotten = self._forgotten or self.flow.since_last_byte > self.values["timeout"] / 1000
        return NEVER if forgotten else at


EFFECTS: dict[str, type[ToxicEffect]] = {
    effect.type: effect
    for effect in (
        LatencyToxic,
        BandwidthToxic,
        SlowCloseToxic,
        TimeoutToxic,
        ResetPeerToxic,
        SlicerToxic,
        LimitDataToxic,
        PacketLossToxic,
        NatTimeoutToxic,
    )
}
"""The toxics that there are, by their name in the API."""


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    if len(data) <= size:
        yield data
        return
    whole = memoryview(data)
    for start in range(0, len(data), size):
        yield whole[start : start + size]  # type: ignore[misc]  # a view is written as bytes are
