"""One direction of a connection through the fault proxy: a queue of chunks, and the toxics that they go through."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ocpp_resilience.faults.proxy.toxics import HOLD, NEVER, Piece, Stream, Toxic, ToxicEffect

if TYPE_CHECKING:
    from ocpp_resilience.faults.proxy.relay import Connection


class Pipe:
    """One direction of a connection.

    A chunk goes through the effects of the toxics, which cut it into pieces with a due time each. One timer waits for
    the first piece. After a change of the toxics, the rest of the chunk goes through the new ones.
    """

    def __init__(self, connection: Connection, stream: Stream) -> None:
        self.connection = connection
        self.stream: Stream = stream
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.secure = False
        """Whether the source speaks TLS."""
        self.dropped = 0
        self.written = 0
        self.ended = False
        self._effects: dict[str, ToxicEffect] = {}
        self._toxics: list[Toxic] = []
        self._lifetimes: dict[str, asyncio.TimerHandle] = {}
        # Each chunk with the moment from which it may pass; None is the end of the stream.
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._queued = 0
        # The first chunk: the pieces of it that are to come, the next of them, and how much of it has passed.
        self._pieces: Iterator[Piece] | None = None
        self._next: tuple[bytes | None, float] | None = None
        self._position = 0
        self._timer: asyncio.TimerHandle | None = None
        self._blocked = False
        self._paused = False

    # --- what the effects of toxics see ---

    @property
    def since_last_byte(self) -> float:
        return self.now() - self.connection.passed_at

    def now(self) -> float:
        """The time of the monotonic clock."""
        return time.monotonic()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def reset(self) -> None:
        """Reset the connection."""
        self.connection.reset()

    # --- what the connection does ---

    @property
    def busy(self) -> bool:
        """Whether a chunk cannot simply be written."""
        return bool(self._toxics) or bool(self._queue)

    def use(self, toxics: Sequence[Toxic]) -> None:
        """Have these toxics from now on."""
        if toxics == self._toxics:
            return
        gone = [toxic for toxic in self._toxics if toxic not in toxics]
        names = {toxic.name for toxic in toxics}
        # A stream with a hole in it is useless.
        if self.dropped and any(self._effects[toxic.name].drops for toxic in gone if toxic.name not in names):
            self.connection.close()
            return
        for toxic in gone:
            del self._effects[toxic.name]
            if timer := self._lifetimes.pop(toxic.name, None):
                timer.cancel()
        for toxic in toxics:
            if toxic.name not in self._effects:
                effect = self._effects[toxic.name] = toxic.effect(self, self.connection.dice(toxic))
                if (lifetime := effect.lifetime) is not None:
                    loop = asyncio.get_running_loop()
                    self._lifetimes[toxic.name] = loop.call_later(lifetime, effect.expire)
        self._toxics = list(toxics)
        self._effects = {toxic.name: self._effects[toxic.name] for toxic in toxics}
        self._start_again()
        self._pump()

    def feed(self, data: bytes, delay: float = 0) -> None:
        """Send `data` on, not before `delay` seconds have passed."""
        if not self.busy and not delay and self.connection.ready and self.target is not None:
            self.target.write(data)
            return
        self._enqueue(data, delay)

    def feed_end(self) -> None:
        """The source has ended its stream."""
        self._enqueue(None, 0)

    def block(self, blocked: bool) -> None:
        """The target's buffer is full, or is empty again."""
        self._blocked = blocked
        if not blocked:
            self._pump()
        self._throttle()

    def open(self) -> None:
        """The other side is connected. Earlier bytes also pass the toxics."""
        self._pump()

    def stop(self) -> None:
        """Nothing passes any more."""
        self._queue.clear()
        self._queued = 0
        self._pieces = self._next = None
        for timer in (*self._lifetimes.values(), self._timer):
            if timer is not None:
                timer.cancel()

    # --- the queue ---

    def _enqueue(self, data: bytes | None, delay: float) -> None:
        self._queue.append((time.monotonic() + delay, data))
        self._queued += len(data or b"")
        if self._next is None:
            self._pump()
        self._throttle()
        self.connection.update()

    def _throttle(self) -> None:
        """Stop reading while too much data is held back, and resume afterwards."""
        hold = max((effect.holds for effect in self._effects.values()), default=HOLD)
        pause = self._queued > hold or (self._blocked and not self._effects)
        if pause == self._paused or self.source is None or self.source.is_closing():
            return
        self._paused = pause
        (self.source.pause_reading if pause else self.source.resume_reading)()

    def _start_again(self) -> None:
        """Drop the processed parts of the first chunk; its rest passes the effects again."""
        if self._pieces is not None:
            at, data = self._queue[0]
            self._queue[0] = (at, (data or b"")[self._position :])
            self._queued -= self._position
        self._pieces = self._next = None

    def _pump(self) -> None:
        """Write the chunks that are due, and set the timer for the others."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection = self.connection
        while connection.ready and not connection.closed and not self._blocked:
            if self._next is None:
                self._next = self._take()
                if self._next is None:
                    break
                continue
            data, due = self._next
            left = due - time.monotonic()
            if left > 0:
                if left < NEVER:
                    # The loop's clock has whole milliseconds: rounded up, nothing passes too early.
                    delay = math.ceil(left * 1000) / 1000
                    self._timer = asyncio.get_running_loop().call_later(delay, self._pump)
                break
            self._next = None
            if data is None:
                self._queue.popleft()
                self._end()
            else:
                self._position += len(data)
                self.written += len(data)
                connection.passed_at = time.monotonic()
                if self.target is not None and not self.target.is_closing():
                    self.target.write(data)
        self._throttle()
        connection.update()

    def _take(self) -> tuple[bytes | None, float] | None:
        """The next piece, or the end of the stream; `None` if there is nothing."""
        while self._queue and not self.connection.closed:
            at, data = self._queue[0]
            if data is None:
                due = max(at, time.monotonic())
                for effect in self._effects.values():
                    due = effect.end(due)
                return None, due
            if self._pieces is None:
                self._position = 0
                self._pieces = iter([(data, at)])
                for effect in self._effects.values():
                    self._pieces = effect.through(self._pieces)
            if (piece := next(self._pieces, None)) is not None:
                return piece
            if self._queue:  # an effect may have closed the connection
                self._queue.popleft()
                self._queued -= len(data)
            self._pieces = None
        return None

    def _end(self) -> None:
        self.ended = True
        if self.target is not None and not self.target.is_closing() and self.target.can_write_eof():
            with contextlib.suppress(OSError):
                self.target.write_eof()
        self.connection.maybe_close()
