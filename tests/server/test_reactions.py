"""The link's measures for each error of Redis, and the distribution of its attempts."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis
from harness import QUICK, StartRedis, StartServer, answered_ids, call, connect, push, until
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,  # noqa: A004
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004
)

from server.redis.address import Address, NotPrimary
from server.redis.link import LONGEST_PAUSE, LONGEST_WAIT, NotReplicated, Reaction, RedisLink, reaction_to


@pytest.mark.parametrize(
    ("error", "reaction"),
    [
        (ConnectionError("lost"), Reaction.RECONNECT),
        (TimeoutError("late"), Reaction.RECONNECT),
        (ReadOnlyError("You can't write against a read only replica."), Reaction.MOVE),
        (ResponseError("Error running script: READONLY You can't write"), Reaction.MOVE),
        (ResponseError("UNBLOCKED force unblock from blocking operation"), Reaction.MOVE),
        (MasterDownError("Link with MASTER is down"), Reaction.MOVE),
        (NotPrimary("slave"), Reaction.MOVE),
        (BusyLoadingError("Redis is loading the dataset in memory"), Reaction.WAIT),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), Reaction.WAIT),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), Reaction.WAIT),
        (OutOfMemoryError("command not allowed"), Reaction.WAIT),
        (NoPermissionError("no"), Reaction.WAIT),
        (NotReplicated("0 of 1 replicas"), Reaction.WAIT),
    ],
)
def test_each_error_has_its_reaction(error: RedisError, reaction: Reaction) -> None:
    assert reaction_to(error) is reaction


@pytest.mark.anyio
async def test_a_hundred_processes_do_not_come_back_together() -> None:
    links = [RedisLink("redis://127.0.0.1:1") for _ in range(100)]

    async def back(link: RedisLink) -> float:
        for _ in range(5):
            await link.recover(ConnectionError("lost"), "test")
        began = time.monotonic()
        await link.recover(ConnectionError("lost"), "test")
        return time.monotonic() - began

    waits = sorted(await asyncio.gather(*(back(link) for link in links)))
    tenths = [sum(1 for wait in waits if low <= wait / LONGEST_PAUSE < low + 0.1) for low in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert all(count <= 35 for count in tenths)
    assert waits[-1] - waits[0] >= 0.5 * LONGEST_PAUSE
    for link in links:
        await link.close()


@pytest.mark.anyio
async def test_a_connection_that_cannot_be_closed_in_time_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With TLS, a peer that is gone without a word leaves the closing handshake unanswered."""

    async def disconnect(*_: object, **__: object) -> None:
        raise TimeoutError("Timed out closing connection after 1.0")

    link = RedisLink("redis://127.0.0.1:1")
    monkeypatch.setattr(link.client.connection_pool, "disconnect", disconnect)
    await link.recover(ConnectionError("lost"), "test")
    await link.close()


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("min-replicas-to-write", "1", "NOREPLICAS"),
        ("maxmemory", "1", "OOM"),
    ],
)
def test_a_refusal_is_waited_out_over_the_same_connection(
    start_redis: StartRedis, start_server: StartServer, setting: str, value: str, error: str
) -> None:
    service = start_redis()
    with connect(service.url()) as client:
        server = start_server(service.url(), **QUICK)
        server.wait_healthy()
        client.config_set(setting, value)
        until(lambda: server.health()["status"] == "degraded", "not noticed")
        made = client.info("stats")["total_connections_received"]
        time.sleep(1)  # long enough to show a storm of connections
        assert client.info("stats")["total_connections_received"] - made <= 3
        assert error in server.health()["redis"]["error"].upper().replace("OUTOFMEMORY", "OOM")
        client.config_set(setting, "0")
        push(client, [call("CP-1", "m")])
        until(lambda: answered_ids(client, "CP-1") == ["m"], "not answered")


def test_a_demotion_is_noticed_at_once(start_redis: StartRedis, start_server: StartServer) -> None:
    """Also by the connection on which the queue is waited for, which is sent no reply."""
    service = start_redis()
    with connect(service.url()) as client:
        server = start_server(service.url(), ROLE="processor", LEASE_SECONDS="15s")
        server.wait_healthy()
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        began = time.monotonic()
        until(lambda: server.health()["status"] == "degraded", "not noticed")
        assert time.monotonic() - began <= LONGEST_WAIT / 2
        assert "UNBLOCKED" in server.records("redis_unavailable")[0]["error"]
        client.execute_command("REPLICAOF", "NO", "ONE")
        push(client, [call("CP-1", "m")])
        until(lambda: answered_ids(client, "CP-1") == ["m"], "not answered")


def test_another_reason_of_an_outage_is_logged_and_none_twice(
    start_redis: StartRedis, start_server: StartServer
) -> None:
    service = start_redis()
    with connect(service.url()) as client:
        server = start_server(service.url(), **QUICK)
        server.wait_healthy()
        for setting, value in (("maxmemory", "1"), ("maxmemory", "0"), ("min-replicas-to-write", "1")):
            client.config_set(setting, value)
            if value != "0":
                until(lambda: len(server.records("redis_unavailable")) >= 1, "nothing is said")
        until(lambda: any("NOREPLICAS" in each["error"] for each in server.records("redis_unavailable")), "not said")
        said = [each["error"] for each in server.records("redis_unavailable")]
        assert len(said) == len(set(said))


def test_the_script_cache_may_be_emptied_at_any_moment(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, **QUICK)
    server.wait_healthy()
    for number in range(20):
        client.script_flush()
        push(client, [call("CP-1", f"m{number}")])
        until(lambda: len(answered_ids(client, "CP-1")) == number + 1, "not answered")  # noqa: B023
    assert not server.records("redis_unavailable")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://host/service",
        "redis+sentinel://a:1,b:2,[::1]:3/service/4",
        "rediss+sentinel://user:pa%40ss@a:1/my-service",
    ],
)
def test_urls_with_sentinels(url: str) -> None:
    assert Address.parse(url).service


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://host",
        "redis+sentinel:///service",
        "redis+sentinel://host:0/service",
        "redis+sentinel://host:x/service",
        "redis+sentinel://a:1,,b:2/service",
        "redis+sentinel://a:1/service/x",
        "sentinel://a:1/service",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        Address.parse(url)
