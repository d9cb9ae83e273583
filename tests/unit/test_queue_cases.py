"""Files of invalid messages: they are sent as written, and mistakes in them are named."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.profile import PROFILES
from ocpp_resilience.transport.invalid_cases import InvalidCase, load_cases

GOOD: dict[str, Any] = {
    "id": "missing-brace",
    "title": "An object without its closing brace.",
    "requirement": "R17.1",
    "kind": "malformed_json",
    "raw": '{"action": "Heartbeat"',
    "code": "FormationViolation",
    "reason": "The closing brace is missing.",
    "answer": None,
}
WITHOUT_MESSAGE = {name: value for name, value in GOOD.items() if name != "raw"}


def written(folder: Path, *cases: Any) -> Path:
    file = folder / "cases.json"
    file.write_text(json.dumps({"description": "Cases.", "cases": list(cases)}), encoding="utf-8")
    return file


def loaded(folder: Path, *cases: Any, **choice: str) -> list[InvalidCase]:
    return load_cases(written(folder, *cases), ids=Ids(), **choice)


def one(folder: Path, **fields: Any) -> InvalidCase:
    return loaded(folder, {**WITHOUT_MESSAGE, **fields})[0]


def test_a_case_is_loaded(tmp_path: Path) -> None:
    case = loaded(tmp_path, GOOD)[0]
    assert (case.id, case.title, case.requirement) == ("missing-brace", GOOD["title"], "R17.1")
    assert (case.kind, case.code, case.reason) == ("malformed_json", "FormationViolation", GOOD["reason"])
    assert case.raw == b'{"action": "Heartbeat"'
    assert (case.charge_point_id, case.message_id) == (None, None)
    assert (case.answerable, case.answer_message_id) == (False, None)
    assert str(case) == "missing-brace"


def test_the_bundled_file_can_be_loaded() -> None:
    cases = load_cases(PROFILES.parent / "invalid_messages.json", ids=Ids())
    assert len(cases) >= 60
    assert all(case.charge_point_id is not None for case in cases if case.answerable)


def test_text_is_taken_as_it_is(tmp_path: Path) -> None:
    assert one(tmp_path, raw=' {"a": "\\ud800\u0000ä"} \n').raw == b' {"a": "\\ud800\x00\xc3\xa4"} \n'


def test_bytes_come_from_base64(tmp_path: Path) -> None:
    data = b"\xff\x00" + b'{"charge_point_id": "{charge_point_id}"}'
    case = one(tmp_path, raw_base64=base64.b64encode(data).decode())
    assert case.charge_point_id is not None
    assert case.raw == data.replace(b"{charge_point_id}", case.charge_point_id.encode())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"null"),
        ([], b"[]"),
        ({}, b"{}"),
        (0, b"0"),
        ("x", b'"x"'),
        ({"a": [1, 1.0, "ä", 10**30]}, '{"a":[1,1.0,"ä",1000000000000000000000000000000]}'.encode()),
    ],
)
def test_a_json_value_is_written_compactly(tmp_path: Path, value: Any, expected: bytes) -> None:
    assert one(tmp_path, json=value).raw == expected


def test_a_message_is_built(tmp_path: Path) -> None:
    case = one(tmp_path, build={"prefix": '{"a":', "repeat": "[", "times": 100_000, "suffix": "0"})
    assert case.raw == b'{"a":' + b"[" * 100_000 + b"0"


def test_ids_are_fresh_for_each_case_and_each_loading(tmp_path: Path) -> None:
    case = {**WITHOUT_MESSAGE, "json": {"charge_point_id": "{charge_point_id}", "message_id": "{message_id}"}}
    file = written(tmp_path, {**case, "id": "one"}, {**case, "id": "two"})
    ids = Ids()
    cases = [*load_cases(file, ids=ids), *load_cases(file, ids=ids)]
    assert len({each.charge_point_id for each in cases}) == 4
    assert len({each.message_id for each in cases}) == 4
    for each in cases:
        assert json.loads(each.raw) == {"charge_point_id": each.charge_point_id, "message_id": each.message_id}


@pytest.mark.parametrize(
    ("given", "expected"), [(None, None), ("-1", "-1"), ("{message_id}", "ID"), ("x{message_id}y", "xIDy")]
)
def test_the_message_id_of_the_answer(tmp_path: Path, given: str | None, expected: str | None) -> None:
    case = one(tmp_path, raw="{charge_point_id} {message_id}", answer={"message_id": given})
    assert case.answerable
    assert case.message_id is not None
    assert case.answer_message_id == (expected.replace("ID", case.message_id) if expected is not None else None)


def test_a_case_becomes_a_message(tmp_path: Path) -> None:
    payload = [2, "{message_id}", "StatusNotification", {"connectorId": 3}]
    case = one(
        tmp_path,
        json={"charge_point_id": "{charge_point_id}", "payload": payload},
        answer={"message_id": "{message_id}"},
        code="OccurenceConstraintViolation",
    )
    message = case.message()
    assert (message.charge_point, message.message_id) == (case.charge_point_id, case.message_id)
    assert (message.answerable, message.answer_message_id) == (True, case.message_id)
    assert (message.valid, message.expected_code) == (False, "OccurenceConstraintViolation")
    assert (message.data, message.action, message.connector) == (case.raw, "StatusNotification", 3)
    assert message.about == f"missing-brace: {GOOD['reason']}"


def test_cases_are_chosen(tmp_path: Path) -> None:
    cases = [
        {**GOOD, "id": "a"},
        {**GOOD, "id": "b", "requirement": "R17.2"},
        {**GOOD, "id": "c", "kind": "oversized"},
    ]
    assert [case.id for case in loaded(tmp_path, *cases, requirement="R17.1")] == ["a", "c"]
    assert [case.id for case in loaded(tmp_path, *cases, kind="oversized")] == ["c"]
    with pytest.raises(UsageError, match=r"no case of requirement R17\.9 \(there are: R17\.1, R17\.2\)"):
        loaded(tmp_path, *cases, requirement="R17.9")
    with pytest.raises(UsageError, match=r"no case of requirement R17\.2 and kind oversized"):
        loaded(tmp_path, *cases, requirement="R17.2", kind="oversized")


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"id": "Not Kebab"}, "'id' is not in kebab-case"),
        ({"id": 5}, "'id' has to be text"),
        ({"title": ""}, "'title' has to be text, and not empty"),
        ({"reason": None}, "'reason' has to be text"),
        ({"requirement": "17.1"}, "'requirement' is not the id of a requirement"),
        ({"code": "FormatViolation"}, "'code' is 'FormatViolation' .allowed: NotImplemented, "),
        ({"comment": "x"}, "'comment' is unknown"),
        ({"json": {}}, "'raw' is required, or one of .*: exactly one, not 2"),
        ({"raw": None}, "'raw' has to be text"),
        ({"raw": "\ud800"}, "'raw' holds half of a surrogate pair"),
        ({"answer": "x"}, "'answer' has to be null, or an object with message_id, and"),
        ({"answer": {}}, "'answer' has to be null, or an object with message_id, and"),
        ({"answer": {"message_id": "x"}}, "'answer' can only be given where the message names the charge point"),
        ({"raw": "{charge_point_id}", "answer": {"message_id": 5}}, "'answer' has a message_id that is neither"),
        ({"raw": "{charge_point_id}", "answer": {"message_id": "{message_id}"}}, "'answer' uses {message_id}"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, changes: dict[str, Any], failure: str) -> None:
    with pytest.raises(UsageError, match=rf"cases\.json: case ('.*'|number 1): field {failure}"):
        loaded(tmp_path, GOOD | changes)


@pytest.mark.parametrize("name", ["id", "title", "requirement", "kind", "code", "reason", "answer"])
def test_a_missing_field_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"field '{name}' is missing"):
        loaded(tmp_path, {key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        ({}, "exactly one, not 0"),
        ({"raw_base64": "%%%"}, "'raw_base64' is not base64"),
        ({"raw_base64": "AA"}, "'raw_base64' is not base64"),
        ({"raw_base64": 5}, "'raw_base64' has to be text"),
        ({"json": "\ud800"}, "'json' holds half of a surrogate pair"),
        ({"build": "x"}, "'build' has to be an object with prefix"),
        ({"build": {"prefix": "", "repeat": "", "times": 1}}, "'build' has to be an object with prefix"),
        ({"build": {"prefix": "", "repeat": 1, "times": 1, "suffix": ""}}, "'build' has to be text"),
        ({"build": {"prefix": "", "repeat": "x", "times": -1, "suffix": ""}}, "'build' has a 'times'"),
        ({"build": {"prefix": "", "repeat": "x", "times": True, "suffix": ""}}, "'build' has a 'times'"),
        ({"build": {"prefix": "", "repeat": "xx", "times": 10**9, "suffix": ""}}, "'build' makes 2000000000 bytes"),
    ],
)
def test_a_message_that_cannot_be_made_is_named(tmp_path: Path, fields: dict[str, Any], failure: str) -> None:
    with pytest.raises(UsageError, match=f"case 'missing-brace': .*{failure}"):
        loaded(tmp_path, {**WITHOUT_MESSAGE, **fields})


def test_an_id_that_stands_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="case 'missing-brace': field 'id' occurs twice in the file"):
        loaded(tmp_path, GOOD, GOOD)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("", "is not JSON"),
        ("[]", "expected an object with 'description' and the list 'cases'"),
        ('{"cases": {}}', "expected an object with 'description' and the list 'cases'"),
        ('{"cases": [], "case": []}', "unknown field 'case'"),
        ('{"cases": []}', r"no case \(there are: none\)"),
        ('{"cases": [5]}', "case number 1: expected an object"),
        ('{"cases": [{"id": "a", "id": "a"}]}', "the key 'id' occurs twice in one object"),
        ('{"cases": [{"json": NaN}]}', "NaN is not JSON"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, failure: str) -> None:
    file = tmp_path / "cases.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=rf"cases\.json.*{failure}"):
        load_cases(file, ids=Ids())


def test_a_number_that_json_cannot_say_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cases.json"
    case = json.dumps({**WITHOUT_MESSAGE, "json": 7}).replace("7", "1e999")
    file.write_text(f'{{"cases": [{case}]}}'.replace("R11e999", "R17"), encoding="utf-8")
    with pytest.raises(UsageError, match="'json' holds a number that JSON cannot say"):
        load_cases(file, ids=Ids())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_cases(tmp_path / "none.json", ids=Ids())
