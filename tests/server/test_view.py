"""State as one batch sees it, and the cache behind it."""

from __future__ import annotations

import json
from collections import deque

import msgspec
import pytest
import redis
from harness import NOW, app
from hypothesis import given
from hypothesis import strategies as st

from server.errors import CorruptState
from server.ids import usable_charge_point_id
from server.store.keys import Keys
from server.store.models import ChargePoint, Connector, Transaction, TransactionStatus
from server.store.view import NotLoaded, StateCache, StateView

KEYS = Keys()


def known(values: dict[str, str | None], *, most: int = 20_000) -> StateCache:
    cache = StateCache(None, most=most)  # type: ignore[arg-type]
    cache.values.update(values)
    return cache


def view(cache: StateCache, ids: tuple[int, ...] = ()) -> StateView:
    return StateView(cache, KEYS, now=NOW, transaction_ids=deque(ids))


class TestKeys:
    def test_the_names_are_the_contracts(self) -> None:
        keys = Keys()
        assert keys.requests == "ocpp:requests"
        assert keys.responses("CP") == "ocpp:responses:CP"
        assert keys.dead_letters == "ocpp:dead-letters"
        assert keys.charge_point("CP") == "ocpp:chargepoint:CP"
        assert keys.connector("CP", 2) == "ocpp:connector:CP:2"
        assert keys.transaction(7) == "ocpp:transaction:7"
        assert keys.transactions("CP") == "ocpp:transactions:CP"
        assert keys.active_transactions("CP") == "ocpp:transactions:CP:active"
        assert keys.transaction_id == "ocpp:transaction-id"
        assert keys.consumer("one") == "ocpp:consumer:one"
        assert keys.owner == "ocpp:requests:owner"

    def test_prefix_and_queue_are_settings(self) -> None:
        keys = Keys("tenant", "inbox")
        assert (keys.requests, keys.owner, keys.dead_letters) == ("inbox", "inbox:owner", "tenant:dead-letters")

    @given(
        st.lists(
            st.text(alphabet="a0-.éactiveowner", min_size=1, max_size=8).filter(usable_charge_point_id),
            min_size=2,
            max_size=2,
            unique=True,
        ),
        st.integers(0, 3),
    )
    def test_keys_of_two_charge_points_are_never_the_same(self, ids: list[str], number: int) -> None:
        def all_keys(charge_point_id: str) -> set[str]:
            return {
                KEYS.responses(charge_point_id),
                KEYS.charge_point(charge_point_id),
                KEYS.connector(charge_point_id, number),
                KEYS.transactions(charge_point_id),
                KEYS.active_transactions(charge_point_id),
            }

        one, other = (all_keys(charge_point_id) for charge_point_id in ids)
        assert len(one) == len(other) == 5
        shared = {KEYS.requests, KEYS.owner, KEYS.dead_letters, KEYS.transaction_id, KEYS.transaction(number)}
        assert not one & other
        assert not (one | other) & shared


class TestCache:
    @pytest.mark.anyio
    async def test_loads_unknown_values(self, client: redis.Redis, redis_url: str) -> None:
        client.set("a", "1")
        client.set("bytes", b"\xff\xfe")
        client.lpush("list", "x")
        async with app(redis_url) as made:
            cache = StateCache(made.link.client)
            await cache.load(["a", "b", "bytes", "list"])
            assert cache.values == {"a": "1", "b": None, "list": None}
            with pytest.raises(CorruptState):
                cache.record("bytes", ChargePoint)
            client.set("a", "2")
            client.set("b", "3")
            await cache.load(["a", "b"])
            assert cache.values["a"] == "1"
            cache.forget(["a"])
            await cache.load(["a", "b"])
            assert (cache.values["a"], cache.values["b"]) == ("2", None)

    def test_a_transaction_that_is_over_is_not_kept(self) -> None:
        """It is not read again, and the number of such records is unbounded."""
        active = Transaction(
            id=7, charge_point_id="CP", connector_id=1, id_tag="T", start_time=NOW, meter_start=0, meter_current=0
        )
        over = msgspec.structs.replace(active, status=TransactionStatus.COMPLETED)
        cache = known({})
        for record in (active, over):
            cache.written({"ocpp:transaction:7": (msgspec.json.encode(record).decode(), record)})
            assert ("ocpp:transaction:7" in cache.values) is (record is active)
        assert not cache.records

    def test_a_record_is_decoded_once(self) -> None:
        cache = known({"k": '{"id":"CP","vendor":"V"}'})
        assert cache.record("k", ChargePoint) == ChargePoint(id="CP", vendor="V")
        assert cache.record("k", ChargePoint) is cache.record("k", ChargePoint)

    def test_unloaded_values_are_requested(self) -> None:
        with pytest.raises(NotLoaded) as caught:
            known({}).record("k", ChargePoint)
        assert caught.value.wanted == "k"

    @pytest.mark.parametrize(
        "value", ["", "{", "null", "[]", "7", '"x"', "{}", '{"id":7}', '{"id":"CP","version":"x"}', "[" * 100_000]
    )
    def test_a_value_of_another_format_is_corrupt(self, value: str) -> None:
        cache = known({"k": value})
        for _ in range(2):
            with pytest.raises(CorruptState) as caught:
                cache.record("k", ChargePoint)
            assert caught.value.key == "k"
            assert len(str(caught.value)) < 300

    def test_fields_of_a_later_version_do_no_harm(self) -> None:
        assert known({"k": '{"id":"CP","colour":"red"}'}).record("k", ChargePoint) == ChargePoint(id="CP")

    def test_unreadable_until_forgotten(self) -> None:
        cache = known({"k": '{"id":"CP"}'})
        cache.unreadable("k", "it is not a string")
        with pytest.raises(CorruptState, match="not a string"):
            cache.record("k", ChargePoint)
        cache.forget(["k"])
        with pytest.raises(NotLoaded):
            cache.record("k", ChargePoint)

    def test_is_bounded(self) -> None:
        cache = known({}, most=3)
        for number in range(10):
            record = ChargePoint(id=str(number))
            cache.written({f"k{number}": ("{}", record)})
        assert list(cache.values) == ["k7", "k8", "k9"]
        assert list(cache.records) == ["k7", "k8", "k9"]


class TestView:
    def test_missing_values_are_blank(self) -> None:
        state = view(known({"ocpp:chargepoint:CP": None, "ocpp:connector:CP:1": None, "ocpp:transaction:7": None}))
        assert state.charge_point("CP") == ChargePoint(id="CP")
        assert state.connector("CP", 1) == Connector()
        assert state.transaction(7) is None

    def test_later_messages_of_the_batch_see_earlier_writes(self) -> None:
        state = view(known({"ocpp:chargepoint:CP": None, "ocpp:connector:CP:1": None}))
        state.apply("CP", {"ocpp:connector:CP:1": Connector(status="Charging")}, [], protocol="ocpp1.6")
        assert state.connector("CP", 1).status == "Charging"

    def test_conditions_are_the_reads_and_operations_the_writes(self) -> None:
        known_charge_point = '{"id":"CP","version":4,"vendor":"V"}'
        cache = known({"ocpp:chargepoint:CP": known_charge_point, "ocpp:connector:CP:1": None, "unrelated": "x"})
        state = view(cache)
        state.charge_point("CP")
        state.connector("CP", 1)
        state.apply("CP", {"ocpp:connector:CP:1": Connector(status="Charging")}, [["SADD", "s", 1]], protocol="ocpp1.6")
        changes = state.changes()
        assert sorted(changes.conditions) == [
            ("ocpp:chargepoint:CP", known_charge_point),
            ("ocpp:connector:CP:1", False),
        ]
        assert changes.operations[-1] == ["SADD", "s", 1]
        (name, *pairs), *_ = changes.operations
        assert name == "MSET"
        sets = {key: json.loads(value) for key, value in zip(pairs[::2], pairs[1::2], strict=True)}
        assert sets["ocpp:connector:CP:1"]["status"] == "Charging"
        seen = sets["ocpp:chargepoint:CP"]
        assert (seen["version"], seen["last_seen"], seen["is_online"], seen["vendor"]) == (5, NOW, True, "V")

    def test_nothing_read_and_nothing_written(self) -> None:
        changes = view(known({"a": "1"})).changes()
        assert (changes.conditions, changes.operations, changes.values) == ([], [], {})

    def test_a_transaction_that_is_written_unread_must_not_be_there(self) -> None:
        state = view(known({"ocpp:chargepoint:CP": None}), ids=(9,))
        number = state.new_transaction_id()
        transaction = Transaction(
            id=number, charge_point_id="CP", connector_id=1, id_tag="", start_time=NOW, meter_start=0, meter_current=0
        )
        state.apply("CP", {f"ocpp:transaction:{number}": transaction}, [], protocol="ocpp1.6")
        assert ("ocpp:transaction:9", False) in state.changes().conditions
        with pytest.raises(NotLoaded) as caught:
            state.new_transaction_id()
        assert caught.value.wanted == "ocpp:transaction-id"

    def test_written_values_are_cached_as_they_are_in_redis(self) -> None:
        cache = known({"ocpp:chargepoint:CP": None})
        state = view(cache)
        state.apply("CP", {}, [], protocol="ocpp1.6")
        changes = state.changes()
        cache.written(changes.values)
        text = cache.values["ocpp:chargepoint:CP"]
        assert text is not None
        assert msgspec.json.decode(text, type=ChargePoint) == cache.record("ocpp:chargepoint:CP", ChargePoint)
