"""One charge point, or five, that send as fast as they can; and a process at the limit of its file descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

import pytest
import redis
from harness import ServerProcess, StartServer, soon
from test_gateway import ask, plugged
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from server.gateway.flow_control import BURST_SECONDS, FLOOD_SECONDS, SLICE_BYTES, TURN_MESSAGES, FlowControl, Intake

pytestmark = pytest.mark.anyio

SIZE = 8
"""Bytes of a message in the tests without a server."""


class Connection:
    """Takes messages of `SIZE` bytes."""

    gateway_id = "CP-1"

    def __init__(self, rate: float, control: FlowControl | None = None) -> None:
        self.now = 0.0
        self.fed = b""
        self.turns: list[int] = []
        self.reading = True
        self.ends_messages = True
        self.closed = ""
        self.reset = False
        self.intake = Intake(control or FlowControl(rate), lambda: self.now)

    def feed(self, data: bytes) -> None:
        if self.ends_messages:
            self.intake.messages += (len(self.fed) % SIZE + len(data)) // SIZE
        self.fed += data
        self.turns.append(len(data) // SIZE)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close_flooded(self, reason: str) -> None:
        self.closed = reason

    def end_if_reset(self) -> bool:
        return self.reset


def messages(count: int) -> bytes:
    return b"".join(b"%08d" % number for number in range(count))


class TestIntake:
    async def test_messages_below_the_rate_are_taken_at_once(self) -> None:
        connection = Connection(rate=100)
        for quarter in range(400):
            connection.now = quarter / 4
            connection.intake.receive(connection, messages(25))
            assert connection.reading
        assert len(connection.fed) == 400 * 25 * SIZE

    async def test_a_large_read_is_taken_in_turns_and_whole_and_in_order(self) -> None:
        connection = Connection(rate=0)
        data = messages(20 * SLICE_BYTES // SIZE)
        connection.intake.receive(connection, data)
        assert len(connection.fed) == TURN_MESSAGES * SIZE
        assert not connection.reading
        connection.intake.receive(connection, b"a late 1")
        await soon(lambda: connection.reading, "reading goes on")
        assert connection.fed == data + b"a late 1"
        assert max(connection.turns) <= TURN_MESSAGES

    @pytest.mark.parametrize("before", [1, 100])
    async def test_frames_of_a_few_bytes_behind_longer_ones_are_taken_in_turns(self, before: int) -> None:
        """What a slice has is known when it is taken; the one behind it is smaller."""
        connection = Connection(rate=0)
        connection.ends_messages = False
        for _ in range(before):
            connection.intake.receive(connection, bytes(SLICE_BYTES))
        connection.ends_messages = True
        connection.turns.clear()
        connection.intake.receive(connection, messages(100 * SLICE_BYTES // SIZE))
        await soon(lambda: connection.reading, "reading goes on")
        assert max(connection.turns[1:]) <= TURN_MESSAGES

    async def test_a_flooding_connection_is_read_at_the_rate(self) -> None:
        connection = Connection(rate=1000)
        connection.intake.receive(connection, messages(3000))
        # The bucket holds one second; what is over waits for the clock, which stands still here.
        await soon(lambda: len(connection.fed) // SIZE >= 1000, "the bucket is not emptied")
        assert not connection.reading
        assert len(connection.fed) // SIZE <= 2000

        def later() -> bool:
            connection.now += 0.1
            return connection.reading

        await soon(later, "reading goes on")
        assert connection.now > 1
        assert connection.fed == messages(3000)
        assert not connection.closed

    async def test_a_connection_that_stays_at_the_limit_is_closed(self) -> None:
        connection = Connection(rate=100)
        for _ in range(200):
            connection.now += FLOOD_SECONDS / 50
            connection.intake.receive(connection, messages(200))
            connection.intake.end(connection)
            if connection.closed:
                break
        assert connection.closed == "more than 100 messages or KiB a second"
        assert FLOOD_SECONDS <= connection.now <= 2 * FLOOD_SECONDS

    async def test_what_a_flooder_sent_that_has_reset_its_connection_is_dropped(self) -> None:
        control = FlowControl(1000)
        connection = Connection(0, control)
        connection.intake.receive(connection, messages(3000))
        await soon(lambda: control.at_limit, "it is not limited")
        taken = len(connection.fed)
        connection.reset = True
        connection.now += 10
        await soon(lambda: not connection.intake.paused, "it waits for ever")
        assert len(connection.fed) == taken
        assert not connection.reading

    async def test_a_long_message_counts_as_one_for_each_kib(self) -> None:
        connection = Connection(rate=100)
        connection.ends_messages = False
        connection.intake.receive(connection, bytes(300 * SLICE_BYTES))
        await soon(lambda: len(connection.fed) >= 100 * SLICE_BYTES, "the bucket is not emptied")
        assert not connection.reading
        # Each time it waits for the clock, which stands still here, a slice more is taken.
        assert len(connection.fed) <= 200 * SLICE_BYTES

    async def test_a_long_message_is_taken_in_turns(self) -> None:
        connection = Connection(rate=1000)
        connection.ends_messages = False
        connection.intake.receive(connection, bytes(300 * SLICE_BYTES))
        assert TURN_MESSAGES * SLICE_BYTES <= len(connection.fed) < (TURN_MESSAGES + 1) * SLICE_BYTES
        assert not connection.reading

    async def test_connections_at_their_limit_share_the_rate_of_one(self) -> None:
        control = FlowControl(10_000)
        connections = [Connection(0, control) for _ in range(5)]
        for connection in connections:
            connection.intake.receive(connection, messages(30_000))
        await soon(lambda: control.at_limit == 5, "not all of them are limited")
        before = sum(len(connection.fed) for connection in connections) // SIZE

        def later() -> bool:
            for connection in connections:
                connection.now += 0.01
            return sum(len(each.fed) for each in connections) // SIZE >= before + 5000

        await soon(later, "too few are taken")
        taken = sum(len(each.fed) for each in connections) // SIZE - before
        assert taken <= connections[0].now * 10_000 + 5 * 2 * TURN_MESSAGES
        for connection in connections:
            connection.intake.end(connection)
            connection.intake.gone()
        assert control.at_limit == 0

    async def test_many_connections_at_their_limit_keep_a_tenth_of_the_rate_each(self) -> None:
        """A whole network that catches up after an outage is slowed down, and is no flood."""
        control = FlowControl(100)
        control.at_limit = 1000
        assert control.share == 10

    async def test_the_end_takes_a_last_slice_and_leaves_no_timer(self) -> None:
        connection = Connection(rate=1)
        connection.intake.receive(connection, messages(10))
        connection.intake.end(connection)
        assert connection.fed == messages(10)
        assert not connection.intake.paused


# --- against a server -------------------------------------------------------------------------------------------------

HEARTBEAT = json.dumps([2, "1", "Heartbeat", {}])


class Flooder:
    """A charge point that sends one kind of frame as fast as it can, and reads all that it gets."""

    def __init__(self, server: ServerProcess, charge_point_id: str, frame: Callable[[int], str]) -> None:
        self._server = server
        self._id = charge_point_id
        self._frame = frame
        self.sent = 0
        self.answered = 0
        self.seconds = 0.0
        self.resets = False

    async def run(self) -> None:
        async with plugged(self._server, self._id) as connection, asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(connection))
            began = time.monotonic()
            try:
                while True:
                    await connection.send(self._frame(self.sent))
                    self.sent += 1
                    if self.sent % 100 == 0:  # what the connection takes at once must not keep answers from being read
                        await asyncio.sleep(0)
            finally:
                # A closing handshake would wait behind the backlog.
                if self.resets:
                    end = connection.transport.get_extra_info("socket")
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.transport.abort()
                self.seconds = time.monotonic() - began
                reading.cancel()

    async def _read(self, connection: ClientConnection) -> None:
        async for _ in connection:
            self.answered += 1


RATE = 50


def throttled(server: ServerProcess) -> set[str]:
    """The charge points that were throttled, once or again: a flooder that got no processor time began anew."""
    return {each["charge_point_id"] for each in server.records("connection_throttled")}


@pytest.mark.parametrize("count", [1, 5])
async def test_a_flood_is_taken_at_its_rate_and_the_others_are_answered(
    count: int, client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw", WS_MESSAGE_RATE=str(RATE))
    server.wait_healthy()
    flooders = [
        Flooder(server, f"FLOOD-{number}", lambda number: json.dumps([2, str(number), "Heartbeat", {}]))
        for number in range(count)
    ]
    async with plugged(server, "CP-1") as other:
        tasks = [asyncio.create_task(flooder.run()) for flooder in flooders]
        try:
            await soon(lambda: len(throttled(server)) == count, lambda: f"only {throttled(server)} are throttled")
            for number in range(50):
                await ask(other, str(number), "Heartbeat")
            await soon(lambda: all(flooder.answered for flooder in flooders), "a flooder gets no answer")
            assert (await asyncio.to_thread(server.health))["status"] == "healthy"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    for flooder in flooders:
        assert flooder.sent > flooder.answered
        allowed = RATE * (flooder.seconds + BURST_SECONDS) + SLICE_BYTES / len('[2,"0","Heartbeat",{}]')
        assert 0 < flooder.answered <= allowed


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([2, "1", "DataTransfer", {"vendorId": "V", "data": "x" * 200_000}]),
        "[" * 200_000,
        "x" * 200_000,
    ],
    ids=["valid", "nested", "no JSON"],
)
async def test_a_flood_of_long_messages_is_taken_at_the_rate_in_kib(
    client: redis.Redis, redis_url: str, start_server: StartServer, text: str
) -> None:
    server = start_server(redis_url, "gw", WS_MESSAGE_RATE="200")
    server.wait_healthy()
    flooder = Flooder(server, "FLOOD", lambda _number: text)
    async with plugged(server, "CP-1") as other:
        task = asyncio.create_task(flooder.run())
        await soon(lambda: server.records("connection_throttled"), "nobody is throttled")
        for number in range(20):
            await ask(other, str(number), "Heartbeat")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    allowed = (200 * (flooder.seconds + BURST_SECONDS) + 1) * 1024 / len(text) + 1
    handled = len(server.records("invalid_message")) or flooder.answered
    assert handled <= allowed


async def test_broken_frames_are_logged_at_the_rate(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw", WS_MESSAGE_RATE=str(RATE))
    server.wait_healthy()
    flooder = Flooder(server, "FLOOD", lambda _number: "[]")
    task = asyncio.create_task(flooder.run())
    await soon(lambda: server.records("connection_throttled"), "nobody is throttled")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # A slice may be taken on top of what the bucket holds, and one at the end of the connection.
    allowed = RATE * (flooder.seconds + BURST_SECONDS) + 2 * SLICE_BYTES / SIZE
    assert 0 < len(server.records("invalid_message")) <= allowed


async def _read(connection: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            pass


async def test_a_flood_is_closed_with_1008(client: redis.Redis, redis_url: str, start_server: StartServer) -> None:
    server = start_server(redis_url, "gw", WS_MESSAGE_RATE="20")
    server.wait_healthy()
    async with plugged(server, "CP-1") as connection:
        reading = asyncio.create_task(_read(connection))
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(3 * FLOOD_SECONDS):
                while True:
                    await connection.send(HEARTBEAT)
        reading.cancel()
        assert connection.close_code == 1008
        assert "20 messages or KiB a second" in (connection.close_reason or "")
    assert server.records("connection_flooded")


async def test_what_was_left_out_of_the_log_is_told_at_the_end(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    """Of 12 connections that are throttled at once, also where the process ends right behind."""
    server = start_server(redis_url, "gw", WS_MESSAGE_RATE="10")
    server.wait_healthy()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(12):
            connection = await stack.enter_async_context(plugged(server, f"CP-{number}"))
            for _ in range(20):
                await connection.send(HEARTBEAT)
        await soon(lambda: server.records("connection_throttled"), "nothing is throttled")
        server.signal(signal.SIGTERM)
        await soon(lambda: not server.process.alive, "it does not end")
    throttled = len(server.records("connection_throttled"))
    assert throttled < 12
    assert throttled + sum(record["left_out"] for record in server.records("connections_limited")) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of another process can be set on Linux only")
async def test_health_answers_where_charge_points_have_used_their_descriptors(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw")
    server.wait_healthy()
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (256, 256))
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(plugged(server, "CP-1"))
        for _ in range(260):
            _, writer = await asyncio.open_connection("127.0.0.1", server.ws_port)
            stack.callback(writer.close)
        await soon(lambda: server.records("connection_refused"), "nobody was refused")
        assert {record["reason"] for record in server.records("connection_refused")} == {"full"}
        for _ in range(100):
            # Connections that ask for nothing must not keep out the one that does.
            _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
            stack.callback(writer.close)
        assert (await asyncio.to_thread(server.health))["status"] == "healthy"
        await ask(first, "1", "Heartbeat")


async def test_a_flooder_that_has_reset_its_connection_is_gone_at_once(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    """Nothing is read from it then, and what is waiting would take it to the end of `FLOOD_SECONDS`."""
    server = start_server(redis_url, "gw", WS_MESSAGE_RATE=str(RATE))
    server.wait_healthy()
    flooder = Flooder(server, "FLOOD", lambda _number: "[]")
    flooder.resets = True
    task = asyncio.create_task(flooder.run())
    await soon(lambda: server.records("connection_throttled"), "the flooder is not throttled")
    # More is under way by then than the server takes at its rate before it closes the connection of a flooder.
    await soon(lambda: flooder.sent > 100 * RATE, "the flooder does not send")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    began = time.monotonic()
    await soon(lambda: not client.sismember("ocpp:active", "FLOOD"), "the session of the flooder stays", within=30)
    # A slice of such frames takes this long at the rate.
    assert time.monotonic() - began < 2 * SLICE_BYTES / SIZE / RATE < FLOOD_SECONDS
