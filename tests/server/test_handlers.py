"""The business rules: the answer and the changes of each action."""

from __future__ import annotations

import copy
import json
from collections import deque
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
from harness import NOW
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import from_schema
from test_schemas import COMPLETE, SAMPLE, official

from server.errors import CorruptState, InvalidMessage
from server.ocpp import schemas
from server.ocpp.frames import Call
from server.ocpp.v16.version import V16
from server.ocpp.version import Outcome
from server.store.keys import Keys
from server.store.models import ChargePoint, Connector, Transaction, TransactionStatus, unix_seconds
from server.store.view import NotLoaded, Starts, StateCache, StateView

KEYS = Keys()
ACTIONS = sorted(V16.actions)
RUNNING = Transaction(
    id=7,
    charge_point_id="CP",
    connector_id=1,
    id_tag="T",
    start_time=NOW,
    meter_start=100,
    meter_current=100,
    version=1,
)


class Everything(dict[str, Any]):
    """Redis as a handler sees it once all is loaded: missing values are known to be missing."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> None:
        return None


class _Index(dict[Starts, list[int] | CorruptState]):
    """The index of transactions as a handler sees it once all is loaded."""

    def __init__(self, records: dict[str, Any]) -> None:
        super().__init__()
        for record in records.values():
            if isinstance(record, Transaction):
                starts = Starts(record.charge_point_id, unix_seconds(record.start_time))
                self.setdefault(starts, []).append(record.id)  # type: ignore[union-attr]

    def get(self, key: Starts, default: Any = None) -> Any:
        return super().get(key, [] if default is None else default)


def view(records: dict[str, Any] | None = None, *, ids: int = 1) -> StateView:
    cache = StateCache(None)  # type: ignore[arg-type]
    cache.values = Everything(
        {key: value if isinstance(value, str) else encode(value) for key, value in (records or {}).items()}
    )
    made = StateView(cache, KEYS, now="2026-02-01T00:00:00.000Z", transaction_ids=deque(range(50, 50 + ids)))
    made.starts = _Index(records or {})
    return made


def encode(record: Any) -> str:
    import msgspec

    return msgspec.json.encode(record).decode()


def handle(
    action: str, payload: dict[str, Any], records: dict[str, Any] | None = None, *, flat: bool = False
) -> Outcome:
    call = Call("CP", "m", action, payload, flat)
    schemas.check(call, V16)
    return V16.actions[action].handle(call, view(records))


@cache
def response_validator(action: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(official(f"{action}Response"), validate_formats=True)


class TestWithoutState:
    def test_authorize(self) -> None:
        assert handle("Authorize", {"idTag": "T"}) == Outcome({"idTagInfo": {"status": "Accepted"}})

    def test_heartbeat(self) -> None:
        assert handle("Heartbeat", {}) == Outcome({"currentTime": "2026-02-01T00:00:00.000Z"})

    def test_data_transfer(self) -> None:
        assert handle("DataTransfer", COMPLETE["DataTransfer"]) == Outcome({"status": "UnknownVendorId"})


class TestChargePoint:
    def test_boot(self) -> None:
        payload = COMPLETE["BootNotification"]
        known = ChargePoint(id="CP", status="Available", version=5, vendor="old")
        outcome = handle("BootNotification", payload, {"ocpp:chargepoint:CP": known})
        assert outcome.answer == {"currentTime": "2026-02-01T00:00:00.000Z", "interval": 300, "status": "Accepted"}
        record = outcome.writes["ocpp:chargepoint:CP"]
        assert isinstance(record, ChargePoint)
        assert (record.vendor, record.model) == ("v" * 20, "m" * 20)
        assert (record.serial, record.firmware) == ("s" * 25, "f" * 50)
        assert (record.status, record.boot_time) == ("Available", "2026-02-01T00:00:00.000Z")
        assert not outcome.operations

    @pytest.mark.parametrize(
        ("action", "field"),
        [
            ("DiagnosticsStatusNotification", "diagnostics_status"),
            ("FirmwareStatusNotification", "firmware_status"),
            ("LogStatusNotification", "diagnostics_status"),
            ("SignedFirmwareStatusNotification", "firmware_status"),
        ],
    )
    def test_status_of_firmware_and_diagnostics(self, action: str, field: str) -> None:
        outcome = handle(action, COMPLETE[action])
        assert outcome.answer == {}
        assert getattr(outcome.writes["ocpp:chargepoint:CP"], field) == COMPLETE[action]["status"]
        assert handle(action, {}, flat=True) == Outcome({})

    def test_status_of_connector_0_is_the_charge_points_own(self) -> None:
        payload = {"connectorId": 0, "errorCode": "NoError", "status": "Unavailable"}
        outcome = handle("StatusNotification", payload)
        assert list(outcome.writes) == ["ocpp:chargepoint:CP"]
        assert outcome.writes["ocpp:chargepoint:CP"].status == "Unavailable"  # type: ignore[union-attr]

    def test_status_of_a_connector_keeps_its_transaction(self) -> None:
        payload = {"connectorId": 2, "errorCode": "GroundFailure", "status": "Faulted", "timestamp": NOW}
        outcome = handle("StatusNotification", payload, {"ocpp:connector:CP:2": Connector(transaction_id=7)})
        assert outcome.answer == {}
        assert outcome.writes == {
            "ocpp:connector:CP:2": Connector(
                status="Faulted", error_code="GroundFailure", transaction_id=7, updated_at=NOW, version=1
            )
        }


class TestTransactions:
    def test_start(self) -> None:
        payload = {"connectorId": 1, "idTag": "T", "meterStart": 100, "timestamp": NOW}
        outcome = handle("StartTransaction", payload, {"ocpp:connector:CP:1": Connector(status="Preparing")})
        assert outcome.answer == {"transactionId": 50, "idTagInfo": {"status": "Accepted"}}
        transaction = outcome.writes["ocpp:transaction:50"]
        assert transaction == Transaction(
            id=50,
            charge_point_id="CP",
            connector_id=1,
            id_tag="T",
            start_time=NOW,
            meter_start=100,
            meter_current=100,
            status=TransactionStatus.ACTIVE,
            version=1,
        )
        connector = outcome.writes["ocpp:connector:CP:1"]
        assert isinstance(connector, Connector)
        assert (connector.status, connector.transaction_id) == ("Preparing", 50)
        assert outcome.operations == [
            ["ZADD", "ocpp:transactions:CP", 1768473000.0, 50],
            ["SADD", "ocpp:transactions:CP:active", 50],
        ]

    def test_the_same_start_again_is_the_same_transaction(self) -> None:
        payload = {"connectorId": 1, "idTag": "T", "meterStart": 100, "timestamp": NOW}
        records = {"ocpp:connector:CP:1": Connector(transaction_id=7), "ocpp:transaction:7": RUNNING}
        assert handle("StartTransaction", payload, records) == Outcome(
            {"transactionId": 7, "idTagInfo": {"status": "Accepted"}}
        )

    @pytest.mark.parametrize("change", [{"idTag": "U"}, {"meterStart": 101}, {"timestamp": "2026-01-15T10:30:01Z"}])
    def test_another_start_is_another_transaction(self, change: dict[str, Any]) -> None:
        payload = {"connectorId": 1, "idTag": "T", "meterStart": 100, "timestamp": NOW} | change
        records = {"ocpp:connector:CP:1": Connector(transaction_id=7), "ocpp:transaction:7": RUNNING}
        assert handle("StartTransaction", payload, records).answer["transactionId"] == 50

    def test_meter_values_of_the_named_transaction(self) -> None:
        payload = {"connectorId": 3, "transactionId": 7, "meterValue": energy("150")}
        outcome = handle("MeterValues", payload, {"ocpp:transaction:7": RUNNING})
        updated = outcome.writes["ocpp:transaction:7"]
        assert isinstance(updated, Transaction)
        assert (updated.meter_current, updated.meter_start, updated.version) == (150, 100, 2)
        assert outcome.answer == {}

    def test_meter_values_of_the_connectors_transaction(self) -> None:
        records = {"ocpp:connector:CP:1": Connector(transaction_id=7), "ocpp:transaction:7": RUNNING}
        outcome = handle("MeterValues", {"connectorId": 1, "meterValue": energy("150")}, records)
        assert list(outcome.writes) == ["ocpp:transaction:7"]

    @pytest.mark.parametrize(
        ("samples", "expected"),
        [
            ([{"value": "1.5", "unit": "kWh"}], 1500),
            ([{"value": "1500.9"}], 1500),
            ([{"value": "1", "unit": "Wh"}, {"value": "2"}], 1),
            ([{"value": "1"}, {"value": "2", "context": "Trigger"}], 2),
            ([{"value": "1"}, {"value": "2", "location": "Inlet"}], 2),
            ([{"value": "-5"}], -5),
            ([{"value": "1e3"}], 1000),
            ([{"value": "9", "measurand": "Voltage"}], None),
            ([{"value": "9", "phase": "L1"}], None),
            ([{"value": "9", "format": "SignedData"}], None),
            ([{"value": "9", "unit": "W"}], None),
            ([{"value": "5"}, {"value": "9", "measurand": "Voltage"}], 5),
            ([{"value": ""}], None),
            ([{"value": "much"}], None),
            ([{"value": "NaN"}], None),
            ([{"value": "sNaN"}], None),
            ([{"value": "Infinity"}], None),
            ([{"value": "9" * 1000}], None),
            ([{"value": "1e1000000"}], None),
            ([{"value": "1e99999999999999999999"}], None),
            ([{"value": "1e-1000000"}], 0),
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_energy(self, samples: list[dict[str, Any]], expected: int | None) -> None:
        payload = {"connectorId": 1, "transactionId": 7, "meterValue": [{"timestamp": NOW, "sampledValue": samples}]}
        outcome = handle("MeterValues", payload, {"ocpp:transaction:7": RUNNING})
        if expected is None:
            assert outcome == Outcome({})
        else:
            assert outcome.writes["ocpp:transaction:7"].meter_current == expected  # type: ignore[union-attr]

    def test_stop(self) -> None:
        payload = {
            "transactionId": 7,
            "meterStop": 900,
            "timestamp": "2026-01-15T11:30:00Z",
            "reason": "EVDisconnected",
            "idTag": "T",
        }
        records = {
            "ocpp:transaction:7": RUNNING,
            "ocpp:connector:CP:1": Connector(status="Finishing", transaction_id=7),
        }
        outcome = handle("StopTransaction", payload, records)
        assert outcome.answer == {"idTagInfo": {"status": "Accepted"}}
        stopped = outcome.writes["ocpp:transaction:7"]
        assert isinstance(stopped, Transaction)
        assert (stopped.status, stopped.meter_stop, stopped.meter_current) == (TransactionStatus.COMPLETED, 900, 900)
        assert (stopped.stop_time, stopped.reason) == ("2026-01-15T11:30:00Z", "EVDisconnected")
        assert stopped.version == 2
        freed = outcome.writes["ocpp:connector:CP:1"]
        assert isinstance(freed, Connector)
        assert (freed.status, freed.transaction_id) == ("Finishing", None)
        assert outcome.operations == [["SREM", "ocpp:transactions:CP:active", 7]]

    def test_stop_leaves_a_connector_alone_that_has_moved_on(self) -> None:
        records = {"ocpp:transaction:7": RUNNING, "ocpp:connector:CP:1": Connector(transaction_id=8)}
        outcome = handle("StopTransaction", COMPLETE["StopTransaction"] | {"transactionId": 7}, records)
        assert list(outcome.writes) == ["ocpp:transaction:7"]

    def test_stop_without_meter_takes_the_last_reading(self) -> None:
        outcome = handle(
            "StopTransaction",
            {"transactionId": 7, "transactionData": energy("333")},
            {"ocpp:transaction:7": RUNNING},
            flat=True,
        )
        stopped = outcome.writes["ocpp:transaction:7"]
        assert isinstance(stopped, Transaction)
        assert (stopped.meter_stop, stopped.meter_current, stopped.reason) == (333, 333, "Local")

    @pytest.mark.parametrize(
        "record",
        [
            None,
            Transaction(
                id=7, charge_point_id="CP-2", connector_id=1, id_tag="T", start_time=NOW, meter_start=0, meter_current=0
            ),
            Transaction(
                id=7,
                charge_point_id="CP",
                connector_id=1,
                id_tag="T",
                start_time=NOW,
                meter_start=0,
                meter_current=0,
                status=TransactionStatus.COMPLETED,
            ),
        ],
        ids=["unknown", "another's", "stopped"],
    )
    def test_a_transaction_that_is_not_the_senders_running_one_stays_as_it_is(self, record: Transaction | None) -> None:
        records = {} if record is None else {"ocpp:transaction:7": record}
        stop = COMPLETE["StopTransaction"] | {"transactionId": 7}
        assert handle("StopTransaction", stop, records) == Outcome({"idTagInfo": {"status": "Accepted"}})
        meter = {"connectorId": 1, "transactionId": 7, "meterValue": energy("150")}
        assert handle("MeterValues", meter, records) == Outcome({})

    def test_state_that_cannot_be_read_is_an_error_of_its_own(self) -> None:
        with pytest.raises(CorruptState) as caught:
            handle("StopTransaction", COMPLETE["StopTransaction"], {"ocpp:transaction:1": "{"})
        assert caught.value.key == "ocpp:transaction:1"


def energy(value: str) -> list[dict[str, Any]]:
    return [{"timestamp": NOW, "sampledValue": [SAMPLE, {"value": value}]}]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("flat", [False, True])
def test_prefetching_saves_later_reads(action: str, flat: bool) -> None:
    """Handling reads nothing but `reads`, except values that only the loaded state names."""
    call = Call("CP", "m", action, {} if flat else COMPLETE[action], flat)
    cache_of_reads = StateCache(None)  # type: ignore[arg-type]
    wanted = list(V16.reads(call, KEYS))
    cache_of_reads.values = dict.fromkeys(each for each in wanted if isinstance(each, str))
    prepared = StateView(cache_of_reads, KEYS, now=NOW, transaction_ids=deque([1]))
    prepared.starts = {each: [] for each in wanted if isinstance(each, Starts)}
    V16.handle(call, prepared)


# --- properties -------------------------------------------------------------------------------------------------------

moments = (
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
    | st.from_regex(
        r"\A[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])T[0-2][0-9]:[0-5][0-9]:([0-5][0-9]|60)([.][0-9]{1,9})?([Zz]|[+-](0[0-9]|1[0-4]):[0-5][0-9])\Z"
    )
    | st.sampled_from(
        ["2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    )
)
readings = (
    st.text(max_size=10)
    | st.decimals().map(str)
    | st.integers().map(str)
    | st.from_regex(r"\A-?[0-9]+([.][0-9]*)?(e[+-]?[0-9]{1,20})?\Z")
)


HARD = {
    "connectorId": st.integers(1, 3),
    "transactionId": st.integers(1, 3),
    "date-time": moments,
    "value": readings,
}
"""Values that are hard to handle: odd times, odd readings, and few ids so that they meet."""


def requests(action: str) -> st.SearchStrategy[Call]:
    full = from_schema(official(action), HARD).map(lambda payload: Call("CP", "m", action, payload))
    short = from_schema(official(action), HARD, all_optional=True)
    return full | short.map(lambda payload: Call("CP", "m", action, payload, flat=True))


transactions = st.builds(
    Transaction,
    id=st.integers(1, 3),
    charge_point_id=st.sampled_from(["CP", "CP", "CP-2"]),
    connector_id=st.integers(1, 3),
    id_tag=st.text(max_size=20),
    start_time=st.just(NOW),
    meter_start=st.integers(-(2**31), 2**31 - 1),
    meter_current=st.integers(),
    status=st.sampled_from(TransactionStatus),
    version=st.integers(1, 10),
)
connectors = st.builds(Connector, transaction_id=st.none() | st.integers(1, 3))
states = st.dictionaries(st.sampled_from([f"ocpp:connector:CP:{n}" for n in range(4)]), connectors, max_size=4).flatmap(
    lambda known: st.dictionaries(
        st.sampled_from([f"ocpp:transaction:{n}" for n in range(1, 4)]), transactions, max_size=3
    ).map(lambda more: known | more)
)


@settings(max_examples=400)
@given(st.sampled_from(ACTIONS).flatmap(requests), states)
def test_every_message_valid_by_the_schema_is_handled_and_answered_by_the_schema(
    call: Call, records: dict[str, Any]
) -> None:
    try:
        schemas.check(call, V16)
    except InvalidMessage:
        return
    before = copy.deepcopy(call.payload)
    first = V16.handle(call, view(records))
    again = V16.handle(call, view(records))
    assert call.payload == before
    assert first == again
    json.dumps(first.answer).encode()
    assert not list(response_validator(call.action).iter_errors(first.answer))
    for key, record in first.writes.items():
        assert key.startswith("ocpp:")
        assert type(record)(**{name: getattr(record, name) for name in record.__struct_fields__}) == record
    for operation in first.operations:
        assert all(isinstance(word, str | int | float) for word in operation)


def test_nothing_is_handled_without_the_state_that_it_needs() -> None:
    empty = StateCache(None)  # type: ignore[arg-type]
    with pytest.raises(NotLoaded) as caught:
        V16.handle(
            Call("CP", "m", "StartTransaction", COMPLETE["StartTransaction"]),
            StateView(empty, KEYS, now=NOW, transaction_ids=deque([1])),
        )
    assert caught.value.wanted == "ocpp:chargepoint:CP"
