"""Requests that no well-behaved client sends, over sockets of the test's own."""

from __future__ import annotations

import http.client
import json
from typing import Any

import redis
from conftest import StartServer
from harness import ServerProcess

CONFIGURATION = "/api/v1/chargepoints/A/configuration"


def _put(server: ServerProcess, body: bytes, path: str = CONFIGURATION) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=5)
    try:
        connection.request("PUT", path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def test_a_body_that_is_not_json_or_says_something_twice_is_400_and_changes_nothing(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    client.set("ocpp:chargepoint:A", json.dumps({"id": "A"}))
    server = start_server(redis_url)
    server.wait_healthy()
    for body, said in [
        (b'{"key":"k","value":"1","value":"2"}', "'value' stands twice"),
        (b'{"key":"k","value":"1","\\u0076alue":"2"}', "'value' stands twice"),
        (b'{"key":"k","value":"1","x":[{"y":1,"y":1}]}', "'y' stands twice"),
        (b'{"key":"k","value":"1"', "not JSON"),
        (b'{"key":"k","value":NaN}', "not JSON"),
        (b'{"key":"k","value":"1"}{"key":"k","value":"1"}', "not JSON"),
        (b'{"key":"k","value":"\\ud800"}', "not JSON"),
        (b'{"key":"k","value":"\xff"}', "not JSON"),
        (b'{"key":"k","value":' + b"9" * 4999 + b"}", "value"),
        (b'{"key":"k","value":1e400}', "not JSON"),
        (b"[" * 40 + b"]" * 40, "nested deeper than 32"),
        (b"[" * 60_000, "nested deeper than 32"),
        (b"", "not JSON"),
    ]:
        status, reply = _put(server, body)
        assert (body[:60], status) == (body[:60], 400)
        assert said in reply["message"], reply
    assert not client.exists("ocpp:config:A")
    assert _put(server, b'{"key":"k:\\u003a","value":"::"}')[0] == 200
