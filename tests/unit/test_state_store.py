"""StateStoreLibrary and the check of keys, from Python."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ocpp_resilience.errors import UsageError
from ocpp_resilience.profile import KEY_PLACEHOLDERS, Target
from ocpp_resilience.redis.services import AppendOnly
from ocpp_resilience.state.keys import RULES, KeyRule, check_keys
from RedisServiceLibrary import RedisServiceLibrary
from server.store.models import ChargePoint, ConfigurationKey
from StateStoreLibrary import StateStoreLibrary
from StateStoreLibrary.comparison import differences, fields_of
from StateStoreLibrary.failures import StateErrorKind, StateFailure

TARGET = Target.load("reference")
CHANNELS = {"control_connect", "control_disconnect", "wake"}


@pytest.fixture(scope="module")
def library() -> Iterator[tuple[StateStoreLibrary, RedisServiceLibrary]]:
    with RedisServiceLibrary() as redis, StateStoreLibrary() as store:
        store.open_state_store(redis.start_redis(append_only=AppendOnly.OFF), reply_timeout=timedelta(seconds=30))
        yield store, redis


def test_every_key_of_a_profile_is_documented() -> None:
    assert KEY_PLACEHOLDERS.keys() - CHANNELS == RULES.keys()


@pytest.mark.parametrize(
    ("longest", "seconds", "right"),
    [(0.0, None, True), (0.0, 5.0, False), (10.0, 5.0, True), (10.0, 11.0, False), (10.0, None, False)],
)
def test_lifetimes(longest: float, seconds: float | None, right: bool) -> None:
    assert KeyRule("string", longest).lifetime_is_right(seconds) is right


class TestDifferences:
    def test_nested(self) -> None:
        one = {"a": [ConfigurationKey(value="1")], "b": 2}
        assert fields_of(one) == {"[a][0].value": "1", "[a][0].readonly": False, "[b]": 2}
        assert differences(one, {"a": [ConfigurationKey(value="2")], "b": 2}) == ["[a][0].value: '1' and '2'"]

    def test_types_count(self) -> None:
        assert differences(1, True) == [": 1 and True"]
        assert differences([1], [1]) == []
        assert differences([1], [1, 2]) == ["[1]: nothing and 2"]

    def test_long_values_are_cut(self) -> None:
        (text,) = differences(ChargePoint(id="a" * 1000), ChargePoint(id="b"))
        assert len(text) < 200
        assert "(1002 characters)" in text

    def test_ignored_fields(self) -> None:
        assert differences(ChargePoint(id="a", version=1), ChargePoint(id="a", version=2), ["version"]) == []


def test_keyword_errors_carry_their_fields(library: tuple[StateStoreLibrary, Any]) -> None:
    store, _ = library
    with pytest.raises(StateFailure) as caught:
        store.get_transaction(5)
    assert caught.value.kind is StateErrorKind.NOT_FOUND
    assert (caught.value.key, caught.value.operation) == ("ocpp:transaction:5", "read")


def test_each_failure_of_redis_has_its_kind(library: tuple[StateStoreLibrary, Any]) -> None:
    store, redis = library
    store.save_charge_point("U-1")
    redis.redis_command("REPLICAOF", "127.0.0.1", "1")
    assert store.attempt_state_writes("U-1", "U-2").kind == "read_only"
    redis.redis_command("REPLICAOF", "NO", "ONE")
    redis.redis_command("SET", "ocpp:chargepoint:U-1", "{")
    with pytest.raises(StateFailure) as caught:
        store.update_charge_point("U-1", vendor="V")
    assert caught.value.kind is StateErrorKind.CORRUPT
    report = store.attempt_state_writes("U-1", "U-2")
    assert report.errors == {"update charge point": StateErrorKind.CORRUPT}
    assert report.kind == "4 worked, 1 failed (corrupt)"
    store.delete_charge_point("U-1")
    store.delete_charge_point("U-2")


def test_each_kind_of_partial_write_is_found(library: tuple[StateStoreLibrary, Any]) -> None:
    store, redis = library
    assert store.find_partial_writes() == []
    number = store.save_transaction("U-3").id
    store.save_connector("U-3", 1)
    store.save_charge_point("U-3")
    assert store.find_partial_writes() == []
    for command, expected in (
        (
            ("SREM", "ocpp:transactions:U-3:active", str(number)),
            f"transaction {number} of U-3 is active, and not in the index of active ones",
        ),
        (("SREM", "ocpp:connectors:U-3", "1"), "connector 1 of U-3 is not in the index of its charge point"),
        (("SREM", "ocpp:chargepoints", "U-3"), "charge point U-3 has a record, and is not listed"),
    ):
        redis.redis_command(*command)
        assert any(each.startswith(expected) for each in store.find_partial_writes())
        redis.redis_command("SADD", *command[1:])
        assert store.find_partial_writes() == []
    redis.redis_command("DEL", f"ocpp:transaction:{number}", "ocpp:connector:U-3:1")
    assert set(store.find_partial_writes()) == {
        f"transaction {number} of U-3 is indexed, and has no record",
        "connector 1 of U-3 is indexed, and has no record",
    }
    store.delete_charge_point("U-3")


def test_indexes_of_transactions_are_told_apart(library: tuple[StateStoreLibrary, Any]) -> None:
    store, _ = library
    store.save_transaction("active")
    report = check_keys(_clients(store), TARGET)
    assert not report.problems
    assert {"transactions", "active_transactions", "transaction"} <= report.names.keys()
    store.delete_charge_point("active")


def _clients(store: StateStoreLibrary) -> Any:
    return store.get_key_report.__self__._stores.get("state").clients


def test_a_profile_whose_keys_do_not_end_with_the_id_is_refused(
    library: tuple[StateStoreLibrary, Any], tmp_path: Path
) -> None:
    store, redis = library
    profile = tmp_path / "other.yaml"
    text = Path(TARGET.source).read_text(encoding="utf-8")
    profile.write_text(text.replace("ocpp:transaction:{transaction_id}", "ocpp:{transaction_id}:tx"), "utf-8")
    with pytest.raises(UsageError, match="key 'transaction' has to end with"):
        store.open_state_store(redis.get_redis_url(), target=str(profile), alias="other")


def test_texts_are_of_the_size_asked_for(library: tuple[StateStoreLibrary, Any]) -> None:
    store, _ = library
    for size in (0, 1, 2, 3, 999, 2**20):
        assert len(store.generate_text(size).encode()) == size
    with pytest.raises(UsageError):
        store.generate_text(-1)


def test_an_impossible_start_is_refused(library: tuple[StateStoreLibrary, Any]) -> None:
    store, _ = library
    with pytest.raises(UsageError):
        store.start_transactions_at_once(0, ["U"])
    with pytest.raises(UsageError):
        store.update_with_concurrent_writers(1, writers=0)
    with pytest.raises(UsageError, match="no record"):
        store.truncate_stored_charge_point("nobody")


def test_closing_after_redis_has_ended_is_quiet() -> None:
    with StateStoreLibrary() as store:
        with RedisServiceLibrary() as redis:
            store.open_state_store(redis.start_redis(append_only=AppendOnly.OFF))
            store.save_charge_point("U-9")
        store.close_state_store()
