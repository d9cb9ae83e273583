"""What was meant for a connection ends with it: nothing is carried out, or answered, on the next one."""

from __future__ import annotations

import asyncio
import signal

import pytest
import redis
from conftest import StartServer
from harness import NOW, QUEUE, ServerProcess, soon
from test_commands import http
from test_gateway import BOOT, ask, plugged, receive, send
from websockets.asyncio.client import ClientConnection

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
    """Until nothing is left of it: a gateway takes what it has sent out of the list with its next look."""
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
async def test_what_was_sent_before_the_gateway_died_is_not_sent_again(
    gateway: ServerProcess, processor: ServerProcess, client: redis.Redis, start_server: StartServer, kind: str
) -> None:
    """A gateway that is killed between sending and taking out what it sent leaves it in the list."""
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
