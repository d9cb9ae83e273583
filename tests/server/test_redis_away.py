"""Redis is not there, goes away, stands still or refuses: the server waits at little cost, says so, and comes back."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
from conftest import StartRedis, StartServer
from harness import ServerProcess, answered_ids, call, connect, dead_letters, push, until, wait_drained
from test_kill import Workload

from resilience.services import EmbeddedRedis

AWAY_SECONDS = 3.0
"""How long processor time and log records are looked at, where nothing else is said."""
BACK_SECONDS = 1.0
"""The longest from the first PING that Redis answers to the first answer of the server's."""
ID = "CP-000"


def check_that_waiting_costs_little(server: ServerProcess, seconds: float = AWAY_SECONDS) -> None:
    """For some seconds: less than 2 % of a core, a bounded number of log records, and health that answers at once."""
    until(lambda: server.health()["status"] == "degraded", "health does not say degraded", timeout=5)
    process = psutil.Process(server.process.pid)
    records, began, before = len(server.records()), time.monotonic(), process.cpu_times()
    slowest = 0.0
    while (left := began + seconds - time.monotonic()) > 0:
        asked = time.monotonic()
        body = server.health()
        slowest = max(slowest, time.monotonic() - asked)
        assert (body["status"], body["redis"]["connected"]) == ("degraded", False)
        threading.Event().wait(min(1.0, left))
    after, length = process.cpu_times(), time.monotonic() - began
    used = after.user + after.system - before.user - before.system
    # A few milliseconds of it went into answering these requests.
    assert used / length < 0.02, f"{used / length:.1%} of a core"
    assert slowest < 0.5
    assert server.get("/health/ready")[:2] == (503, {"ready": False})
    assert len(server.records()) - records <= 1
    assert server.process.alive


@contextmanager
def back_soon(service: EmbeddedRedis, first_answer: Callable[[], bool]) -> Iterator[None]:
    """What the body does makes Redis answer PING again; the server's first answer comes soon after that."""
    back: list[float] = []

    def watch() -> None:
        deadline = time.monotonic() + 20
        while not back and time.monotonic() < deadline:
            if service.ping().pong:
                back.append(time.monotonic())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        watching.join()
    until(first_answer, "no answer", timeout=5)
    took = time.monotonic() - back[0]
    assert took < BACK_SECONDS, f"the first answer came {took:.2f} s after Redis was back"


def test_started_without_redis(start_redis: StartRedis, start_server: StartServer) -> None:
    """R16.1, R16.2."""
    service = start_redis()
    with connect(service.url()) as client:
        push(client, [call(ID, "a")])
        service.stop(5)
        server = start_server(service.url())
        check_that_waiting_costs_little(server)
        assert server.inspect()["last_error"]
        assert server.health()["queue"]["depth"] is None
        with back_soon(service, lambda: bool(client.exists(f"ocpp:responses:{ID}"))):
            service.start(10)
        server.wait_healthy()
        assert server.health()["redis"]["reconnects"] == 0
        assert answered_ids(client, ID) == ["a"]
        assert [record["level"] for record in server.records("redis_unavailable")] == ["error"]
        assert len(server.records("redis_connected")) == 1


def test_killed_and_started_again_under_traffic(start_redis: StartRedis, start_server: StartServer) -> None:
    """R16.3, R13.6: every acknowledged push is answered exactly once, in order."""
    service = start_redis()
    work = Workload(9000, 5)
    server = start_server(service.url())
    server.wait_healthy()
    for _ in range(3):
        with connect(service.url()) as client:
            work.feed(client, 1500)
            until(lambda: client.llen("ocpp:requests") < 1200, "nothing drains")
        service.kill()
        until(lambda: server.health()["status"] == "degraded", "not degraded")
        with connect(service.url()) as client:
            with back_soon(service, lambda: client.llen("ocpp:requests") < 300):
                service.start(10)
            work.feed(client, 1500)
            wait_drained(client)
        server.wait_healthy()  # every part of it, not the processor alone
    with connect(service.url()) as client:
        work.check(client)
    until(lambda: len(server.records("invalid_message")) >= len(work.invalid), "records are missing")
    assert len(server.records("invalid_message")) == len(work.invalid)
    assert server.health()["redis"]["reconnects"] == 3
    assert len(server.records("redis_unavailable")) <= 3


def test_stands_still_under_traffic(start_redis: StartRedis, start_server: StartServer) -> None:
    """SIGSTOP: connections stay open, nothing is answered. What was on its way is executed when it goes on."""
    service = start_redis()
    work = Workload(6000, 6)
    server = start_server(service.url())
    server.wait_healthy()
    with connect(service.url()) as client:
        work.feed(client, 3000)
        until(lambda: client.llen("ocpp:requests") < 2700, "nothing drains")
        service.pause()
        check_that_waiting_costs_little(server)
        with back_soon(service, lambda: client.llen("ocpp:requests") < 1000):
            service.resume(10)
        work.feed(client, 3000)
        wait_drained(client)
        work.check(client)
        until(lambda: len(server.records("invalid_message")) >= len(work.invalid), "records are missing")
        assert len(server.records("invalid_message")) == len(work.invalid)


def test_ended_while_redis_stands_still(start_redis: StartRedis, start_server: StartServer) -> None:
    """R16.8: SIGTERM exits in less than 5 seconds, whatever Redis does, and nothing is lost."""
    service = start_redis()
    work = Workload(3000, 7)
    server = start_server(service.url(), LEASE_SECONDS="1")
    server.wait_healthy()
    with connect(service.url()) as client:
        work.feed(client, 3000)
        until(lambda: client.llen("ocpp:requests") < 2700, "nothing drains")
        service.pause()
        server.signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.process.wait_for_exit(10) == 0
        assert time.monotonic() - began < 5
        service.resume(10)
        server.start()
        wait_drained(client)
        work.check(client)


def test_asks_for_another_password_and_then_for_the_right_one_again(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    service = start_redis(requirepass="right-one")
    with connect(service.url()) as client:
        server = start_server(service.url())
        server.wait_healthy()
        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="normal", skipme=True)
        push(client, [call(ID, "a"), b"{"])
        check_that_waiting_costs_little(server, 1.5)
        with back_soon(service, lambda: client.llen("ocpp:requests") == 0):
            client.config_set("requirepass", "right-one")
        assert answered_ids(client, ID) == ["a"]
        assert len(dead_letters(client)) == 1
        assert "right-one" not in server.process.stdout.read_text()
        assert "right-one" not in str(server.inspect())
        server.wait_healthy()
        assert server.health()["redis"]["reconnects"] >= 1


def test_a_connection_that_comes_and_goes_does_not_fill_the_log(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    service = start_redis()
    with connect(service.url()) as client:
        server = start_server(service.url())
        server.wait_healthy()
        began, kills = time.monotonic(), 0
        while time.monotonic() < began + 1:
            push(client, [call(ID, str(kills)), b"{"])
            kills += client.client_kill_filter(_type="normal", skipme=True) > 0
            wait_drained(client)
        length = time.monotonic() - began
        assert kills > 10
        ups_and_downs = server.records("redis_unavailable") + server.records("redis_connected")
        assert len(ups_and_downs) <= 2 * (length + 2)
        assert len(server.records("queue_owned")) <= 2 * (length + 2)
        assert len(dead_letters(client)) == len(answered_ids(client, ID))
        until(lambda: len(server.records("invalid_message")) >= len(dead_letters(client)), "records are missing")
        assert len(server.records("invalid_message")) == len(dead_letters(client))
