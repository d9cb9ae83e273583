"""The two oracles: the strict one judges the reference server, the tolerant one demands less of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ocpp_resilience.charge_points.frame_cases import FrameCase, FrameReport, generated_frames, judge
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp.frames import Direction, read_frame
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.services import EmbeddedRedis
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.invalid_cases import InvalidCase, load_cases
from ocpp_resilience.transport.invalid_generated import generate_invalid
from ocpp_resilience.transport.invalid_records import match_records
from ocpp_resilience.transport.messages import SentMessage
from ocpp_resilience.transport.queue_keys import QueueKeys

ROOT = Path(__file__).resolve().parents[2]
PROFILE = """
name: lenient
start: {command: [lenient]}
redis:
  keys: {requests: in, responses: "out:{charge_point_id}"}
  other: [{database: 2, keys: ["stats:{charge_point_id}:*", "stats:total"]}, {keys: ["seen:*:{charge_point_id}"]}]
"""
LEFT_OPEN = (
    "key-twice-in-payload",
    "surrogate-low-alone",
    "type-start-connector-float",
    "date-without-zone",
    "range-stop-meter-huge",
    "charge-point-id-space",
)


@pytest.fixture(scope="module")
def service() -> Iterator[EmbeddedRedis]:
    made = EmbeddedRedis("oracle")
    made.start(15)
    yield made
    made.close()


@pytest.fixture(params=["strict", "tolerant"])
def client(request: pytest.FixtureRequest, service: EmbeddedRedis, tmp_path: Path) -> Iterator[QueueClient]:
    file = tmp_path / "lenient.yaml"
    file.write_text(PROFILE + f"oracle: {request.param}\n")
    target = Target.load(file)
    redis.Redis.from_url(service.url()).flushall()
    made = QueueClient(service.url(), QueueKeys.of(target), ids=Ids(), target=target).open()
    yield made
    made.close()


def cases() -> dict[str, InvalidCase]:
    return {case.id: case for case in load_cases(ROOT / "resources" / "invalid_messages.json", ids=Ids())}


def test_the_tolerant_oracle_is_the_default_and_not_that_of_the_reference_server(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PROFILE)
    assert not Target.load(tmp_path / "p.yaml").strict
    assert Target.load("reference").strict


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_open_cases_are_judged_by_the_strict_oracle_only(client: QueueClient, name: str) -> None:
    message = cases()[name].message()
    assert message is not None
    (sent,) = client.send([message])
    if client.strict:
        assert (sent.valid, sent.expected_code) == (False, cases()[name].code)
    else:
        assert (sent.valid, sent.expected_code, sent.answerable) == (None, None, None)
    accepted = [] if sent.charge_point is None else [sent]
    assert client.report(accepted).lost == (accepted if client.strict and sent.answerable else [])


@pytest.mark.parametrize("name", ["unknown-action-envelope", "type-boot-vendor-number", "message-id-null"])
def test_mandatory_refusals_are_mandatory_for_both(client: QueueClient, name: str) -> None:
    message = cases()[name].message()
    assert message is not None
    assert not message.open
    (sent,) = client.send([message])
    assert sent.valid is False


def test_generated_messages_that_are_left_open_are_marked() -> None:
    made = generate_invalid(5_000, ["CP-1"], seed=3, new_message_id=Ids().message)
    about = {message.about.split(" ", 2)[1] for message in made if message.open and message.about.startswith("the key")}
    assert about
    assert any(message.open and "is 1.0" in message.about for message in made)
    assert not any(
        message.open and ("is missing" in message.about or "unknown field" in message.about) for message in made
    )
    assert 0.02 < sum(message.open for message in made) / 5_000 < 0.15


def invalid(number: int, *, left_open: bool = False) -> SentMessage:
    message = SentMessage(
        charge_point=f"CP-{number}",
        message_id="m",
        action="Heartbeat",
        data=b"",
        valid=False,
        expected_code="FormationViolation",
        answer_message_id="m",
        open=left_open,
    )
    if left_open:
        message.leave_open()
    return message


def record(number: int, code: str) -> dict[str, str]:
    return {"code": code, "reason": "r", "charge_point_id": f"CP-{number}", "message_id": "m"}


def test_a_record_with_another_code_is_a_record_for_the_tolerant_oracle_only() -> None:
    sent = [invalid(1), invalid(2)]
    kept = [record(1, "FormationViolation"), record(2, "GenericError")]
    assert (match_records(sent, kept).missing, match_records(sent, kept).extra) == (1, 1)
    tolerant = match_records(sent, kept, strict=False)
    assert (tolerant.missing, tolerant.extra) == (0, 0)
    assert match_records(sent, kept[:1], strict=False).missing == 1
    assert match_records(sent, [*kept, record(2, "GenericError")], strict=False).extra == 1


@pytest.mark.parametrize("kept", [0, 1])
def test_open_cases_may_have_a_record_or_none(kept: int) -> None:
    report = match_records([invalid(1, left_open=True)], [record(1, "x")] * kept, strict=False)
    assert (report.messages, report.missing, report.extra) == (0, 0, 0)


def test_a_frame_that_is_left_open_may_be_accepted_once() -> None:
    case = FrameCase(
        id="c", title="t", kind="k", reason="r", form="text", data="", code="TypeConstraintViolation", answer_id="m"
    )
    accepted = [read_frame('[3,"m",{}]', direction=Direction.RECEIVED, number=1, at=0, time=0)]
    for left_open in (True, False):
        made = FrameCase(**{**{name: getattr(case, name) for name in case.__slots__}, "open": left_open})
        reaction = judge(made, accepted, None, answered_behind=True)
        assert not reaction.right
        assert len(FrameReport(reactions=[reaction], strict=True).wrong) == 1
        assert len(FrameReport(reactions=[reaction], strict=False).wrong) == (0 if left_open else 1)
        twice = judge(made, accepted * 2, None, answered_behind=True)
        assert len(FrameReport(reactions=[twice], strict=False).wrong) == 1


def test_a_frame_is_not_refused_as_unsupported_whose_action_the_target_handles() -> None:
    handled = [*Target.load("reference").handled, "SecurityEventNotification"]
    frames = generated_frames(3_000, seed=1, ids=Ids(), actions=handled)
    assert not [
        each
        for each in frames
        if each.code == "NotSupported" and b"SecurityEventNotification" in str(each.data).encode()
    ]


def test_further_keys_of_charge_points_are_removed_in_every_database(
    client: QueueClient, service: EmbeddedRedis
) -> None:
    (sent,) = client.send([client.build("Heartbeat", {}, charge_point=client.ids.charge_point())])
    point = sent.charge_point
    main, second = (redis.Redis.from_url(service.url(), db=number, decode_responses=True) for number in (0, 2))
    main.set(f"seen:today:{point}", 1)
    main.set("seen:today:CP-foreign", 1)
    second.mset({f"stats:{point}:a": 1, f"stats:{point}:b:c": 1, "stats:CP-foreign:a": 1, "stats:total": 1})
    client.remove_data(timeout=0.1)
    assert set(main.keys()) == {"seen:today:CP-foreign"}
    assert set(second.keys()) == {"stats:CP-foreign:a", "stats:total"}
    assert client.keys.own == ("stats:total",)
    main.close()
    second.close()
