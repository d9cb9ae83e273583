"""Keys that the server needs and that hold something else: key and command are named, and mending is enough."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from harness import QUEUE, ServerProcess, StartServer, answered_ids, call, push, until
from websockets.sync.client import connect as dial

SHARDED = {"QUEUE_SHARDS": "2"}
CASES: list[tuple[str, set[str], dict[str, str]]] = [
    (QUEUE, {"LLEN", "LRANGE", "BLMOVE"}, {}),
    (f"{QUEUE}:owner", {"HMGET"}, {}),
    (f"{QUEUE}:shards", {"GET"}, {}),
    (f"{QUEUE}:shards", {"GET"}, SHARDED),
    (f"{QUEUE}:processors", {"HSET"}, SHARDED),
    (f"{QUEUE}:shard:1", {"LLEN", "LRANGE", "BLMOVE"}, SHARDED),
    (f"{QUEUE}:shard:1:owner", {"HGET", "HMGET"}, SHARDED),
    (QUEUE, {"LLEN", "LRANGE", "BLMOVE"}, SHARDED),
]


def _check_named(server: ServerProcess, key: str, commands: set[str], why: str = "WRONGTYPE") -> None:
    """Health and log name the misconfiguration, and the server lives."""

    def named(text: str) -> bool:
        return any(f"{command} {key}" in text for command in commands) and why in text

    until(lambda: named(server.health()["redis"].get("error", "")), lambda: f"{server.health()}")
    assert server.health()["status"] == "degraded"
    until(
        lambda: any(named(record["error"]) for record in server.records("redis_unavailable")),
        lambda: f"no record names it: {server.records('redis_unavailable')}",
        timeout=15,
    )


def _check_works(server: ServerProcess, client: redis.Redis) -> None:
    server.wait_healthy()
    assert "error" not in server.health()["redis"]
    push(client, [call("CP", "a")])
    until(lambda: answered_ids(client, "CP") == ["a"], "no answer")


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case[0]}-{len(case[2])}") for case in CASES])
@pytest.mark.parametrize("at_work", [False, True], ids=["at the start", "at work"])
def test_a_key_of_another_type_is_named_and_waited_for(
    client: redis.Redis, redis_url: str, make_server: StartServer, case: Any, *, at_work: bool
) -> None:
    key, commands, settings = case
    server = make_server(redis_url, LEASE_SECONDS="1", **settings)
    if at_work:
        server.start()
        server.wait_healthy()
    client.delete(key)
    client.zadd(key, {"x": 1.0})
    if not at_work:
        server.start()
    _check_named(server, key, commands)
    client.delete(key)
    _check_works(server, client)


@pytest.mark.parametrize("settings", [{}, SHARDED], ids=["whole", "shards"])
def test_a_layout_that_is_no_number_is_named_and_waited_for(
    client: redis.Redis, redis_url: str, start_server: StartServer, settings: dict[str, str]
) -> None:
    client.set(f"{QUEUE}:shards", "many")
    server = start_server(redis_url, **settings)
    _check_named(server, f"{QUEUE}:shards", {"GET"}, "no number of shards stands there")
    client.delete(f"{QUEUE}:shards")
    _check_works(server, client)


@pytest.mark.parametrize("wrong", ["type", "number"])
def test_a_gateways_own_key_that_is_spoilt_is_named_and_waited_for(
    client: redis.Redis, redis_url: str, start_server: StartServer, wrong: str
) -> None:
    server = start_server(redis_url)
    server.wait_healthy()
    address = f"ws://127.0.0.1:{server.ws_port}/ocpp/CP-1"
    with dial(address, subprotocols=["ocpp1.6"], proxy=None) as socket:  # type: ignore[list-item]
        socket.send('[2,"1","Authorize",{"idTag":"A"}]')
        assert json.loads(socket.recv(10))[:2] == [3, "1"]
        (key,) = [each.decode() for each in client.keys("ocpp:gateway:*")]
        if wrong == "type":
            client.delete(key)
            client.set(key, "x")
        else:
            client.hset(key, "number", "x")
        socket.send('[2,"2","Authorize",{"idTag":"A"}]')
        _check_named(server, key, {"HGET"}, "WRONGTYPE" if wrong == "type" else "no number stands there")
        client.delete(key)
        # What waited was refused after a while, or is answered now; what comes from now on is answered.
        server.wait_healthy()
        assert json.loads(socket.recv(20))[1] == "2"
        socket.send('[2,"3","Authorize",{"idTag":"A"}]')
        assert json.loads(socket.recv(10))[:2] == [3, "3"]
