"""Transactions of OCPP 2.0.1 and 2.1: events count once, come in any order, and the highest one is the state."""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from server.errors import ErrorCode, InvalidMessage
from server.ocpp import schemas
from server.ocpp.frames import Call
from server.ocpp.v201.transactions import MOST_MISSING
from server.ocpp.v201.version import V201
from server.store.keys import Keys
from server.store.models import Connector, Transaction
from server.store.view import StateCache, StateView

KEY = "ocpp:transaction:CP:tx"
TOKEN = {"idToken": "T", "type": "ISO14443"}


def event(number: int, kind: str = "Updated", *, energy: float | None = None, **more: Any) -> dict[str, Any]:
    """A TransactionEvent; its time goes with its number."""
    info = {"transactionId": "tx"} | more.pop("info", {})
    payload = {
        "eventType": kind,
        "timestamp": f"2026-01-15T10:{number:02}:00Z",
        "triggerReason": "Trigger",
        "seqNo": number,
        "transactionInfo": info,
    }
    if energy is not None:
        payload["meterValue"] = [{"timestamp": payload["timestamp"], "sampledValue": [{"value": energy}]}]
    return payload | more


STARTED = event(0, "Started", energy=100, evse={"id": 1, "connectorId": 2}, idToken=TOKEN)
SESSION = [
    STARTED,
    event(1, energy=200, info={"chargingState": "Charging"}),
    event(2, energy=300, info={"chargingState": "SuspendedEV"}, offline=True),
    event(3, "Ended", energy=400, info={"stoppedReason": "EVDisconnected"}),
]


class State:
    """The state that a row of events leaves, each handled in a batch of its own."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}
        self.indexes: dict[str, dict[str, Any]] = {"ocpp:transactions:CP": {}, "ocpp:transactions:CP:active": {}}

    def take(self, payload: dict[str, Any], message_id: str = "m") -> dict[str, Any]:
        call = Call("CP", message_id, "TransactionEvent", payload, protocol="ocpp2.0.1")
        schemas.check(call, V201)
        cache = StateCache(None)  # type: ignore[arg-type]
        names = [KEY, "ocpp:chargepoint:CP", *(f"ocpp:connector:CP:{a}:{b}" for a in range(4) for b in range(4))]
        cache.values = dict.fromkeys(names)
        cache.records = dict(self.records)
        view = StateView(cache, Keys(), now="2026-02-01T00:00:00.000Z", transaction_ids=deque())
        outcome = V201.actions["TransactionEvent"].handle(call, view)
        self.records |= outcome.writes
        for name, key, *values in outcome.operations:
            if name == "ZADD":
                self.indexes[key][values[1]] = values[0]
            elif name == "SADD":
                self.indexes[key][values[0]] = True
            else:
                assert name == "SREM"
                del self.indexes[key][values[0]]
        return outcome.answer

    @property
    def transaction(self) -> Transaction:
        return self.records[KEY]


def after(events: list[dict[str, Any]]) -> State:
    state = State()
    for payload in events:
        state.take(payload)
    return state


def test_a_session_in_order() -> None:
    state = State()
    assert state.take(STARTED) == {"idTokenInfo": {"status": "Accepted"}}
    assert state.records["ocpp:connector:CP:1:2"].transaction_id == "tx"
    assert state.indexes["ocpp:transactions:CP:active"] == {"tx": True}
    for payload in SESSION[1:]:
        assert state.take(payload) == {}
    assert state.transaction == Transaction(
        id="tx",
        charge_point_id="CP",
        connector_id=2,
        id_tag="T",
        start_time="2026-01-15T10:00:00Z",
        meter_start=100,
        stop_time="2026-01-15T10:03:00Z",
        meter_stop=400,
        meter_current=400,
        status="completed",  # type: ignore[arg-type]
        reason="EVDisconnected",
        version=4,
        meter_time="2026-01-15T10:03:00Z",
        meter_readings=["Sample.Periodic Outlet"],
        seq_no=3,
        missing=[],
        offline=1,
        charging_state="SuspendedEV",
        evse=1,
        id_token=TOKEN,
        remote_start_id=None,
        stopped_reason="EVDisconnected",
        places={"start": -1, "evse": 0, "connector": 0, "id_token": 0, "charging_state": 2, "meter_stop": 3},
    )
    assert state.records["ocpp:connector:CP:1:2"].transaction_id is None
    assert state.indexes == {
        "ocpp:transactions:CP": {"tx": 1768471200.0},
        "ocpp:transactions:CP:active": {},
    }


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_any_order_comes_to_the_same_state(order: tuple[int, ...]) -> None:
    inorder, other = after(SESSION), after([SESSION[number] for number in order])
    assert replace(other.transaction, version=4) == inorder.transaction
    assert other.records.get("ocpp:connector:CP:1:2", Connector()).transaction_id is None
    assert other.indexes == inorder.indexes


@settings(max_examples=200)
@given(st.lists(st.integers(0, 3), max_size=12))
def test_an_event_counts_once(numbers: list[int]) -> None:
    once = after([SESSION[number] for number in dict.fromkeys(numbers)])
    assert after([SESSION[number] for number in numbers]).records == once.records


def test_numbers_that_were_not_seen_are_missing() -> None:
    state = after([STARTED, event(5), event(2)])
    assert (state.transaction.seq_no, state.transaction.missing) == (5, [1, 3, 4])
    assert after([event(3)]).transaction.missing == [0, 1, 2]


def test_a_transaction_begins_with_its_started_event_of_any_number() -> None:
    started = STARTED | {"seqNo": 7}
    assert after([started]).transaction.missing == []
    assert after([event(9), started]).transaction.missing == [8]


def test_few_of_very_many_missing_numbers_are_remembered() -> None:
    state = after([STARTED, event(1) | {"seqNo": 2**31 - 1}])
    assert state.transaction.missing == list(range(2**31 - 1 - MOST_MISSING, 2**31 - 1))


def test_a_late_event_does_not_change_the_present() -> None:
    state = after([STARTED, event(3, energy=300, info={"chargingState": "Charging"})])
    state.take(event(2, energy=200, info={"chargingState": "EVConnected"}))
    assert (state.transaction.charging_state, state.transaction.meter_current) == ("Charging", 300)


def test_nothing_counts_behind_the_end() -> None:
    state = after(SESSION)
    before = dict(state.records)
    state.take(event(4, energy=900, info={"chargingState": "Charging"}))
    state.take(event(3, "Ended", energy=900))
    assert state.records == before


def test_the_end_takes_the_last_reading_where_it_has_none() -> None:
    ended = after([*SESSION[:3], event(3, "Ended")]).transaction
    assert (ended.meter_stop, ended.meter_current, ended.reason) == (300, 300, "Local")
    assert after([event(0, "Started"), event(1, "Ended")]).transaction.meter_stop is None


def test_a_transaction_moves_to_another_connector() -> None:
    state = after([STARTED, event(1, evse={"id": 2, "connectorId": 1})])
    assert state.records["ocpp:connector:CP:1:2"].transaction_id is None
    assert state.records["ocpp:connector:CP:2:1"].transaction_id == "tx"


def test_the_end_leaves_a_connector_alone_that_has_moved_on() -> None:
    state = after([STARTED])
    state.records["ocpp:connector:CP:1:2"] = Connector(transaction_id="other")
    state.take(event(1, "Ended"))
    assert state.records["ocpp:connector:CP:1:2"].transaction_id == "other"


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ({"value": 1.001, "unitOfMeasure": {"unit": "kWh"}}, 1001),
        ({"value": 15, "unitOfMeasure": {"unit": "Wh", "multiplier": 2}}, 1500),
        ({"value": 1500, "unitOfMeasure": {"multiplier": -1}}, 150),
        ({"value": 7, "measurand": "Voltage"}, 100),
        ({"value": 7, "phase": "L1"}, 100),
        ({"value": 7, "unitOfMeasure": {"unit": "W"}}, 100),
        ({"value": 1e300}, 100),
        ({"value": 10, "unitOfMeasure": {"multiplier": 2**31 - 1}}, 100),
    ],
    ids=str,
)
def test_energy(sample: dict[str, Any], expected: int) -> None:
    values = [{"timestamp": "2026-01-15T10:01:00Z", "sampledValue": [sample]}]
    assert after([STARTED, event(1, meterValue=values)]).transaction.meter_current == expected


def test_an_event_of_another_charge_point_is_another_transaction() -> None:
    """The id is unique for its charge point only, and stands in the key."""
    names = Keys()
    assert names.transaction("tx", "CP") != names.transaction("tx", "CP-2")
    assert names.transaction("7", "CP") != names.transaction(7)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"seqNo": -1}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
        ({"seqNo": 1.0}, ErrorCode.TYPE_CONSTRAINT_VIOLATION),
        ({"transactionInfo": {}}, ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION),
        ({"transactionInfo": {"transactionId": "x" * 37}}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
        ({"transactionInfo": {"transactionId": ""}}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
        ({"eventType": "Paused"}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
        ({"extra": 1}, ErrorCode.FORMAT_VIOLATION),
        ({"timestamp": "now"}, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
    ],
    ids=str,
)
def test_an_invalid_event_is_refused_in_the_words_of_the_version(change: dict[str, Any], code: ErrorCode) -> None:
    with pytest.raises(InvalidMessage) as caught:
        schemas.check(Call("CP", "m", "TransactionEvent", event(1) | change, protocol="ocpp2.0.1"), V201)
    assert caught.value.code is code
    assert caught.value.protocol == "ocpp2.0.1"
