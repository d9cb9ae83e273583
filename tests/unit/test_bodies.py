"""Bodies by template: a written body is read again, for any form of frames."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.messages import MessageFormat, build, read

TEMPLATES: dict[str, dict[str, Any]] = {
    "frame": {"cp": "{charge_point_id}", "frame": "{frame}"},
    "frame as text": {"cp": "{charge_point_id}", "text": "{frame_text}"},
    "parts": {"id": "{message_id}", "from": "{charge_point_id}", "type": "{message_type}", "body": "{payload}"}
    | {"action": "{action}"},
    "payload as text": {"head": {"id": "{message_id}", "name": "{action}"}, "body": "{payload_text}"}
    | {"key": "station:{charge_point_id}"},
    "nested list": {"data": ["{charge_point_id}", {"ocpp": "{frame}"}]},
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_call_that_is_written_is_read_again(template: dict[str, Any]) -> None:
    body = Body(template)
    message = build(
        "Authorize",
        {"idTag": "É {x}"},
        charge_point="CP-1",
        message_id="m-1",
        message_format=MessageFormat.ENVELOPE,
        body=body,
    )
    seen = read(message.data, body)
    assert (seen.charge_point, seen.message_id, seen.action) == ("CP-1", "m-1", "Authorize")
    assert body.read(json.loads(message.data)) == ("CP-1", [2, "m-1", "Authorize", {"idTag": "É {x}"}])


def test_the_envelope_of_later_versions_names_the_protocol() -> None:
    assert "protocol" not in Body().written("CP-1", [2, "m", "Heartbeat", {}])
    assert Body(protocol="ocpp2.0.1").written("CP-1", [2, "m", "Heartbeat", {}])["protocol"] == "ocpp2.0.1"


@pytest.mark.parametrize(
    ("document", "frame"),
    [
        ({"id": "m", "type": "3", "body": {"a": 1}}, [3, "m", {"a": 1}]),
        ({"id": "m", "body": {}}, [3, "m", {}]),
        ({"id": "m", "type": 4, "code": "InternalError", "why": "x"}, [4, "m", "InternalError", "x", {}]),
    ],
)
def test_the_parts_of_an_answer_make_its_frame(document: dict[str, Any], frame: list[Any]) -> None:
    template = {"id": "{message_id}", "type": "{message_type}", "body": "{payload}", "code": "{code}"}
    assert Body({**template, "why": "{description}"}).read(document) == (None, frame)


@pytest.mark.parametrize("document", [None, [], "x", {}, {"cp": 1}, {"cp": "CP-1", "text": "no JSON"}])
def test_records_that_do_not_match_prove_nothing(document: Any) -> None:
    point, frame = Body(TEMPLATES["frame as text"]).read(document)
    assert point in {None, 1, "CP-1"}
    assert not isinstance(frame, list) or frame[2] is None


def test_a_frame_that_is_none_is_written_all_the_same() -> None:
    assert Body(TEMPLATES["frame"]).written("CP-1", "text") == {"cp": "CP-1", "frame": "text"}
