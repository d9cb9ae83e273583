"""Requests that no well-behaved client sends, over sockets of the test's own."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import resource
import signal
import socket
import threading
import time
from typing import Any

import pytest
import redis
from harness import SOON, ServerProcess, StartRedis, StartServer, until

CONFIGURATION = "/api/v1/chargepoints/A/configuration"


def _put(server: ServerProcess, body: bytes, path: str = CONFIGURATION) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=SOON)
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
        (b'{"key":"k","value":"1","value":"2"}', "'value' occurs twice"),
        (b'{"key":"k","value":"1","\\u0076alue":"2"}', "'value' occurs twice"),
        (b'{"key":"k","value":"1","x":[{"y":1,"y":1}]}', "'y' occurs twice"),
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


HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /api/v1/chargepoints/A/reset HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
UNFINISHED: dict[str, tuple[bytes, int | None]] = {
    "nothing": (b"", None),
    "half a line": (b"GET /hea", 408),
    "half a head": (HEAD, 408),
    "half a body": (POST + b'Content-Length: 100\r\n\r\n{"type":', 408),
    "half a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n9\r\n", 408),
    "the body of a HEAD": (b"HEAD /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n", 200),
    "a body that nobody reads": (HEAD + b"Content-Length: 100\r\n\r\n", 200),
    "a whole one and a half": (HEAD + b"\r\n" + HEAD, 200),
}


HASTE = 4
"""Seconds that a hasty server gives a request."""
WITHIN = f"within {HASTE} s"


def _dial(server: ServerProcess, *, receive_buffer: int | None = None) -> socket.socket:
    one = socket.socket()
    if receive_buffer is not None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    one.settimeout(SOON)
    one.connect(("127.0.0.1", server.http_port))
    return one


def _rest(one: socket.socket) -> bytes:
    """Bytes until the server closes; it fails when that takes too long."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while part := one.recv(65536):
            got += part
    return got


def _statuses(raw: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1.1 (\d+) ", raw)]


@pytest.fixture
def hasty(redis_url: str, start_server: StartServer) -> ServerProcess:
    """A server that gives a request little time, and yet more than a busy machine lets this process stand still."""
    server = start_server(redis_url, HTTP_TIMEOUT=f"{HASTE}s")
    server.wait_healthy()
    return server


def test_a_request_that_does_not_come_to_its_end_is_answered_with_408_and_closed(hasty: ServerProcess) -> None:
    with contextlib.ExitStack() as stack:
        connections = {name: stack.enter_context(_dial(hasty)) for name in UNFINISHED}
        for name, connection in connections.items():
            connection.sendall(UNFINISHED[name][0])
        for name, connection in connections.items():
            got = _rest(connection)
            first = UNFINISHED[name][1]
            assert _statuses(got)[:1] == ([first] if first else []), (name, got)
            if name == "a whole one and a half":
                assert _statuses(got) == [200, 408]
            elif first == 408:
                body = json.loads(got.partition(b"\r\n\r\n")[2])
                assert body == {"success": False, "message": f"the request was not complete {WITHIN}", "data": None}
            else:
                assert 408 not in _statuses(got)
    (record,) = hasty.records("http_requests_cut")[:1]
    assert record["level"] == "warning"
    assert WITHIN in record["reason"]
    assert not hasty.records("library")


def test_bytes_that_trickle_in_do_not_put_the_end_off(hasty: ServerProcess) -> None:
    stop = threading.Event()

    def trickle(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.1):
                connection.sendall(b"x")

    beginnings = [HEAD + b"X-Slow: ", POST + b"Content-Length: 60000\r\n\r\n", HEAD + b"Content-Length: 60000\r\n\r\n"]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(_dial(hasty)) for _ in beginnings]
        threads = [threading.Thread(target=trickle, args=(connection,)) for connection in connections]
        for connection, beginning, thread in zip(connections, beginnings, threads, strict=True):
            connection.sendall(beginning)
            thread.start()
        try:
            found = [_statuses(_rest(connection)) for connection in connections]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert found[:2] == [[408], [408]] or [] in found[:2]  # a reset may take the answer along
    assert found[2] in ([200], [])


def test_a_kept_connection_has_its_time_for_each_request(hasty: ServerProcess) -> None:
    """The answers come over more than the time of one request, on one connection."""
    until_then = time.monotonic() + 1.5 * HASTE
    with _dial(hasty) as connection, connection.makefile("rb") as answers:
        while time.monotonic() < until_then:
            connection.sendall(HEAD + b"\r\n")
            assert answers.readline().startswith(b"HTTP/1.1 200")
            while answers.readline() not in {b"\r\n", b""}:
                pass
            body = answers.read1(65536)
            assert body.endswith(b"}")
    assert not hasty.records("http_requests_cut")


def test_a_client_that_does_not_read_is_disconnected(hasty: ServerProcess) -> None:
    with _dial(hasty, receive_buffer=4096) as connection:
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 100)
        until(lambda: hasty.records("http_requests_cut"), "nothing was cut")
        assert hasty.records("http_requests_cut")[0]["reason"] == "the answer was not read"
    assert hasty.health()["status"] == "healthy"


def test_the_oldest_of_too_many_unfinished_requests_makes_room(redis_url: str, start_server: StartServer) -> None:
    server = start_server(redis_url, ROLE="processor")
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (100, hard))  # 24 of them are the share of the API
    assert soft > 100
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(60):
            connection = stack.enter_context(_dial(server))
            connection.sendall(HEAD)
            connections.append(connection)
            assert server.health()["service"]
        assert all(_statuses(_rest(connection)) == [503] for connection in connections[:10])
        for connection in connections[-20:]:
            connection.sendall(b"\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert "waits the longest" in server.records("http_requests_cut")[0]["reason"]


def test_a_body_that_is_too_long_is_413_however_it_comes(redis_url: str, start_server: StartServer) -> None:
    server = start_server(redis_url)
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    for announced in (b"65537", b"1" + b"0" * 15, b"9" * 19):
        with _dial(server) as connection:
            connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: " + announced + b"\r\n\r\n")
            assert _statuses(connection.recv(65536)) == [413]
    with _dial(server) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3)
        assert _statuses(connection.recv(65536)) == [413]


def test_bytes_that_are_not_http_close_the_connection_without_a_traceback(
    redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url)
    for sent, expected in [
        (b"\x00\x01\r\n\r\n", [400]),
        (b"GET /health HTTP/1.1\r\n\r\n", [400]),
        (b"GET " + b"a" * 100_000, [400]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", [200]),
        (HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", [200]),
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", [400]),
        (POST + b"Content-Length: -1\r\n\r\n", [400]),
    ]:
        with _dial(server) as connection:
            connection.sendall(sent)
            got = connection.recv(65536)
            assert _statuses(got) == expected, (sent[:60], got)
            if expected == [400]:
                assert json.loads(got.partition(b"\r\n\r\n")[2] or _rest(connection))["success"] is False
            else:
                # The rest of what is answered already is no HTTP.
                connection.sendall(b"no chunk\r\n\r\n")
                assert not set(_statuses(_rest(connection))) - {400}
    assert server.health()["service"]
    assert not [record for record in server.records() if "Traceback" in json.dumps(record)]


@pytest.mark.parametrize("name", UNFINISHED)
def test_the_server_stops_while_a_request_is_unfinished(redis_url: str, start_server: StartServer, name: str) -> None:
    server = start_server(redis_url)
    server.wait_healthy()
    with _dial(server) as connection:
        connection.sendall(UNFINISHED[name][0])
        server.health()  # a later connection: the bytes of the one before have been read
        server.signal(signal.SIGTERM)
        assert server.process.wait_for_exit(SOON) == 0
        found = _statuses(_rest(connection))
    expected = UNFINISHED[name][1]
    assert found == ([] if expected is None else [503] if expected == 408 else [200, 503] if "whole" in name else [200])
    _check_end(server, cut=503 in found)


def _check_end(server: ServerProcess, *, cut: bool) -> None:
    """At most one plain record beside the two of every stop."""
    events = [record["event"] for record in server.records()]
    last = events[events.index("stopping") :]
    assert last == ["stopping", *(["http_requests_cut"] if cut else []), "stopped"]
    assert not [record for record in server.records() if "exception" in record]


def test_the_server_stops_while_clients_do_not_read(redis_url: str, start_server: StartServer) -> None:
    server = start_server(redis_url)
    server.wait_healthy()
    with _dial(server, receive_buffer=4096) as connection:
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 100)
        server.signal(signal.SIGTERM)
        assert server.process.wait_for_exit(SOON) == 0
    assert not [record for record in server.records() if "exception" in record]
    assert [record["event"] for record in server.records()][-1] == "stopped"


def test_the_server_stops_while_redis_keeps_a_request_waiting(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    service = start_redis()
    server = start_server(service.url())
    server.wait_healthy()
    service.pause()
    with _dial(server) as connection:
        connection.sendall(b"GET /api/v1/chargepoints HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        server.health()
        server.signal(signal.SIGTERM)
        assert server.process.wait_for_exit(SOON) == 0
        assert _statuses(_rest(connection)) in ([503], [])
    service.resume(SOON)
    assert not [record for record in server.records() if "exception" in record]
