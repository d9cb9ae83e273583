"""The official schemas' verdicts in OCPP's error codes, compared with a slow and independent validator."""

from __future__ import annotations

import copy
import json
import re
import time
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from harness import NOW
from hypothesis import given, settings
from hypothesis import strategies as st
from payloads import from_schema

from server.errors import ErrorCode, InvalidMessage
from server.ocpp import envelope, schemas
from server.ocpp.frames import Call
from server.ocpp.v16.version import V16

FORMATION, OCCURENCE = ErrorCode.FORMATION_VIOLATION, ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION
TYPE, PROPERTY = ErrorCode.TYPE_CONSTRAINT_VIOLATION, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION
ACTIONS = sorted(V16.actions)

SAMPLE = {"value": "1", "context": "Sample.Periodic", "measurand": "Voltage", "phase": "L1", "unit": "V"}
METER_VALUE = {"timestamp": NOW, "sampledValue": [SAMPLE, {"value": "2"}]}
COMPLETE: dict[str, dict[str, Any]] = {
    "Authorize": {"idTag": "x" * 20},
    "BootNotification": {
        "chargePointVendor": "v" * 20,
        "chargePointModel": "m" * 20,
        "chargePointSerialNumber": "s" * 25,
        "firmwareVersion": "f" * 50,
    },
    "DataTransfer": {"vendorId": "v" * 255, "messageId": "m" * 50, "data": "d" * 1000},
    "DiagnosticsStatusNotification": {"status": "Uploaded"},
    "FirmwareStatusNotification": {"status": "Installed"},
    "Heartbeat": {},
    "LogStatusNotification": {"status": "Uploading", "requestId": 1},
    "MeterValues": {"connectorId": 0, "transactionId": -(2**31), "meterValue": [METER_VALUE]},
    "SecurityEventNotification": {"type": "t" * 50, "timestamp": NOW, "techInfo": "i" * 255},
    "SignCertificate": {"csr": "c" * 5500},
    "SignedFirmwareStatusNotification": {"status": "Installed", "requestId": 1},
    "StartTransaction": {
        "connectorId": 1,
        "idTag": "T",
        "meterStart": 2**31 - 1,
        "reservationId": 0,
        "timestamp": NOW,
    },
    "StatusNotification": {
        "connectorId": 0,
        "errorCode": "NoError",
        "status": "Available",
        "timestamp": NOW,
        "info": "i" * 50,
    },
    "StopTransaction": {
        "transactionId": 1,
        "meterStop": 0,
        "timestamp": NOW,
        "reason": "Local",
        "idTag": "T",
        "transactionData": [METER_VALUE],
    },
}


@cache
def official(name: str) -> dict[str, Any]:
    """A schema as the `ocpp` package ships it, its references replaced by their definitions."""
    schema = json.loads((files("ocpp") / "v16" / "schemas" / f"{name}.json").read_text(encoding="utf-8-sig"))

    def whole(part: Any) -> Any:
        if isinstance(part, list):
            return [whole(each) for each in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return whole(schema["definitions"][part["$ref"].rpartition("/")[2]])
        return {key: whole(value) for key, value in part.items() if key != "definitions"}

    return whole(schema)


def check(action: str, payload: Any, *, flat: bool = False) -> None:
    schemas.check(Call("CP", "m", action, payload, flat), V16)


def refused(action: str, payload: Any, *, flat: bool = False) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        check(action, payload, flat=flat)
    invalid = caught.value
    assert (invalid.charge_point_id, invalid.message_id, invalid.answer_id) == ("CP", "m", "m")
    assert invalid.reason
    assert len(invalid.reason) < 400
    return invalid


class TestActions:
    def test_those_of_the_contract_are_known(self) -> None:
        assert set(V16.actions) == set(COMPLETE)
        assert schemas.known_actions(V16) > set(V16.actions)

    @pytest.mark.parametrize(
        "action", ["", "heartbeat", "Heartbeat ", "HeartbeatResponse", "X" * 10_000, "\x00", "../Reset"]
    )
    def test_unknown_to_ocpp(self, action: str) -> None:
        assert refused(action, {}).code == ErrorCode.NOT_IMPLEMENTED

    def test_known_but_not_handled_here(self) -> None:
        others = schemas.known_actions(V16) - set(V16.actions)
        assert {"Reset", "RemoteStartTransaction", "SignedUpdateFirmware", "GetConfiguration"} <= others
        for action in others:
            assert refused(action, {"anything": 1}).code == ErrorCode.NOT_SUPPORTED

    def test_an_unknown_action_comes_before_a_bad_payload(self) -> None:
        assert refused("Nonsense", None).code == ErrorCode.NOT_IMPLEMENTED


class TestFields:
    @pytest.mark.parametrize("action", ACTIONS)
    @pytest.mark.parametrize("flat", [False, True])
    def test_a_complete_payload_passes(self, action: str, flat: bool) -> None:
        check(action, COMPLETE[action], flat=flat)

    @pytest.mark.parametrize("action", ACTIONS)
    @pytest.mark.parametrize("payload", [None, [], "x", 0, 1.5, True, [{}]])
    def test_a_payload_that_is_no_object(self, action: str, payload: Any) -> None:
        assert refused(action, payload).code == TYPE

    @pytest.mark.parametrize("action", ACTIONS)
    def test_each_required_field_may_be_missing_in_the_flat_form_only(self, action: str) -> None:
        for name in official(action).get("required", []):
            payload = {key: value for key, value in COMPLETE[action].items() if key != name}
            invalid = refused(action, payload)
            assert (name, invalid.code) == (name, OCCURENCE)
            assert name in invalid.reason
            check(action, payload, flat=True)
        check(action, {}, flat=True)

    @pytest.mark.parametrize("action", ACTIONS)
    @pytest.mark.parametrize("flat", [False, True])
    def test_each_field_with_null_or_another_type(self, action: str, flat: bool) -> None:
        for name in COMPLETE[action]:
            kind = official(action)["properties"][name]["type"]
            wrong = [None, {}, True] + ([1, 1.5, []] if kind == "string" else ["1", "x"])
            wrong += [1.0, 1.5] if kind == "integer" else []
            for value in wrong:
                invalid = refused(action, COMPLETE[action] | {name: value}, flat=flat)
                assert (name, value, invalid.code) == (name, value, TYPE)
                assert name in invalid.reason

    @pytest.mark.parametrize("action", ACTIONS)
    @pytest.mark.parametrize("flat", [False, True])
    def test_each_text_that_is_too_long(self, action: str, flat: bool) -> None:
        for name, schema in official(action)["properties"].items():
            if limit := schema.get("maxLength"):
                check(action, COMPLETE[action] | {name: "💡" * limit}, flat=flat)
                for length in (limit + 1, 100_000):
                    invalid = refused(action, COMPLETE[action] | {name: "x" * length}, flat=flat)
                    assert (name, invalid.code) == (name, PROPERTY)
                    assert name in invalid.reason

    @pytest.mark.parametrize("action", ACTIONS)
    def test_each_field_outside_its_enumeration(self, action: str) -> None:
        for name, schema in official(action)["properties"].items():
            if "enum" in schema:
                for value in ("", "available", "Nonsense"):
                    assert refused(action, COMPLETE[action] | {name: value}).code == PROPERTY

    @pytest.mark.parametrize(
        "unit",
        official("MeterValues")["properties"]["meterValue"]["items"]["properties"]["sampledValue"]["items"][
            "properties"
        ]["unit"]["enum"],
    )
    def test_a_sample_has_the_same_units_in_both_messages(self, unit: str) -> None:
        """The published schema of StopTransaction has no Hertz."""
        values = [{"timestamp": NOW, "sampledValue": [{"value": "50", "unit": unit}]}]
        check("MeterValues", COMPLETE["MeterValues"] | {"meterValue": values})
        check("StopTransaction", COMPLETE["StopTransaction"] | {"transactionData": values})

    @pytest.mark.parametrize("flat", [False, True])
    def test_each_integer_outside_32_bits(self, flat: bool) -> None:
        for action, payload in COMPLETE.items():
            for name, schema in official(action)["properties"].items():
                if schema["type"] == "integer":
                    for value in (2**31, -(2**31) - 1, 2**63, 2**64, -(2**64), 10**300):
                        assert refused(action, payload | {name: value}, flat=flat).code == PROPERTY

    @pytest.mark.parametrize(
        ("action", "smallest"), [("MeterValues", 0), ("StatusNotification", 0), ("StartTransaction", 1)]
    )
    def test_the_smallest_connector(self, action: str, smallest: int) -> None:
        check(action, COMPLETE[action] | {"connectorId": smallest})
        for flat in (False, True):
            assert refused(action, COMPLETE[action] | {"connectorId": smallest - 1}, flat=flat).code == PROPERTY

    @pytest.mark.parametrize(
        "timestamp",
        ["", "now", "2026-01-15", "2026-01-15T10:30:00", "2026-02-30T10:30:00Z", "2026-01-15T10:30:00+0000"],
    )
    def test_dates_need_a_zone(self, timestamp: str) -> None:
        for action in ("StartTransaction", "StatusNotification", "StopTransaction"):
            for flat in (False, True):
                assert refused(action, COMPLETE[action] | {"timestamp": timestamp}, flat=flat).code == PROPERTY
        payload = {"connectorId": 1, "meterValue": [{"timestamp": timestamp, "sampledValue": [SAMPLE]}]}
        assert refused("MeterValues", payload).code == PROPERTY

    @pytest.mark.parametrize("action", ACTIONS)
    @pytest.mark.parametrize("flat", [False, True])
    def test_an_extra_field(self, action: str, flat: bool) -> None:
        for name in ("extra", "", "vendorID", "__proto__", "x" * 1000):
            assert refused(action, COMPLETE[action] | {name: None}, flat=flat).code == FORMATION

    @pytest.mark.parametrize("flat", [False, True])
    @pytest.mark.parametrize(
        ("meter_value", "code"),
        [
            ([], PROPERTY),
            ([{}], OCCURENCE),
            ([{"timestamp": NOW}], OCCURENCE),
            ([{"sampledValue": [SAMPLE]}], OCCURENCE),
            ([{"timestamp": NOW, "sampledValue": []}], PROPERTY),
            ([{"timestamp": NOW, "sampledValue": [{}]}], OCCURENCE),
            ([{"timestamp": NOW, "sampledValue": [{"value": 1}]}], TYPE),
            ([{"timestamp": NOW, "sampledValue": [{"value": "1", "unit": "hp"}]}], PROPERTY),
            ([{"timestamp": NOW, "sampledValue": [{"value": "1", "x": 1}]}], FORMATION),
            ([{"timestamp": NOW, "sampledValue": [SAMPLE], "x": 1}], FORMATION),
            ([None], TYPE),
            ([[]], TYPE),
            ({}, TYPE),
        ],
    )
    def test_nested_fields_hold_in_both_forms(self, meter_value: Any, code: ErrorCode, flat: bool) -> None:
        assert refused("MeterValues", {"connectorId": 1, "meterValue": meter_value}, flat=flat).code == code

    @pytest.mark.parametrize(
        ("payload", "code"),
        [
            ({"connectorId": "x", "status": "Nonsense", "extra": 1}, OCCURENCE),
            ({"connectorId": "x", "status": "Nonsense", "errorCode": "NoError", "extra": 1}, TYPE),
            ({"connectorId": 1, "status": "Nonsense", "errorCode": "NoError", "extra": 1}, PROPERTY),
            ({"connectorId": 1, "status": "Available", "errorCode": "NoError", "extra": 1}, FORMATION),
        ],
    )
    def test_of_several_violations_the_first_of_the_table_decides(self, payload: Any, code: ErrorCode) -> None:
        assert refused("StatusNotification", payload).code == code

    def test_the_reason_of_a_long_value_still_has_the_allowed_ones(self) -> None:
        reason = refused("Authorize", {"idTag": "x" * 5000}).reason
        assert "20" in reason
        reason = refused("StatusNotification", COMPLETE["StatusNotification"] | {"connectorId": "y" * 5000}).reason
        assert "integer" in reason


@pytest.mark.parametrize("many", ["meter values", "sampled values", "sampled values behind good ones"])
def test_a_message_with_as_many_violations_as_fit_is_judged_quickly(many: str) -> None:
    """R17.5: one message of the size limit must not hold up all others, and the health check, for seconds."""
    rows = ",".join(["{}"] * 80_000)
    if many != "meter values":
        good = f'{{"timestamp":"{NOW}","sampledValue":[{{"value":"1"}}]}},' * (100 if "good" in many else 0)
        rows = f'{good}{{"timestamp":"{NOW}","sampledValue":[{rows}]}}'
    raw = f'{{"action":"MeterValues","chargePointId":"CP","meterValue":[{rows}]}}'.encode()
    assert len(raw) < 256 * 1024
    parsed = envelope.parse(raw, longest=256 * 1024)
    assert isinstance(parsed, Call)
    began = time.process_time()
    with pytest.raises(InvalidMessage) as caught:
        schemas.check(parsed, V16)
    assert time.process_time() - began < 0.5
    assert caught.value.code == OCCURENCE


# --- properties -------------------------------------------------------------------------------------------------------


def violations(schema: dict[str, Any], value: Any, name: str = "") -> set[ErrorCode]:
    """The slow and obvious validator: the violations of `value`, by the few schema keywords that OCPP uses."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int}
    if type(value) is not kinds[schema["type"]]:
        return {TYPE}
    found: set[ErrorCode] = set()
    if isinstance(value, str):
        wrong_time = schema.get("format") == "date-time" and not TIME.fullmatch(value)
        if wrong_time or len(value) > schema.get("maxLength", len(value)) or value not in schema.get("enum", [value]):
            found.add(PROPERTY)
    elif isinstance(value, int):
        if not -(2**31) <= value < 2**31 or (name == "connectorId" and value < 0):
            found.add(PROPERTY)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            found.add(PROPERTY)
        found = found.union(*(violations(schema["items"], item) for item in value))
    else:
        known = schema.get("properties", {})
        if set(schema.get("required", ())) - value.keys():
            found.add(OCCURENCE)
        if value.keys() - known.keys():
            found.add(FORMATION)
        found = found.union(*(violations(known[key], value[key], key) for key in value.keys() & known.keys()))
    return found


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
VALID = {
    "connectorId": st.integers(1, 2**31 - 1),  # 0 is for some actions only
    "date-time": st.sampled_from([NOW, "2026-01-15T10:30:00.5+01:00"]),
}
payloads = st.sampled_from(ACTIONS).flatmap(
    lambda action: st.tuples(st.just(action), from_schema(official(action), VALID))
)
scalars = st.sampled_from(
    [None, True, 0.5, "", "x" * 30, [], {}, [{}], {"x": 1}, 5, -1, 2**31, 2**70, "Available", "Wh", NOW]
).map(copy.deepcopy)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything below `value`."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for step, below in steps for place in [(*path, step), *places(below, (*path, step))]]


@settings(max_examples=300)
@given(payloads, st.data())
def test_the_verdict_agrees_with_an_independent_validator(drawn: tuple[str, Any], data: st.DataObject) -> None:
    action, payload = drawn
    check(action, payload)
    payload = copy.deepcopy(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from([(), *places(payload)]))
        holder = payload
        for step in where[:-1]:
            holder = holder[step]
        kind = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if not where or (kind == "add" and isinstance(holder, dict)):
            target = holder if isinstance(holder, dict) else payload
            if isinstance(target, dict):
                target[data.draw(st.sampled_from(["extra", "idTag", "status", ""]))] = data.draw(scalars)
        elif kind == "remove":
            del holder[where[-1]]
        else:
            holder[where[-1]] = data.draw(scalars)
    wrong = violations(official(action), payload)
    if wrong:
        assert refused(action, payload).code == next(
            code for code in (OCCURENCE, TYPE, PROPERTY, FORMATION) if code in wrong
        )
    else:
        check(action, payload)
