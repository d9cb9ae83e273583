"""Messages for a connection end with it: nothing is carried out, or answered, on the next one."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
import redis
from harness import NOW, QUEUE, SOON, ServerProcess, StartServer, app, call, session_of, soon, until
from test_commands import http
from test_gateway import BOOT, ask, plugged, receive, send
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from server.gateway.request_publisher import RequestPublisher
from server.gateway.session import Entry, Session
from server.gateway.session_registry import SessionRegistry
from server.store.keys import Keys

pytestmark = pytest.mark.anyio

LIST = "ocpp:responses:CP-1"


@pytest.fixture
def gateway(redis_url: str, start_server: StartServer) -> ServerProcess:
    server = start_server(redis_url, "gw", ROLE="gateway")
    server.wait_healthy()
    return server


@pytest.fixture
def processor(redis_url: str, start_server: StartServer) -> ServerProcess:
    server = start_server(redis_url, "back", ROLE="processor")
    server.wait_healthy()
    return server


async def boot(socket: ClientConnection, client: redis.Redis) -> None:
    """Wait until nothing is left of it: a gateway removes sent messages from the list with its next read."""
    await ask(socket, "1", "BootNotification", BOOT)
    await soon(lambda: not client.llen(LIST), "the answer was not taken out")


async def test_a_command_is_not_carried_out_on_a_later_connection(
    gateway: ServerProcess, processor: ServerProcess, client: redis.Redis, start_server: StartServer
) -> None:
    """Its caller was told that the charge point went away."""
    async with http(processor) as api:
        async with plugged(gateway, "CP-1") as first:
            await boot(first, client)
            gateway.signal(signal.SIGSTOP)
            command = asyncio.create_task(api("POST", "/api/v1/chargepoints/CP-1/clear-cache", {}))
            await soon(lambda: client.llen(LIST) == 1, "the command is not on its way")
            gateway.process.kill()
        other = start_server(processor.redis_url, "other", ROLE="gateway")
        other.wait_healthy()
        async with plugged(other, "CP-1") as second:
            assert await ask(second, "2", "Heartbeat")
            status, reply = await command
            assert (status, "disconnected" in reply["message"]) == (503, True), reply
    await soon(lambda: not client.llen(LIST), "it still waits")
    assert [each["message_id"] for each in other.records("response_outlived_connection")]


@pytest.mark.parametrize("kind", ["answer", "refusal", "command"])
async def test_messages_sent_before_the_gateway_died_are_not_sent_again(
    gateway: ServerProcess, processor: ServerProcess, client: redis.Redis, start_server: StartServer, kind: str
) -> None:
    """A gateway that is killed between sending and removing leaves the message in the list."""
    async with http(processor) as api:
        command: asyncio.Task[object] | None = None
        async with plugged(gateway, "CP-1") as first:
            await boot(first, client)
            if kind == "command":
                gateway.signal(signal.SIGSTOP)
                command = asyncio.create_task(api("POST", "/api/v1/chargepoints/CP-1/clear-cache", {}))
            else:
                processor.signal(signal.SIGSTOP)
                await send(first, 2, "2", "Heartbeat" if kind == "answer" else "NoSuchAction", {})
                await soon(lambda: client.llen(QUEUE), "the CALL is not on its way")
                gateway.signal(signal.SIGSTOP)
                processor.signal(signal.SIGCONT)
            await soon(lambda: client.llen(LIST) == 1, "nothing is on its way")
            entries = client.lrange(LIST, 0, -1)
            gateway.signal(signal.SIGCONT)
            assert (await receive(first))[0] == {"answer": 3, "refusal": 4, "command": 2}[kind]
            await soon(lambda: not client.llen(LIST), "it was not taken out")
            gateway.process.kill()
        client.lpush(LIST, *entries)
        other = start_server(processor.redis_url, "other", ROLE="gateway")
        other.wait_healthy()
        async with plugged(other, "CP-1") as second:
            assert await ask(second, "3", "Heartbeat")
        await soon(lambda: not client.llen(LIST), "it still waits")
        if command is not None:
            await command


@pytest.mark.parametrize("shards", ["1", "8"])
async def test_a_call_that_waited_at_the_old_gateway_does_not_come_behind_those_to_the_new_one(
    redis_url: str, client: redis.Redis, start_server: StartServer, shards: str
) -> None:
    """A start that was repeated, answered and stopped elsewhere meanwhile would begin a transaction that never ends."""
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": NOW}
    old = start_server(redis_url, "old", ROLE="gateway", QUEUE_SHARDS=shards)
    new = start_server(redis_url, "new", QUEUE_SHARDS=shards)
    for server in (old, new):
        server.wait_healthy()
    async with plugged(old, "CP-1") as first, plugged(old, "CP-2") as other:
        for socket in (first, other):
            await ask(socket, "1", "BootNotification", BOOT)
        old.signal(signal.SIGSTOP)
        for socket in (first, other):
            await send(socket, 2, "late", "StartTransaction", start)
        async with plugged(new, "CP-1") as second:
            transaction = (await ask(second, "2", "StartTransaction", start))["transactionId"]
            stop = {"transactionId": transaction, "meterStop": 5, "timestamp": NOW}
            await ask(second, "3", "StopTransaction", stop)
            old.signal(signal.SIGCONT)
            # Who has not moved gets what it waits for.
            assert (await receive(other))[:2] == [3, "late"]
            await soon(lambda: old.records("message_outlived_connection"), "it was queued")
            assert await ask(second, "4", "Heartbeat")
    (record,) = old.records("message_outlived_connection")
    assert (record["charge_point_id"], record["message_id"]) == ("CP-1", "late")
    assert client.zrange("ocpp:transactions:CP-1", 0, -1) == [str(transaction).encode()]
    assert not client.exists("ocpp:transactions:CP-1:active")
    assert client.scard("ocpp:transactions:CP-2:active") == 1


@pytest.mark.parametrize("expired", [False, True], ids=["soon", "long after"])
async def test_a_call_that_waited_while_its_charge_point_moved_and_left_again_is_not_queued(
    redis_url: str, client: redis.Redis, start_server: StartServer, expired: bool
) -> None:
    """No session shows by then that it has moved; and no connection may take the place of the closed one."""
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": NOW}
    old = start_server(redis_url, "old", ROLE="gateway")
    new = start_server(redis_url, "new")
    for server in (old, new):
        server.wait_healthy()
    async with plugged(old, "CP-1") as first, plugged(old, "CP-2") as other:
        for socket in (first, other):
            await ask(socket, "1", "BootNotification", BOOT)
        old.signal(signal.SIGSTOP)
        for socket in (first, other):
            await send(socket, 2, "late", "StartTransaction", start)
        if expired:
            # As it does on its own after half a minute: the second connection finds none then.
            client.delete("ocpp:session:CP-1")
        async with plugged(new, "CP-1") as second:
            transaction = (await ask(second, "2", "StartTransaction", start))["transactionId"]
            stop = {"transactionId": transaction, "meterStop": 5, "timestamp": NOW}
            await ask(second, "3", "StopTransaction", stop)
        await soon(lambda: not client.exists("ocpp:session:CP-1"), "it has not left")
        old.signal(signal.SIGCONT)
        # Who has not moved gets what it waits for.
        assert (await receive(other))[:2] == [3, "late"]
        with pytest.raises(ConnectionClosed) as closed:
            await receive(first, within=20)  # the next renewal of sessions finds out, where no wake-up told
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        await soon(lambda: old.records("message_outlived_connection"), "it was queued")
        assert not client.exists("ocpp:session:CP-1")
        assert client.smembers("ocpp:active") == {b"CP-2"}
    (record,) = old.records("message_outlived_connection")
    assert (record["charge_point_id"], record["message_id"]) == ("CP-1", "late")
    assert client.zrange("ocpp:transactions:CP-1", 0, -1) == [str(transaction).encode()]
    assert not client.exists("ocpp:transactions:CP-1:active")
    assert client.scard("ocpp:transactions:CP-2:active") == 1
    assert 0 < client.ttl("ocpp:connection:CP-1") <= 3600


@pytest.mark.parametrize(
    ("session", "newest", "queued"),
    [
        (None, None, True),
        (None, "own 2026-01-01T00:00:00.000Z", True),
        (None, "another 2026-01-01T00:00:00.000Z", False),
        ("own", "own 2026-01-01T00:00:00.000Z", True),
        ("another", "another 2026-01-01T00:00:00.000Z", False),
    ],
)
async def test_only_a_newer_connection_keeps_a_call_from_the_queue(
    redis_url: str, client: redis.Redis, session: str | None, newest: str | None, queued: bool
) -> None:
    """Not that its own is over: a charge point may send a last message, a StopTransaction say, and leave."""
    keys = Keys()
    if session is not None:
        client.hset(keys.session("CP-1"), "connection", session)
    if newest is not None:
        client.set(keys.connection("CP-1"), newest)
    sender = session_of("CP-1")
    sender.connection_id, sender.announced = "own", True
    async with app(redis_url) as made:
        outbox = RequestPublisher(made.link, keys, instance="g.1", shards=1, on_refused=lambda _: None, patience=10)
        outbox.put(Entry(call("CP-1", "m"), sender, "m"))
        await outbox._push()
    assert client.llen(QUEUE) == queued


EXACT = 0.01
"""Seconds by which clocks may be misjudged where 50 ms decide."""


def now_by_both_clocks(client: redis.Redis) -> tuple[float, float] | None:
    """Now by the monotonic clock here and as Unix time by Redis' clock, if the answer came at once."""
    here = time.monotonic()
    seconds, microseconds = client.time()
    return (here, seconds + microseconds / 1e6) if time.monotonic() - here < EXACT else None


@pytest.mark.parametrize(
    ("times", "taken"),
    [
        pytest.param((60, -10), False, id="older"),
        pytest.param((60, -90), True, id="newer"),
        pytest.param((0.1, -0.05), False, id="a little older"),
        pytest.param((0.1, -0.15), True, id="a little newer"),
        pytest.param((0.1, 3600), True, id="the clock of another primary was ahead"),
    ],
)
@pytest.mark.parametrize("connected", [True, False])
async def test_the_newest_connection_has_the_session_by_the_clock_of_redis(
    redis_url: str, client: redis.Redis, times: tuple[float, float], taken: bool, connected: bool
) -> None:
    """Against another gateway's connection, which is there or has lately left; the gateways' clocks are not asked."""
    keys, (age, ahead) = Keys(), times
    here, there = until(lambda: now_by_both_clocks(client), "each answer of Redis takes too long to compare clocks")
    since = int((there + ahead) * 1000)
    client.set(keys.connection("CP-1"), f"another {since}")
    if connected:
        client.hset(keys.session("CP-1"), mapping={"connection": "another", "since": since, "ws_server_id": "other"})
    lost: list[Session] = []
    async with app(redis_url) as made:
        registry = SessionRegistry(
            made.link, keys, server_id="g", live=list, on_announced=lambda _: None, on_lost=lost.append
        )
        session = session_of("CP-1")
        session.connection_id, session.since = "own", here - age
        registry.connected(session)
        async with asyncio.timeout(SOON):
            while registry._clock.slack > EXACT:  # of several comparisons, the most exact one stays
                await registry._clock.compare(registry._wire)
        await registry._announce()
    assert (session.announced, bool(lost)) == (taken, not taken)
    assert client.hget(keys.session("CP-1"), "connection") == (b"own" if taken else b"another" if connected else None)
