"""The data path of the fault proxy: a listener, its connections, and the faults on their bytes.

Without faults a chunk goes from one socket to the other in the callback that received it. With faults each direction of
a connection has a queue whose chunks go through the toxics, which set a due time for each piece. A change takes effect
at once, on open connections too: a chunk that is being held back goes through the toxics again.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.proxy.addresses import Readdressing
from ocpp_resilience.faults.proxy.command_rule import CommandRule
from ocpp_resilience.faults.proxy.dialogue import Dialogue
from ocpp_resilience.faults.proxy.pipe import Pipe
from ocpp_resilience.faults.proxy.requests import Refused
from ocpp_resilience.faults.proxy.resp import matches
from ocpp_resilience.faults.proxy.toxics import Stream, Toxic
from ocpp_resilience.ports import joined, split

TURN_CHUNKS = 64
"""Chunks of one exchange that are kept, so that a fault can begin in the middle of it."""
CONNECT_LIMIT = 5.0
HANDSHAKE_LIMIT = 5.0
_RESET = struct.pack("ii", 1, 0)


class Way(msgspec.Struct):
    """The listening address of a proxy, and the server behind it.

    Attributes:
        listen: `host:port`; port 0 takes a free one, which then stays.
        upstream: `host:port` of the server.
    """

    listen: str = ""
    upstream: str = ""


class Certificate(msgspec.Struct):
    """The certificate of a proxy that uses TLS with clients; the connection to the server is not encrypted.

    Attributes:
        certificate: path of a PEM file.
        key: path of a PEM file.
    """

    certificate: str
    key: str

    def context(self) -> ssl.SSLContext:
        """For a listener.

        Raises:
            Refused: a file cannot be used.
        """
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            made.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"certificate {self.certificate} with key {self.key} cannot be used: {error}") from None
        return made


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
        if self.connection.half_open:  # it has noticed
            self.connection.close()
            return False
        self.pipe.feed_end()
        # TLS knows no end of one direction alone.
        return not self.pipe.secure

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
        if connection.readdressing is not None:
            data = connection.readdressing.feed(data)
            if not data:
                return
        if connection.special:
            connection.from_server(data)
            return
        connection.answered = True
        connection.turn_down.append(data)
        if len(connection.turn_down) > TURN_CHUNKS:
            connection.lose_track()
        self.target.write(data)  # type: ignore[union-attr]


class Connection:
    """A client's connection and the corresponding one to the server."""

    def __init__(self, proxy: Proxy, number: int, upstream: str) -> None:
        self.proxy = proxy
        self.number = number
        self.upstream = upstream
        self.readdressing = Readdressing(proxy.addresses) if proxy.addresses else None
        self.up = Pipe(self, "upstream")
        self.down = Pipe(self, "downstream")
        self.up.secure = proxy.tls is not None
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
        self.passed_at = time.monotonic()
        self._gone: Side | None = None
        self._resp: Dialogue | None = None
        self._dice: dict[str, random.Random] = {}
        self._drawn: dict[str, bool] = {}
        self._connecting: asyncio.Task[None] | None = None

    # --- life ---

    def made(self, side: Side) -> None:
        """One of the two sockets is there."""
        if side is self.client:
            self.proxy.connections.add(self)
            # From the first byte on: a client may be faster than the connection to the server.
            self._watch_commands()
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            host, port = _address(self.upstream)
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
        self.up.open()
        self.down.open()

    def lost(self, side: Side, error: Exception | None) -> None:
        """One of the two sockets is closed: close the other one after it has sent its buffer."""
        if self.closed or side is self._gone:
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
        """Close both sockets; with `abort`, unsent bytes are dropped."""
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

    def leave_half_open(self, gone: Stream) -> None:
        """One side goes, and the other does not hear of it.

        Args:
            gone: `upstream`: the server goes; `downstream`: the client goes.
        """
        pipe, self._gone = (self.up, self.server) if gone == "upstream" else (self.down, self.client)
        self.half_open = True
        if pipe.target is not None:
            pipe.target.abort()
        self.update()

    @property
    def whole(self) -> bool:
        """Whether both ends are there."""
        return self.ready and not (self.closed or self.half_open or self.up.ended or self.down.ended)

    @property
    def client_address(self) -> str:
        """`host:port` of the client; empty if it is not known any more."""
        peer = None if self.up.source is None else self.up.source.get_extra_info("peername")
        return joined(peer[0], peer[1]) if isinstance(peer, tuple) else ""

    # --- faults ---

    def dice(self, toxic: Toxic) -> random.Random:
        """Chance for one toxic on this connection, the same in each run with the same seed."""
        if toxic.name not in self._dice:
            self._dice[toxic.name] = self.proxy.dice(f"{self.number}/{toxic.name}")
        return self._dice[toxic.name]

    def draw(self) -> None:
        """Have the toxics and protocol faults that the proxy has now."""
        if self.closed:
            return
        self._watch_commands()
        if self.down.source is None:
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
        self.update()

    def _watch_commands(self) -> None:
        """Follow requests and replies while there are faults at commands."""
        if self.proxy.resp and self._resp is None:
            self._resp = Dialogue(self)
        elif not self.proxy.resp and self._resp is not None:
            ended, self._resp = self._resp, None
            ended.finish()
            self.lose_track()

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


class Proxy:
    """One listener or several, each in front of one server; faults fall on all of them.

    Args:
        name: its name in the API.
        listen: `host:port`; port 0 takes a free one, which then stays.
        upstream: `host:port` of the server behind it.
        seed: of all random choices.
        further: more listeners, and the servers behind them.
        addresses: addresses in replies of sentinels, and their replacements for clients.
        tls: the certificate for clients, which speak TLS then.
    """

    def __init__(
        self,
        name: str,
        listen: str,
        upstream: str,
        *,
        seed: int,
        further: Sequence[Way] = (),
        addresses: Mapping[str, str] | None = None,
        tls: Certificate | None = None,
    ) -> None:
        self.name = name
        self.ways = [Way(listen, upstream), *further]
        self.addresses = dict(addresses or {})
        self.tls = tls
        self.enabled = False
        self.toxics: dict[str, Toxic] = {}
        self.resp: dict[str, CommandRule] = {}
        self.connections: set[Connection] = set()
        self.accepted = 0
        self._seed = seed
        self._resp_dice: dict[str, random.Random] = {}
        self._servers: list[asyncio.Server] = []
        for way in self.ways:
            _address(way.listen)
            _address(way.upstream)
        for old, new in self.addresses.items():
            _address(old)
            _address(new)

    @property
    def listen(self) -> str:
        """Where the first listener is."""
        return self.ways[0].listen

    @property
    def upstream(self) -> str:
        """The server behind the first listener."""
        return self.ways[0].upstream

    def move(self, listen: str, upstream: str) -> None:
        """Have the first listener elsewhere, from the next `enable` on."""
        self.ways[0] = Way(listen, upstream)

    def as_data(self) -> dict[str, Any]:
        """As Toxiproxy shows a proxy."""
        data: dict[str, Any] = {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.enabled,
            "toxics": list(self.toxics.values()),
        }
        # Only what a Toxiproxy does not have.
        if self.ways[1:]:
            data["further"] = self.ways[1:]
        if self.tls is not None:
            data["tls"] = self.tls
        return data

    def dice(self, what: str) -> random.Random:
        """Chance that is the same in each run with the same seed."""
        return random.Random(f"{self._seed}/{self.name}/{what}")  # noqa: S311 - repeatable, not secret

    async def enable(self) -> None:
        """Listen.

        Raises:
            Refused: a port is taken, or the certificate cannot be used.
        """
        if self._servers:
            return
        secure = None if self.tls is None else self.tls.context()
        try:
            for way in self.ways:
                self._servers.append(await self._listen(way, secure))
        except BaseException:
            await self.disable()
            raise
        self.enabled = True

    async def _listen(self, way: Way, secure: ssl.SSLContext | None) -> asyncio.Server:
        host, port = _address(way.listen)
        limit = None if secure is None else HANDSHAKE_LIMIT
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: self._accept(way), host, port, backlog=1024, ssl=secure, ssl_handshake_timeout=limit
            )
        except OSError as error:
            raise Refused(f"cannot listen on {way.listen}: {error.strerror or error}", 500) from None
        way.listen = joined(host, server.sockets[0].getsockname()[1])
        return server

    async def disable(self) -> None:
        """Refuse new connections, and close those that there are."""
        self.enabled = False
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        if servers:
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
        """Remove every fault, and close half-open connections."""
        self.toxics.clear()
        self.resp.clear()
        self.each(lambda connection: connection.close() if connection.half_open else connection.draw())

    def faults_for(self, words: Sequence[bytes], when: str) -> list[CommandRule]:
        """The faults that may fall on this request, `before` it is run or `after`."""
        return [
            fault
            for fault in self.resp.values()
            if fault.when == when and matches(words, fault.command, fault.keys, fault.arguments)
        ]

    def choose(self, candidates: Sequence[CommandRule]) -> CommandRule | None:
        """Count a request for the faults that may fall on it; returns the first that is due."""
        found = None
        for fault in candidates:
            if self.resp.get(fault.name) is not fault:  # removed meanwhile
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

    def _accept(self, way: Way) -> Side:
        self.accepted += 1
        return Connection(self, self.accepted, way.upstream).client


def _address(text: str) -> tuple[str, int]:
    try:
        return split(text)
    except UsageError as error:
        raise Refused(str(error)) from None


def _descriptor(transport: asyncio.Transport) -> int:
    one = transport.get_extra_info("socket")
    return -1 if one is None else cast(int, one.fileno())
