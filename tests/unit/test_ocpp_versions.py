"""OCPP versions: the fields that each must fill, and a new version in one file."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest

import ocpp_resilience.ocpp
from ocpp_resilience.charge_points.behaviour import Behaviour, check_can_reject
from ocpp_resilience.errors import LacksCapability, UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp import Version, ocpp_version, ocpp_versions
from ocpp_resilience.ocpp.invalid_payloads import Payloads
from ocpp_resilience.profile import Target
from ocpp_resilience.transport.invalid_cases import load_cases
from ocpp_resilience.transport.invalid_generated import generate_invalid
from ocpp_resilience.transport.messages import MessageFormat
from ocpp_resilience.transport.volume import Order, generate

VERSION_TEST = """
from ocpp_resilience.ocpp.version import Call, Command, ErrorCodes, Question, Version


def _object(**fields):
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


class Schemas:
    actions = ("BootNotification", "Heartbeat", "Ring", "Sing", "Dance")

    def request(self, action):
        sing = {"song": {"type": "string", "maxLength": 10}, "volume": {"type": "integer"}}
        return _object(**(sing if action == "Sing" else {}))

    def response(self, action):
        return _object()


class Transaction:
    def __init__(self, *, connector, id_tag):
        self.id = f"{id_tag}-{connector}"

    def start(self, meter, at):
        return Call("Sing", {"song": "start", "volume": meter})

    def started(self, answer):
        return True

    def meter_values(self, meter, at):
        return Call("Sing", {"song": "on", "volume": meter})

    def stop(self, meter, at):
        return Call("Sing", {"song": "stop", "volume": meter})


class Phrases:
    @staticmethod
    def boot(vendor, model):
        return Call("BootNotification", {})

    @staticmethod
    def status(connector, status, error_code="NoError"):
        return Call("Sing", {"song": status, "volume": connector})

    @staticmethod
    def authorize(id_tag):
        return Call("Sing", {"song": id_tag, "volume": 1})

    @staticmethod
    def meter_values(connector, meter, at):
        return Call("Sing", {"song": "on", "volume": meter})

    @staticmethod
    def verdict(answer):
        return None

    @staticmethod
    def transaction_id(payload, answer):
        return None


VERSION = Version(
    name="test",
    subprotocol="ocpp-test",
    schemas=Schemas(),
    samples={
        "BootNotification": lambda now: {},
        "Heartbeat": lambda now: {},
        "Sing": lambda now: {"song": "la", "volume": 1},
    },
    core=("BootNotification", "Heartbeat", "Sing"),
    commands={"Ring": Command(accepted={"rang": True}, rejected={"rang": False}), "Dance": Command()},
    question=Question(action="Ring", names=lambda fields: [], answer=lambda fields, value: {"rang": True}),
    codes=ErrorCodes(
        unreadable="Unreadable",
        formation="Shape",
        missing="Missing",
        wrong_type="Type",
        wrong_value="Value",
        unknown_action="Unknown",
        unsupported_action="Unsupported",
        message_type="MessageType",
        others=("Other",),
    ),
    phrases=Phrases(),
    transaction=Transaction,
    transaction_actions=("Sing",),
    lowest={"Sing": {"volume": 1}},
)
"""
PROFILE = """
name: choir
start: {command: ["true"]}
ready: {record: ready}
gateway: {subprotocol: ocpp-test}
redis: {keys: {requests: requests, responses: "responses:{charge_point_id}"}}
actions:
  ocpp1.6: [BootNotification, Heartbeat]
  ocpp-test: [BootNotification, Heartbeat]
"""


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Version]:
    """A version that was added by one file in the folder of versions."""
    (tmp_path / "v999.py").write_text(VERSION_TEST, encoding="utf-8")
    monkeypatch.setattr(ocpp_resilience.ocpp, "__path__", [*ocpp_resilience.ocpp.__path__, str(tmp_path)])
    yield ocpp_version("ocpp-test")
    monkeypatch.undo()
    assert "ocpp-test" not in ocpp_versions()


def profile(folder: Path, text: str = PROFILE) -> Target:
    file = folder / "choir.yaml"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return Target.load(file)


def test_a_version_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"Unknown OCPP version 'ocpp3' \(allowed: ocpp1.6"):
        ocpp_version("ocpp3")


@pytest.mark.parametrize("version", ocpp_versions().values(), ids=str)
def test_the_messages_of_a_version_are_valid_by_its_own_schemas(version: Version) -> None:
    for action in version.samples:
        validator = jsonschema_rs.validator_for(version.schemas.request(action), validate_formats=True)
        assert [error.message for error in validator.iter_errors(version.sample(action))] == [], action
    for action, command in version.commands.items():
        validator = jsonschema_rs.validator_for(version.schemas.response(action), validate_formats=True)
        answers = [command.accept(command.fields, version.settings()), command.reject(command.fields)]
        for answer in answers:
            assert answer is None or [error.message for error in validator.iter_errors(answer)] == [], action
        if command.fields:
            validator = jsonschema_rs.validator_for(version.schemas.request(action), validate_formats=True)
            assert [error.message for error in validator.iter_errors(command.fields)] == [], action


@pytest.mark.parametrize("version", ocpp_versions().values(), ids=str)
def test_a_transaction_is_valid_from_its_start_to_its_stop(version: Version) -> None:
    transaction = version.transaction(connector=1, id_tag="TAG-1")
    start = transaction.start(1000, "2026-01-15T10:30:00Z")
    assert not transaction.started({"idTagInfo": {"status": "Invalid"}}) or transaction.id is not None
    assert transaction.started({"transactionId": 17, "idTagInfo": {"status": "Accepted"}})
    calls = [
        start,
        transaction.meter_values(1500, "2026-01-15T10:31:00Z"),
        transaction.stop(2000, "2026-01-15T10:32:00Z"),
    ]
    for action, payload in calls:
        validator = jsonschema_rs.validator_for(version.schemas.request(action), validate_formats=True)
        assert [error.message for error in validator.iter_errors(payload)] == [], action
    assert {action for action, _ in calls} >= set(version.transaction_actions)


@pytest.mark.parametrize("version", ocpp_versions().values(), ids=str)
def test_each_break_of_a_payload_is_one_that_the_schema_or_the_version_refuses(version: Version) -> None:
    payloads = Payloads(random.Random(1), version)
    for action in version.samples:
        whole = jsonschema_rs.validator_for(version.schemas.request(action), validate_formats=True)
        assert whole.is_valid(payloads.valid(action)), action
        number_of_ways = len(list(payloads.breaks(action, payloads.valid(action))))
        assert number_of_ways or not version.schemas.request(action).get("properties")


def test_a_new_version_is_one_file(made_up: Version, tmp_path: Path) -> None:
    target = profile(tmp_path)
    assert (target.version, target.handled, target.lacking) == (made_up, ("BootNotification", "Heartbeat"), ["Sing"])
    with pytest.raises(LacksCapability, match="does not support the action Sing"):
        target.need_actions("Sing")
    target.need_actions("Ring", "MakeCoffee")

    messages = generate(
        3,
        ["CP-1"],
        mix={"Sing": 1},
        order=Order.BLOCKED,
        seed=1,
        version=target.version,
        message_format=MessageFormat.ENVELOPE,
        new_message_id=Ids().message,
    )
    assert b'"Sing",{"song":"la","volume":1}' in messages[0].data

    broken = generate_invalid(500, ["CP-1"], seed=1, new_message_id=Ids().message, version=made_up, valid_between=5)
    codes = {message.expected_code for message in broken if not message.valid}
    # What cannot be read on the queue names no version: it has the code of 1.6.
    assert codes == {
        "FormationViolation",
        "Unreadable",
        "Shape",
        "Missing",
        "Type",
        "Value",
        "Unknown",
        "Unsupported",
        "MessageType",
    }
    assert {message.action for message in broken if message.valid} <= set(made_up.core)
    assert any(message.about == "Sing: volume is 0" for message in broken)

    behaviour = Behaviour(made_up)
    assert behaviour.accept("Ring", {}) == {"rang": True}
    assert behaviour.reject("Ring", {}) == {"rang": False}
    assert behaviour.accept("Reset", {}) is None
    with pytest.raises(UsageError, match=r"'Dance' has no refusing answer \(allowed: Ring\)"):
        check_can_reject("Dance", made_up)


def test_the_error_codes_of_cases_are_those_of_the_version(made_up: Version, tmp_path: Path) -> None:
    file = tmp_path / "cases.json"
    file.write_text(
        '{"description": "x", "cases": [{"id": "a", "title": "t", "requirement": "R17.1", "kind": "k", "raw": "{",'
        '"code": "Shape", "reason": "r", "answer": null}]}',
        encoding="utf-8",
    )
    assert load_cases(file, ids=Ids(), version=made_up)[0].code == "Shape"
    with pytest.raises(UsageError, match=r"field 'code' is 'Shape' \(allowed: NotImplemented"):
        load_cases(file, ids=Ids())


def test_no_case_accuses_a_system_of_handling_an_action_that_it_declares(tmp_path: Path) -> None:
    actions = [*ocpp_version().core, "SecurityEventNotification"]
    made = generate_invalid(3_000, ["CP-1"], seed=1, new_message_id=Ids().message, actions=actions)
    unsupported = {each.action for each in made if each.expected_code == "NotSupported"}
    assert "SecurityEventNotification" not in unsupported
    assert "Reset" in unsupported
    assert any(each.about.startswith("SecurityEventNotification: ") for each in made)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("subprotocol: ocpp-test", "subprotocol: ocpp9", "field 'gateway.subprotocol' is 'ocpp9' (allowed: ocpp1.6, "),
        (
            "  ocpp1.6:",
            "  ocpp7:",
            "field 'actions.ocpp7' is no OCPP version (allowed: ocpp1.6, ocpp2.0.1, ",
        ),
        ("  ocpp-test: [", "  ocpp1.6: [", "occurs twice"),
        (
            "ocpp-test: [BootN",
            "ocpp-test: [Authorize, BootN",
            "field 'actions.ocpp-test[0]' is 'Authorize' (allowed: Boot",
        ),
        (
            "\n  ocpp-test: [BootNotification, Heartbeat]",
            "",
            "field 'actions' lacks ocpp-test (allowed: the version that",
        ),
    ],
)
def test_a_mistake_in_the_actions_of_a_version_is_named(
    made_up: Version, tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in PROFILE
    with pytest.raises(UsageError) as caught:
        profile(tmp_path, PROFILE.replace(old, new))
    assert problem in str(caught.value)
