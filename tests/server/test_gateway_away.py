"""The gateway while Redis is away, slow or loses a reply."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from harness import NOW, QUEUE, QUICK, SOON, START_SECONDS, Cut, Relay, StartRedis, StartServer, connect, soon
from test_gateway import BOOT, ask, command, plugged, receive, send, wake
from websockets.exceptions import ConnectionClosed

from ocpp_resilience.redis.services import EmbeddedRedis
from server.app import App
from server.config import Settings
from server.gateway.gateway import HOLD_SECONDS

pytestmark = pytest.mark.anyio


def is_push(words: list[bytes], frame: bytes = b"") -> bool:
    """Whether a request runs the gateway's push script, with `frame` in it."""
    return (
        words[0].upper() in {b"EVALSHA", b"EVAL"}
        and words[2:4] == [b"4", QUEUE.encode()]
        and words[4].startswith(b"ocpp:gateway:")
        and (not frame or any(frame in word for word in words[6:]))
    )


def is_take(words: list[bytes], charge_point_id: bytes) -> bool:
    """Whether a request reads a charge point's list, or removes sent messages."""
    return words[0].upper() in {b"EVALSHA", b"EVAL"} and b"ocpp:responses:" + charge_point_id in words[5:]


async def test_degraded_heartbeats_are_answered_and_other_calls_are_held_and_refused(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    private = start_redis()
    server = start_server(private.url(), "gw")
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "BootNotification", BOOT)
        private.kill()
        await soon(lambda: server.health()["status"] == "degraded", "healthy without Redis")
        assert "currentTime" in await ask(socket, "2", "Heartbeat")
        began = time.monotonic()
        start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": NOW}
        await send(socket, 2, "3", "StartTransaction", start)
        # While that one is held, too.
        assert "currentTime" in await ask(socket, "4", "Heartbeat")
        # Redis is still away: the time that it is held has an end.
        answer = await receive(socket)
        held = time.monotonic() - began
        assert answer[:3] == [4, "3", "InternalError"]
        assert "may be sent again" in answer[3]
        assert held >= HOLD_SECONDS
        private.start(START_SECONDS)
        await soon(lambda: server.health()["status"] == "healthy", "not healthy again")
        # What was refused is never processed; the next one is.
        transaction = (await ask(socket, "5", "StartTransaction", start))["transactionId"]
        with connect(private.url()) as client:
            assert client.zcard("ocpp:transactions:CP-1") == 1
            assert client.get(f"ocpp:transaction:{transaction}")


@asynccontextmanager
async def running_here(url: str) -> AsyncIterator[tuple[App, Any]]:
    """A server in this process, as `plugged` needs it."""
    made = App(Settings(redis_url=url, server_id="gw", http_port=0, ws_port=0, redis_timeout=SOON))
    serving = asyncio.create_task(made.run())
    try:
        listener = await soon(lambda: made.gateway._listener, "it does not listen")
        yield made, SimpleNamespace(ws_port=listener.getsockname()[1])
    finally:
        made.stop()
        await asyncio.wait_for(serving, SOON)


async def test_a_call_that_is_held_is_taken_when_redis_is_back_in_time(
    start_redis: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time, however slowly Redis starts on a busy machine."""
    monkeypatch.setattr("server.gateway.gateway.HOLD_SECONDS", 10 * SOON)
    private = start_redis()
    async with running_here(private.url()) as (made, server), plugged(server, "CP-1") as socket:
        await ask(socket, "1", "BootNotification", BOOT)
        await asyncio.to_thread(private.kill)
        await soon(lambda: not made.link.healthy, "healthy without Redis")
        start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": NOW}
        await send(socket, 2, "2", "StartTransaction", start)
        await soon(lambda: len(made.gateway._publisher), "it is not held")
        attempts = made.link._attempts
        await soon(lambda: made.link._attempts >= attempts + 10, "it is not tried again")
        # Not in this thread, which the server needs.
        await asyncio.to_thread(private.start, START_SECONDS)
        assert (await receive(socket))[:2] == [3, "2"]
        with connect(private.url()) as client:
            assert client.zcard("ocpp:transactions:CP-1") == 1
            await soon(lambda: client.exists("ocpp:session:CP-1"), "the session did not come back")


@pytest.mark.parametrize("after", [True, False], ids=["reply lost", "request lost"])
async def test_a_push_whose_reply_is_lost_is_neither_lost_nor_repeated(
    client: redis.Redis,
    shared_redis: EmbeddedRedis,
    start_relay: Callable[[int], Relay],
    start_server: StartServer,
    after: bool,
) -> None:
    relay = start_relay(shared_redis.port)
    server = start_server(relay.url, "gw")
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "BootNotification", BOOT)
        for number in range(10):
            marker = f"s{number}-{after}"
            cut = relay.plan(Cut(lambda words, marker=marker: is_push(words, marker.encode()), after=after))
            start = {"connectorId": 1, "idTag": "TAG", "meterStart": number, "timestamp": NOW}
            assert "transactionId" in await ask(socket, marker, "StartTransaction", start)
            await soon(cut.done.is_set, "the cut")  # the answer may be here before the relay says so
    assert client.zcard("ocpp:transactions:CP-1") == 10
    # Nobody takes the number away while a push may still be on its way.
    assert len(client.keys("ocpp:gateway:*")) == 1


async def test_a_push_that_arrives_late_is_not_done_again(
    client: redis.Redis,
    shared_redis: EmbeddedRedis,
    start_relay: Callable[[int], Relay],
    start_server: StartServer,
) -> None:
    """The connection is given up, the push sent again, and only then the first one reaches Redis."""
    relay = start_relay(shared_redis.port)
    server = start_server(relay.url, "gw")
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "BootNotification", BOOT)
        cut = relay.plan(Cut(lambda words: is_push(words, b'"late"'), after=False, hold=True))
        start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": NOW}
        await ask(socket, "late", "StartTransaction", start)
        cut.release.set()
        await soon(cut.delivered.is_set, "the late push did not arrive")
        assert cut.reply == b":0\r\n"
        await ask(socket, "2", "Heartbeat")
    assert client.zcard("ocpp:transactions:CP-1") == 1


@pytest.mark.parametrize("after", [True, False], ids=["reply lost", "request lost"])
async def test_a_look_whose_reply_is_lost_delivers_each_message_once(
    client: redis.Redis,
    shared_redis: EmbeddedRedis,
    start_relay: Callable[[int], Relay],
    start_server: StartServer,
    after: bool,
) -> None:
    relay = start_relay(shared_redis.port)
    server = start_server(relay.url, "gw")
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "BootNotification", BOOT)
        for number in range(10):
            # Of the looks that a message costs (take, take out) every second round loses the other one.
            cut = relay.plan(Cut(lambda words: is_take(words, b"CP-1"), after=after))
            command(client, "CP-1", f"c{number}", "ClearCache", {})
            wake(client, "gw", "CP-1")
            assert (await receive(socket))[1] == f"c{number}"
            await send(socket, 3, f"c{number}", {"status": "Accepted"})
            await soon(cut.done.is_set, "nothing was cut")
        await ask(socket, "2", "Heartbeat")
        await soon(lambda: not client.llen("ocpp:responses:CP-1"), "something is left")


async def test_lost_replies_under_traffic_cost_no_call_and_double_none(
    client: redis.Redis,
    shared_redis: EmbeddedRedis,
    start_relay: Callable[[int], Relay],
    start_server: StartServer,
) -> None:
    relay = start_relay(shared_redis.port)
    server = start_server(relay.url, "gw")
    answers: Counter[str] = Counter()
    cuts = 0

    async def charge(number: int) -> None:
        async with plugged(server, f"CP-{number}") as socket:
            # How many messages go in one push depends on how busy the machine is.
            for turn in itertools.takewhile(lambda turn: turn < 20 or cuts < 10, itertools.count()):
                start = {"connectorId": 1, "idTag": "TAG", "meterStart": turn, "timestamp": NOW}
                await ask(socket, f"m{turn}", "StartTransaction", start)
                answers[f"CP-{number}"] += 1

    pushes = itertools.count()

    async def cut() -> None:
        nonlocal cuts
        for cuts in itertools.count():
            # Not the one that repeats it as well: that must get through some time.
            planned = relay.plan(Cut(lambda words: is_push(words) and next(pushes) % 4 == 3, after=cuts % 2 == 0))
            await soon(planned.done.is_set, "no push was seen", within=10 * SOON)

    async with asyncio.TaskGroup() as tasks:
        cutting = tasks.create_task(cut())
        await asyncio.gather(*(charge(number) for number in range(8)))
        cutting.cancel()
    assert cuts >= 10
    assert len(answers) == 8
    assert {point: client.zcard(f"ocpp:transactions:{point}") for point in answers} == answers


async def test_a_redis_that_refuses_writes_makes_calls_wait_and_be_refused(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw")
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "BootNotification", BOOT)
        client.config_set("maxmemory", 1)
        await send(socket, 2, "2", "Authorize", {"idTag": "TAG"})
        answer = await receive(socket)
        assert answer[:3] == [4, "2", "InternalError"]
        client.config_set("maxmemory", 0)
        await soon(lambda: server.health()["status"] == "healthy", "not healthy again")
        assert await ask(socket, "3", "Authorize", {"idTag": "TAG"})


async def test_messages_that_may_have_been_pushed_are_never_refused(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw", **QUICK)
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": NOW}
    async with plugged(server, "CP-1") as unknown, plugged(server, "CP-2") as held:
        for socket in (unknown, held):
            await ask(socket, "1", "BootNotification", BOOT)
        # Redis takes the push and does not say what became of it.
        client.client_pause(10 * int(SOON) * 1000, all=False)
        try:
            await send(unknown, 2, "2", "StartTransaction", start)
            await soon(lambda: server.health()["status"] == "degraded", "healthy without a reply")
            await send(held, 2, "2", "StartTransaction", start)
            assert (await receive(held))[:3] == [4, "2", "InternalError"]
        finally:
            client.client_unpause()
        # The first thing that it hears, though it waited longer than the one that was refused.
        assert (await receive(unknown))[:2] == [3, "2"]
        assert await ask(held, "3", "Heartbeat")
        assert client.zcard("ocpp:transactions:CP-1") == 1
        assert client.zcard("ocpp:transactions:CP-2") == 0


async def test_connections_during_an_outage_of_redis_are_registered_after_it(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    private = start_redis()
    server = start_server(private.url(), "gw")
    server.wait_healthy()
    private.kill()
    await soon(lambda: server.health()["status"] == "degraded", "healthy without Redis")
    async with plugged(server, "CP-1") as socket, plugged(server, "CP-2"):
        async with plugged(server, "CP-GONE"):
            pass
        assert "currentTime" in await ask(socket, "1", "Heartbeat")
        private.start(START_SECONDS)
        with connect(private.url()) as client:
            await soon(lambda: client.smembers("ocpp:active") == {b"CP-1", b"CP-2"}, "not both are known")
            assert json.loads(json.dumps(client.hget("ocpp:session:CP-1", "ws_server_id").decode())) == "gw"
            assert not client.exists("ocpp:session:CP-GONE")


async def test_stopping_does_not_wait_for_a_redis_that_stands_still(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    """It would wait far longer for an answer of Redis' if it was not for the limit of a shutdown."""
    private = start_redis()
    server = start_server(private.url(), "gw", REDIS_TIMEOUT="60m")
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "BootNotification", BOOT)
        private.pause()
        try:
            await send(socket, 2, "2", "Authorize", {"idTag": "TAG"})
            server.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                await receive(socket)
            assert closed.value.rcvd.code == 1001
            assert await asyncio.to_thread(server.process.wait_for_exit, SOON) == 0
        finally:
            private.resume(SOON)


async def test_a_session_that_redis_forgot_comes_back_and_the_answer_with_it(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw")
    server.wait_healthy()
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "BootNotification", BOOT)
        client.flushall()
        assert await ask(socket, "2", "Heartbeat")
        assert client.hget("ocpp:session:CP-1", "ws_server_id") == b"gw"
        assert client.smembers("ocpp:active") == {b"CP-1"}


async def test_no_charge_point_waits_longer_than_it_must_where_many_are_held(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    """The backlog of one connection is bounded: the ninth CALL behind the first is refused at once, the others in time.

    Each waits from when it came, not from when the one before it was refused: they all end together.
    """
    private = start_redis()
    server = start_server(private.url(), "gw")
    async with plugged(server, "CP-1") as socket:
        await ask(socket, "1", "BootNotification", BOOT)
        private.kill()
        await soon(lambda: server.health()["status"] == "degraded", "healthy without Redis")
        began = time.monotonic()
        for number in range(10):
            await send(socket, 2, f"m{number}", "Authorize", {"idTag": "TAG"})
        assert (await receive(socket))[:3] == [4, "m9", "InternalError"]
        refused = [(await receive(socket))[1]]
        held = time.monotonic() - began
        refused += [(await receive(socket))[1] for _ in range(8)]
        assert sorted(refused) == [f"m{number}" for number in range(9)]
        assert time.monotonic() - began < 4 * held
