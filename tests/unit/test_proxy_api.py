"""Access control and limits of the fault proxy's HTTP API: on a real process."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator

import psutil
import pytest

from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi
from ocpp_resilience.faults.proxy.guard import MAX_BODY_BYTES, REQUEST_SECONDS

PATIENCE = 30
CREATE = json.dumps({"name": "page", "upstream": "127.0.0.1:1", "listen": "127.0.0.1:0"}).encode()
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def process() -> Iterator[FaultProxyProcess]:
    with contextlib.closing(FaultProxyProcess("Fault proxy", seed=7)) as made:
        made.start()
        yield made
        assert made.process.stderr.read_text() == ""


@pytest.fixture
def api(process: FaultProxyProcess) -> Iterator[ProxyApi]:
    made = process.api
    yield made
    for name in made.ask("GET", "/proxies"):
        made.delete(name)


def post(api: ProxyApi, headers: dict[str, str], body: bytes = CREATE, path: str = "/proxies") -> tuple[int, str]:
    connection = http.client.HTTPConnection(api.host, api.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        # A refusal may come, and the connection end, before all of a long body is sent.
        with contextlib.suppress(ConnectionError):
            connection.request("POST", path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()


def test_a_client_with_json_may_create_a_proxy(api: ProxyApi) -> None:
    assert post(api, JSON)[0] == 201
    assert post(api, {"Content-Type": "application/json; charset=utf-8"})[0] == 409


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({**JSON, "Origin": "http://elsewhere"}, 403, "web pages may not use this API"),
        ({**JSON, "Origin": "null"}, 403, "web pages"),
        ({**JSON, "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}, 403, "web pages"),
        ({**JSON, "Host": "rebound.example:8474"}, 403, "Host 'rebound.example:8474' is not allowed"),
        ({"Content-Type": "text/plain"}, 415, "application/json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        ({}, 415, "application/json"),
    ],
)
def test_a_web_page_cannot_create_a_proxy(api: ProxyApi, headers: dict[str, str], status: int, text: str) -> None:
    seen, said = post(api, headers)
    assert (seen, text in said) == (status, True), said
    assert api.ask("GET", "/proxies") == {}


@pytest.mark.parametrize("host", ["127.0.0.1:8474", "127.0.0.1", "[::1]:8474", "[::1]", "localhost:8474", "LOCALHOST"])
def test_addresses_and_localhost_are_allowed_hosts(api: ProxyApi, host: str) -> None:
    assert post(api, {**JSON, "Host": host})[0] == 201


def test_a_web_page_cannot_send_requests_without_a_body(api: ProxyApi) -> None:
    assert post(api, {"Origin": "http://elsewhere"}, b"", "/reset")[0] == 403
    assert post(api, {}, b"", "/reset")[0] == 204


def test_a_named_host_can_be_allowed() -> None:
    with contextlib.closing(FaultProxyProcess("Fault proxy", seed=7, options=["--allow-host", "faults"])) as made:
        api = made.start()
        assert post(api, {**JSON, "Host": "faults:8474"})[0] == 201
        assert post(api, {**JSON, "Host": "fault:8474"})[0] == 403


def test_a_large_body_is_refused_before_it_is_read(process: FaultProxyProcess, api: ProxyApi) -> None:
    """Neither a declared nor an undeclared length makes the proxy keep it."""
    memory = psutil.Process(process.process.pid)
    before = memory.memory_info().rss
    for head in (b"Content-Length: 262000000\r\n", b"Transfer-Encoding: chunked\r\n"):
        with socket.create_connection((api.host, api.port), PATIENCE) as made:
            made.sendall(
                b"POST /proxies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + head + b"\r\n"
            )
            piece = b"%x\r\n%s\r\n" % (65536, b"x" * 65536) if b"chunked" in head else b"x" * 65536
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 262_000_000:
                    made.sendall(piece)
                    sent += 65536
            assert sent < 20_000_000
    assert memory.memory_info().rss - before < 20_000_000
    assert post(api, JSON, b" " * (MAX_BODY_BYTES + 1))[0] == 413
    assert post(api, JSON, b" " * (MAX_BODY_BYTES - len(CREATE)) + CREATE)[0] == 201


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /version HT",
        b"POST /proxies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ],
    ids=["nothing", "half a line", "half a body"],
)
def test_a_client_that_does_not_finish_its_request_is_cut(api: ProxyApi, start: bytes) -> None:
    with socket.create_connection((api.host, api.port), 3 * REQUEST_SECONDS) as made:
        began = time.monotonic()
        made.sendall(start)
        while made.recv(4096):
            pass
        assert time.monotonic() - began >= REQUEST_SECONDS - 1


def test_a_client_that_keeps_its_connection_is_served_again(api: ProxyApi) -> None:
    connection = http.client.HTTPConnection(api.host, api.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/version")
            assert connection.getresponse().read()


def test_an_ipv6_listener_has_brackets(api: ProxyApi) -> None:
    try:
        made = api.create("six", "[::1]:1", listen="[::1]:0")
    except Exception as error:  # noqa: BLE001 - a machine may have no IPv6
        pytest.skip(f"no IPv6 here: {error}")
    host, _, port = made[0].rpartition(":")
    assert host == "[::1]"
    assert api.ask("GET", "/proxies/six")["upstream"] == "[::1]:1"
    with socket.create_connection(("::1", int(port)), PATIENCE):
        pass
    api.enable("six", False)
    api.enable("six", True)
    assert api.ask("GET", "/proxies/six")["listen"] == made[0]
