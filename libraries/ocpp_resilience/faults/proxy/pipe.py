"""One direction of a connection through the fault proxy: a queue of chunks, and the toxics that they go through."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ocpp_resilience.faults.proxy.toxics import Stream, Toxic

if TYPE_CHECKING:
    from ocpp_resilience.faults.proxy.relay import Connection

LONGEST_QUEUE = 8 * 1024 * 1024
"""Bytes that one direction holds back before it stops reading: a long line has much under way."""

_DROPPING = frozenset({"timeout", "reset_peer"})
"""Toxics that let nothing through, and end the connection when their time is up."""


class Pipe:
    """One direction of a connection."""

    def __init__(self, connection: Connection, stream: Stream) -> None:
        self.connection = connection
        self.stream: Stream = stream
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.toxics: list[Toxic] = []
        self.dropped = 0
        self._queue: deque[tuple[float, bytes | None, float]] = deque()
        self._queued = 0
        self._task: asyncio.Task[None] | None = None
        self._version = 0
        self._sleeper: asyncio.Future[None] | None = None
        self._blocked = False
        self._paused = False
        self._passed: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.ended = False

    @property
    def busy(self) -> bool:
        """Whether a chunk cannot simply be written."""
        return bool(self.toxics) or self._task is not None

    def use(self, toxics: Sequence[Toxic]) -> None:
        """Have these toxics from now on."""
        gone = {toxic.name for toxic in self.toxics} - {toxic.name for toxic in toxics}
        # A stream with a hole in it is of no use to anybody.
        if self.dropped and any(toxic.name in gone and toxic.type in _DROPPING for toxic in self.toxics):
            self.connection.close()
            return
        self.toxics = list(toxics)
        for name in gone:
            self._passed.pop(name, None)
            if timer := self._timers.pop(name, None):
                timer.cancel()
        for toxic in toxics:
            if toxic.type in _DROPPING and toxic.name not in self._timers:
                end = self.connection.reset if toxic.type == "reset_peer" else self.connection.close
                limit = toxic.attributes["timeout"]
                if limit or toxic.type == "reset_peer":
                    self._timers[toxic.name] = asyncio.get_running_loop().call_later(limit / 1000, end)
        self._version += 1
        self._wake()

    def feed(self, data: bytes, delay: float = 0) -> None:
        """Send `data` on, not before `delay` seconds have passed."""
        if not self.toxics and self._task is None and not delay and self.connection.ready and self.target is not None:
            self.target.write(data)
            return
        self._queued += len(data)
        self._enqueue(data, delay)
        self._throttle()

    def feed_end(self) -> None:
        """The source has ended its stream."""
        self._enqueue(None, 0)

    def _enqueue(self, data: bytes | None, delay: float) -> None:
        self._queue.append((time.monotonic(), data, delay))
        if self._task is None:
            self._task = asyncio.create_task(self._pump())
            self.connection.update()

    def block(self, blocked: bool) -> None:
        """The target's buffer is full, or is empty again."""
        self._blocked = blocked
        self._throttle()
        self._wake()

    def stop(self) -> None:
        """Nothing passes any more."""
        self._queue.clear()
        for timer in self._timers.values():
            timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _throttle(self) -> None:
        pause = self._blocked or self._queued > LONGEST_QUEUE
        if pause == self._paused or self.source is None or self.source.is_closing():
            return
        self._paused = pause
        (self.source.pause_reading if pause else self.source.resume_reading)()

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def _pump(self) -> None:
        try:
            # What came before there was a way on is not spared the toxics.
            while not self.connection.ready and not self.connection.closed:
                await self._sleep(None)
            while self._queue:
                arrived, data, delay = self._queue[0]
                if delay:
                    until = arrived + delay
                    while time.monotonic() < until:
                        await self._sleep(until)
                self._queue.popleft()
                if data is None:
                    await self._end()
                else:
                    await self._through(0, data, arrived)
                    self._queued -= len(data)
                    self._throttle()
        finally:
            self._task = None
            self.connection.update()

    async def _sleep(self, until: float | None) -> bool:
        """Wait until then, or until something is changed; says whether it was."""
        version = self._version
        loop = asyncio.get_running_loop()
        while version == self._version:
            left = math.inf if until is None else until - time.monotonic()
            if left <= 0:
                return False
            self._sleeper = loop.create_future()
            # The loop's clock has whole milliseconds: rounded up, nothing passes too early.
            timer = None if until is None else loop.call_later(math.ceil(left * 1000) / 1000, self._wake)
            try:
                await self._sleeper
            finally:
                if timer is not None:
                    timer.cancel()
                self._sleeper = None
            if until is None:
                break
        return version != self._version

    async def _change(self) -> None:
        """Wait until the toxics are others; that the target can take more again is no reason to go on."""
        version = self._version
        while version == self._version:
            await self._sleep(None)

    async def _through(self, index: int, data: bytes, arrived: float) -> None:
        """Take a chunk through the toxics from `index` on; after a change, through the new ones from the first on."""
        if not data:
            return
        if index >= len(self.toxics):
            await self._write(data)
            return
        toxic = self.toxics[index]
        values = toxic.attributes
        match toxic.type:
            case "latency":
                jitter = values["jitter"]
                extra = self.connection.dice(toxic).uniform(-jitter, jitter) if jitter else 0
                if await self._sleep(arrived + max(0, values["latency"] + extra) / 1000):
                    await self._through(0, data, arrived)
                else:
                    await self._through(index + 1, data, arrived)
            case "bandwidth":
                rate = values["rate"] * 1000
                # Ten pieces a second, and none longer than what may pass in that time.
                size = max(1, int(rate / 10)) if rate else 1
                for start in range(0, len(data), size):
                    piece = data[start : start + size]
                    if not rate:
                        await self._change()
                    if not rate or await self._sleep(time.monotonic() + len(piece) / rate):
                        await self._through(0, data[start:], arrived)
                        return
                    await self._through(index + 1, piece, arrived)
            case "slicer":
                dice = self.connection.dice(toxic)
                start = 0
                while start < len(data):
                    variation = values["size_variation"]
                    size = max(1, int(values["average_size"] + dice.uniform(-variation, variation)))
                    piece = data[start : start + size]
                    start += size
                    await self._through(index + 1, piece, arrived)
                    if values["delay"] and await self._sleep(time.monotonic() + values["delay"] / 1_000_000):
                        await self._through(0, data[start:], arrived)
                        return
            case "timeout" | "reset_peer":
                self.dropped += len(data)
            case "limit_data":
                before = self._passed.get(toxic.name, 0)
                passes = data[: max(0, int(values["bytes"]) - before)]
                self._passed[toxic.name] = before + len(passes)
                await self._through(index + 1, passes, arrived)
                if self._passed[toxic.name] >= values["bytes"]:
                    self.connection.close()
            case _:
                await self._through(index + 1, data, arrived)

    async def _write(self, data: bytes) -> None:
        while self._blocked and not self.connection.closed:
            await self._sleep(None)
        if self.target is not None and not self.target.is_closing():
            self.target.write(data)

    async def _end(self) -> None:
        for toxic in list(self.toxics):
            if toxic.type == "slow_close":
                await self._sleep(time.monotonic() + toxic.attributes["delay"] / 1000)
            if toxic.type == "timeout":  # the end does not get through either
                await self._change()
        self.ended = True
        if self.target is not None and not self.target.is_closing() and self.target.can_write_eof():
            with contextlib.suppress(OSError):
                self.target.write_eof()
        self.connection.maybe_close()
