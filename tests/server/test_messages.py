"""Wire formats: valid and invalid messages, error codes, and the addressee of an answer."""

from __future__ import annotations

import json
import re
import string
import uuid
from typing import Any

import pytest
from harness import NOW
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.errors import ErrorCode, InvalidMessage
from server.ocpp.envelope import error, is_rfc3339, result
from server.ocpp.envelope import parse as parse_entry
from server.ocpp.frames import Call, CallError, CallResult
from server.ocpp.v16.version import V16

LIMIT = 256 * 1024
FORMATION, OCCURENCE = ErrorCode.FORMATION_VIOLATION, ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION
TYPE, PROPERTY = ErrorCode.TYPE_CONSTRAINT_VIOLATION, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION
NO_TYPE_NUMBER = ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED


def parse(raw: bytes | str | dict[str, Any]) -> Any:
    if isinstance(raw, dict):
        raw = json.dumps(raw)
    return parse_entry(raw.encode() if isinstance(raw, str) else raw, longest=LIMIT)


def refused(raw: bytes | str | dict[str, Any]) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        parse(raw)
    invalid = caught.value
    assert invalid.__cause__ is None
    assert invalid.__suppress_context__  # the decoder's exception would carry the whole message along
    assert invalid.reason
    assert "\n" not in invalid.reason
    assert len(invalid.reason) < 400
    return invalid


def envelope(frame: Any, **other: Any) -> dict[str, Any]:
    return {"charge_point_id": "CP", "payload": frame} | other


class TestValid:
    def test_an_envelope(self) -> None:
        message = parse(
            {
                "charge_point_id": "CP-001",
                "message_type": 2,
                "message_id": "b1",
                "action": "BootNotification",
                "payload": [2, "b1", "BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"}],
                "timestamp": NOW,
                "ws_server_id": "gateway-1",
            }
        )
        payload = {"chargePointVendor": "V", "chargePointModel": "M"}
        assert message == Call("CP-001", "b1", "BootNotification", payload, ws_server_id="gateway-1")

    def test_the_payload_decides_over_the_envelopes_other_fields(self) -> None:
        frame = [2, "b1", "Heartbeat", {}]
        assert parse(envelope(frame, message_id=7, action=[], message_type="x", ws_server_id=None, extra={})) == Call(
            "CP", "b1", "Heartbeat", {}
        )

    @pytest.mark.parametrize("action", ["BootNotification", "Heartbeat", "StatusNotification"])
    def test_the_contracts_flat_examples(self, action: str) -> None:
        message = parse(f'{{"action": "{action}", "chargePointId": "CP-001"}}')
        assert (message.charge_point_id, message.action, message.payload) == ("CP-001", action, {})
        assert message.flat
        assert uuid.UUID(message.message_id)

    def test_a_flat_message_with_id_and_fields(self) -> None:
        message = parse({"action": "Authorize", "chargePointId": "CP", "messageId": "m", "idTag": "T"})
        assert message == Call("CP", "m", "Authorize", {"idTag": "T"}, flat=True)

    def test_made_up_message_ids_differ(self) -> None:
        raw = '{"action": "Heartbeat", "chargePointId": "CP"}'
        assert parse(raw).message_id != parse(raw).message_id

    def test_answers_of_charge_points(self) -> None:
        assert parse(envelope([3, "m", {"status": "Accepted"}])) == CallResult("CP", "m", {"status": "Accepted"})
        assert parse(envelope([4, "m", "GenericError", "", {"a": 1}])) == CallError(
            "CP", "m", "GenericError", "", {"a": 1}
        )

    @pytest.mark.parametrize("payload", [None, [], "x", 1, 1.5, True])
    def test_the_payload_of_a_call_is_left_to_the_schema(self, payload: Any) -> None:
        assert parse(envelope([2, "m", "Heartbeat", payload])).payload == payload

    @pytest.mark.parametrize(
        "charge_point_id", ["x", "x" * 48, "Säule/1", "充電器", "%41", "💡" * 48, "-1", "*", "a\\b"]
    )
    def test_usable_charge_point_ids(self, charge_point_id: str) -> None:
        frame = envelope([2, "m", "Heartbeat", {}], charge_point_id=charge_point_id)
        assert parse(frame).charge_point_id == charge_point_id
        for raw in (json.dumps(frame), json.dumps(frame, ensure_ascii=False)):
            assert parse(raw).charge_point_id == charge_point_id

    @pytest.mark.parametrize("message_id", ["1", "x" * 36, "ü" * 36, "a b", ":", "💡" * 36])
    def test_usable_message_ids(self, message_id: str) -> None:
        assert parse(envelope([2, message_id, "Heartbeat", {}])).message_id == message_id

    @pytest.mark.parametrize(
        "timestamp",
        [
            NOW,
            "2026-01-15t10:30:00z",
            "2026-01-15T10:30:00.123456789+05:30",
            "2024-02-29T23:59:59-00:00",
            "2016-12-31T23:59:60Z",
            "2017-01-01T00:59:60.5+01:00",
        ],
    )
    def test_times(self, timestamp: str) -> None:
        assert parse(envelope([2, "m", "Heartbeat", {}], timestamp=timestamp))
        assert is_rfc3339(timestamp)

    def test_the_longest_message(self) -> None:
        raw = json.dumps(envelope([2, "m", "Heartbeat", {}])).encode()
        assert parse_entry(raw + b" " * (LIMIT - len(raw)), longest=LIMIT)
        invalid = refused(raw + b" " * (LIMIT - len(raw) + 1))
        assert invalid.code == FORMATION
        assert str(LIMIT) in invalid.reason


class TestNotJson:
    CASES = (
        b"",
        b" ",
        b"{",
        b'{"invalid": "malformed_json"',
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a" 1}',
        b"{a: 1}",
        b'{"a": 1} {"b": 2}',
        b'{"a": 1}x',
        b'{"a": 1}\x00',
        b"\x00",
        b'{"a": "\x00"}',
        b'{"a": "\n"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": "\xff"}',
        b'{"\xff": 1}',
        b'{"a": "\xc0\xaf"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"a": "\\x41"}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": -1e400}',
        b'{"a": 01}',
        b'{"a": +1}',
        b'{"a": .5}',
        b'{"a": 1.}',
        b'{"a": 0x1}',
        b'{"a": tru}',
        b'{"a": /* */ 1}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        b'{"action": "Heartbeat", "chargePointId": ' + b"9" * 5000 + b"}",
        b"<xml/>",
        b"\x80\x04\x95",
    )

    @pytest.mark.parametrize("raw", CASES, ids=lambda raw: repr(raw[:20]))
    def test_is_a_formation_violation_that_cannot_be_answered(self, raw: bytes) -> None:
        invalid = refused(raw)
        assert (invalid.code, invalid.charge_point_id, invalid.message_id, invalid.answer_id) == (
            FORMATION,
            None,
            None,
            None,
        )

    @pytest.mark.parametrize(
        ("raw", "kind"),
        [
            ("null", "null"),
            ("[]", "an array"),
            ("0", "a number"),
            ("-1.5", "a number"),
            ('"x"', "a string"),
            ("true", "a boolean"),
            ('[2,"m","Heartbeat",{}]', "an array"),
        ],
    )
    def test_neither_is_a_value_that_is_no_object(self, raw: str, kind: str) -> None:
        invalid = refused(raw)
        assert (invalid.code, invalid.answer_id) == (FORMATION, None)
        assert kind in invalid.reason

    @pytest.mark.parametrize("depth", [31, 32])
    def test_nesting_up_to_the_limit(self, depth: int) -> None:
        raw = '{"action":"Heartbeat","chargePointId":"CP","x":' + "[" * depth + "]" * depth + "}"
        assert parse(raw).payload

    @pytest.mark.parametrize("opening", ["[", '{"k":'])
    @pytest.mark.parametrize("depth", [33, 100, 900, 5000])
    def test_nesting_above_the_limit(self, opening: str, depth: int) -> None:
        closing = "]" if opening == "[" else "}"
        raw = '{"action":"Heartbeat","chargePointId":"CP","x":' + opening * depth + "1" + closing * depth + "}"
        invalid = refused(raw)
        assert (invalid.code, invalid.answer_id) == (FORMATION, None)
        assert "32 levels" in invalid.reason


class TestRepeatedKeys:
    @pytest.mark.parametrize(
        "raw",
        [
            '{"action":"Heartbeat","action":"Heartbeat","chargePointId":"CP"}',
            '{"action":"Heartbeat","chargePointId":"A","chargePointId":"B"}',
            '{"action":"Heartbeat","chargePointId":"CP","a":{"b":1,"b":1}}',
            '{"action":"Heartbeat","chargePointId":"CP","a":[[{"b":1,"b":1}]]}',
            '{"action":"Heartbeat","chargePointId":"CP","a":1,"\\u0061":2}',
            '{"action":"Heartbeat","chargePointId":"CP","":1,"":2}',
            # A dropped pair must not be made up for by a colon in a string.
            '{"action":"Heartbeat","chargePointId":"CP","a":1,"a":"\\u003a"}',
            '{"action":"Heartbeat","chargePointId":"CP","a":1,"a":2,"b":"\\u003A"}',
            '{"action":"Heartbeat","chargePointId":"CP","a":{"x":":"},"a":":"}',
            '{"action":"Heartbeat","chargePointId":"CP","\\u003a":1,"\\u003a":2}',
        ],
    )
    def test_are_a_formation_violation(self, raw: str) -> None:
        invalid = refused(raw)
        assert (invalid.code, invalid.charge_point_id, invalid.answer_id) == (FORMATION, None, None)
        assert "twice" in invalid.reason

    @pytest.mark.parametrize(
        "raw",
        [
            '{"action":"Heartbeat","chargePointId":"CP","a":{"a":1},"b":{"a":1}}',
            '{"action":"Heartbeat","chargePointId":"CP","a":[{"a":1},{"a":1}]}',
            '{"action":"Heartbeat","chargePointId":"CP","a:a":":\\u003a:"}',
            '{"action":"Heartbeat","chargePointId":"CP","a":"\\\\u003a"}',
        ],
    )
    def test_are_not_seen_where_there_are_none(self, raw: str) -> None:
        assert parse(raw).charge_point_id == "CP"


class TestChargePointId:
    @pytest.mark.parametrize("name", ["charge_point_id", "chargePointId"])
    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (None, TYPE),
            (7, TYPE),
            (True, TYPE),
            (1.5, TYPE),
            (["CP"], TYPE),
            ({"CP": 1}, TYPE),
            ("", PROPERTY),
            ("x" * 49, PROPERTY),
            ("x" * 10_000, PROPERTY),
            ("a b", PROPERTY),
            (" CP", PROPERTY),
            ("CP\t", PROPERTY),
            ("CP\n", PROPERTY),
            ("CP\x00", PROPERTY),
            ("CP\x7f", PROPERTY),
            ("a:b", PROPERTY),
            ("a\u00a0b", PROPERTY),
            ("a\u2003b", PROPERTY),
            ("a\u200bb", PROPERTY),
            ("a\u202eb", PROPERTY),
            ("\ufeffCP", PROPERTY),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_that_cannot_be_used(self, name: str, value: Any, code: ErrorCode) -> None:
        message: dict[str, Any] = (
            envelope([2, "m", "Heartbeat", {}], message_id="m")
            if name == "charge_point_id"
            else {"action": "Heartbeat", "messageId": "m"}
        )
        message[name] = value
        invalid = refused(message)
        assert (invalid.code, invalid.charge_point_id, invalid.answer_id) == (code, None, None)
        assert name in invalid.reason

    def test_missing(self) -> None:
        for message in ({}, {"action": "Heartbeat"}, {"payload": [2, "m", "Heartbeat", {}], "message_id": "m"}):
            invalid = refused(message)
            assert (invalid.code, invalid.charge_point_id, invalid.answer_id) == (OCCURENCE, None, None)
            assert "missing" in invalid.reason

    def test_the_key_names_tell_the_form(self) -> None:
        assert "'charge_point_id'" in refused({"payload": [], "chargePointId": "CP", "action": "Heartbeat"}).reason
        assert "'payload'" in refused({"charge_point_id": "CP", "chargePointId": "CP", "action": "Heartbeat"}).reason


class TestEnvelope:
    @pytest.mark.parametrize("known", ["m", None, 7, "", "x" * 37, "a\n"])
    def test_without_payload(self, known: Any) -> None:
        invalid = refused({"charge_point_id": "CP", "message_id": known})
        usable = known if known == "m" else None
        assert (invalid.code, invalid.charge_point_id, invalid.answer_id) == (OCCURENCE, "CP", usable)

    @pytest.mark.parametrize("payload", [None, {}, "x", 1, True, {"0": 2}])
    def test_with_a_payload_that_is_no_array(self, payload: Any) -> None:
        invalid = refused(envelope(payload, message_id="m"))
        assert (invalid.code, invalid.charge_point_id, invalid.message_id, invalid.answer_id) == (
            FORMATION,
            "CP",
            "m",
            "m",
        )
        assert refused(envelope(payload)).answer_id is None

    @pytest.mark.parametrize(
        ("timestamp", "code"),
        [
            (None, TYPE),
            (0, TYPE),
            (1768472400, TYPE),
            ([], TYPE),
            ({}, TYPE),
            ("", PROPERTY),
            ("now", PROPERTY),
            ("2026-01-15", PROPERTY),
            ("2026-01-15T10:30:00", PROPERTY),
            ("2026-01-15 10:30:00Z", PROPERTY),
            ("2026-02-30T10:30:00Z", PROPERTY),
            ("2026-01-15T25:00:00Z", PROPERTY),
            ("2026-01-15T10:30:00Z ", PROPERTY),
            ("20260115T103000Z", PROPERTY),
            # What Python's parser takes and RFC 3339 section 5.6 does not.
            ("2026-01-15T10:30:00+0000", PROPERTY),
            ("2026-01-15T10:30:00+00", PROPERTY),
            ("2026-01-15T10:30+00:00", PROPERTY),
            ("2026-01-15T10:30:00,5Z", PROPERTY),
            ("2026-01-15T10:30:00.Z", PROPERTY),
            ("2026-01-15T10:30:00+00:00:30", PROPERTY),
            ("2026-W03-4T10:30:00Z", PROPERTY),
            ("2026-01-15T10:30:00+00:60", PROPERTY),
            ("2016-12-31T22:59:60Z", PROPERTY),
            ("2016-12-30T23:59:60Z", PROPERTY),
            ("2016-12-31T23:59:61Z", PROPERTY),
        ],
    )
    def test_with_a_bad_timestamp(self, timestamp: Any, code: ErrorCode) -> None:
        invalid = refused(envelope([2, "m", "Heartbeat", {}], timestamp=timestamp, message_id="other"))
        assert (invalid.code, invalid.message_id, invalid.answer_id) == (code, "m", "m")
        assert "timestamp" in invalid.reason

    def test_a_bad_timestamp_around_an_answer_is_not_answered(self) -> None:
        for frame in ([3, "m", {}], [4, "m", "GenericError", "", {}]):
            invalid = refused(envelope(frame, timestamp="never", message_id="m"))
            assert (invalid.code, invalid.message_id, invalid.answer_id) == (PROPERTY, "m", None)


class TestFrame:
    @pytest.mark.parametrize("kind", [0, 1, 5, -2, 22, 2**70, 2.0, "2", None, True, [2], {"2": 2}])
    def test_of_an_unknown_type_is_never_answered(self, kind: Any) -> None:
        invalid = refused(envelope([kind, "m", "Heartbeat", {}], message_id="m"))
        assert (invalid.code, invalid.charge_point_id, invalid.message_id, invalid.answer_id) == (
            NO_TYPE_NUMBER,
            "CP",
            "m",
            None,
        )

    def test_that_is_empty_is_never_answered(self) -> None:
        invalid = refused(envelope([], message_id="m"))
        assert (invalid.code, invalid.answer_id) == (NO_TYPE_NUMBER, None)

    @pytest.mark.parametrize(
        "frame",
        [[2, "m"], [2, "m", "Heartbeat"], [2, "m", "Heartbeat", {}, {}], [2, "m", {}], [2, "m", *[{}] * 1000]],
    )
    def test_a_call_with_another_number_of_elements(self, frame: list[Any]) -> None:
        invalid = refused(envelope(frame))
        assert (invalid.code, invalid.message_id, invalid.answer_id) == (FORMATION, "m", "m")
        assert str(len(frame)) in invalid.reason

    def test_a_call_without_anything(self) -> None:
        invalid = refused(envelope([2]))
        assert (invalid.code, invalid.charge_point_id) == (FORMATION, "CP")

    @pytest.mark.parametrize(
        ("message_id", "answer_id"),
        [
            (None, "-1"),
            (7, "-1"),
            (["m"], "-1"),
            ({}, "-1"),
            ("", "-1"),
            ("a\nb", "-1"),
            ("\x00", "-1"),
            ("\u202em", "-1"),
            ("x" * 37, "x" * 36),
            ("ü" * 200, "ü" * 36),
            ("x" * 100_000, "x" * 36),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_a_calls_message_id_that_cannot_be_echoed(self, message_id: Any, answer_id: str) -> None:
        for message in (
            envelope([2, message_id, "Heartbeat", {}]),
            {"action": "Heartbeat", "chargePointId": "CP", "messageId": message_id},
        ):
            invalid = refused(message)
            assert (invalid.code, invalid.charge_point_id, invalid.answer_id) == (FORMATION, "CP", answer_id)
            assert invalid.message_id == (None if answer_id == "-1" else answer_id)

    @pytest.mark.parametrize("action", [None, 7, True, [], {}, ["Heartbeat"]])
    def test_an_action_that_is_no_text(self, action: Any) -> None:
        for message in (
            envelope([2, "m", action, {}]),
            {"action": action, "chargePointId": "CP", "messageId": "m"},
        ):
            invalid = refused(message)
            assert (invalid.code, invalid.message_id, invalid.answer_id) == (TYPE, "m", "m")

    def test_a_flat_message_without_action(self) -> None:
        invalid = refused({"chargePointId": "CP", "messageId": "m"})
        assert (invalid.code, invalid.answer_id) == (OCCURENCE, "m")
        invalid = refused({"chargePointId": "CP"})
        assert invalid.code == OCCURENCE
        assert invalid.answer_id is not None
        assert uuid.UUID(invalid.answer_id)

    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            ([3], FORMATION),
            ([3, "m"], FORMATION),
            ([3, "m", {}, {}], FORMATION),
            ([3, "m", None], TYPE),
            ([3, "m", []], TYPE),
            ([3, 7, {}], FORMATION),
            ([3, "", {}], FORMATION),
            ([3, "x" * 37, {}], FORMATION),
            ([4, "m", "GenericError", ""], FORMATION),
            ([4, "m", "GenericError", "", {}, {}], FORMATION),
            ([4, None, "GenericError", "", {}], FORMATION),
            ([4, "m", 1, "", {}], TYPE),
            ([4, "m", "GenericError", None, {}], TYPE),
            ([4, "m", "GenericError", "", []], TYPE),
        ],
    )
    def test_a_bad_answer_is_never_answered(self, frame: list[Any], code: ErrorCode) -> None:
        invalid = refused(envelope(frame, message_id="m"))
        assert (invalid.code, invalid.charge_point_id, invalid.answer_id) == (code, "CP", None)


class TestAnswers:
    def test_a_result(self) -> None:
        call = Call("CP", "m", "Heartbeat", {})
        text = result(call, {"currentTime": NOW}, timestamp=NOW, server_id="one")
        assert json.loads(text) == {
            "charge_point_id": "CP",
            "message_type": 3,
            "message_id": "m",
            "payload": [3, "m", {"currentTime": NOW}],
            "timestamp": NOW,
            "ws_server_id": "one",
        }

    def test_an_error(self) -> None:
        text = error(
            InvalidMessage(FORMATION, "x" * 1000, charge_point_id="CP", answer_id="m"), timestamp=NOW, server_id="one"
        )
        assert json.loads(text) == {
            "charge_point_id": "CP",
            "message_type": 4,
            "message_id": "m",
            "payload": [4, "m", "FormationViolation", "x" * 255, {}],
            "timestamp": NOW,
            "ws_server_id": "one",
        }

    def test_the_codes_that_differ_between_versions_are_spelled_as_in_1_6(self) -> None:
        codes = V16.codes
        assert codes.unreadable == codes.wrong_shape == "FormationViolation"
        assert codes.missing == "OccurenceConstraintViolation"
        assert codes.wrong_type == "TypeConstraintViolation"
        assert codes.not_allowed == "PropertyConstraintViolation"


# --- properties -------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=15,
)
known_keys = st.sampled_from(
    ["action", "chargePointId", "messageId", "charge_point_id", "payload", "message_id", "timestamp", "ws_server_id"]
)
known_values = st.sampled_from(
    ["Heartbeat", "CP", "m", NOW, "", 2, 3, 4, None, [2, "m", "Heartbeat", {}], [3, "m", {}], [4, "m", "c", "d", {}]]
)
valid = st.sampled_from(
    [
        b'{"action": "Heartbeat", "chargePointId": "CP-001"}',
        b'{"action":"Authorize","chargePointId":"CP","messageId":"m","idTag":"a:b\\u003a\\ud83d\\ude00"}',
        b'{"charge_point_id":"CP","payload":[2,"m","Heartbeat",{}],"timestamp":"2026-01-15T10:30:00Z"}',
        b'{"charge_point_id":"CP","message_id":"m","payload":[3,"m",{"a":[1,2,{"b":null}]}]}',
        '{"charge_point_id":"Säule","payload":[4,"m","GenericError","ü",{}]}'.encode(),
    ]
)


def outcome(raw: bytes) -> Call | CallResult | CallError | InvalidMessage:
    try:
        return parse_entry(raw, longest=LIMIT)
    except InvalidMessage as invalid:
        return invalid


def check_outcome(raw: bytes) -> None:
    """For any input: a message with usable ids, or `InvalidMessage` with correct fields."""
    message = outcome(raw)
    charge_point_id, ids = message.charge_point_id, [message.message_id]
    if isinstance(message, InvalidMessage):
        ids.append(message.answer_id)
        assert message.reason
        assert isinstance(message.code, ErrorCode)
        assert message.answer_id is None or charge_point_id is not None
        json.dumps([message.reason, charge_point_id, *ids]).encode()
    else:
        assert isinstance(json.loads(raw), dict)
    if charge_point_id is not None:
        assert 1 <= len(charge_point_id) <= 48
        assert charge_point_id.isprintable()
        assert not set(charge_point_id) & set(": \t\n")
    for message_id in ids:
        assert message_id is None or (1 <= len(message_id) <= 36 and message_id.isprintable())


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_invalid(raw: bytes) -> None:
    check_outcome(raw)


@settings(max_examples=300)
@given(json_values | st.dictionaries(known_keys | st.text(max_size=5), known_values | json_values, max_size=6))
def test_any_json_is_a_message_or_invalid(value: Any) -> None:
    check_outcome(json.dumps(value).encode())
    check_outcome(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@settings(max_examples=500)
@given(valid, st.data())
def test_any_mutation_of_a_valid_message_is_a_message_or_invalid(raw: bytes, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(raw)))
        length = data.draw(st.integers(0, 6))
        piece = data.draw(
            st.binary(max_size=4)
            | st.sampled_from([b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\u003a", b"\\", b"null", b"1e999", b"\xff"])
        )
        raw = raw[:position] + piece + raw[position + length :]
    check_outcome(raw)


@settings(max_examples=200)
@given(st.lists(st.sampled_from([2, 3, 4, "m", {}, None]) | json_values, max_size=6))
def test_any_frame_is_a_message_or_invalid(frame: list[Any]) -> None:
    check_outcome(json.dumps(envelope(frame)).encode())


def quoted(text: str, escaped: bool) -> str:
    """`text` as JSON, with every colon and every `a` written as an escape if asked."""
    written = json.dumps(text)
    return written.replace("a", "\\u0061").replace(":", "\\u003a") if escaped and "\\" not in written else written


class Pairs(list[Any]):
    """An object as its pairs, so that a key may stand in it twice."""


small_text = st.text(alphabet="ab:\\", max_size=3)
trees = st.recursive(
    st.integers(0, 3) | small_text,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(small_text, inner), max_size=4).map(Pairs),
    max_leaves=10,
)


def written(tree: Any, draw_escape: Any) -> str:
    if isinstance(tree, Pairs):
        pairs = (f"{quoted(key, draw_escape())}:{written(value, draw_escape)}" for key, value in tree)
        return "{" + ",".join(pairs) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(written(value, draw_escape) for value in tree) + "]"
    return quoted(tree, draw_escape()) if isinstance(tree, str) else str(tree)


def has_repeated_key(tree: Any) -> bool:
    """The slow and obvious way."""
    if isinstance(tree, Pairs):
        keys = [key for key, _ in tree]
        return len(set(keys)) < len(keys) or any(has_repeated_key(value) for _, value in tree)
    return isinstance(tree, list) and any(has_repeated_key(value) for value in tree)


@settings(max_examples=800)
@given(trees, st.data())
@example(Pairs([("a", 1), ("a", ":")]), None)
def test_repeated_keys_are_found_as_by_the_slow_reference(tree: Any, data: st.DataObject | None) -> None:
    def escape() -> bool:
        return data is not None and data.draw(st.booleans())

    text = '{"action":"Heartbeat","chargePointId":"CP","x":' + written(tree, escape) + "}"
    if has_repeated_key(tree):
        invalid = refused(text)
        assert invalid.code == FORMATION
        assert "twice" in invalid.reason
    else:
        assert parse(text).payload == {"x": json.loads(text)["x"]}


RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d+)?([Zz]|[+-](\d\d):(\d\d))", re.ASCII)


@settings(max_examples=500)
@given(
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
    | st.from_regex(RFC3339, fullmatch=True)
    | st.text(alphabet=string.digits + "-:TtZz+. ,W", max_size=30),
    st.data(),
)
def test_a_time_is_one_only_if_it_is_written_as_rfc_3339_says(text: str, data: st.DataObject) -> None:
    if data.draw(st.booleans()) and text:
        position = data.draw(st.integers(0, len(text) - 1))
        text = text[:position] + data.draw(st.sampled_from(["", "0", ":", ",", "W", "-"])) + text[position + 1 :]
    if is_rfc3339(text):
        assert RFC3339.fullmatch(text)
