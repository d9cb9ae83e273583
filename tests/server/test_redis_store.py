"""The state store in Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
import redis
from harness import (
    NOW,
    SOON,
    START_SECONDS,
    StartRedis,
    app,
    call,
    connect,
    drained,
    push,
    running,
    soon,
    start_transaction,
    stop_transaction,
)
from msgspec.structs import replace

from server.errors import CorruptState, StateError
from server.store.errors import (
    StateConflict,
    StateNotFound,
    StateOutOfMemory,
    StateReadOnly,
    StateTimeout,
    StateTooLarge,
    StateUnavailable,
)
from server.store.models import ChargePoint, ConfigurationKey, Connector, Transaction, TransactionStatus
from server.store.redis_store import Limits, RedisStateStore

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
FULL = ChargePoint(
    id="CP",
    vendor="Vörlag",
    model="M",
    serial="S",
    firmware="1.0",
    status="Available",
    last_seen=NOW,
    is_online=True,
    boot_time=NOW,
    firmware_status="Installed",
    diagnostics_status="Idle",
)


def transaction(number: int, charge_point_id: str = "CP", **values: Any) -> Transaction:
    fields = {"connector_id": 1, "id_tag": "T", "start_time": NOW, "meter_start": 0, "meter_current": 0} | values
    return Transaction(id=number, charge_point_id=charge_point_id, **fields)


def stopped(record: Transaction) -> Transaction:
    return replace(record, status=TransactionStatus.COMPLETED, stop_time=NOW, meter_stop=5, reason="Local")


def content(client: redis.Redis) -> dict[bytes, bytes]:
    """All that is in Redis, to the byte."""
    return {key: client.dump(key) for key in client.keys("*")}


OpenStore = Callable[..., RedisStateStore]


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    """Open a store that waits long for Redis, where nothing else is said; closed at the end in any case."""
    opened: list[RedisStateStore] = []

    def open_one(url: str, *, reply_timeout: float = SOON, **options: Any) -> RedisStateStore:
        opened.append(RedisStateStore.open(url, reply_timeout=reply_timeout, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


@pytest.fixture
async def store(redis_url: str, open_store: OpenStore) -> RedisStateStore:
    return open_store(redis_url)


class TestChargePoints:
    async def test_read_equals_written(self, store: RedisStateStore) -> None:
        saved = await store.save_charge_point(FULL)
        assert saved == replace(FULL, version=1)
        assert await store.get_charge_point("CP") == saved
        assert await store.list_charge_points() == [saved]

    async def test_update_and_replace(self, store: RedisStateStore) -> None:
        await store.save_charge_point(FULL)
        updated = await store.update_charge_point("CP", lambda record: replace(record, vendor="W"))
        assert (updated.vendor, updated.version) == ("W", 2)
        replaced = await store.save_charge_point(replace(updated, model="N"))
        assert await store.get_charge_point("CP") == replaced
        assert replaced.version == 3

    async def test_saving_over_an_unseen_record_is_a_conflict(self, store: RedisStateStore) -> None:
        await store.save_charge_point(FULL)
        with pytest.raises(StateConflict, match="save charge point ocpp:chargepoint:CP: the record has version 1") as e:
            await store.save_charge_point(FULL)
        assert (e.value.key, e.value.operation) == ("ocpp:chargepoint:CP", "save charge point")

    async def test_missing_state(self, store: RedisStateStore) -> None:
        with pytest.raises(StateNotFound, match="read ocpp:chargepoint:CP: there is no such record"):
            await store.get_charge_point("CP")
        with pytest.raises(StateNotFound, match="update charge point"):
            await store.update_charge_point("CP", lambda record: record)
        assert not await store.delete_charge_point("CP")
        assert await store.list_charge_points() == []

    async def test_delete_cascades_and_leaves_no_key(self, store: RedisStateStore, client: redis.Redis) -> None:
        await store.save_charge_point(replace(FULL, id="other"))
        await store.save_transaction(transaction(99, "other"))
        before = content(client)
        await store.save_charge_point(FULL)
        for number in (1, 2):
            await store.save_connector("CP", number, Connector(status="Available"))
            await store.save_transaction(transaction(number))
        await store.update_transaction(1, stopped)
        await store.save_configuration("CP", {"a": ConfigurationKey(value="1")})
        assert await store.delete_charge_point("CP")
        assert content(client) == before

    async def test_an_id_that_would_be_another_key_is_refused(self, store: RedisStateStore) -> None:
        with pytest.raises(ValueError, match="no charge point id"):
            await store.get_charge_point("CP:active")
        await store.save_charge_point(FULL)
        with pytest.raises(ValueError, match="cannot become"):
            await store.update_charge_point("CP", lambda record: replace(record, id="other"))


class TestConnectors:
    async def test_all_operations(self, store: RedisStateStore, client: redis.Redis) -> None:
        saved = await store.save_connector("CP", 10, Connector(status="Charging", error_code="NoError", updated_at=NOW))
        second = await store.save_connector("CP", 2, Connector())
        assert await store.get_connector("CP", 10) == saved
        assert list((await store.list_connectors("CP")).items()) == [(2, second), (10, saved)]
        updated = await store.update_connector("CP", 2, lambda record: replace(record, transaction_id=7))
        assert (updated.transaction_id, updated.version) == (7, 2)
        assert await store.delete_connector("CP", 2)
        assert not await store.delete_connector("CP", 2)
        assert await store.list_connectors("CP") == {10: saved}
        assert await store.delete_connector("CP", 10)
        assert client.keys("*") == []
        with pytest.raises(StateNotFound):
            await store.get_connector("CP", 10)


class TestTransactions:
    async def test_all_operations(self, store: RedisStateStore, client: redis.Redis) -> None:
        first = await store.save_transaction(transaction(1, start_time="2026-01-15T10:30:02Z"))
        second = await store.save_transaction(transaction(2, start_time="2026-01-15T10:30:01Z"))
        other = await store.save_transaction(transaction(3, "other"))
        assert await store.get_transaction(1) == first
        assert await store.list_transactions("CP") == [second, first]
        assert await store.list_transactions() == [other, second, first]
        assert await store.list_transactions("CP", active=True) == [second, first]
        done = await store.update_transaction(2, stopped)
        assert (done.status, done.version) == (TransactionStatus.COMPLETED, 2)
        assert await store.list_transactions(active=True) == [other, first]
        assert await store.list_transactions("CP", active=False) == [done]
        assert client.smembers("ocpp:transactions:CP:active") == {b"1"}
        for number in (1, 2, 3):
            assert await store.delete_transaction(number)
        assert not await store.delete_transaction(1)
        assert client.keys("*") == []

    async def test_a_transaction_stays_with_its_charge_point(self, store: RedisStateStore) -> None:
        await store.save_transaction(transaction(1))
        with pytest.raises(ValueError, match="belongs to"):
            await store.update_transaction(1, lambda record: replace(record, charge_point_id="other"))

    async def test_five_thousand_concurrent_starts_have_distinct_ids(self, store: RedisStateStore) -> None:
        async def start(number: int) -> int:
            record = transaction(await store.new_transaction_id(), f"CP-{number % 50}")
            return (await store.save_transaction(record)).id

        ids = await asyncio.gather(*(start(number) for number in range(5000)))
        assert len(set(ids)) == 5000
        assert {each.id for each in await store.list_transactions(active=True)} == set(ids)


class TestConfiguration:
    async def test_all_operations(self, store: RedisStateStore, client: redis.Redis) -> None:
        whole = {
            "a": ConfigurationKey(value="1"),
            "b": ConfigurationKey(readonly=True),
            "ü": ConfigurationKey(value=""),
        }
        await store.save_configuration("CP", whole)
        assert await store.get_configuration("CP") == whole
        assert msgspec.json.decode(client.hget("ocpp:config:CP", "a")) == {"value": "1", "readonly": False}
        assert await store.list_configurations() == ["CP"]
        changed = await store.update_configuration_key("CP", "a", lambda record: replace(record, value="2"))
        assert await store.get_configuration("CP") == whole | {"a": changed}
        await store.save_configuration_key("CP", "c", ConfigurationKey(value="3"))
        assert await store.get_configuration_key("CP", "c") == ConfigurationKey(value="3")
        assert await store.delete_configuration_key("CP", "b")
        await store.save_configuration("CP", {"c": ConfigurationKey(value="4"), "d": ConfigurationKey()})
        assert sorted(await store.get_configuration("CP")) == ["c", "d"]
        assert await store.delete_configuration("CP")
        assert client.keys("*") == []
        with pytest.raises(StateNotFound):
            await store.get_configuration("CP")
        with pytest.raises(StateNotFound, match="no key a"):
            await store.update_configuration_key("CP", "a", lambda record: record)

    async def test_an_empty_configuration_is_none(self, store: RedisStateStore, client: redis.Redis) -> None:
        await store.save_configuration("CP", {"a": ConfigurationKey(value="1")})
        await store.save_configuration("CP", {})
        assert client.keys("*") == []


class TestConcurrentWriters:
    async def test_fifty_writers_lose_no_update(self, store: RedisStateStore) -> None:
        await store.save_transaction(transaction(1))

        async def writer() -> None:
            for _ in range(100):
                await store.update_transaction(1, lambda each: replace(each, meter_current=each.meter_current + 1))

        await asyncio.gather(*(writer() for _ in range(50)))
        record = await store.get_transaction(1)
        assert (record.meter_current, record.version) == (5000, 5001)

    async def test_writers_that_do_not_know_of_each_other_lose_no_update(
        self, store: RedisStateStore, redis_url: str, open_store: OpenStore
    ) -> None:
        await store.save_charge_point(ChargePoint(id="CP", vendor="0"))
        await store.save_configuration("CP", {"a": ConfigurationKey(value="0")})
        stores = [open_store(redis_url, connections=1) for _ in range(20)]

        async def writer(mine: RedisStateStore) -> None:
            for _ in range(20):
                await mine.update_charge_point("CP", lambda each: replace(each, vendor=str(int(each.vendor or 0) + 1)))
                await mine.update_configuration_key("CP", "a", lambda e: replace(e, value=str(int(e.value or 0) + 1)))

        await asyncio.gather(*(writer(each) for each in stores))
        record = await store.get_charge_point("CP")
        assert (record.vendor, record.version) == ("400", 401)
        assert (await store.get_configuration("CP"))["a"].value == "400"

    async def test_a_writer_that_waited_for_its_turn_notices_a_foreign_write(
        self, store: RedisStateStore, client: redis.Redis
    ) -> None:
        await store.save_charge_point(FULL)
        raw = client.get("ocpp:chargepoint:CP")
        seen = []

        def first(record: ChargePoint) -> ChargePoint:
            return replace(record, vendor="first")

        def second(record: ChargePoint) -> ChargePoint:
            seen.append(record.vendor)
            if len(seen) == 1:
                client.set("ocpp:chargepoint:CP", raw.replace(b'"version":1', b'"version":7'))
            return replace(record, model="second")

        await asyncio.gather(store.update_charge_point("CP", first), store.update_charge_point("CP", second))
        assert seen == ["first", FULL.vendor]
        record = await store.get_charge_point("CP")
        assert (record.vendor, record.model, record.version) == (FULL.vendor, "second", 8)
        assert not store._turns

    async def test_saving_waits_for_its_turn_and_then_reads(self, store: RedisStateStore, client: redis.Redis) -> None:
        saved = await store.save_charge_point(FULL)
        results = await asyncio.gather(
            store.update_charge_point("CP", lambda record: replace(record, vendor="first")),
            store.save_charge_point(replace(saved, version=2, vendor="second")),
        )
        assert [each.version for each in results] == [2, 3]
        with pytest.raises(StateConflict):
            await store.save_charge_point(replace(saved, version=0))

        async def update_and_then_somebody_else_writes() -> None:
            await store.update_charge_point("CP", lambda record: record)
            client.set("ocpp:chargepoint:CP", msgspec.json.encode(replace(saved, version=9)))

        _, saved = await asyncio.gather(
            update_and_then_somebody_else_writes(), store.save_charge_point(replace(saved, version=9))
        )
        assert saved.version == 10

    async def test_attempts_are_bounded(self, redis_url: str, client: redis.Redis, open_store: OpenStore) -> None:
        store = open_store(redis_url, limits=Limits(attempts=3))
        await store.save_charge_point(FULL)
        calls = []

        def disturbed(record: ChargePoint) -> ChargePoint:
            calls.append(record.version)
            client.set("ocpp:chargepoint:CP", msgspec.json.encode(replace(record, version=record.version + 1)))
            return record

        with pytest.raises(StateConflict, match="changed through 3 attempts"):
            await store.update_charge_point("CP", disturbed)
        assert calls == [1, 2, 3]
        assert not store._turns


class TestLimits:
    async def test_large_values_survive(self, store: RedisStateStore) -> None:
        large = "ä" * (MIB // 2)
        saved = await store.save_charge_point(replace(FULL, vendor=large))
        assert await store.get_charge_point("CP") == saved
        assert (await store.update_charge_point("CP", lambda record: replace(record, model="N"))).vendor == large
        whole = {f"key-{number}": ConfigurationKey(value=str(number)) for number in range(2500)}
        whole["large"] = ConfigurationKey(value=large)
        await store.save_configuration("CP", whole)
        assert await store.get_configuration("CP") == whole

    async def test_over_the_limit_nothing_is_written(self, store: RedisStateStore, client: redis.Redis) -> None:
        await store.save_charge_point(replace(FULL, id="there"))
        before = content(client)
        large = "x" * (2 * MIB)
        attempts: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.save_charge_point(replace(FULL, vendor=large)),
            lambda: store.update_charge_point("there", lambda record: replace(record, vendor=large)),
            lambda: store.save_connector("CP", 1, Connector(status=large)),
            lambda: store.save_transaction(transaction(1, id_tag=large)),
            lambda: store.save_configuration("CP", {"a": ConfigurationKey(), "b": ConfigurationKey(value=large)}),
            lambda: store.save_configuration_key("CP", "a", ConfigurationKey(value=large)),
            lambda: store.save_configuration(
                "CP", {str(each): ConfigurationKey(value=large[:MIB]) for each in range(17)}
            ),
        ]
        for attempt in attempts:
            with pytest.raises(StateTooLarge, match="over the limit") as caught:
                await attempt()
            assert caught.value.size > caught.value.limit
        assert content(client) == before


WRITES: dict[str, Callable[[RedisStateStore], Awaitable[Any]]] = {
    "save charge point": lambda store: store.save_charge_point(replace(FULL, id="new")),
    "update charge point": lambda store: store.update_charge_point("CP", lambda record: record),
    "save connector": lambda store: store.save_connector("CP", 2, Connector()),
    "update connector": lambda store: store.update_connector("CP", 1, lambda record: record),
    "new transaction id": lambda store: store.new_transaction_id(),
    "save transaction": lambda store: store.save_transaction(transaction(8)),
    "update transaction": lambda store: store.update_transaction(7, stopped),
    "save configuration": lambda store: store.save_configuration("CP", {"b": ConfigurationKey()}),
    "save configuration key": lambda store: store.save_configuration_key("CP", "c", ConfigurationKey()),
    "update configuration key": lambda store: store.update_configuration_key("CP", "a", lambda record: record),
}
DELETES: dict[str, Callable[[RedisStateStore], Awaitable[Any]]] = {
    "delete charge point": lambda store: store.delete_charge_point("CP"),
    "delete connector": lambda store: store.delete_connector("CP", 1),
    "delete transaction": lambda store: store.delete_transaction(7),
    "delete configuration key": lambda store: store.delete_configuration_key("CP", "a"),
    "delete configuration": lambda store: store.delete_configuration("CP"),
}
READS: dict[str, Callable[[RedisStateStore], Awaitable[Any]]] = {
    "read": lambda store: store.get_charge_point("CP"),
    "list charge points": lambda store: store.list_charge_points(),
    "list connectors": lambda store: store.list_connectors("CP"),
    "list transactions": lambda store: store.list_transactions(),
    "list configurations": lambda store: store.list_configurations(),
}


async def fill(store: RedisStateStore) -> None:
    await store.save_charge_point(FULL)
    await store.save_connector("CP", 1, Connector())
    await store.save_transaction(transaction(7))
    await store.save_configuration("CP", {"a": ConfigurationKey()})


async def each_fails(
    store: RedisStateStore, operations: dict[str, Callable[[RedisStateStore], Awaitable[Any]]], kind: type[StateError]
) -> None:
    for name, operation in operations.items():
        with pytest.raises(StateError) as caught:
            await operation(store)
        assert type(caught.value) is kind, (name, caught.value)
        assert caught.value.operation == name
        assert caught.value.key.startswith("ocpp:")
        assert caught.value.key in str(caught.value)


class TestErrors:
    async def test_read_only(self, store: RedisStateStore, client: redis.Redis) -> None:
        await fill(store)
        before = content(client)
        client.replicaof("127.0.0.1", "1")
        await each_fails(store, WRITES | DELETES, StateReadOnly)
        for read in READS.values():
            await read(store)
        client.replicaof("NO", "ONE")
        assert content(client) == before

    async def test_out_of_memory(self, store: RedisStateStore, client: redis.Redis) -> None:
        await fill(store)
        before = content(client)
        client.config_set("maxmemory", 1)
        await each_fails(store, WRITES, StateOutOfMemory)
        for read in READS.values():
            await read(store)
        assert content(client) == before
        # What makes room is never refused.
        for name in ("connector", "transaction", "configuration key", "charge point"):
            assert await DELETES[f"delete {name}"](store)
        client.config_set("maxmemory", 0)
        assert client.keys("*") == []

    async def test_down(self, start_redis: StartRedis, open_store: OpenStore) -> None:
        service = start_redis()
        store = open_store(service.url())
        await fill(store)
        service.kill()
        await each_fails(store, WRITES | DELETES | READS, StateUnavailable)
        service.start(START_SECONDS)
        assert (await store.get_charge_point("CP")).version == 1

    async def test_no_answer_in_time(self, start_redis: StartRedis, open_store: OpenStore) -> None:
        """Over connections that were open before, and over new ones."""
        service = start_redis()
        store = open_store(service.url())
        await fill(store)
        connection = store._client.connection_pool._available_connections[0]
        connection.socket_timeout = 0.1
        service.pause()
        await each_fails(store, {"read": READS["read"]}, StateTimeout)
        impatient = open_store(service.url(), reply_timeout=0.1)
        await each_fails(impatient, WRITES | DELETES | READS, StateTimeout)
        service.resume(SOON)

    async def test_a_connection_may_take_as_long_as_a_reply(self, open_store: OpenStore) -> None:
        store = open_store("redis://127.0.0.1:1", reply_timeout=7)
        options = store._client.connection_pool.connection_kwargs
        assert (options["socket_connect_timeout"], options["socket_timeout"]) == (7, 7)

    async def test_wrong_password(self, store: RedisStateStore, redis_url: str, open_store: OpenStore) -> None:
        stranger = open_store(redis_url.replace("redis://", "redis://:wrong@"))
        with pytest.raises(StateUnavailable):
            await stranger.get_charge_point("CP")

    @pytest.mark.parametrize("value", [b"{", b'{"id":"CP","version":"x"}', b'{"id":"other"}', b"\xff", b"[]", b""])
    async def test_a_corrupt_record(self, store: RedisStateStore, client: redis.Redis, value: bytes) -> None:
        await store.save_charge_point(replace(FULL, id="A"))
        await fill(store)
        client.set("ocpp:chargepoint:CP", value)
        before = content(client)
        for operation in (
            lambda: store.get_charge_point("CP"),
            lambda: store.update_charge_point("CP", lambda record: record),
            store.list_charge_points,
        ):
            with pytest.raises(CorruptState, match="ocpp:chargepoint:CP") as caught:
                await operation()
            assert caught.value.key == "ocpp:chargepoint:CP"
        problems: list[CorruptState] = []
        assert [each.id for each in await store.list_charge_points(problems=problems)] == ["A"]
        assert [each.key for each in problems] == ["ocpp:chargepoint:CP"]
        assert content(client) == before
        assert await store.delete_charge_point("CP")

    async def test_keys_of_another_type(self, store: RedisStateStore, client: redis.Redis) -> None:
        await fill(store)
        for key in client.keys("*"):
            client.delete(key)
            client.lpush(key, "x")
        client.lpush("ocpp:transaction-id", "x")
        client.lpush("ocpp:chargepoint:new", "x")
        before = content(client)
        await each_fails(store, WRITES | READS, CorruptState)
        assert content(client) == before

    async def test_an_index_of_another_type_refuses_the_whole_write(
        self, store: RedisStateStore, client: redis.Redis
    ) -> None:
        client.lpush("ocpp:transactions:CP:active", "x")
        before = content(client)
        with pytest.raises(CorruptState, match="ocpp:transactions:CP:active") as caught:
            await store.save_transaction(transaction(1))
        assert caught.value.key == "ocpp:transactions:CP:active"
        assert content(client) == before

    async def test_an_index_of_another_type_refuses_the_whole_delete(
        self, store: RedisStateStore, client: redis.Redis
    ) -> None:
        await fill(store)
        for index in ("ocpp:chargepoints", "ocpp:connectors:CP", "ocpp:transactions:CP:active"):
            kept = client.dump(index)
            client.delete(index)
            client.lpush(index, "x")
            before = content(client)
            with pytest.raises(CorruptState, match=index):
                await store.delete_charge_point("CP")
            if index == "ocpp:chargepoints":
                await each_fails(store, DELETES, CorruptState)
            assert content(client) == before
            client.restore(index, 0, kept, replace=True)

    async def test_a_corrupt_configuration_key(self, store: RedisStateStore, client: redis.Redis) -> None:
        await store.save_configuration("CP", {"a": ConfigurationKey(), "b": ConfigurationKey()})
        client.hset("ocpp:config:CP", "b", "{")
        with pytest.raises(CorruptState, match="field b"):
            await store.get_configuration("CP")
        assert await store.get_configuration_key("CP", "a") == ConfigurationKey()

    async def test_an_index_with_something_else_in_it(self, store: RedisStateStore, client: redis.Redis) -> None:
        client.sadd("ocpp:connectors:CP", "one")
        with pytest.raises(CorruptState, match="ocpp:connectors:CP"):
            await store.list_connectors("CP")
        client.sadd("ocpp:connectors:CQ", b"\xff")
        with pytest.raises(CorruptState, match="ocpp:connectors:CQ"):
            await store.list_connectors("CQ")


WRITER = """
import asyncio, sys
from server.store.models import Transaction
from server.store.redis_store import RedisStateStore

async def main():
    store = RedisStateStore.open(sys.argv[1], reply_timeout=float(sys.argv[2]))
    while True:
        number = await store.new_transaction_id()
        await store.save_transaction(Transaction(id=number, charge_point_id="CP", connector_id=1, id_tag="T",
            start_time="2026-01-15T10:30:00Z", meter_start=number, meter_current=number))
        print(number, flush=True)

asyncio.run(main())
"""


class TestKill:
    async def test_every_acknowledged_write_survives_the_end_of_redis(
        self, start_redis: StartRedis, open_store: OpenStore
    ) -> None:
        service = start_redis()
        store = open_store(service.url())
        acknowledged: dict[int, Transaction] = {}

        async def write() -> None:
            while True:
                record = await store.save_transaction(transaction(await store.new_transaction_id()))
                acknowledged[record.id] = record

        for _ in range(3):
            writers = [asyncio.create_task(write()) for _ in range(20)]
            before = len(acknowledged)
            await soon(lambda target=before + 200: len(acknowledged) >= target, "no writes")
            await asyncio.to_thread(service.kill)
            for result in await asyncio.gather(*writers, return_exceptions=True):
                assert isinstance(result, StateUnavailable)
            await asyncio.to_thread(service.start, START_SECONDS)
        there = {each.id: each for each in await store.list_transactions("CP")}
        assert acknowledged.items() <= there.items()
        # What was written without the acknowledgement getting through is there whole.
        with connect(service.url()) as client:
            records = {int(key.rpartition(b":")[2]) for key in client.keys("ocpp:transaction:*")}
            assert records == there.keys() == {int(each) for each in client.smembers("ocpp:transactions:CP:active")}

    async def test_a_writer_that_is_killed_leaves_whole_records(
        self, store: RedisStateStore, client: redis.Redis, redis_url: str
    ) -> None:
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, redis_url, str(SOON), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout
        acknowledged = [int(await writer.stdout.readline()) for _ in range(200)]
        os.kill(writer.pid, signal.SIGKILL)
        await writer.communicate()
        there = {each.id for each in await store.list_transactions("CP", active=True)}
        assert set(acknowledged) <= there
        assert {int(key.rpartition(b":")[2]) for key in client.keys("ocpp:transaction:*")} == there


class TestWithTheProcessor:
    async def test_the_store_finds_the_records_of_the_processor(
        self, store: RedisStateStore, client: redis.Redis, redis_url: str
    ) -> None:
        async with app(redis_url) as made, running(made):
            push(client, [start_transaction("CP", "a", connector=2), start_transaction("CQ", "b"), call("CR", "c")])
            await drained(client)
            push(client, [stop_transaction("CP", "d", 1), call("CP", "e", "StatusNotification", STATUS)])
            await drained(client)
            assert [each.id for each in await store.list_charge_points()] == ["CP", "CQ", "CR"]
            assert {key: each.version for key, each in (await store.list_connectors("CP")).items()} == {2: 2, 4: 1}
            assert [each.id for each in await store.list_transactions()] == [1, 2]
            assert [each.id for each in await store.list_transactions(active=True)] == [2]

    async def test_the_processor_goes_on_after_a_delete(
        self, store: RedisStateStore, client: redis.Redis, redis_url: str
    ) -> None:
        async with app(redis_url) as made, running(made):
            push(client, [start_transaction("CP", "a")])
            await drained(client)
            await store.delete_charge_point("CP")
            push(client, [start_transaction("CP", "b")])
            await drained(client)
            assert [each.version for each in await store.list_charge_points()] == [1]
            assert [each.id != 1 for each in await store.list_transactions("CP")] == [True]
            assert list(await store.list_connectors("CP")) == [1]

    async def test_both_write_and_lose_nothing(
        self, store: RedisStateStore, client: redis.Redis, redis_url: str
    ) -> None:
        await store.save_charge_point(ChargePoint(id="CP", vendor="0"))

        async def writer() -> None:
            for _ in range(50):
                await store.update_charge_point("CP", lambda each: replace(each, vendor=str(int(each.vendor or 0) + 1)))

        async with app(redis_url) as made, running(made):
            push(client, [call("CP", f"m{number}") for number in range(2000)])
            await asyncio.gather(*(writer() for _ in range(5)))
            await drained(client)
            record = await store.get_charge_point("CP")
            assert record.vendor == "250"
            assert client.llen("ocpp:responses:CP") == 2000


STATUS = {"connectorId": 4, "errorCode": "NoError", "status": "Available"}
