"""Entries of any size in the lists that others write to: one that is too long costs itself, and no memory."""

from __future__ import annotations

import json
import time

import psutil
import pytest
import redis
from harness import (
    QUEUE,
    QUICK,
    SOON,
    ServerProcess,
    StartRedis,
    StartServer,
    answered_ids,
    call,
    connect,
    dead_letters,
    until,
)
from websockets.sync.client import connect as plug

from ocpp_resilience.redis.services import AppendOnly, EmbeddedRedis
from server.redis.tail import HEAD_BYTES

MB = 1_000_000
LARGEST_SERVER = 150 * MB
ANSWER_SECONDS = 5.0
"""Time until a message behind huge ones is answered, on a free core; the processor time of server and Redis, too."""
TURN_SECONDS = 2.0
"""The same for a Heartbeat beside huge entries."""
PUSH = "redis.call('LPUSH', KEYS[1], ARGV[1] .. string.rep('x', ARGV[2]) .. ARGV[3])"


def push_poison(client: redis.Redis, count: int, size: int) -> None:
    """Queue messages that are fine but for their length; Redis makes them, so that nobody has to send them."""
    before, after = call("CP-POISON", "p", "DataTransfer", {"vendorId": "V", "data": "|"}).split(b"|")
    for _ in range(count):
        client.eval(PUSH, 1, QUEUE, before, size, after)


def slowdown() -> float:
    """How many times longer work takes now than on a free core, at least 1: a loop is measured by both clocks."""
    began, own = time.monotonic(), time.process_time()
    while (worked := time.process_time() - own) < 0.2:
        pass
    return max(1.0, (time.monotonic() - began) / worked)


class Watched:
    """A server's memory at its highest, in bytes, and the work that it and its Redis have done, in seconds."""

    def __init__(self, server: ServerProcess, service: EmbeddedRedis) -> None:
        self._server = psutil.Process(server.process.pid)
        self._redis = psutil.Process(service.pid)
        self.highest = 0

    def look(self) -> None:
        self.highest = max(self.highest, self._server.memory_info().rss)

    def work(self) -> float:
        times = [each.cpu_times() for each in (self._server, self._redis)]
        return sum(each.user + each.system for each in times)


@pytest.mark.parametrize(
    ("count", "size"), [(16, 50 * MB), (1, 500 * MB), (64, 5 * MB)], ids=["16 of 50 MB", "one of 500 MB", "64 of 5 MB"]
)
def test_a_valid_message_behind_huge_ones_is_answered(
    start_redis: StartRedis, start_server: StartServer, count: int, size: int
) -> None:
    service = start_redis(append_only=AppendOnly.OFF)
    with connect(service.url()) as client:
        push_poison(client, count, size)
        client.lpush(QUEUE, call("CP-1", "valid"))
        before, slow = psutil.Process(service.pid).cpu_times(), slowdown()
        server = start_server(service.url(), **QUICK)
        watched, began = Watched(server, service), time.monotonic()

        def answered() -> bool:
            watched.look()
            return answered_ids(client, "CP-1") == ["valid"]

        until(answered, "not answered", timeout=4 * SOON)
        took = time.monotonic() - began
        assert took <= ANSWER_SECONDS * max(slow, slowdown())
        assert watched.work() - before.user - before.system <= ANSWER_SECONDS
        assert watched.highest <= LARGEST_SERVER
        letters = dead_letters(client)
        assert len(letters) == count
        assert all(letter["code"] == "FormationViolation" and len(letter["raw"]) == HEAD_BYTES for letter in letters)
        assert len(server.records("invalid_message")) == count


def test_a_huge_message_that_wakes_an_idle_server_does_not_come_into_it(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    service = start_redis(append_only=AppendOnly.OFF)
    with connect(service.url()) as client:
        server = start_server(service.url(), **QUICK)
        client.lpush(QUEUE, call("CP-1", "before"))
        until(lambda: answered_ids(client, "CP-1") == ["before"], "not answered")
        watched = Watched(server, service)
        watched.look()
        idle = watched.highest
        push_poison(client, 1, 200 * MB)
        client.lpush(QUEUE, call("CP-1", "after"))

        def answered() -> bool:
            watched.look()
            return answered_ids(client, "CP-1") == ["before", "after"]

        until(answered, "not answered")
        assert watched.highest - idle <= 10 * MB
        assert len(dead_letters(client)) == 1


def test_huge_entries_for_one_charge_point_do_not_hold_up_the_others(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    service = start_redis(append_only=AppendOnly.OFF)
    with connect(service.url()) as client:
        server = start_server(service.url(), **QUICK)
        server.wait_healthy()
        url = f"ws://127.0.0.1:{server.ws_port}/ocpp/"
        with (
            plug(url + "CP-BAD", subprotocols=["ocpp1.6"]) as bad,
            plug(url + "CP-GOOD", subprotocols=["ocpp1.6"]) as good,
        ):
            until(lambda: client.scard("ocpp:active") == 2, "not both are connected")
            watched = Watched(server, service)
            answer = json.dumps({"payload": [3, "huge", {"data": "x" * (40 * MB)}]})
            for _ in range(16):
                client.lpush("ocpp:responses:CP-BAD", answer)
            client.lpush("ocpp:responses:CP-BAD", json.dumps({"payload": [3, "small", {}]}))
            client.publish("ocpp:wake:server-0", json.dumps(["CP-BAD"]))
            most, longest, slow = 0.0, 0.0, slowdown()
            for number in range(200):
                before, began = watched.work(), time.monotonic()
                good.send(json.dumps([2, f"h{number}", "Heartbeat", {}]))
                assert json.loads(good.recv(SOON))[1] == f"h{number}"
                longest = max(longest, time.monotonic() - began)
                most = max(most, watched.work() - before)
                watched.look()
                if not client.exists("ocpp:responses:CP-BAD"):
                    break
            assert json.loads(bad.recv(SOON))[1] == "small"
            assert longest <= TURN_SECONDS * max(slow, slowdown())
            assert most <= TURN_SECONDS
            assert watched.highest <= LARGEST_SERVER
            assert len(server.records("invalid_response")) == 16
            assert server.health()["status"] == "healthy"


def test_a_forwarded_answer_that_is_huge_is_set_aside(start_redis: StartRedis, start_server: StartServer) -> None:
    service = start_redis(append_only=AppendOnly.OFF)
    with connect(service.url()) as client:
        server = start_server(service.url(), **QUICK)
        server.wait_healthy()
        instance = client.hget("ocpp:requests:owner", "consumer")
        assert isinstance(instance, bytes)
        watched = Watched(server, service)
        for _ in range(4):
            client.lpush(f"ocpp:answers:{instance.decode()}", b"x" * (50 * MB))
        client.publish("ocpp:wake:server-0", "[]")

        def read() -> bool:
            watched.look()
            return len(server.records("forwarded_answer_unreadable")) == 4

        until(read, "not set aside")
        until(lambda: not client.exists(f"ocpp:answers:{instance.decode()}"), "something is left")
        assert watched.highest <= LARGEST_SERVER


def test_a_huge_message_among_shards_goes_its_way(start_redis: StartRedis, start_server: StartServer) -> None:
    service = start_redis(append_only=AppendOnly.OFF)
    with connect(service.url()) as client:
        push_poison(client, 2, 50 * MB)
        client.lpush(QUEUE, call("CP-1", "valid"))
        server = start_server(service.url(), QUEUE_SHARDS="2", **QUICK)
        watched = Watched(server, service)

        def answered() -> bool:
            watched.look()
            return answered_ids(client, "CP-1") == ["valid"]

        until(answered, "not answered")
        until(lambda: len(dead_letters(client)) == 2, "not set aside")
        assert watched.highest <= LARGEST_SERVER


def test_a_wait_that_redis_refuses_is_reported_and_not_repeated_at_once(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    """A wait that Redis refuses is an error, not an empty queue."""
    service = start_redis(append_only=AppendOnly.OFF)
    with connect(service.url()) as client:
        client.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "~*", "&*", "+@all", "-blmove")
        server = start_server(service.url().replace("redis://", "redis://weak:pw@"), **QUICK)
        until(lambda: server.records("redis_unavailable"), "not noticed")
        assert "no permissions to run the 'blmove' command" in server.records("redis_unavailable")[0]["error"]
