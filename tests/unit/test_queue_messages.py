"""Messages for the queue: building, recognising, and sizes of volumes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import jsonschema_rs
import pytest

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids, usable_charge_point_id
from ocpp_resilience.ocpp import ocpp_version
from ocpp_resilience.text import examples, shortened
from ocpp_resilience.transport.messages import (
    Delivery,
    MessageFormat,
    SentMessage,
    SentMessages,
    build,
    form_of,
    raw,
    read,
)
from ocpp_resilience.transport.volume import Order, generate


def built(action: str = "Heartbeat", payload: dict[str, Any] | None = None, **changes: Any) -> SentMessage:
    arguments = {"charge_point": "CP-1", "message_id": "m-1", "message_format": MessageFormat.ENVELOPE}
    return build(action, ocpp_version().sample(action) if payload is None else payload, **(arguments | changes))


def test_there_are_the_ten_actions_of_the_contract() -> None:
    assert len(ocpp_version().core) == 10
    assert not set(ocpp_version().core) & set(ocpp_version().unsupported(ocpp_version().core))
    assert "Reset" in ocpp_version().unsupported(ocpp_version().core)


@pytest.mark.parametrize("action", ocpp_version().core)
def test_the_default_payload_is_valid(action: str) -> None:
    validator = jsonschema_rs.validator_for(ocpp_version().schemas.request(action), validate_formats=True)
    assert list(validator.iter_errors(ocpp_version().sample(action))) == []


def test_an_unknown_action_has_an_empty_payload() -> None:
    assert ocpp_version().sample("MakeCoffee") == {}


def test_the_default_payload_is_made_anew_each_time() -> None:
    ocpp_version().sample("MeterValues")["meterValue"].clear()
    assert ocpp_version().sample("MeterValues")["meterValue"]


def test_an_envelope_holds_the_call() -> None:
    message = built("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})
    envelope = json.loads(message.data)
    timestamp = envelope.pop("timestamp")
    assert timestamp.endswith("Z")
    assert envelope == {
        "charge_point_id": "CP-1",
        "message_type": 2,
        "message_id": "m-1",
        "action": "BootNotification",
        "payload": [2, "m-1", "BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"}],
        "ws_server_id": "acceptance-test",
    }


def test_a_flat_message_has_its_fields_beside_each_other() -> None:
    message = built("Authorize", {"idTag": "A"}, message_format=MessageFormat.FLAT)
    assert json.loads(message.data) == {
        "action": "Authorize",
        "chargePointId": "CP-1",
        "messageId": "m-1",
        "idTag": "A",
    }


@pytest.mark.parametrize("name", ["messageId", "action", "chargePointId", "payload", "charge_point_id"])
def test_the_flat_form_refuses_a_field_that_means_something_else_there(name: str) -> None:
    with pytest.raises(UsageError, match=f"The payload field '{name}' cannot be sent in the flat form"):
        built("DataTransfer", {name: "x"}, message_format=MessageFormat.FLAT)
    assert read(built("DataTransfer", {name: "x"}).data).message_id == "m-1"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), "\ud800"])
def test_values_that_json_cannot_express_are_refused(value: object) -> None:
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        built(payload={"field": value})


@pytest.mark.parametrize("message_format", MessageFormat)
@pytest.mark.parametrize("action", ocpp_version().core)
def test_a_built_message_is_recognised(action: str, message_format: MessageFormat) -> None:
    message = built(action, message_format=message_format)
    seen = read(message.data)
    # On a WebSocket the connection says whose frame it is.
    owner = None if message_format is MessageFormat.FRAME else "CP-1"
    assert (seen.charge_point, seen.message_id, seen.action) == (owner, "m-1", action)
    assert seen.format is message_format
    assert seen.connector == message.connector == ocpp_version().sample(action).get("connectorId")
    assert str(message) == f"{action} of CP-1 (message id m-1)"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"invalid": "malformed_json"',
        b"null",
        b"[]",
        b"0",
        b'"x"',
        b"\xff",
        b"{}",
        b"[" * 100_000,
        b"1" * 10_000,
        b'{"charge_point_id": 5, "payload": {}}',
        b'{"action": "Heartbeat", "chargePointId": "CP-1", "chargePointId": "CP-1"}',
        b'{"action": "Authorize", "chargePointId": "CP-1", "idTag": NaN}',
        b'{"action": "Authorize", "chargePointId": "CP-1", "idTag": 1e400}',
        b'{"action": "Authorize", "chargePointId": "CP-1", "idTag": "\\ud800"}',
        '{"action": "Heartbeat", "chargePointId": "CP-1"}'.encode("utf-16"),
        b'{"charge_point_id": "a:b", "payload": []}',
    ],
)
def test_a_message_without_a_usable_charge_point_cannot_be_answered(data: bytes) -> None:
    message = raw(data)
    assert message.charge_point is None
    assert message.answerable is False
    assert message.valid is False
    assert message.data == data


@pytest.mark.parametrize(
    ("data", "code"), [(b"null", "FormationViolation"), (b'{"a":1,"a":1}', "FormationViolation"), (b"{}", None)]
)
def test_the_code_of_a_value_that_is_no_object_is_known(data: bytes, code: str | None) -> None:
    assert raw(data).expected_code == code


def test_a_raw_call_is_to_be_answered_with_its_message_id() -> None:
    message = raw(b'{"charge_point_id": "CP-1", "payload": [2, "b1", "Heartbeat", {}]}')
    assert (message.answerable, message.answer_message_id, message.action) == (True, "b1", "Heartbeat")


def test_a_raw_call_without_a_message_id_is_to_be_answered_with_any() -> None:
    message = raw(b'{"action": "Heartbeat", "chargePointId": "CP-1"}')
    assert (message.charge_point, message.answerable, message.answer_message_id) == ("CP-1", True, None)


@pytest.mark.parametrize("payload", ['[3, "b1", {}]', "{}", "[]", '[2, "b1", 5, {}]'])
def test_about_other_raw_messages_of_a_charge_point_nothing_is_known(payload: str) -> None:
    message = raw(f'{{"charge_point_id": "CP-1", "payload": {payload}}}'.encode())
    assert message.answerable is None


def test_text_shows_bytes_that_are_no_utf8() -> None:
    assert raw(b"a\xff").text == "a\\xff"
    assert str(raw(b"a\xff")) == "the message 'a\\xff'"
    assert shortened("x" * 500, 10) == "'xxxxxxxxx… (500 characters)"
    assert shortened("a\nb") == "'a\\nb'"


@pytest.mark.parametrize("value", ["CP-1", "x", "x" * 48, "ä"])
def test_usable_charge_point_ids(value: str) -> None:
    assert usable_charge_point_id(value)


@pytest.mark.parametrize("value", ["", "x" * 49, "a b", "a:b", "a\tb", "a\u0000", "a\u200b", None, 5])
def test_unusable_charge_point_ids(value: object) -> None:
    assert not usable_charge_point_id(value)


def test_ids_belong_to_one_run_only() -> None:
    one, other = Ids(), Ids()
    made = [*(one.charge_point() for _ in range(100)), *(one.message() for _ in range(100))]
    assert len(set(made)) == 200
    assert all(one.token in each for each in made)
    assert one.token != other.token
    assert all(usable_charge_point_id(each) for each in made)
    assert max(len(one.message()) for _ in range(100)) <= 36
    assert one.charge_point("LOAD").startswith("LOAD-")


@pytest.mark.parametrize("prefix", ["with space", "with:colon", "x" * 48])
def test_a_prefix_that_makes_an_invalid_id_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="would be invalid"):
        Ids().charge_point(prefix)


def volume(count: int, points: list[str], **changes: Any) -> list[SentMessage]:
    arguments: dict[str, Any] = {
        "mix": {"Heartbeat": 1},
        "order": Order.INTERLEAVED,
        "seed": 1,
        "message_format": MessageFormat.ENVELOPE,
        "version": ocpp_version(),
        "new_message_id": Ids().message,
    }
    return generate(count, points, **(arguments | changes))


def owners(messages: list[SentMessage]) -> str:
    return "".join(message.charge_point or "?" for message in messages)


def test_an_interleaved_volume_takes_the_charge_points_in_turn() -> None:
    assert owners(volume(7, ["a", "b", "c"])) == "abcabca"


def test_a_blocked_volume_takes_one_charge_point_after_the_other() -> None:
    assert owners(volume(7, ["c", "a", "b"], order=Order.BLOCKED)) == "cccaabb"


def test_a_shuffled_volume_comes_from_its_seed() -> None:
    one = owners(volume(60, ["a", "b", "c"], order=Order.SHUFFLED, seed=5))
    assert one == owners(volume(60, ["a", "b", "c"], order=Order.SHUFFLED, seed=5))
    assert one != owners(volume(60, ["a", "b", "c"], order=Order.SHUFFLED, seed=6))
    assert Counter(one) == {"a": 20, "b": 20, "c": 20}


def test_a_mix_has_its_proportions() -> None:
    mix = {"Heartbeat": 8, "MeterValues": 1, "StatusNotification": 1}
    made = volume(1005, ["a"], mix=mix)
    assert Counter(message.action for message in made) == {
        "Heartbeat": 804,
        "MeterValues": 101,
        "StatusNotification": 100,
    }
    assert [each.action for each in made] == [each.action for each in volume(1005, ["a"], mix=mix)]


def test_a_volume_has_message_ids_of_its_own() -> None:
    assert len({message.message_id for message in volume(500, ["a", "b"])}) == 500
    assert volume(0, ["a"]) == []


@pytest.mark.parametrize(
    ("count", "points", "changes", "failure"),
    [
        (-1, ["a"], {}, "The count is -1"),
        (1, [], {}, "No charge point"),
        (1, ["a"], {"mix": {"Heartbeat": 0}}, "The mix is"),
        (1, ["a"], {"mix": {"Heartbeat": 2, "Authorize": -1}}, "The mix is"),
        (1, ["a"], {"mix": {}}, "The mix is"),
    ],
)
def test_a_volume_that_cannot_be_made(count: int, points: list[str], changes: dict[str, Any], failure: str) -> None:
    with pytest.raises(UsageError, match=failure):
        volume(count, points, **changes)


def test_several_messages_are_a_collection() -> None:
    good, bad, unclear = built(), raw(b"null"), built(charge_point="CP-2")
    bad.valid, bad.expected_code = False, "FormationViolation"
    good.delivery, bad.delivery, unclear.delivery = Delivery.ACKNOWLEDGED, Delivery.FAILED, Delivery.UNKNOWN
    good.sent_at, good.acknowledged_at, unclear.sent_at = 10.0, 12.5, 11.0
    sent = SentMessages([good, bad, unclear], seed=3)
    assert (sent.count, len(sent), sent.charge_points) == (3, 3, ["CP-1", "CP-2"])
    assert (sent.acknowledged, sent.failed, sent.unknown) == (1, 1, 1)
    assert list(sent.valid) == [good, unclear]
    assert list(sent.invalid) == [bad]
    assert list(sent.answerable) == [good, unclear]
    assert sent.codes == {"FormationViolation": 1}
    assert sent.seconds == 2.5
    assert sent[2] is unclear
    assert list(sent[1:]) == [bad, unclear]
    assert sent.valid.seed == 3
    assert repr(sent) == "<3 messages of 2 charge points>"
    assert SentMessages([]).seconds == 0.0


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ([], "none"),
        (["a"], "a"),
        ([1, 2, 3], "1; 2; 3"),
        (["a", "b", "c", "d", "e"], "a; b; c; and 2 more"),
        (["a\n  b"], "a b"),
        (["x" * 30, "y"], f"{'x' * 20}…; and 1 more"),
        (["x" * 15, "y" * 15], f"{'x' * 15}; and 1 more"),
    ],
)
def test_examples_are_few_and_in_one_line(found: list[object], shown: str) -> None:
    assert examples(found, room=20) == shown


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"action":"Heartbeat","chargePointId":null}', MessageFormat.FLAT),
        ('{"chargePointId":"CP-1"}', MessageFormat.FLAT),
        ('{"payload":[2,"1","Heartbeat",{}],"chargePointId":"CP-1"}', MessageFormat.ENVELOPE),
        ('{"charge_point_id":7}', MessageFormat.ENVELOPE),
        ('{"action":"Heartbeat"', None),
        ("[]", None),
        ("{}", None),
    ],
)
def test_the_form_of_an_invalid_message_is_told_by_its_fields(text: str, form: MessageFormat | None) -> None:
    assert form_of(text.encode()) is form
