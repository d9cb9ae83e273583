"""The rules of `resources/invalid_messages.json` itself: likely mistakes of a person who adds a case."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from ocpp_resilience.ids import Ids
from ocpp_resilience.transport.invalid_cases import load_cases

PATH = Path(__file__).resolve().parents[2] / "resources" / "invalid_messages.json"
DATA: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
CASES: list[dict[str, Any]] = DATA["cases"]
SCHEMAS = files("ocpp.v16") / "schemas"

# The table in the contract, and the one code that no CALLERROR carries, since such a message is ignored.
CODES = {
    "FormationViolation",
    "NotImplemented",
    "NotSupported",
    "OccurenceConstraintViolation",
    "TypeConstraintViolation",
    "PropertyConstraintViolation",
    "MessageTypeNotSupported",
}
REQUIREMENTS = {*(f"R17.{number}" for number in range(1, 6)), "R17.11"}
FORMS = {"raw", "raw_base64", "json", "build"}
FIELDS = {"id", "title", "requirement", "kind", "code", "reason", "answer"}
HANDLED = {
    "Authorize",
    "BootNotification",
    "DataTransfer",
    "DiagnosticsStatusNotification",
    "FirmwareStatusNotification",
    "Heartbeat",
    "MeterValues",
    "StartTransaction",
    "StatusNotification",
    "StopTransaction",
}
LIMIT = 256 * 1024

each_case = pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])


def message(case: dict[str, Any]) -> bytes:
    """The bytes of a case before the placeholders are replaced."""
    if "raw" in case:
        return str(case["raw"]).encode()
    if "raw_base64" in case:
        return base64.b64decode(case["raw_base64"], validate=True)
    if "json" in case:
        return json.dumps(case["json"], separators=(",", ":"), ensure_ascii=False).encode()
    build = case["build"]
    return f"{build['prefix']}{build['repeat'] * build['times']}{build['suffix']}".encode()


def parsed(case: dict[str, Any]) -> Any:
    """The message as JSON, `None` where it is none; Python reads more than JSON allows, so R17.1 is left out."""
    if case["requirement"] == "R17.1" or case["kind"] in {"oversized", "deep_nesting"}:
        return None
    return json.loads(message(case))


def call_of(case: dict[str, Any]) -> tuple[str, dict[str, Any], bool] | None:
    """Action, payload and whether the form is flat, of a CALL with a handled action and an object as payload."""
    value = parsed(case)
    if not isinstance(value, dict):
        return None
    if "payload" in value or "charge_point_id" in value:
        array = value.get("payload")
        if not (isinstance(array, list) and len(array) == 4 and array[0] == 2 and array[0] is not True):
            return None
        action, payload, is_flat = array[2], array[3], False
    else:
        action = value.get("action")
        payload = {key: each for key, each in value.items() if key not in {"action", "chargePointId", "messageId"}}
        is_flat = True
    if not (isinstance(action, str) and action in HANDLED and isinstance(payload, dict)):
        return None
    return action, payload, is_flat


def schema_of(action: str, *, is_flat: bool) -> Any:
    schema = json.loads((SCHEMAS / f"{action}.json").read_text(encoding="utf-8-sig"))
    if is_flat:
        schema.pop("required", None)
    return schema


class TestTheFile:
    def test_has_a_description_and_cases_and_nothing_else(self) -> None:
        assert set(DATA) == {"description", "kinds", "cases"}
        assert isinstance(DATA["description"], str)

    def test_is_read_by_the_library(self) -> None:
        loaded = load_cases(PATH, ids=Ids())
        assert [case.id for case in loaded] == [case["id"] for case in CASES]
        for case in loaded:
            assert b"{charge_point_id}" not in case.raw
            assert b"{message_id}" not in case.raw

    def test_has_at_least_the_number_of_cases_that_was_promised(self) -> None:
        assert len(CASES) >= 75

    def test_has_unique_ids_and_titles(self) -> None:
        for field in ("id", "title"):
            twice = [value for value, number in Counter(case[field] for case in CASES).items() if number > 1]
            assert twice == [], f"the same {field} more than once"

    def test_has_no_message_twice(self) -> None:
        seen: dict[bytes, str] = {}
        for case in CASES:
            other = seen.setdefault(message(case), case["id"])
            assert other == case["id"], f"{case['id']} is the same message as {other}"

    def test_covers_every_code(self) -> None:
        assert {case["code"] for case in CASES} == CODES

    def test_covers_every_requirement(self) -> None:
        assert {case["requirement"] for case in CASES} == REQUIREMENTS

    def test_covers_every_form(self) -> None:
        assert {form for case in CASES for form in FORMS & case.keys()} == FORMS

    @pytest.mark.parametrize("raw", ['{"invalid": "malformed_json"', "null", "[]", "{}", "0", '"x"', ""])
    def test_has_the_messages_that_are_named_in_the_requirements(self, raw: str) -> None:
        assert raw.encode() in [message(case) for case in CASES]

    def test_covers_both_formats_and_every_action(self) -> None:
        calls = [call for case in CASES if (call := call_of(case))]
        assert {action for action, _, _ in calls} == HANDLED
        assert len({action for action, _, is_flat in calls if is_flat}) >= 5

    @pytest.mark.parametrize(
        ("what", "pattern"),
        [
            ("100,000 brackets", rb"\[{100000}"),
            ("a charge point id of 10,000 characters", rb'"C{10000}"'),
            ("NaN", rb":NaN\b"),
            ("Infinity", rb":-Infinity\b"),
            ("a huge number", rb":1e400\b"),
            ("a lone surrogate", rb"\\ud83d\""),
            ("a surrogate in UTF-8", rb"\xed\xa0\x80"),
            ("a NUL byte", rb"\x00"),
            ("an escaped NUL", rb"\\u0000"),
            ("invalid UTF-8", rb"\xff"),
            ("an id of 37 characters", rb'\[2,"[^"{]{37}"'),
        ],
    )
    def test_has_the_parts_of_the_plan(self, what: str, pattern: bytes) -> None:
        assert any(re.search(pattern, message(case)) for case in CASES), what


class TestEachCase:
    @each_case
    def test_has_the_fields_and_one_form(self, case: dict[str, Any]) -> None:
        assert len(FORMS & case.keys()) == 1
        assert case.keys() - FORMS - {"open"} == FIELDS
        assert case.get("open", True) is True
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", case["id"])
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", case["kind"])
        assert case["requirement"] in REQUIREMENTS
        assert case["code"] in CODES
        for field in ("title", "reason"):
            assert case[field][0].isprintable()
            assert case[field].endswith("."), f"{field} is a sentence"

    @each_case
    def test_has_a_usable_form(self, case: dict[str, Any]) -> None:
        if "raw_base64" in case:
            with pytest.raises(ValueError, match=r"utf-8|Expecting|Extra data|Invalid control"):
                json.loads(message(case).decode())
        elif "build" in case:
            build = case["build"]
            assert set(build) == {"prefix", "repeat", "times", "suffix"}
            assert build["times"] >= 1000
            assert build["repeat"]
        assert len(message(case)) < 4 * 1024 * 1024

    @each_case
    def test_says_whether_an_answer_can_be_addressed(self, case: dict[str, Any]) -> None:
        answer = case["answer"]
        text = message(case).decode("utf-8", "replace")
        if answer is None:
            return
        assert case["code"] != "MessageTypeNotSupported", "such a message is ignored"
        assert set(answer) == {"message_id"}
        assert text.count("{charge_point_id}") == 1, "an answer needs the charge point id, once"
        expected = answer["message_id"]
        if expected is None:
            assert "{message_id}" not in text
        elif expected == "{message_id}":
            assert "{message_id}" in text
        elif expected != "-1":
            assert len(expected) == 36, "a literal id in the answer is one that was cut"
            assert f'"{expected}' in text

    @each_case
    def test_spells_placeholders_right(self, case: dict[str, Any]) -> None:
        text = message(case).decode("utf-8", "replace") + json.dumps(case["answer"])
        for found in re.findall(r"\{([a-z_]*id[a-z_]*)\}", text):
            assert found in {"charge_point_id", "message_id"}

    @each_case
    def test_an_unreadable_message_is_a_formation_violation(self, case: dict[str, Any]) -> None:
        if case["requirement"] == "R17.1" or case["kind"] in {"oversized", "deep_nesting", "not_an_object"}:
            assert (case["code"], case["answer"]) == ("FormationViolation", None)
        assert (len(message(case)) > LIMIT) == (case["kind"] == "oversized")

    @each_case
    def test_breaks_one_rule_of_the_schema_at_most(self, case: dict[str, Any]) -> None:
        call = call_of(case)
        if call is None or case["id"] == "missing-boot-everything":
            return
        action, payload, is_flat = call
        errors = list(jsonschema_rs.Draft4Validator(schema_of(action, is_flat=is_flat)).iter_errors(payload))
        # A wrong type in an enumeration breaks two keywords but one rule.
        assert len({tuple(error.instance_path) for error in errors}) <= 1, [error.message for error in errors]

    @each_case
    def test_has_the_code_of_the_keyword_that_it_breaks(self, case: dict[str, Any]) -> None:
        call = call_of(case)
        if call is None:
            return
        action, payload, is_flat = call
        codes = {
            "required": "OccurenceConstraintViolation",
            "type": "TypeConstraintViolation",
            "maxLength": "PropertyConstraintViolation",
            "enum": "PropertyConstraintViolation",
            "minItems": "PropertyConstraintViolation",
            "format": "PropertyConstraintViolation",
            "additionalProperties": "FormationViolation",
        }
        order = list(codes)
        validator = jsonschema_rs.Draft4Validator(schema_of(action, is_flat=is_flat))
        broken = {error.kind.name for error in validator.iter_errors(payload)}
        if broken:
            assert broken <= set(order)
            assert case["code"] == codes[min(broken, key=order.index)]

    @each_case
    def test_does_not_depend_on_now(self, case: dict[str, Any]) -> None:
        for year in re.findall(rb'"(\d{4})-\d\d-\d\d', message(case)):
            assert year == b"2026"
