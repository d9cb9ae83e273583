"""A promoted replica may lack the last that its primary did: what it still holds is not done, or told, once more."""

from __future__ import annotations

import json
from unittest.mock import Mock

import pytest
import redis
from harness import QUEUE, StartServer, session_of, soon
from test_gateway import ask, command, plugged, receive, send, wake

from server.gateway.call_queue import CALL_SECONDS, CallQueue
from server.gateway.session import Entry

pytestmark = pytest.mark.anyio


def as_queued(client: redis.Redis, message_id: str, action: str) -> str:
    """A CALL of CP-1 as its gateway has queued it."""
    return json.dumps(
        {
            "charge_point_id": "CP-1",
            "message_type": 2,
            "message_id": message_id,
            "action": action,
            "payload": [2, message_id, action, {}],
            "connection": client.hget("ocpp:session:CP-1", "connection").decode(),
        }
    )


async def test_a_call_that_was_answered_is_not_answered_again(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw")
    server.wait_healthy()
    async with plugged(server, "CP-1") as charge_point:
        await ask(charge_point, "one", "Heartbeat")
        client.lpush(QUEUE, as_queued(client, "one", "Heartbeat"))
        await soon(lambda: not client.llen(QUEUE), "the message is not processed")
        # Whatever the first one is answered with stands before this answer in the list.
        await ask(charge_point, "two", "Heartbeat")


async def test_a_command_that_was_sent_is_not_sent_again(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "gw")
    server.wait_healthy()
    async with plugged(server, "CP-1") as charge_point:
        await ask(charge_point, "0", "Heartbeat")
        for message_id in ("one", "one", "two"):
            command(client, "CP-1", message_id, "ClearCache", {})
        wake(client, "gw", "CP-1")
        assert await receive(charge_point) == [2, "one", "ClearCache", {}]
        await send(charge_point, 3, "one", {"status": "Accepted"})
        assert await receive(charge_point) == [2, "two", "ClearCache", {}]


def test_an_answer_that_comes_very_late_is_awaited_until_it_comes() -> None:
    calls, session = CallQueue(Mock(full=False), Mock()), session_of("CP-1")
    for message_id in ("one", "two"):
        calls.take(session, Entry(b"", session, message_id))
    assert calls.awaits(session, "one")
    assert not calls.awaits(session, "two")  # it is held
    calls.expire(session, session.call_since + CALL_SECONDS + 1, redis_is_away=False)
    assert calls.awaits(session, "one")
    assert calls.awaits(session, "two")
    calls.done(session, "one")
    assert not calls.awaits(session, "one")
    assert session.call == "two"
