"""Redis with a replica: the server follows the primary, tells nothing that could be undone, and stays on no old one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import redis
from harness import QUEUE, QUICK, SOON, StartServer, call, start_transaction, until
from websockets.sync.client import connect as plug

from ocpp_resilience.redis.connection import connect
from ocpp_resilience.redis.services import FailoverHow, ReplicatedRedis

FOLLOWS = 30.0
"""Seconds in which the server has to have followed (R16.10)."""
LEASE = {"LEASE_SECONDS": "2s"}


@pytest.fixture
def replicated() -> Iterator[ReplicatedRedis]:
    service = ReplicatedRedis("Redis 'replicated'")
    try:
        service.start(SOON)
        yield service
    finally:
        service.close()


def queued(service: ReplicatedRedis, message: bytes) -> None:
    """Queue a message, as a producer does that wants to be sure: on both nodes where there are two."""
    with connect(service.url()) as client:
        client.lpush(QUEUE, message)
        client.execute_command("WAIT", 1, 2000)


def answered(service: ReplicatedRedis, charge_point_id: str) -> list[str]:
    try:
        with connect(service.url()) as client:
            entries = client.lrange(f"ocpp:responses:{charge_point_id}", 0, -1)
    except redis.RedisError:
        return []
    return [json.loads(entry)["message_id"] for entry in reversed(entries)]


@pytest.mark.parametrize("how", list(FailoverHow))
@pytest.mark.parametrize("replicas", ["0", "1"], ids=["asynchronous", "after WAIT"])
def test_the_server_follows_the_primary(
    replicated: ReplicatedRedis, start_server: StartServer, how: FailoverHow, replicas: str
) -> None:
    server = start_server(replicated.url(), REDIS_WAIT_REPLICAS=replicas, **QUICK, **LEASE)
    queued(replicated, call("CP-1", "before"))
    until(lambda: answered(replicated, "CP-1") == ["before"], "not answered before the failover")
    failover = replicated.fail_over(how)
    began = time.monotonic()
    if replicas == "1":
        replicated.heal()  # nobody else could have the commits
    with connect(replicated.url()) as client:
        client.lpush(QUEUE, call("CP-1", "after"))
    until(lambda: answered(replicated, "CP-1")[-1:] == ["after"], lambda: f"not answered: {server.health()}")
    assert time.monotonic() - began <= FOLLOWS
    replicated.heal()
    until(
        lambda: not replicated.clients_of(failover.old),
        lambda: f"still connected to the demoted one: {replicated.clients_of(failover.old)}",
    )
    assert replicated.clients_of(failover.new)
    assert server.process.alive
    server.wait_healthy()


def test_a_charge_point_stays_connected_and_is_registered_with_the_new_primary(
    replicated: ReplicatedRedis, start_server: StartServer
) -> None:
    server = start_server(replicated.url(), **QUICK, **LEASE)
    with plug(f"ws://127.0.0.1:{server.ws_port}/ocpp/CP-1", subprotocols=["ocpp1.6"]) as socket:
        socket.send(json.dumps([2, "before", "StatusNotification", STATUS]))
        assert json.loads(socket.recv(SOON))[1] == "before"
        replicated.fail_over(FailoverHow.KILL)
        with connect(replicated.url()) as client:
            client.delete("ocpp:session:CP-1")  # as if the replica had never heard of it
        until(lambda: server.health()["status"] == "healthy", "not healthy", timeout=FOLLOWS)
        socket.send(json.dumps([2, "after", "StatusNotification", STATUS]))
        assert json.loads(socket.recv(SOON))[1] == "after"
        with connect(replicated.url()) as client:
            until(lambda: client.hgetall(b"ocpp:session:CP-1"), "not registered")


@pytest.mark.parametrize("replicas", ["0", "1"], ids=["asynchronous", "after WAIT"])
def test_server_and_primary_are_killed_in_the_same_second(
    replicated: ReplicatedRedis, start_server: StartServer, replicas: str
) -> None:
    """kill -9 between taking messages and committing them, and the replica that is promoted lacks the last commits.

    What was queued on both nodes is answered once, and each start is one transaction, three times over.
    """
    server = start_server(replicated.url(), REDIS_WAIT_REPLICAS=replicas, **QUICK, **LEASE)
    server.wait_healthy()
    sent, caught = [], 0
    for kill in range(3):
        batch = [(f"CP-{kill}-{number}", f"{kill}-{number}") for number in range(1500)]
        with connect(replicated.url()) as client:
            client.lpush(QUEUE, *[start_transaction(*each) for each in batch])
            client.execute_command("WAIT", 1, 2000)
            sent += batch
            until(lambda client=client: client.llen(QUEUE) < 1200, "nothing is processed")
            server.process.pause()
            caught += client.llen(QUEUE) > 0
        server.process.kill()
        replicated.fail_over(FailoverHow.KILL)
        server.launch()
        replicated.heal()

        def left() -> int:
            with connect(replicated.url()) as client:
                return int(client.llen(QUEUE))

        until(lambda: left() == 0, lambda: f"{left()} messages are left: {server.health()}", timeout=FOLLOWS)
    assert caught, "all was done each time before the server stood still"
    with connect(replicated.url()) as client:
        until(
            lambda: all(client.llen(f"ocpp:responses:{charge_point}") for charge_point, _ in sent[-20:]), "not answered"
        )
        for charge_point, message_id in sent:
            answers = [json.loads(each) for each in client.lrange(f"ocpp:responses:{charge_point}", 0, -1)]
            assert [each["message_id"] for each in answers] == [message_id]
            transactions = client.zrange(f"ocpp:transactions:{charge_point}", 0, -1)
            assert [int(each) for each in transactions] == [answers[0]["payload"][2]["transactionId"]]
        ids = [client.zrange(f"ocpp:transactions:{charge_point}", 0, 0)[0] for charge_point, _ in sent]
        assert len(set(ids)) == len(sent)


STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}


def test_nothing_is_told_before_a_replica_has_it(replicated: ReplicatedRedis, start_server: StartServer) -> None:
    server = start_server(replicated.url(), REDIS_WAIT_REPLICAS="1", **QUICK, **LEASE)
    with plug(f"ws://127.0.0.1:{server.ws_port}/ocpp/CP-1", subprotocols=["ocpp1.6"]) as socket:
        socket.send(json.dumps([2, "one", "StatusNotification", STATUS]))
        assert json.loads(socket.recv(SOON))[1] == "one"
        replicated.lag_replica()
        socket.send(json.dumps([2, "two", "StatusNotification", STATUS]))
        until(lambda: server.health()["status"] == "degraded", "not degraded")
        with pytest.raises(TimeoutError):
            socket.recv(3)
        assert "of 1 replicas" in server.health()["redis"]["error"]
        replicated.heal()
        assert json.loads(socket.recv(SOON))[1] == "two"
        server.wait_healthy()


def test_without_waiting_it_is_told_at_once(replicated: ReplicatedRedis, start_server: StartServer) -> None:
    server = start_server(replicated.url(), **QUICK, **LEASE)
    with plug(f"ws://127.0.0.1:{server.ws_port}/ocpp/CP-1", subprotocols=["ocpp1.6"]) as socket:
        replicated.lag_replica()
        socket.send(json.dumps([2, "one", "StatusNotification", STATUS]))
        assert json.loads(socket.recv(SOON))[1] == "one"


def test_published_effects_survive_the_loss_of_the_primary(
    replicated: ReplicatedRedis, start_server: StartServer
) -> None:
    start_server(replicated.url(), REDIS_WAIT_REPLICAS="1", **QUICK, **LEASE)
    for number in range(20):
        queued(replicated, start_transaction(f"CP-{number}", f"m{number}"))
    until(lambda: all(answered(replicated, f"CP-{number}") for number in range(20)), "not answered")
    replicated.fail_over(FailoverHow.KILL)
    assert all(answered(replicated, f"CP-{number}") == [f"m{number}"] for number in range(20))
    with connect(replicated.url()) as client:
        assert client.get(b"ocpp:transaction-id") == b"20"


def test_sentinels_that_are_not_there_are_named(start_server: StartServer) -> None:
    server = start_server("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster/0", **QUICK)
    until(lambda: server.records("redis_unavailable"), "nothing logged")
    error = server.records("redis_unavailable")[0]["error"]
    assert "no sentinel names the primary of 'mymaster'" in error
    assert "127.0.0.1:1" in error
    assert "127.0.0.1:2" in error


def test_a_service_that_the_sentinels_do_not_know_is_named(
    replicated: ReplicatedRedis, start_server: StartServer
) -> None:
    server = start_server(replicated.url().replace("/ocpp", "/other"), **QUICK)
    until(lambda: server.records("redis_unavailable"), "nothing logged")
    assert "no sentinel names the primary of 'other'" in server.records("redis_unavailable")[0]["error"]
