"""Unusable answers to commands: the caller gets an error at once, and the record of the invalid message stays."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest
import redis
from harness import QUEUE, ServerProcess, StartServer, dead_letters, soon
from test_commands import POINT, correlations, http, note, plugged, receive, send

pytestmark = pytest.mark.anyio

RESET = ("POST", f"{POINT}/reset", {"type": "Soft", "timeout": 60})
"""It waits far longer than any test does."""
AT_ONCE = 10.0

UNUSABLE = [
    ([3], "FormationViolation", "the CALLRESULT has 2 elements"),
    ([3, {}, {}], "FormationViolation", "the CALLRESULT has 4 elements"),
    ([3, 5], "TypeConstraintViolation", "the CALLRESULT's last element is 5"),
    ([3, None], "TypeConstraintViolation", "the CALLRESULT's last element is None"),
    ([4, "GenericError"], "FormationViolation", "the CALLERROR has 3 elements"),
    ([4, 7, "", {}], "TypeConstraintViolation", "the error code is 7"),
    ([4, "GenericError", "", []], "TypeConstraintViolation", "the CALLERROR's last element is []"),
    ([3, {"status": 262_050 * "x"}], "FormationViolation", "longer than"),
]


@pytest.fixture
def server(redis_url: str, start_server: StartServer) -> ServerProcess:
    one = start_server(redis_url, "one")
    one.wait_healthy()
    return one


@pytest.mark.parametrize(("answer", "code", "reason"), UNUSABLE)
async def test_the_caller_gets_the_error_and_the_next_command_is_sent(
    server: ServerProcess, client: redis.Redis, answer: list[Any], code: str, reason: str
) -> None:
    kind, *rest = answer
    async with http(server) as ask, plugged(server, "CP-1") as socket:
        asking = [asyncio.ensure_future(ask(*RESET)) for _ in range(2)]
        message_id = (await receive(socket))[1]
        await send(socket, kind, message_id, *rest)
        next_id = (await receive(socket))[1]
        done, _ = await asyncio.wait(asking, timeout=AT_ONCE, return_when=asyncio.FIRST_COMPLETED)
        (told,) = done
        status, body = told.result()
        assert (status, body["data"]["code"]) == (502, code)
        assert "the charge point's answer cannot be used" in body["message"]
        assert reason in body["message"]
        await send(socket, 3, next_id, {"status": "Accepted"})
        (other,) = set(asking) - done
        assert (await asyncio.wait_for(other, AT_ONCE))[0] == 200
        totals = (await correlations(ask))["totals"]
        assert (totals["failed"], totals["resolved"], totals["late"]) == (1, 1, 0)
        await soon(lambda: not note(client), "a note stays")
    (record,) = server.records("invalid_message")
    assert (record["code"], record["charge_point_id"], record["message_id"]) == (code, "CP-1", message_id)
    assert [letter["reason"] for letter in dead_letters(client)] == [record["reason"]]


async def test_an_answer_to_no_command_reaches_no_caller(server: ServerProcess) -> None:
    async with http(server) as ask, plugged(server, "CP-1") as socket:
        asking = asyncio.ensure_future(ask(*RESET))
        message_id = (await receive(socket))[1]
        await send(socket, 3, "another")
        await send(socket, 3, message_id, {"status": "Accepted"})
        assert (await asyncio.wait_for(asking, AT_ONCE))[0] == 200
    assert [each["message_id"] for each in server.records("invalid_message")] == ["another"]


@pytest.mark.parametrize("broken", ["elements", "payload", "timestamp"])
async def test_an_unusable_answer_of_another_gateway_reaches_its_caller_through_whichever_instance(
    redis_url: str, client: redis.Redis, start_server: StartServer, broken: str
) -> None:
    """On the queue, from a gateway that looks at nothing; one of the two processors gets all of them."""
    servers = [start_server(redis_url, name) for name in ("one", "two")]
    for each in servers:
        each.wait_healthy()
    async with plugged(servers[0], "CP-1") as socket:
        for server in servers:
            async with http(server) as ask:
                asking = asyncio.ensure_future(ask(*RESET))
                message_id = (await receive(socket))[1]
                entry: dict[str, Any] = {"charge_point_id": "CP-1", "message_id": message_id}
                entry["payload"] = [3, message_id] if broken == "elements" else [3, message_id, {"status": "Accepted"}]
                if broken == "payload":
                    entry["payload"][2] = "Accepted"
                if broken == "timestamp":
                    entry["timestamp"] = "yesterday"
                client.lpush(QUEUE, json.dumps(entry))
                status, body = await asyncio.wait_for(asking, AT_ONCE)
                assert status == 502
                assert "the charge point's answer cannot be used" in body["message"]
                # Its gateway still waits for it.
                await send(socket, 3, message_id, {"status": "Accepted"})
                await soon(lambda: not client.llen(QUEUE), "not processed")
    # A record is written behind the commit that empties the queue.
    records = [partial(server.records, "invalid_message") for server in servers]
    await soon(lambda: sum(len(each()) for each in records) == 2, lambda: f"records: {[each() for each in records]}")
    assert len(dead_letters(client)) == 2


async def test_an_answer_that_breaks_the_schema_is_logged_with_its_code_and_counted(server: ServerProcess) -> None:
    async with http(server) as ask, plugged(server, "CP-1") as socket:
        asking = asyncio.ensure_future(ask(*RESET))
        message_id = (await receive(socket))[1]
        await send(socket, 3, message_id, {"status": "Perhaps"})
        status, body = await asyncio.wait_for(asking, AT_ONCE)
        assert (status, "status" in body["message"]) == (502, True)
    (record,) = server.records("invalid_answer")
    assert (record["code"], record["message_id"]) == ("PropertyConstraintViolation", message_id)
    assert 'ocpp_messages_invalid_total{code="PropertyConstraintViolation"} 1.0' in server.get("/metrics")[1]
