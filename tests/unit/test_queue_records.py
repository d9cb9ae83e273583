"""Matching records of invalid messages: missing and surplus ones."""

from __future__ import annotations

from typing import Any

from ocpp_resilience.transport.invalid_records import match_records, wait_for_records
from ocpp_resilience.transport.messages import SentMessage

CODE = "TypeConstraintViolation"


def _message(message_id: str | None = "m1", *, point: str | None = "CP-1", answerable: bool = True) -> SentMessage:
    return SentMessage(
        charge_point=point,
        message_id=message_id,
        action="Heartbeat",
        data=b"{}",
        answerable=answerable,
        answer_message_id=message_id,
        valid=False,
        expected_code=CODE,
        about="a reason",
    )


def _record(**fields: Any) -> dict[str, Any]:
    return {"code": CODE, "reason": "why", "charge_point_id": "CP-1", "message_id": "m1"} | fields


def test_each_message_with_its_record_is_complete() -> None:
    report = match_records([_message(), _message("m2")], [_record(message_id="m2"), _record()])
    assert (report.missing, report.extra, report.percent) == (0, 0, 100)


def test_a_message_without_a_record_is_missing_and_named() -> None:
    report = match_records([_message(), _message("m2")], [_record()], kind="log record")
    assert (report.missing, report.extra, report.percent) == (1, 0, 50)
    assert report.summary == (
        "2 invalid messages, 1 without a log record, 0 log records too many; "
        f"no log record with {CODE} of Heartbeat of CP-1 (message id m2) (a reason)"
    )


def test_a_second_record_is_too_much() -> None:
    report = match_records([_message()], [_record(), _record()])
    assert (report.missing, report.extra) == (0, 1)


def test_a_record_with_another_code_is_both() -> None:
    report = match_records([_message()], [_record(code="FormationViolation")])
    assert (report.missing, report.extra) == (1, 1)


def test_a_record_without_a_reason_does_not_count() -> None:
    report = match_records([_message()], [_record(reason="")])
    assert (report.missing, report.extra) == (1, 1)


def test_an_answerable_message_needs_charge_point_and_message_id() -> None:
    for wrong in ({"charge_point_id": None}, {"charge_point_id": "CP-2"}, {"message_id": None}, {"message_id": "m9"}):
        report = match_records([_message()], [_record(**wrong)])
        assert (report.missing, report.extra) == (1, 1), wrong


def test_a_message_that_cannot_be_answered_may_have_a_record_without_charge_point() -> None:
    unaddressed = _message(None, point=None, answerable=False)
    nameless = _record(charge_point_id=None, message_id=None)
    assert match_records([unaddressed, unaddressed], [nameless, nameless]).missing == 0
    report = match_records([unaddressed, unaddressed], [nameless, nameless, nameless])
    assert (report.missing, report.extra) == (0, 1)
    assert match_records([unaddressed, unaddressed], [nameless]).missing == 1


def test_any_message_id_will_do_where_the_server_makes_one_up() -> None:
    message = _message(None)
    assert match_records([message], [_record(message_id="made-up")]).missing == 0


def test_waiting_ends_with_the_last_record_or_with_the_time() -> None:
    looks = iter([[], [_record()]])
    assert wait_for_records([_message()], lambda: next(looks), kind="record", timeout=5).missing == 0
    assert wait_for_records([_message()], list, kind="record", timeout=0.01).missing == 1
