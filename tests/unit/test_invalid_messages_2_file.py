"""The rules of `resources/invalid_messages_2.json`: the invalid messages of OCPP 2.0.1 and 2.1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp import Version, ocpp_version
from ocpp_resilience.ocpp.validation import compiled
from ocpp_resilience.transport.invalid_cases import InvalidCase, load_cases
from ocpp_resilience.transport.messages import SentMessage

PATH = Path(__file__).resolve().parents[2] / "resources" / "invalid_messages_2.json"
VERSIONS = [ocpp_version("ocpp2.0.1"), ocpp_version("ocpp2.1")]
CASES = [(version, case) for version in VERSIONS for case in load_cases(PATH, ids=Ids(), version=version)]
OF_THE_QUEUE = "FormationViolation"
"""What cannot be read names no version: it has the code of OCPP 1.6."""
ORDER = ("required", "type", "maxLength", "minLength", "enum", "minItems", "format", "minimum", "maximum")

each_version = pytest.mark.parametrize("version", VERSIONS, ids=str)
each_case = pytest.mark.parametrize(
    ("version", "case"), CASES, ids=[f"{version.subprotocol}-{case.id}" for version, case in CASES]
)


def call_of(case: InvalidCase, version: Version) -> tuple[str, dict[str, Any]] | None:
    """Action and payload of a CALL that charge points send, with an object as payload."""
    try:
        document = json.loads(case.raw)
    except (ValueError, RecursionError):
        return None
    match document:
        case {"payload": [2, str(_), str(action), dict(payload)]} if action in version.samples:
            return action, payload
    return None


@each_version
def test_has_more_cases_than_were_promised(version: Version) -> None:
    cases = [case for each, case in CASES if each is version]
    assert len(cases) >= 250
    assert {case.requirement for case in cases} == {*(f"R17.{number}" for number in range(1, 6)), "R17.11"}
    assert {case.code for case in cases} == {
        OF_THE_QUEUE,
        *(code for code in version.codes if code not in version.codes.others),
    }
    for field in ("title", "id"):
        assert len({getattr(case, field) for case in cases}) == len(cases)


@each_version
def test_breaks_something_in_every_message_with_fields(version: Version) -> None:
    broken = {call[0] for each, case in CASES if each is version and (call := call_of(case, version))}
    core = {action for action in version.core if version.schemas.request(action).get("properties")}
    assert core <= broken


@each_case
def test_names_its_version_and_breaks_one_rule_with_the_code_of_it(version: Version, case: InvalidCase) -> None:
    assert b"{protocol}" not in case.raw
    if (call := call_of(case, version)) is None:
        return
    action, payload = call
    errors = list(compiled(version.subprotocol, action, is_response=False).iter_errors(payload))
    if not errors or case.open:
        return
    codes = version.codes
    wanted = {"required": codes.missing, "type": codes.wrong_type, "additionalProperties": codes.formation}
    # A wrong type in an enumeration breaks two keywords but one rule.
    assert len({tuple(error.instance_path) for error in errors}) == 1
    names = [error.kind.name for error in errors]
    worst = min(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    assert case.code == wanted.get(worst, codes.wrong_value)


def test_a_callresulterror_is_asked_for_in_2_1_alone() -> None:
    asked = {version.subprotocol for version, case in CASES if case.is_answer}
    assert asked == {"ocpp2.1"}
    case = next(case for _, case in CASES if case.is_answer)
    message = case.message()
    assert isinstance(message, SentMessage)
    assert (message.is_answer, message.answer_message_id) == (True, case.message_id)


def test_a_version_that_nobody_knows_is_named(tmp_path: Path) -> None:
    data = {
        "description": "x",
        "cases": [
            {"id": "a", "title": "t", "requirement": "R17.1", "kind": "k", "raw": "{", "code": OF_THE_QUEUE}
            | {"reason": "r", "answer": None, "versions": ["ocpp9"]}
        ],
    }
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UsageError, match=r"field 'versions' is \['ocpp9'\] \(allowed: a list of ocpp1.6, "):
        load_cases(file, ids=Ids())
