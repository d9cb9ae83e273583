"""The data path of the fault proxy: a listener, its connections, and what is done to the bytes that pass.

Without faults a chunk goes from one socket to the other in the callback that received it. With faults each direction of
a connection has a queue and one task that takes chunks through the toxics, one after the other. What is changed takes
effect at once, on open connections too: a chunk that is being held back is looked at again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from resilience.faults.resp import NotResp, Splitter, matches, words_of
from resilience.faults.toxics import Refused, RespFault, Stream, Toxic

LONGEST_QUEUE = 8 * 1024 * 1024
"""Bytes that one direction holds back before it stops reading: a long line has much under way."""
TURN_CHUNKS = 64
"""Chunks of one exchange that are kept, so that a fault can begin in the middle of it."""
CONNECT_LIMIT = 5.0
_RESET = struct.pack("ii", 1, 0)


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
        if self.dropped and any(toxic.name in gone and toxic.type == "timeout" for toxic in self.toxics):
            self.connection.close()
            return
        self.toxics = list(toxics)
        for name in gone:
            self._passed.pop(name, None)
            if timer := self._timers.pop(name, None):
                timer.cancel()
        for toxic in toxics:
            if toxic.type in {"timeout", "reset_peer"} and toxic.name not in self._timers:
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
                    if await self._sleep(time.monotonic() + len(piece) / rate if rate else None):
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
            case "timeout":
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
                await self._sleep(None)
        self.ended = True
        if self.target is not None and not self.target.is_closing() and self.target.can_write_eof():
            with contextlib.suppress(OSError):
                self.target.write_eof()
        self.connection.maybe_close()


class Side(asyncio.Protocol):
    """One socket of a connection."""

    def __init__(self, connection: Connection, stream: Stream) -> None:
        self.connection = connection
        self.stream: Stream = stream
        self.pipe = connection.up if stream == "upstream" else connection.down
        self.back = connection.down if stream == "upstream" else connection.up
        self.target: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        made = cast(asyncio.Transport, transport)
        self.pipe.source = made
        self.back.target = made
        self.connection.made(self)

    def eof_received(self) -> bool:
        """The other end sends no more; it may still read."""
        self.pipe.feed_end()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is closed."""
        self.connection.lost(self, error)

    def pause_writing(self) -> None:
        """Its buffer is full."""
        self.back.block(True)

    def resume_writing(self) -> None:
        """Its buffer is empty again."""
        self.back.block(False)


class ClientSide(Side):
    """The socket to the client."""

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        connection = self.connection
        if connection.special:
            connection.from_client(data)
            return
        if connection.answered:
            connection.turn_up.clear()
            connection.turn_down.clear()
            connection.answered = connection.untracked = False
        connection.turn_up.append(data)
        if len(connection.turn_up) > TURN_CHUNKS:
            connection.lose_track()
        self.target.write(data)  # type: ignore[union-attr]  # the short way is taken once there is one


class ServerSide(Side):
    """The socket to the server behind the proxy."""

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        connection = self.connection
        if connection.special:
            connection.from_server(data)
            return
        connection.answered = True
        connection.turn_down.append(data)
        if len(connection.turn_down) > TURN_CHUNKS:
            connection.lose_track()
        self.target.write(data)  # type: ignore[union-attr]


class Connection:
    """A client's connection and the one behind it."""

    def __init__(self, proxy: Proxy, number: int) -> None:
        self.proxy = proxy
        self.number = number
        self.up = Pipe(self, "upstream")
        self.down = Pipe(self, "downstream")
        self.client = ClientSide(self, "upstream")
        self.server = ServerSide(self, "downstream")
        self.special = True
        self.answered = False
        self.untracked = False
        self.turn_up: list[bytes] = []
        self.turn_down: list[bytes] = []
        self.closed = False
        self.ready = False
        self.half_open = False
        self._resp: _Dialogue | None = None
        self._dice: dict[str, random.Random] = {}
        self._drawn: dict[str, bool] = {}
        self._connecting: asyncio.Task[None] | None = None

    # --- life ---

    def made(self, side: Side) -> None:
        """One of the two sockets is there."""
        if side is self.client:
            self.proxy.connections.add(self)
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            host, port = self.proxy.upstream_address
            await asyncio.wait_for(
                asyncio.get_running_loop().create_connection(lambda: self.server, host, port), CONNECT_LIMIT
            )
        except (OSError, TimeoutError):
            self.close()
            return
        if self.closed:
            self.close()
            return
        client, server = self.up.source, self.down.source
        if client is None or server is None:
            return
        self.client.target, self.server.target = server, client
        self.ready = True
        self.draw()

    def lost(self, side: Side, error: Exception | None) -> None:
        """One of the two sockets is gone: the other goes too, once it has what is under way."""
        if self.closed or (self.half_open and side is self.server):
            return
        if error is not None or self.half_open or side.back.ended:
            self.close()
        elif not side.pipe.ended:
            side.pipe.feed_end()

    def maybe_close(self) -> None:
        """Close once both streams have ended."""
        if self.up.ended and self.down.ended:
            self.close()

    def close(self, *, abort: bool = False) -> None:
        """Close both sockets; with `abort` what is still to be written is thrown away."""
        first = not self.closed
        self.closed = True
        for transport in (self.up.source, self.up.target):
            if transport is not None:
                transport.abort() if abort else transport.close()
        if first:
            self.proxy.connections.discard(self)
            self.up.stop()
            self.down.stop()
            if self._connecting is not None and self._connecting is not asyncio.current_task():
                self._connecting.cancel()

    def reset(self) -> None:
        """Close both sockets with RST."""
        for transport in (self.up.source, self.up.target):
            descriptor = -1 if transport is None or transport.is_closing() else _descriptor(transport)
            if descriptor >= 0:
                with socket.socket(fileno=os.dup(descriptor)) as same:
                    same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close(abort=True)

    def leave_half_open(self) -> None:
        """The server's side goes, and the client does not hear of it."""
        self.half_open = True
        if self.up.target is not None:
            self.up.target.abort()
        self.update()

    # --- faults ---

    def dice(self, toxic: Toxic) -> random.Random:
        """Chance for one toxic on this connection, the same in each run with the same seed."""
        if toxic.name not in self._dice:
            self._dice[toxic.name] = self.proxy.dice(f"{self.number}/{toxic.name}")
        return self._dice[toxic.name]

    def draw(self) -> None:
        """Have the toxics and protocol faults that the proxy has now."""
        if self.closed or self.down.source is None:
            return
        chosen = []
        for toxic in self.proxy.toxics.values():
            if toxic.name not in self._drawn:
                self._drawn[toxic.name] = self.dice(toxic).random() < toxic.toxicity
            if self._drawn[toxic.name]:
                chosen.append(toxic)
        for name in self._drawn.keys() - self.proxy.toxics.keys():
            del self._drawn[name]
        for pipe in (self.up, self.down):
            pipe.use([toxic for toxic in chosen if toxic.stream == pipe.stream])
        if self.proxy.resp and self._resp is None:
            self._resp = _Dialogue(self)
        elif not self.proxy.resp and self._resp is not None:
            ended, self._resp = self._resp, None
            ended.finish()
            self.lose_track()
        self.update()

    def update(self) -> None:
        """Find out whether bytes can take the short way."""
        self.special = self._resp is not None or self.half_open or self.up.busy or self.down.busy

    def lose_track(self) -> None:
        """The exchange under way is too long to be kept."""
        self.turn_up.clear()
        self.turn_down.clear()
        self.untracked = True

    def from_client(self, data: bytes) -> None:
        """Bytes of the client, on the long way."""
        if self.half_open:
            return
        if self._resp is not None:
            self._resp.requests(data)
        else:
            if self.answered:
                self.lose_track()
                self.answered = self.untracked = False
            self.turn_up.append(data)
            if len(self.turn_up) > TURN_CHUNKS:
                self.lose_track()
            self.up.feed(data)

    def from_server(self, data: bytes) -> None:
        """Bytes of the server, on the long way."""
        if self.half_open:
            return
        if self._resp is not None:
            self._resp.replies(data)
        else:
            self.answered = True
            self.turn_down.append(data)
            if len(self.turn_down) > TURN_CHUNKS:
                self.lose_track()
            self.down.feed(data)


class _Dialogue:
    """Requests and replies of one connection, so that a fault can fall on a chosen one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._up = Splitter()
        self._down = Splitter()
        # What is to happen to the replies that are due, oldest first; bytes are a reply of our own.
        self._due: deque[RespFault | bytes | None] = deque()
        self._plain = False
        self._waiting = connection.untracked
        if not connection.untracked:
            # The exchange that was under way: requests without a reply yet, and whatever is not complete.
            try:
                for _ in self._up.feed(b"".join(connection.turn_up)):
                    self._due.append(None)
                for _ in self._down.feed(b"".join(connection.turn_down)):
                    if self._due:
                        self._due.popleft()
            except NotResp:
                self._plain = True
        self._sent_up, self._sent_down = len(self._up.rest), len(self._down.rest)
        connection.turn_up.clear()
        connection.turn_down.clear()

    def requests(self, data: bytes) -> None:
        connection = self._connection
        if self._waiting and connection.answered:
            self._waiting = False
        if self._plain or self._waiting:
            connection.up.feed(data)
            return
        try:
            whole = self._up.feed(data)
        except NotResp:
            self._give_up()
            return
        passing = bytearray()
        for index, raw in enumerate(whole):
            words = words_of(raw)
            if words and words[0].upper() in {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR"}:
                # From here on replies and messages cannot be told apart.
                self._plain = True
                connection.up.feed(bytes(passing) + b"".join(whole[index:]) + self._up.rest)
                if self._down.rest:
                    connection.down.feed(self._down.rest[self._sent_down :])
                return
            fault = connection.proxy.fault_for(words)
            sent, self._sent_up = self._sent_up, 0
            if fault is None or fault.when == "after":
                self._due.append(fault)
                passing += raw[sent:]
                continue
            if passing:
                connection.up.feed(bytes(passing))
                passing.clear()
            match fault.action:
                case "cut":
                    connection.close()
                    return
                case "delay":
                    self._due.append(None)
                    connection.up.feed(raw[sent:], fault.delay / 1000)
                case "error":
                    self._due.append(b"-%s\r\n" % fault.error.encode())
                    self._flush_own()
                case "drop":
                    pass
        if passing:
            connection.up.feed(bytes(passing))

    def replies(self, data: bytes) -> None:
        connection = self._connection
        connection.answered = True
        if self._plain or self._waiting:
            connection.down.feed(data)
            return
        try:
            whole = self._down.feed(data)
        except NotResp:
            self._give_up()
            return
        for raw in whole:
            self._flush_own()
            if raw.startswith(b">"):  # a push message of RESP3 is no reply
                connection.down.feed(raw[self._sent_down :])
                self._sent_down = 0
                continue
            fault = cast(RespFault | None, self._due.popleft()) if self._due else None
            sent, self._sent_down = self._sent_down, 0
            rest = raw[sent:]
            if fault is None:
                connection.down.feed(rest)
                continue
            match fault.action:
                case "cut":
                    connection.down.feed(rest[: int(len(rest) * fault.cut_after)])
                    connection.close()
                    return
                case "delay":
                    connection.down.feed(rest, fault.delay / 1000)
                case "error":
                    connection.down.feed(b"-%s\r\n" % fault.error.encode())
                case "drop":
                    pass
        self._flush_own()

    def finish(self) -> None:
        """No faults any more: what is held back of an incomplete value goes on."""
        if not self._plain:
            self._release()

    def _flush_own(self) -> None:
        while self._due and isinstance(self._due[0], bytes):
            self._connection.down.feed(cast(bytes, self._due.popleft()))

    def _give_up(self) -> None:
        """This is not Redis' protocol: everything passes as it is."""
        self._plain = True
        self._release()

    def _release(self) -> None:
        for pipe, splitter, sent in (
            (self._connection.up, self._up, self._sent_up),
            (self._connection.down, self._down, self._sent_down),
        ):
            if rest := splitter.rest[sent:]:
                pipe.feed(rest)


class Proxy:
    """One listener in front of one server.

    Args:
        name: its name in the API.
        listen: `host:port`; port 0 takes a free one, which then stays.
        upstream: `host:port` of the server behind it.
        seed: what all chance comes from.
    """

    def __init__(self, name: str, listen: str, upstream: str, *, seed: int) -> None:
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.enabled = False
        self.toxics: dict[str, Toxic] = {}
        self.resp: dict[str, RespFault] = {}
        self.connections: set[Connection] = set()
        self.accepted = 0
        self._seed = seed
        self._resp_dice: dict[str, random.Random] = {}
        self._server: asyncio.Server | None = None
        _address(listen)
        _address(upstream)

    @property
    def upstream_address(self) -> tuple[str, int]:
        return _address(self.upstream)

    def as_data(self) -> dict[str, Any]:
        """As Toxiproxy shows a proxy."""
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.enabled,
            "toxics": list(self.toxics.values()),
        }

    def dice(self, what: str) -> random.Random:
        """Chance that is the same in each run with the same seed."""
        return random.Random(f"{self._seed}/{self.name}/{what}")  # noqa: S311 - repeatable, not secret

    async def enable(self) -> None:
        """Listen.

        Raises:
            Refused: the port is taken.
        """
        if self._server is not None:
            return
        host, port = _address(self.listen)
        try:
            self._server = await asyncio.get_running_loop().create_server(self._accept, host, port, backlog=1024)
        except OSError as error:
            raise Refused(f"cannot listen on {self.listen}: {error.strerror or error}", 500) from None
        self.listen = f"{host}:{self._server.sockets[0].getsockname()[1]}"
        self.enabled = True

    async def disable(self) -> None:
        """Refuse new connections, and close those that there are."""
        self.enabled = False
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self.each(lambda connection: connection.close(abort=True))
        await asyncio.sleep(0)

    def each(self, action: Callable[[Connection], None]) -> int:
        """Do something to every open connection; returns how many there are."""
        there = list(self.connections)
        for connection in there:
            action(connection)
        return len(there)

    def refresh(self) -> None:
        """Toxics or protocol faults have changed."""
        self.each(lambda connection: connection.draw())

    def heal(self) -> None:
        """Remove every fault, and close what was left half-open."""
        self.toxics.clear()
        self.resp.clear()
        self.each(lambda connection: connection.close() if connection.half_open else connection.draw())

    def fault_for(self, words: Sequence[bytes]) -> RespFault | None:
        """The fault that falls on this request; the first that matches and is due."""
        found = None
        for fault in self.resp.values():
            if not matches(words, fault.command, fault.keys):
                continue
            fault.seen += 1
            if found is not None or fault.seen < fault.occurrence or (fault.times and fault.hits >= fault.times):
                continue
            if fault.probability < 1:
                dice = self._resp_dice.setdefault(fault.name, self.dice(f"resp/{fault.name}"))
                if dice.random() >= fault.probability:
                    continue
            fault.hits += 1
            found = fault
        return found

    def _accept(self) -> Side:
        self.accepted += 1
        return Connection(self, self.accepted).client


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise Refused(f"'{text}' is no address; expected host:port")
    return host.strip("[]") or "127.0.0.1", int(port)


def _descriptor(transport: asyncio.Transport) -> int:
    one = transport.get_extra_info("socket")
    return -1 if one is None else cast(int, one.fileno())
