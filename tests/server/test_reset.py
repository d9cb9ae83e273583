"""A connection that was reset (RST) is a lost connection like any other."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from harness import SOON, soon
from redis.exceptions import ConnectionError as LostConnection

from server.redis.link import RedisLink, RedisWire

pytestmark = pytest.mark.anyio


@pytest.fixture
async def resetting_url() -> AsyncIterator[str]:
    """A server that answers everything with +OK, and resets the connection after a PING."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        while b"PING" not in data:
            data = await reader.read(1000)
            writer.write(b"+OK\r\n" * data.count(b"*"))
            await writer.drain()
        with socket.socket(fileno=socket.dup(writer.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


async def test_a_wire_that_was_reset_meanwhile_connects_again(resetting_url: str) -> None:
    wire = RedisWire(resetting_url, reply_timeout=SOON)
    try:
        assert await wire.execute("PING") == b"OK"
        before = wire._replies
        assert before is not None
        await soon(lambda: before.lost, "the reset was not noticed")
        assert await wire.execute("PING") == b"OK"
        assert wire._replies is not before
    finally:
        await wire.close()


async def test_a_command_that_meets_the_reset_is_reported(resetting_url: str) -> None:
    wire = RedisWire(resetting_url, reply_timeout=SOON)
    try:
        assert await wire.execute("PING") == b"OK"
        await soon(wire._connection._writer.transport.is_closing, "the reset was not noticed")
        with pytest.raises(LostConnection):
            await wire.send("PING")
    finally:
        await wire.close()


async def test_a_pooled_connection_reports_the_reset(resetting_url: str) -> None:
    link = RedisLink(resetting_url, reply_timeout=SOON)
    try:
        assert await link.client.execute_command("PING", "x") is not None
        connection = link.client.connection_pool._available_connections[0]
        await soon(connection._writer.transport.is_closing, "the reset was not noticed")
        with pytest.raises(LostConnection):
            await connection.send_command("PING", "x")
    finally:
        await link.close()
