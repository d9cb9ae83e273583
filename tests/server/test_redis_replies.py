"""Replies of Redis on a connection of one part of the server: whole, in order, never one for another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
from harness import app, soon, until
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError
from redis.exceptions import TimeoutError as NoReply

from ocpp_resilience.processes import ChildProcess
from server.redis.link import RedisWire

pytestmark = pytest.mark.anyio


class Scripted:
    """A scripted server for Redis' clients."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.received = b""
        self.reading = asyncio.Event()
        self.reading.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                # The client library introduces itself first.
                if greetings := data.count(b"SETINFO"):
                    writer.write(b"+OK\r\n" * greetings)
                else:
                    self.received += data
                await self.reading.wait()
        writer.close()

    async def say(self, data: bytes) -> None:
        """Send on the connection that was made last."""
        self.writers[-1].write(data)
        await self.writers[-1].drain()

    async def asked(self, command: bytes) -> None:
        """Wait until a command has come, and forget it."""
        await soon(lambda: command in self.received, f"{command!r} did not come")
        self.received = b""


@pytest.fixture
async def other() -> AsyncIterator[Scripted]:
    made = Scripted()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        yield made
        for writer in made.writers:
            writer.transport.abort()
        made.reading.set()


@contextlib.asynccontextmanager
async def wire_to(url: str, *, reply_timeout: float = 10.0) -> AsyncIterator[RedisWire]:
    wire = RedisWire(url, reply_timeout=reply_timeout)
    try:
        yield wire
    finally:
        await wire.close()


async def test_a_reply_in_pieces_and_two_at_once(other: Scripted) -> None:
    async with wire_to(other.url) as wire:
        first = asyncio.ensure_future(wire.execute("ECHO", "x"))
        await other.asked(b"ECHO")
        await other.say(b"*2\r\n$3\r\non")
        await asyncio.sleep(0)
        await other.say(b"e\r\n:2\r\n+next\r\n:3\r\n")
        assert await first == [b"one", 2]
        assert [await wire.read(10), await wire.read(10)] == [b"next", 3]


async def test_a_reply_that_comes_too_late_is_not_taken_for_the_next_one(other: Scripted) -> None:
    async with wire_to(other.url, reply_timeout=0.05) as wire:
        with pytest.raises(NoReply):
            await wire.execute("GET", "first")
        with contextlib.suppress(ConnectionError):
            await other.say(b"+first\r\n")
        wire._timeout = 10.0
        other.received = b""
        second = asyncio.ensure_future(wire.execute("GET", "second"))
        await other.asked(b"second")
        await other.say(b"+second\r\n")
        assert await second == b"second"
        assert len(other.writers) == 2


async def test_a_reset_while_the_client_library_introduces_itself_is_a_lost_connection(
    other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop raises a plain RuntimeError where the reset comes between connecting and the first command."""

    async def closed(*_: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    monkeypatch.setattr("redis.asyncio.connection.AbstractConnection._send_packed_command", closed)
    async with wire_to(other.url) as wire:
        with pytest.raises(LostConnection, match="the connection is closed"):
            await wire.execute("GET", "first")


async def test_a_reset_before_the_write_is_a_lost_connection(other: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    async with wire_to(other.url) as wire:
        await wire.connect()

        def closed(_: bytes) -> None:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

        assert wire._replies is not None
        monkeypatch.setattr(wire._replies, "_transport", _With(wire._replies._transport, closed))
        with pytest.raises(LostConnection, match="the connection is closed"):
            await wire.execute("GET", "first")


class _With:
    """A transport with another `write`."""

    def __init__(self, transport: asyncio.Transport, write: Callable[[bytes], None]) -> None:
        self._transport = transport
        self.write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


POPS = """
import sys, uvloop
from server.redis.link import RedisWire

async def main():
    wire = RedisWire(sys.argv[1], reply_timeout=3)
    print(await wire.execute("BLPOP", "list", 0))
    await wire.close()

uvloop.run(main())
"""


def test_a_reply_that_came_while_this_process_stood_still_is_in_time(client: redis.Redis, redis_url: str) -> None:
    """SIGSTOP from before the reply until long after the deadline, then SIGCONT."""
    process = ChildProcess("One that waits for a list")
    try:
        process.start([sys.executable, "-c", POPS, redis_url], environment=dict(os.environ))
        until(lambda: any(one["cmd"] == "blpop" for one in client.client_list()), process.output_tail)
        process.pause()
        client.rpush("list", "value")
        time.sleep(3.2)
        process.resume()
        assert process.wait_for_exit(30) == 0, process.output_tail()
        assert process.stdout.read_text() == "[b'list', b'value']\n"
    finally:
        process.close()


async def test_a_command_that_was_cancelled_takes_its_reply_with_it(other: Scripted) -> None:
    async with wire_to(other.url) as wire:
        first = asyncio.ensure_future(wire.execute("GET", "first"))
        await other.asked(b"first")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.ensure_future(wire.execute("GET", "second"))
        await other.asked(b"second")
        await other.say(b"+second\r\n")
        assert await second == b"second"


async def test_the_connection_ends_while_a_reply_is_due(other: Scripted) -> None:
    async with wire_to(other.url) as wire:
        waiting = asyncio.ensure_future(wire.execute("GET", "first"))
        await other.asked(b"first")
        other.writers[-1].close()
        with pytest.raises(LostConnection, match="closed by server"):
            await waiting


async def test_bytes_outside_the_protocol_end_the_connection(other: Scripted) -> None:
    async with wire_to(other.url) as wire:
        waiting = asyncio.ensure_future(wire.execute("GET", "first"))
        await other.asked(b"first")
        await other.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(InvalidResponse):
            await waiting


async def test_one_that_takes_nothing_is_given_up(other: Scripted) -> None:
    async with wire_to(other.url, reply_timeout=0.3) as wire:
        waiting = asyncio.ensure_future(wire.execute("PING"))
        await other.asked(b"PING")
        await other.say(b"+PONG\r\n")
        assert await waiting == b"PONG"
        other.reading.clear()
        with pytest.raises(NoReply, match="has not taken"):
            await wire.execute("SET", "much", b"x" * 50_000_000)


async def test_a_quiet_subscription_is_no_error(other: Scripted) -> None:
    async with wire_to(other.url) as wire:
        subscribed = asyncio.ensure_future(wire.execute("SUBSCRIBE", "channel"))
        await other.asked(b"channel")
        await other.say(b"+subscribed\r\n")
        assert await subscribed == b"subscribed"
        assert await wire.read(0.01) is None
        await other.say(b"+message\r\n")
        assert await wire.read(10) == b"message"
        assert len(other.writers) == 1


async def test_errors_are_the_client_librarys_own_and_the_connection_goes_on(redis_url: str) -> None:
    async with wire_to(redis_url) as wire:
        assert await wire.execute("SET", "text", "x") == b"OK"
        first = wire._replies
        with pytest.raises(NoScriptError):
            await wire.execute("EVALSHA", "0" * 40, 0)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await wire.execute("LPUSH", "text", "x")
        assert await wire.execute("GET", "text") == b"x"
        assert wire._replies is first


async def test_many_replies_one_timer(redis_url: str) -> None:
    async with wire_to(redis_url) as wire:
        await wire.execute("PING")
        assert wire._replies is not None
        timer = wire._replies._timer
        for _ in range(50):
            await wire.execute("PING")
        assert wire._replies._timer is timer


class TestAnIdleQueueIsLeft:
    async def test_by_stop(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url) as one:
            processor = one.processor
            working = asyncio.ensure_future(processor.run())
            await soon(lambda: processor._idle is not None and client.info()["blocked_clients"], "it does not wait")
            processor.stop()
            processor.stop()
            await working
            assert working.cancelling() == 0
            assert not client.exists(processor.queue._owner)

    async def test_by_cancelling_it(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url) as one:
            processor = one.processor
            working = asyncio.ensure_future(processor.run())
            await soon(lambda: processor._idle is not None and client.info()["blocked_clients"], "it does not wait")
            processor.stop()
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working
