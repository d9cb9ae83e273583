"""Frames that break RFC 6455: their log records and counts, and the end of the connection."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
import redis
from harness import SOON, ServerProcess, StartServer, dead_letters, soon, upgraded
from test_gateway import ask, plugged
from websockets.exceptions import ConnectionClosed

pytestmark = pytest.mark.anyio

OVER_THE_LIMIT = 256 * 1024 + 1
MASK = b"\0\0\0\0"


def frame(first: int, payload: bytes = b"") -> bytes:
    """A frame of a client; its mask changes nothing."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2)
    else:
        length = b"\xff" + size.to_bytes(8)
    return bytes([first]) + length + MASK + payload


@pytest.fixture
def server(redis_url: str, start_server: StartServer) -> ServerProcess:
    server = start_server(redis_url, "gw")
    server.wait_healthy()
    return server


def set_aside(server: ServerProcess) -> float:
    """Number of messages set aside, from the metrics."""
    _, text, _ = server.get("/metrics")
    return sum(float(value) for value in re.findall(r"^ocpp_messages_invalid_total\{.*\} (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("wire", "code", "word"),
    [
        (b"\x81\x05hello", 1002, "mask"),
        (frame(0xC1), 1002, "reserved"),
        (frame(0x83), 1002, "opcode"),
        (frame(0x09), 1002, "fragmented control frame"),
        (frame(0x89, 126 * b"p"), 1002, "control frame too long"),
        (frame(0x80), 1002, "unexpected continuation"),
        (frame(0x01, b"[2") + frame(0x81, b"[2"), 1002, "expected a continuation"),
        (frame(0x88, b"\x03"), 1002, "close frame too short"),
        (frame(0x88, b"\x03\xed"), 1002, "invalid status code"),
        (frame(0x01, b"[2") + frame(0x88, b"\x03\xe8"), 1002, "incomplete fragmented message"),
        (frame(0x88, b"\x03\xe8\xff"), 1007, "invalid start byte"),
        (frame(0x81, b'["\xff"]'), 1007, ""),
        (frame(0x01, b'["\xff') + frame(0x80, b'"]'), 1007, ""),
        (frame(0x81, OVER_THE_LIMIT * b"x"), 1009, str(OVER_THE_LIMIT)),
        (frame(0x01, 200_000 * b"x") + frame(0x80, 100_000 * b"x"), 1009, "100000 bytes after reading 200000"),
        (frame(0x01) + 5000 * frame(0x00), 1009, "fragment"),
    ],
)
async def test_a_frame_that_costs_the_connection_has_one_record_and_one_dead_letter(
    server: ServerProcess, client: redis.Redis, wire: bytes, code: int, word: str
) -> None:
    async with plugged(server, "CP-1", max_size=None) as socket:
        await ask(socket, "1", "Heartbeat")
        socket.transport.write(wire)
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(SOON):
                await socket.recv()
        assert socket.close_code == code
    await soon(lambda: server.records("disconnected"), "not disconnected")
    (record,) = server.records("invalid_message")
    assert (record["charge_point_id"], record["code"]) == ("CP-1", "FormationViolation")
    assert word in record["reason"]
    assert set_aside(server) == 1
    await soon(lambda: dead_letters(client), "no dead letter")
    (letter,) = dead_letters(client)
    assert (letter["charge_point_id"], letter["reason"]) == ("CP-1", record["reason"])
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "2", "Heartbeat")


async def test_bytes_before_the_frame_are_handled(server: ServerProcess, client: redis.Redis) -> None:
    """In one packet with it: whole, and in fragments, which take a longer way."""
    boot = json.dumps([2, "b", "BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"}]).encode()
    for number, before in enumerate((frame(0x81, boot), frame(0x01, boot[:5]) + frame(0x80, boot[5:]))):
        for ending in (frame(0x83), frame(0x88, b"\x03\xe8")):
            name = f"CP-{number}-{ending[0]}"
            async with plugged(server, name) as socket:
                socket.transport.write(before + ending)
                with pytest.raises(ConnectionClosed):
                    async with asyncio.timeout(SOON):
                        await socket.recv()
            await soon(lambda name=name: client.exists(f"ocpp:chargepoint:{name}"), f"{name} did not boot")
    assert len(server.records("invalid_message")) == 2


@pytest.mark.parametrize("ending", [frame(0x88, b"\x03\xe8"), frame(0x83)], ids=["close", "failure"])
async def test_a_client_that_half_closes_and_stays_is_disconnected(
    server: ServerProcess, client: redis.Redis, ending: bytes
) -> None:
    """Even if it keeps sending: a session that cannot receive must not be registered in Redis as if it could."""
    _, writer = await upgraded(server.ws_port, "CP-STAYS")
    try:
        await soon(lambda: client.exists("ocpp:session:CP-STAYS"), "not connected")
        writer.write(ending)

        def gone() -> bool:
            if not writer.transport.is_closing():
                writer.write(frame(0x89))
            return bool(server.records("disconnected")) and not client.exists("ocpp:session:CP-STAYS")

        await soon(gone, "it is still connected")
    finally:
        writer.transport.abort()
    assert not client.exists("ocpp:active")
