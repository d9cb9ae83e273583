"""Commands through HTTP, Redis and the gateway to real WebSockets, and their answers on the way back."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
import redis
from harness import QUEUE, SOON, START_SECONDS, ServerProcess, StartRedis, StartServer, soon
from test_gateway import Point
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial

pytestmark = pytest.mark.anyio

Reply = tuple[int, dict[str, Any]]
Ask = Callable[..., Awaitable[Reply]]


@asynccontextmanager
async def http(server: ServerProcess, token: str = "") -> AsyncIterator[Ask]:
    """Ask the server's HTTP API, any number of times at once."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{server.http_port}", headers=headers, connector=aiohttp.TCPConnector(limit=300)
    ) as session:

        async def ask(method: str, path: str, body: Any = None, **query: Any) -> Reply:
            async with session.request(method, path, json=body, params=query) as reply:
                return reply.status, await reply.json()

        yield ask


@asynccontextmanager
async def plugged(server: ServerProcess, charge_point_id: str) -> AsyncIterator[ClientConnection]:
    """A charge point that is connected, and that Redis knows of."""
    address = f"ws://127.0.0.1:{server.ws_port}/ocpp/{charge_point_id}"
    async with dial(address, subprotocols=["ocpp1.6"], proxy=None) as socket:  # type: ignore[list-item]
        with redis.Redis.from_url(server.redis_url) as client:
            await soon(lambda: client.exists(f"ocpp:session:{charge_point_id}"), "no session")
        yield socket


async def receive(socket: ClientConnection) -> Any:
    async with asyncio.timeout(SOON):
        return json.loads(await socket.recv())


async def send(socket: ClientConnection, *frame: Any) -> None:
    await socket.send(json.dumps(list(frame)))


@asynccontextmanager
async def answering(
    server: ServerProcess, charge_point_id: str, answer: Callable[[str, dict[str, Any]], dict[str, Any]]
) -> AsyncIterator[None]:
    """A charge point that answers every command."""

    async def serve(socket: ClientConnection) -> None:
        async for raw in socket:
            _, message_id, action, payload = json.loads(raw)
            await send(socket, 3, message_id, answer(action, payload))

    async with plugged(server, charge_point_id) as socket, asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve(socket))
        yield
        serving.cancel()


def echo(_action: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"unknownKey": payload["key"]}


def note(client: redis.Redis) -> list[bytes]:
    """The waiting commands, as recorded in Redis."""
    return list(client.scan_iter("ocpp:correlation:*"))


async def correlations(ask: Ask) -> dict[str, Any]:
    status, body = await ask("GET", "/inspect/correlations")
    assert status == 200
    return body["data"]


@pytest.fixture
def server(redis_url: str, start_server: StartServer) -> ServerProcess:
    one = start_server(redis_url, "one")
    one.wait_healthy()
    return one


POINT = "/api/v1/chargepoints/CP-1"
TO_ARRIVE = 6.0
"""Seconds for a command that has to reach its charge point before it expires, also on a machine that stands still."""


@pytest.mark.parametrize(
    ("method", "path", "body", "action", "payload", "answer"),
    [
        (
            "GET",
            f"{POINT}/configuration/live?keys=A,B&timeout=50",
            None,
            "GetConfiguration",
            {"key": ["A", "B"]},
            {"unknownKey": ["A", "B"]},
        ),
        ("GET", f"{POINT}/configuration/live", None, "GetConfiguration", {}, {"configurationKey": []}),
        (
            "PUT",
            f"{POINT}/configuration/live",
            {"key": "A", "value": "1"},
            "ChangeConfiguration",
            {"key": "A", "value": "1"},
            {"status": "RebootRequired"},
        ),
        (
            "POST",
            "/api/v1/transactions/remote-start",
            {"chargePointId": "CP-1", "connectorId": 1, "idTag": "T", "timeout": 30.5},
            "RemoteStartTransaction",
            {"connectorId": 1, "idTag": "T"},
            {"status": "Accepted"},
        ),
        (
            "POST",
            "/api/v1/transactions/remote-stop",
            {"chargePointId": "CP-1", "transactionId": 7},
            "RemoteStopTransaction",
            {"transactionId": 7},
            {"status": "Rejected"},
        ),
        (
            "POST",
            f"{POINT}/trigger",
            {"requestedMessage": "Heartbeat"},
            "TriggerMessage",
            {"requestedMessage": "Heartbeat"},
            {"status": "NotImplemented"},
        ),
        (
            "POST",
            f"{POINT}/availability",
            {"connectorId": 0, "type": "Inoperative"},
            "ChangeAvailability",
            {"connectorId": 0, "type": "Inoperative"},
            {"status": "Scheduled"},
        ),
        ("POST", f"{POINT}/reset", {"type": "Hard"}, "Reset", {"type": "Hard"}, {"status": "Accepted"}),
        ("POST", f"{POINT}/unlock", {"connectorId": 2}, "UnlockConnector", {"connectorId": 2}, {"status": "Unlocked"}),
        ("POST", f"{POINT}/clear-cache", {}, "ClearCache", {}, {"status": "Accepted"}),
    ],
)
async def test_a_command_reaches_its_charge_point_and_the_answer_its_caller(  # noqa: PLR0917
    server: ServerProcess,
    client: redis.Redis,
    method: str,
    path: str,
    body: Any,
    action: str,
    payload: dict[str, Any],
    answer: dict[str, Any],
) -> None:
    async with http(server) as ask, plugged(server, "CP-1") as socket:
        asking = asyncio.ensure_future(ask(method, path, body))
        kind, message_id, *rest = await receive(socket)
        assert (kind, rest) == (2, [action, payload])
        assert client.get(f"ocpp:correlation:{message_id}").startswith(b"one.")
        await send(socket, 3, message_id, answer)
        assert await asking == (200, {"success": True, "message": "", "data": answer})
        await soon(lambda: not note(client), "the note stays")
        assert (await correlations(ask))["pending"] == {"count": 0, "oldest": []}


async def test_the_ocpp_packages_charge_point_carries_out_commands_over_http(server: ServerProcess) -> None:
    async with http(server) as ask, plugged(server, "CP-1") as socket:
        point = Point("CP-1", socket)
        reading = asyncio.create_task(point.start())
        try:
            for method, path, body, action, expected in [
                ("GET", f"{POINT}/configuration/live", None, "GetConfiguration", {"unknownKey": ["Nothing"]}),
                (
                    "PUT",
                    f"{POINT}/configuration/live",
                    {"key": "A", "value": "1"},
                    "ChangeConfiguration",
                    {"status": "Accepted"},
                ),
                (
                    "POST",
                    "/api/v1/transactions/remote-start",
                    {"chargePointId": "CP-1", "idTag": "T"},
                    "RemoteStartTransaction",
                    {"status": "Accepted"},
                ),
                (
                    "POST",
                    f"{POINT}/trigger",
                    {"requestedMessage": "Heartbeat"},
                    "TriggerMessage",
                    {"status": "Accepted"},
                ),
                ("POST", f"{POINT}/reset", {"type": "Soft"}, "Reset", {"status": "Accepted"}),
            ]:
                status, reply = await ask(method, path, body)
                assert (action, status) == (action, 200), reply
                assert reply["data"].items() >= expected.items()
                assert point.told[-1] == action
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def test_invalid_commands_are_refused_with_the_field_and_nothing_is_sent(
    server: ServerProcess, client: redis.Redis
) -> None:
    cases = [
        ("POST", f"{POINT}/reset", {"type": "Warm"}, "type"),
        ("POST", f"{POINT}/reset", {}, "type"),
        ("POST", f"{POINT}/reset", {"type": "Hard", "timeout": 0}, "timeout"),
        ("POST", f"{POINT}/reset", {"type": "Hard", "extra": 1}, "extra"),
        ("POST", f"{POINT}/reset", [], "object"),
        ("POST", f"{POINT}/unlock", {"connectorId": 0}, "connectorId"),
        ("POST", f"{POINT}/unlock", {"connectorId": "1"}, "connectorId"),
        ("POST", f"{POINT}/availability", {"connectorId": -1, "type": "Operative"}, "connectorId"),
        ("POST", f"{POINT}/trigger", {"requestedMessage": "Nonsense"}, "requestedMessage"),
        ("PUT", f"{POINT}/configuration/live", {"key": "x" * 51, "value": ""}, "key"),
        ("GET", f"{POINT}/configuration/live?timeout=x", None, "timeout"),
        ("GET", f"{POINT}/configuration/live?timeout=1&timeout=2", None, "timeout"),
        ("GET", f"{POINT}/configuration/live?nonsense=1", None, "nonsense"),
        ("POST", "/api/v1/transactions/remote-start", {"chargePointId": "CP-1"}, "idTag"),
        ("POST", "/api/v1/transactions/remote-start", {"chargePointId": "C P", "idTag": "T"}, "chargePointId"),
        ("POST", "/api/v1/transactions/remote-stop", {"chargePointId": "CP-1"}, "transactionId"),
    ]
    async with http(server) as ask, plugged(server, "CP-1"):
        for method, path, body, field in cases:
            status, reply = await ask(method, path, body)
            assert (path, body, status) == (path, body, 400)
            assert field in reply["message"], reply
            assert (reply["success"], reply["data"]) == (False, None)
        assert not note(client)
        assert (await correlations(ask))["totals"]["registered"] == 0


async def test_unknown_is_404_and_offline_is_503(server: ServerProcess, client: redis.Redis) -> None:
    async with http(server) as ask:
        status, body = await ask("POST", "/api/v1/chargepoints/CP-9/reset", {"type": "Soft"})
        assert (status, body["success"]) == (404, False)
        assert "CP-9" in body["message"]
        client.set("ocpp:chargepoint:CP-9", json.dumps({"id": "CP-9"}))
        status, body = await ask("POST", "/api/v1/chargepoints/CP-9/reset", {"type": "Soft"})
        assert (status, body["message"]) == (503, "the charge point 'CP-9' is not connected")
        assert not note(client)


async def test_no_answer_in_time_is_408_and_leaves_nothing(server: ServerProcess, client: redis.Redis) -> None:
    async with http(server) as ask, plugged(server, "CP-1"):
        began = time.monotonic()
        status, body = await ask("POST", f"{POINT}/reset", {"type": "Soft", "timeout": 0.3})
        assert time.monotonic() - began >= 0.3
        assert status == 408
        assert "no answer within 0.3 s" in body["message"]
        await soon(lambda: not note(client), "the note stays")
        assert (await correlations(ask))["totals"]["expired"] == 1


async def test_a_callerror_and_an_answer_that_ocpp_does_not_allow_are_502(server: ServerProcess) -> None:
    async with http(server) as ask, plugged(server, "CP-1") as socket:
        asking = asyncio.ensure_future(ask("POST", f"{POINT}/reset", {"type": "Soft"}))
        message_id = (await receive(socket))[1]
        await send(socket, 4, message_id, "NotSupported", "not here", {"a": 1})
        status, body = await asking
        assert (status, body["data"]) == (
            502,
            {"code": "NotSupported", "description": "not here", "details": {"a": 1}},
        )
        asking = asyncio.ensure_future(ask("POST", f"{POINT}/reset", {"type": "Soft"}))
        message_id = (await receive(socket))[1]
        await send(socket, 3, message_id, {"status": "Perhaps"})
        status, body = await asking
        assert status == 502
        assert "status" in body["message"]


async def test_a_disconnect_tells_the_callers_at_once_and_a_new_connection_is_not_touched(
    server: ServerProcess, client: redis.Redis
) -> None:
    async with http(server) as ask:
        async with plugged(server, "CP-1") as socket:
            asking = [
                asyncio.ensure_future(ask("POST", f"{POINT}/reset", {"type": "Soft", "timeout": 10 * SOON}))
                for _ in range(5)
            ]
            await receive(socket)
            # A command that came after the disconnect would rightly find nobody.
            await soon(lambda: len(note(client)) == 5, "not all of them wait")
        # Long before their time is up.
        for status, body in await asyncio.wait_for(asyncio.gather(*asking), SOON):
            assert status == 503
            assert "disconnected" in body["message"]
        await soon(lambda: not note(client), "the notes stay")
        client.delete("ocpp:responses:CP-1")
        async with plugged(server, "CP-1") as socket, plugged(server, "CP-2") as other:
            told, asking = (
                asyncio.ensure_future(ask("POST", f"/api/v1/chargepoints/{name}/reset", {"type": "Soft"}))
                for name in ("CP-2", "CP-1")
            )
            await receive(other)
            message_id = (await receive(socket))[1]
            # An event of the connection before, that comes late; CP-2, which comes after it, shows that it was heard.
            client.publish("ocpp:control:disconnect", json.dumps({"charge_point_id": "CP-1"}))
            await other.close()
            assert (await told)[0] == 503
            await send(socket, 3, message_id, {"status": "Accepted"})
            assert (await asking)[0] == 200


async def test_a_caller_that_goes_away_leaves_nothing(server: ServerProcess, client: redis.Redis) -> None:
    async with plugged(server, "CP-1") as socket, http(server) as ask:
        async with http(server) as leaving:
            asking = asyncio.ensure_future(leaving("POST", f"{POINT}/reset", {"type": "Soft", "timeout": 10 * SOON}))
            await receive(socket)
            assert len(note(client)) == 1
            asking.cancel()
        await soon(lambda: not note(client), "the note stays")
        found = await correlations(ask)
        assert (found["pending"]["count"], found["totals"]["cancelled"]) == (0, 1)


async def test_a_shutdown_tells_the_callers_and_leaves_nothing(server: ServerProcess, client: redis.Redis) -> None:
    async with http(server) as ask, plugged(server, "CP-1") as socket:
        asking = [
            asyncio.ensure_future(ask("POST", f"{POINT}/reset", {"type": "Soft", "timeout": 10 * SOON}))
            for _ in range(20)
        ]
        await receive(socket)
        await soon(lambda: len(note(client)) == 20, "not all were sent")
        server.signal(signal.SIGTERM)
        assert {status for status, _ in await asyncio.gather(*asking)} == {503}
    await soon(lambda: not server.process.alive, "it does not end")
    assert server.process.exit_status == 0
    assert not note(client)


async def test_late_duplicate_and_unknown_answers_are_counted_logged_once_and_harmless(
    server: ServerProcess, client: redis.Redis
) -> None:
    async with http(server) as ask, plugged(server, "CP-1") as socket:
        asking = asyncio.ensure_future(ask("POST", f"{POINT}/reset", {"type": "Soft"}))
        twice = (await receive(socket))[1]
        await send(socket, 3, twice, {"status": "Accepted"})
        await send(socket, 3, twice, {"status": "Rejected"})
        assert (await asking)[1]["data"] == {"status": "Accepted"}
        asking = asyncio.ensure_future(ask("POST", f"{POINT}/reset", {"type": "Soft", "timeout": TO_ARRIVE}))
        late = (await receive(socket))[1]
        assert (await asking)[0] == 408
        await send(socket, 3, late, {"status": "Accepted"})
        await send(socket, 4, "unknown-1", "GenericError", "", {})
        await soon(lambda: client.llen(QUEUE) == 0 and server.records("unknown_answer"), "not logged")
        totals = (await correlations(ask))["totals"]
        assert [totals[name] for name in ("late", "duplicate", "unknown")] == [1, 1, 1]
        for event, message_id in [("late_answer", late), ("duplicate_answer", twice), ("unknown_answer", "unknown-1")]:
            records = server.records(event)
            assert [(one["charge_point_id"], one["message_id"]) for one in records] == [("CP-1", message_id)]
        asking = asyncio.ensure_future(ask("POST", f"{POINT}/reset", {"type": "Soft"}))
        await send(socket, 3, (await receive(socket))[1], {"status": "Accepted"})
        assert (await asking)[0] == 200


async def test_a_thousand_commands_answered_in_random_order_each_get_their_own(server: ServerProcess) -> None:
    """20 at each of 50 charge points at the same time; a charge point answers one command after the other."""

    async def answer_slowly(socket: ClientConnection) -> None:
        for _ in range(20):
            _, message_id, _, payload = await receive(socket)
            await asyncio.sleep(random.Random(message_id).uniform(0, 0.01))
            await send(socket, 3, message_id, {"unknownKey": payload["key"]})

    async with AsyncExitStack() as stack:
        ask = await stack.enter_async_context(http(server))
        sockets = [await stack.enter_async_context(plugged(server, f"CP-{number}")) for number in range(50)]
        working = [asyncio.ensure_future(answer_slowly(socket)) for socket in sockets]
        replies = await asyncio.gather(
            *(
                ask("GET", f"/api/v1/chargepoints/CP-{number % 50}/configuration/live", keys=f"k-{number}", timeout=300)
                for number in range(1000)
            )
        )
        await asyncio.gather(*working)
        expected = [(200, {"unknownKey": [f"k-{number}"]}) for number in range(1000)]
        assert [(status, body["data"]) for status, body in replies] == expected


async def test_two_instances_answer_200_of_200_whichever_consumes_the_answers(
    redis_url: str, client: redis.Redis, start_server: StartServer
) -> None:
    """The queue has one owner: of the two servers, one gets all of its answers from the other."""
    servers = [start_server(redis_url, name, LEASE_SECONDS="60") for name in ("one", "two")]
    for each in servers:
        each.wait_healthy()
    async with AsyncExitStack() as stack:
        asks = [await stack.enter_async_context(http(each)) for each in servers]
        for number in range(10):
            await stack.enter_async_context(answering(servers[number % 2], f"CP-{number}", echo))
        replies = await asyncio.gather(
            *(
                ask("GET", f"/api/v1/chargepoints/CP-{number % 10}/configuration/live", keys=f"{who}-{number}")
                for who, ask in enumerate(asks)
                for number in range(200)
            )
        )
        expected = [(200, {"unknownKey": [f"{who}-{number}"]}) for who in range(2) for number in range(200)]
        assert [(status, body["data"]) for status, body in replies] == expected
        owners = [each.inspect()["owner"] for each in servers]
        assert sorted(owners) == [False, True]
        for ask in asks:
            found = await correlations(ask)
            assert (found["pending"]["count"], found["totals"]["resolved"]) == (0, 200)
    await soon(lambda: not note(client), "notes stay")


async def test_a_lost_wake_up_does_not_cost_the_answer(server: ServerProcess, client: redis.Redis) -> None:
    async with http(server) as ask, plugged(server, "CP-1") as socket:
        asking = asyncio.ensure_future(ask("POST", f"{POINT}/reset", {"type": "Soft", "timeout": SOON}))
        message_id = (await receive(socket))[1]
        instance = client.get(f"ocpp:correlation:{message_id}").decode()
        # As another instance's processor would, without the wake-up.
        client.lpush(
            f"ocpp:answers:{instance}", "rubbish", json.dumps(["CP-1", [3, message_id, {"status": "Accepted"}]])
        )
        assert (await asking)[0] == 200
        await soon(lambda: not client.exists(f"ocpp:answers:{instance}"), "the list stays")
        assert len(server.records("forwarded_answer_unreadable")) == 1


async def test_commands_are_refused_at_once_while_redis_is_away_and_work_again(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    service = start_redis()
    server = start_server(service.url(), "one")
    server.wait_healthy()
    async with http(server) as ask:
        service.stop(SOON)
        await soon(lambda: server.health()["status"] == "degraded", "not noticed")
        for method, path, body in [
            ("POST", f"{POINT}/reset", {"type": "Soft"}),
            ("GET", "/clients", None),
            ("GET", "/api/v1/chargepoints", None),
            ("GET", "/api/v1/transactions/1", None),
        ]:
            took = []
            for _ in range(5):
                began = time.monotonic()
                status, reply = await ask(method, path, body)
                took.append(time.monotonic() - began)
                assert (status, reply["success"]) == (503, False)
            # One that waits does so each time; the machine may stand still at one time or the other.
            assert min(took) < 2, "it waited for an answer, or for Redis"
        assert (await correlations(ask))["pending"]["count"] == 0
        service.start(START_SECONDS)
        await soon(lambda: server.health()["status"] == "healthy", "not back")
        async with answering(server, "CP-1", lambda _action, _payload: {"status": "Accepted"}):
            assert (await ask("POST", f"{POINT}/reset", {"type": "Soft"}))[0] == 200


async def test_commands_and_writes_need_the_token_when_one_is_set(redis_url: str, start_server: StartServer) -> None:
    server = start_server(redis_url, "one", API_TOKEN="geheim")
    server.wait_healthy()
    guarded = [
        ("POST", f"{POINT}/reset", {"type": "Soft"}),
        ("GET", f"{POINT}/configuration/live", None),
        ("PUT", f"{POINT}/configuration", {"key": "a", "value": "b"}),
        ("GET", "/inspect/correlations", None),
    ]
    async with http(server) as stranger, http(server, "geheim") as friend:
        for method, path, body in guarded:
            assert (await stranger(method, path, body))[0] == 401
            assert (await friend(method, path, body))[0] in {200, 404}
        assert (await stranger("GET", "/clients"))[0] == 200
