"""Loss of Redis' data: a transaction id is never given twice while a process lives that has seen it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from harness import SOON, StartServer, answers, app, push, start_transaction, until

from server.store.keys import Keys
from server.store.redis_store import RedisStateStore

COUNTER = "ocpp:transaction-id"


def started(client: redis.Redis, charge_point_id: str, count: int) -> list[int]:
    """The transaction ids that a charge point was given, once it has so many."""
    until(lambda: len(answers(client, charge_point_id)) == count, "not all are answered", timeout=SOON)
    return [answer["payload"][2]["transactionId"] for answer in answers(client, charge_point_id)]


@pytest.mark.parametrize(
    "forget",
    [lambda client: client.flushall(), lambda client: client.delete(COUNTER), lambda client: client.set(COUNTER, 7)],
    ids=["FLUSHALL", "the counter alone", "an older counter"],
)
@pytest.mark.parametrize("shards", ["1", "3"])
def test_ids_are_not_given_again(
    client: redis.Redis,
    redis_url: str,
    start_server: StartServer,
    forget: Callable[[redis.Redis], object],
    shards: str,
) -> None:
    servers = [start_server(redis_url, QUEUE_SHARDS=shards) for _ in range(2)]
    given: list[int] = []
    for round_number in range(3):
        for number in range(20):
            name = f"CP-{number}"
            starts = [start_transaction(name, f"r{round_number}-{one}", one, round_number) for one in (1, 2, 3)]
            push(client, starts)
        for number in range(20):
            given += started(client, f"CP-{number}", 3)
        forget(client)
        client.delete(*[f"ocpp:responses:CP-{number}" for number in range(20)])
    assert len(given) == len(set(given)) == 180
    assert all(server.process.alive for server in servers)


@pytest.mark.anyio
async def test_a_process_puts_the_counter_right_without_a_start(client: redis.Redis, redis_url: str) -> None:
    async with app(redis_url) as one:
        client.set(COUNTER, 60)
        await one.processor._claim()
        client.flushall()
        await one.processor._claim()
        assert int(client.get(COUNTER)) > 60  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_the_store_remembers_too(client: redis.Redis, redis_url: str) -> None:
    store = RedisStateStore.open(redis_url, Keys())
    try:
        before = [await store.new_transaction_id() for _ in range(40)]
        client.flushall()
        after = [await store.new_transaction_id() for _ in range(40)]
        assert before == list(range(1, 41))
        assert not set(before) & set(after)
    finally:
        await store.close()


@pytest.mark.anyio
async def test_a_new_system_has_no_counter_before_its_first_start(client: redis.Redis, redis_url: str) -> None:
    async with app(redis_url) as one:
        await one.processor._claim()
        assert not client.exists(COUNTER)
