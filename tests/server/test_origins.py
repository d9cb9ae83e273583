"""Web pages of other origins get nothing from the server: not its API, not a charge point's WebSocket."""

from __future__ import annotations

import http.client
import json

import pytest
import redis
from harness import SOON, ServerProcess, StartServer

from server.origins import Origins

ELSEWHERE = "http://elsewhere.example"


@pytest.mark.parametrize(
    ("bound_to", "hosts", "host", "refused"),
    [
        ("127.0.0.1", (), "127.0.0.1:8081", False),
        ("127.0.0.1", (), "localhost", False),
        ("127.0.0.1", (), "LOCALHOST:1", False),
        ("::1", (), "[::1]:8081", False),
        ("127.0.0.5", (), "127.0.0.5:8081", False),
        ("127.0.0.1", (), "rebound.example:8081", True),
        ("127.0.0.1", (), "localhost.rebound.example", True),
        ("127.0.0.1", (), "", True),
        ("127.0.0.1", (), None, True),
        ("127.0.0.1", (), "[", True),
        ("0.0.0.0", (), "csms.example", False),
        ("0.0.0.0", ("csms.example",), "csms.example:443", False),
        ("0.0.0.0", ("csms.example",), "other.example", True),
    ],
)
def test_host_names(bound_to: str, hosts: tuple[str, ...], host: str | None, refused: bool) -> None:
    assert (Origins(hosts=hosts, bound_to=bound_to).refuse_host(host) is not None) is refused


@pytest.mark.parametrize(
    ("origin", "refused"),
    [
        (None, False),
        ("https://console.example", False),
        ("https://CONSOLE.example", False),
        ("http://console.example", True),
        ("https://console.example.evil.example", True),
        ("null", True),
        ("", True),
    ],
)
def test_origins(origin: str | None, refused: bool) -> None:
    origins = Origins(origins=("https://console.example",), bound_to="127.0.0.1")
    assert (origins.refuse_origin(origin) is not None) is refused


def reply(server: ServerProcess, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=SOON)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["message"]
    finally:
        connection.close()


def test_requests_of_a_page_of_another_origin_have_no_effect(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    client.set("ocpp:chargepoint:CP-1", json.dumps({"id": "CP-1"}))
    server = start_server(redis_url, ALLOWED_ORIGINS="https://console.example")
    server.wait_healthy()
    path, body = "/api/v1/chargepoints/CP-1/configuration", json.dumps({"key": "K", "value": "V"}).encode()
    kind = {"Content-Type": "application/json"}
    status, why = reply(server, "PUT", path, {**kind, "Origin": ELSEWHERE}, body)
    assert (status, "ALLOWED_ORIGINS" in why) == (403, True)
    # DNS rebinding: a page's own name leads to the loopback interface.
    status, why = reply(server, "GET", "/api/v1/chargepoints", {"Host": "rebound.example"})
    assert (status, "ALLOWED_HOSTS" in why) == (403, True)
    # A form, which a browser sends without asking the server first.
    status, why = reply(server, "PUT", path, {"Content-Type": "text/plain"}, body)
    assert (status, "application/json" in why) == (415, True)
    assert not client.exists("ocpp:config:CP-1")
    assert reply(server, "PUT", path, {**kind, "Origin": "https://console.example"}, body)[0] == 200
    assert client.exists("ocpp:config:CP-1")
