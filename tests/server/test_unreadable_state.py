"""Stored values that cannot be read, as the HTTP API shows them: named, and everything else is listed all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from harness import NOW, ServerProcess, StartServer

POINTS, TRANSACTIONS = "/api/v1/chargepoints", "/api/v1/transactions"
CONNECTORS, CONFIGURATION = f"{POINTS}/A/connectors", f"{POINTS}/A/configuration"


def _fill(client: redis.Redis) -> None:
    """Two charge points with two connectors, transactions and configuration keys each, and a session."""
    for number, point in enumerate(("A", "B")):
        client.set(f"ocpp:chargepoint:{point}", json.dumps({"id": point}))
        client.sadd("ocpp:chargepoints", point)
        client.sadd("ocpp:active", point)
        client.hset(f"ocpp:session:{point}", mapping={"charge_point_id": point, "ws_server_id": "s"})
        for each in (1, 2):
            transaction = 10 * number + each
            client.set(f"ocpp:connector:{point}:{each}", json.dumps({"status": "Available"}))
            client.sadd(f"ocpp:connectors:{point}", each)
            record = {"id": transaction, "charge_point_id": point, "connector_id": each, "id_tag": "T"}
            record |= {"start_time": NOW, "meter_start": 0, "meter_current": 5}
            client.set(f"ocpp:transaction:{transaction}", json.dumps(record))
            client.zadd(f"ocpp:transactions:{point}", {str(transaction): 1.0})
            client.sadd(f"ocpp:transactions:{point}:active", transaction)
            client.hset(f"ocpp:config:{point}", f"key-{each}", json.dumps({"value": "1"}))


@pytest.fixture
def server(client: redis.Redis, redis_url: str, start_server: StartServer) -> ServerProcess:
    """A server with something of everything."""
    _fill(client)
    started = start_server(redis_url)
    started.wait_healthy()
    return started


def _spoil(client: redis.Redis, key: str, value: bytes | None, field: str | None = None) -> None:
    if field is not None:
        client.hset(key, field, value or b"")
        return
    client.delete(key)
    if value is None:
        client.lpush(key, "x")
    else:
        client.set(key, value)


VALUES = [b"{", b'{"id":"other","status":7,"value":7}', b"\xff", b"[]", b"", None]
"""Invalid records; `None` is a key of another type."""
IDS_OF = {
    "/clients": lambda data: [each["charge_point_id"] for each in data],
    CONFIGURATION: sorted,
}


def _ids(path: str, data: Any) -> list[Any]:
    return IDS_OF.get(path, lambda data: [each["id"] for each in data])(data)


@pytest.mark.parametrize(
    ("path", "key", "field", "rest"),
    [
        (POINTS, "ocpp:chargepoint:A", None, ["B"]),
        (CONNECTORS, "ocpp:connector:A:1", None, [2]),
        (TRANSACTIONS, "ocpp:transaction:1", None, [2, 11, 12]),
        (f"{TRANSACTIONS}?status=active", "ocpp:transaction:1", None, [2, 11, 12]),
        (f"{TRANSACTIONS}?chargePointId=A", "ocpp:transaction:1", None, [2]),
        (CONFIGURATION, "ocpp:config:A", "key-1", ["key-2"]),
    ],
)
def test_a_list_has_the_readable_records_and_names_the_others(  # noqa: PLR0917
    client: redis.Redis, server: ServerProcess, path: str, key: str, field: str | None, rest: list[Any]
) -> None:
    for value in VALUES:
        if field is not None and value is None:
            continue  # a field of a hash is text always
        _spoil(client, key, value, field)
        status, body, _ = server.get(path)
        assert (value, status, body["success"]) == (value, 200, True)
        assert _ids(path, body["data"]) == rest, value
        (error,) = body["errors"]
        assert error.keys() == {"type", "key", "why"}
        assert (error["type"], error["key"]) == ("corrupt", key)
        assert error["why"]
        assert key in body["message"]


@pytest.mark.parametrize(
    ("path", "key", "rest"),
    [
        ("/clients", "ocpp:session:A", ["B"]),
        (TRANSACTIONS, "ocpp:transactions:A", [11, 12]),
        (f"{TRANSACTIONS}?status=active", "ocpp:transactions:A:active", [11, 12]),
    ],
)
def test_a_key_of_another_type_loses_only_its_own_data(
    client: redis.Redis, server: ServerProcess, path: str, key: str, rest: list[Any]
) -> None:
    _spoil(client, key, None)
    status, body, _ = server.get(path)
    assert (status, _ids(path, body["data"])) == (200, rest)
    assert [(error["type"], error["key"]) for error in body["errors"]] == [("corrupt", key)]


@pytest.mark.parametrize(
    ("path", "key", "member", "rest"),
    [
        (POINTS, "ocpp:chargepoints", b"\xff", ["A", "B"]),
        (CONNECTORS, "ocpp:connectors:A", b"one", [1, 2]),
        (CONNECTORS, "ocpp:connectors:A", b"9" * 5000, [1, 2]),
        (f"{TRANSACTIONS}?status=active", "ocpp:transactions:A:active", b"\xff", [1, 2, 11, 12]),
    ],
)
def test_a_member_of_an_index_that_is_none_is_named(  # noqa: PLR0917
    client: redis.Redis, server: ServerProcess, path: str, key: str, member: bytes, rest: list[Any]
) -> None:
    client.sadd(key, member)
    status, body, _ = server.get(path)
    assert (status, _ids(path, body["data"])) == (200, rest)
    assert [(error["type"], error["key"]) for error in body["errors"]] == [("corrupt", key)]
    assert repr(member)[2:5] in body["errors"][0]["why"]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/clients", "ocpp:active"),
        (POINTS, "ocpp:chargepoints"),
        (f"{POINTS}/A", "ocpp:chargepoint:A"),
        (CONNECTORS, "ocpp:connectors:A"),
        (f"{CONNECTORS}/1", "ocpp:connector:A:1"),
        (CONFIGURATION, "ocpp:config:A"),
        (TRANSACTIONS, "ocpp:chargepoints"),
        (f"{TRANSACTIONS}?chargePointId=A", "ocpp:transactions:A"),
        (f"{TRANSACTIONS}/1", "ocpp:transaction:1"),
    ],
)
def test_where_nothing_can_be_read_the_error_names_the_key(
    client: redis.Redis, server: ServerProcess, path: str, key: str
) -> None:
    _spoil(client, key, None)
    status, body, _ = server.get(path)
    assert (status, body["success"], body["data"]) == (500, False, None)
    assert [(error["type"], error["key"]) for error in body["errors"]] == [("corrupt", key)]
    assert key in body["message"]


def test_many_that_cannot_be_read_make_a_short_message(client: redis.Redis, server: ServerProcess) -> None:
    for number in range(10):
        client.sadd("ocpp:chargepoints", f"X{number}")
        client.set(f"ocpp:chargepoint:X{number}", "{")
    _, body, _ = server.get(POINTS)
    assert len(body["errors"]) == 10
    assert body["message"].endswith("ocpp:chargepoint:X0, ocpp:chargepoint:X1, ocpp:chargepoint:X2 and 7 more")


def test_readable_records_have_no_errors(server: ServerProcess) -> None:
    for path in ("/clients", POINTS, CONNECTORS, TRANSACTIONS, CONFIGURATION):
        status, body, _ = server.get(path)
        assert (status, body.keys()) == (200, {"success", "message", "data"})


def test_a_charge_point_without_stored_configuration_has_an_empty_one(
    client: redis.Redis, server: ServerProcess
) -> None:
    client.delete("ocpp:config:A")
    assert server.get(CONFIGURATION)[1] == {"success": True, "message": "", "data": {}}
    assert server.get(f"{POINTS}/nobody/configuration")[0] == 404
