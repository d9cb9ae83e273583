"""The process as a whole: its start, its output, its refusal to start, and its end."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from harness import (
    SOON,
    START_SECONDS,
    ServerProcess,
    StartRedis,
    StartServer,
    answered_ids,
    call,
    connect,
    push,
    until,
    wait_drained,
)

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.ports import free_port
from ocpp_resilience.processes import ChildProcess

NOWHERE = "redis://127.0.0.1:1/0"


def test_bad_settings_end_with_status_2_and_one_line() -> None:
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({"REDIS_URL": "localhost:6379"}, ["REDIS_URL", "localhost:6379", "redis://"]),
        ({"REDIS_URL": "redis://:hunter2@127.0.0.1:99999/0"}, ["REDIS_URL", "127.0.0.1:99999"]),
        ({"REDIS_URL": "redis://127.0.0.1:1/0?password=hunter2"}, ["REDIS_URL"]),
        ({"REDIS_URL": "redis://127.0.0.1:1/0?socket_timeout=soon"}, ["REDIS_URL"]),
        ({"HTTP_PORT": "99999"}, ["HTTP_PORT", "99999", "65535"]),
        ({"HTTP_HOST": "a..b"}, ["HTTP_HOST", "a..b"]),
        ({"HTTP_HOST": "x" * 100}, ["HTTP_HOST", "x" * 20]),
        ({"HTTP_HOST": "no.such.host.invalid"}, ["HTTP_HOST", "no.such.host.invalid"]),
        ({"ROLE": "both"}, ["ROLE", "both", "gateway", "processor"]),
        ({"QUEUE_SHARDS": "0"}, ["QUEUE_SHARDS", "'0'", "a whole number from 1 (no shards) to 64"]),
        ({"LEASE_SECONDS": "0"}, ["LEASE_SECONDS", "'0'", "1s"]),
        ({"MAX_MESSAGE_BYTES": "much"}, ["MAX_MESSAGE_BYTES", "much", "KiB"]),
        ({"LOG_LEVEL": "loud"}, ["LOG_LEVEL", "loud", "debug, info, warning, error"]),
        ({"API_TOKEN": "hunter2 hunter2"}, ["API_TOKEN"]),
    ]
    started = []
    try:
        for number, (settings, _) in enumerate(cases):
            server = ServerProcess(f"bad-{number}", settings.get("REDIS_URL", NOWHERE), **settings)
            started.append(server)
            server.launch()
            if number % 4 == 3 or number == len(cases) - 1:
                with contextlib.suppress(WaitTimeout):
                    until(lambda: not any(one.process.alive for one in started), "")
        problems = []
        for server, (settings, shown) in zip(started, cases, strict=True):
            status, text = server.process.exit_status, server.stderr
            good = status == 2 and len(text.splitlines()) == 1 and all(part in text for part in shown)
            if not good or "hunter2" in text or server.records():
                problems.append((settings, status, text[-300:]))
        assert not problems
    finally:
        for server in started:
            server.process.close()


def test_a_log_without_a_reader_ends_nothing(start_redis: StartRedis) -> None:
    service = start_redis()
    reading, writing = os.pipe()
    environment = {"PATH": os.environ.get("PATH", ""), "REDIS_URL": service.url(), "HTTP_PORT": "0"}
    process = subprocess.Popen([sys.executable, "-m", "server"], stdout=writing, env=environment)
    try:
        os.close(writing)
        with os.fdopen(reading, "rb") as log:
            assert b"ready" in log.readline()
        with connect(service.url()) as client:
            push(client, [b"null", call("CP-1", "behind")])
            wait_drained(client)
            assert answered_ids(client, "CP-1") == ["behind"]
            push(client, [b"null", call("CP-1", "further behind")])
            wait_drained(client)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_is_a_bad_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = ServerProcess("taken", NOWHERE, HTTP_PORT=str(port))
        try:
            server.launch()
            assert server.process.wait_for_exit(START_SECONDS) == 2
            (line,) = server.stderr.splitlines()
            assert str(port) in line
            assert "HTTP_PORT" in line
            assert not server.records()
        finally:
            server.process.close()


def test_the_ready_record(redis_url: str, start_server: StartServer) -> None:
    server = start_server(redis_url, "station", ROLE="processor", HTTP_HOST="localhost")
    (ready,) = server.records("ready")
    timestamp = ready.pop("timestamp")
    assert timestamp.startswith("20")
    assert timestamp.endswith("Z")
    assert ready == {
        "level": "info",
        "event": "ready",
        "role": "processor",
        "server_id": "station",
        "http_host": "localhost",
        "http_port": server.http_port,
        "ws_port": None,
    }
    assert server.http_port > 0
    assert server.health()["service"]


def test_a_port_of_ones_own(redis_url: str, start_server: StartServer) -> None:
    port = free_port()
    server = start_server(redis_url, HTTP_PORT=str(port))
    assert server.http_port == port
    server.process.stop(SOON)
    assert server.start().http_port == port


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A path of a socket may have about 100 characters only; pytest's own directories can be longer."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


def test_redis_at_a_unix_socket(start_redis: StartRedis, start_server: StartServer, short_directory: Path) -> None:
    path = short_directory / "redis.sock"
    service = start_redis(unixsocket=str(path))
    server = start_server(f"unix://{path}")
    server.wait_healthy()
    with connect(service.url()) as client:
        push(client, [call("CP", "a")])
        wait_drained(client)
        assert answered_ids(client, "CP") == ["a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_ends_by_itself_when_idle(
    client: redis.Redis, redis_url: str, start_server: StartServer, number: signal.Signals
) -> None:
    """R13.3, with a client that keeps its connection open and another that never finishes its request.

    Nothing is left that has to be cut off at last. Suite 13 measures how long it takes.
    """
    server = start_server(redis_url)
    server.wait_healthy()
    idle = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=SOON)
    idle.request("GET", "/health")
    idle.getresponse().read()
    with socket.create_connection(("127.0.0.1", server.http_port), SOON) as half:
        half.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        server.signal(number)
        assert server.process.wait_for_exit(SOON) == 0
    idle.close()
    assert not server.records("shutdown_late")
    events = [record["event"] for record in server.records()]
    assert events[-3:] == ["stopping", "http_requests_cut", "stopped"]
    assert server.records("stopping")[0]["reason"] == number.name
    assert not client.keys("*")


def test_ends_by_itself_without_redis(start_server: StartServer) -> None:
    server = start_server(NOWHERE)
    until(lambda: server.records("redis_unavailable"), "nothing said")
    server.signal(signal.SIGTERM)
    assert server.process.wait_for_exit(SOON) == 0
    assert not server.records("shutdown_late")


def test_signals_that_come_at_once_after_the_start(redis_url: str, start_server: StartServer) -> None:
    server = start_server(redis_url)
    # It stands still meanwhile: otherwise it may have ended before the second one.
    server.process.pause()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        server.signal(number)
    server.process.resume()
    assert server.process.wait_for_exit(SOON) == 0
    assert len(server.records("stopping")) == 1


def test_an_idle_server_costs_little_and_is_woken_by_redis(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    """R13.3: < 2 % of a core while the queue is empty, in a wait that the next message ends.

    Two of its connections wait at Redis, for a second at a time: one for a message, one to notice a demotion. Suite 13
    measures how soon a message is answered.
    """

    def waits_begun() -> int:
        return int(client.info("commandstats").get("cmdstat_blmove", {"calls": 0})["calls"])

    server = start_server(redis_url)
    server.wait_healthy()
    until(lambda: client.info("clients")["blocked_clients"] == 2, "it does not wait at Redis for both")
    began, before = time.monotonic(), waits_begun()
    assert server.process.cpu_share(2) < 0.02
    assert waits_begun() - before <= 2 * (time.monotonic() - began + 1), "its waits end by themselves too soon"
    until(lambda: client.info("clients")["blocked_clients"] == 2, "it does not wait at Redis for both any more")
    push(client, [call("CP", "a")])
    wait_drained(client)
    assert answered_ids(client, "CP") == ["a"]


def test_the_log_for_people(redis_url: str) -> None:
    process = ServerProcess("console", redis_url, LOG_FORMAT="console", LOG_LEVEL="debug")
    try:
        process.launch()
        child: ChildProcess = process.process
        until(lambda: child.stdout.exists() and "ready" in child.stdout.read_text("utf-8"), "not ready")
        child.stop(SOON)
        assert child.exit_status == 0
        assert "{" not in child.stdout.read_text("utf-8").splitlines()[0]
        assert process.stderr == ""
    finally:
        process.process.close()
