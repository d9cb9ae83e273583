"""Matching answers to messages: histories with each violation, and sound ones that look unusual."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocpp_resilience.transport.answers import Answer, AnswerKind, read_answer
from ocpp_resilience.transport.matching import AnswerReport, ExpectedAnswers, match
from ocpp_resilience.transport.messages import Delivery, SentMessage


class History:
    """Messages in the order queued, and answers in the order in which they came."""

    def __init__(self) -> None:
        self.messages: list[SentMessage] = []
        self.answers: dict[str, list[Answer]] = {}
        self.expected = ExpectedAnswers()

    def sent(
        self,
        message_id: str | None = None,
        *,
        to: str = "CP-1",
        delivery: Delivery = Delivery.ACKNOWLEDGED,
        answerable: bool | None = True,
        valid: bool | None = True,
        code: str | None = None,
    ) -> SentMessage:
        message = SentMessage(
            charge_point=to,
            message_id=message_id,
            action="Heartbeat",
            data=b"{}",
            answerable=answerable,
            answer_message_id=message_id,
            valid=valid,
            expected_code=code,
            about="what is wrong",
            number=len(self.messages) + 1,
            delivery=delivery,
        )
        self.messages.append(message)
        if delivery is not Delivery.FAILED:
            self.expected.add(message)
        return message

    def answered(self, *message_ids: str, to: str = "CP-1", code: str | None = None) -> None:
        for message_id in message_ids:
            frame = [3, message_id, {}] if code is None else [4, message_id, code, "because", {}]
            data = json.dumps({"charge_point_id": to, "payload": frame}).encode()
            self.answers.setdefault(to, []).append(read_answer(to, data))

    def report(self) -> AnswerReport:
        return match(self.messages, self.answers, self.expected)


@pytest.fixture
def history() -> History:
    return History()


def found(report: AnswerReport) -> set[str]:
    return {what for what, examples in report.violations().items() if examples}


def test_everything_is_answered_once_and_in_order(history: History) -> None:
    for message_id in "abc":
        history.sent(message_id)
        history.sent(message_id, to="CP-2")
    history.answered("a", "b", "c")
    history.answered("a", "b", "c", to="CP-2")
    report = history.report()
    assert found(report) == set()
    assert report.complete
    assert len(report.answered) == 6
    assert report.details() == []
    assert report.summary == "6 messages: 6 answered, 0 lost, 0 answered twice, 0 unexpected, 0 out of order"


def test_nothing_was_sent(history: History) -> None:
    assert found(history.report()) == set()
    assert str(history.report()).startswith("0 messages")


def test_a_message_is_lost(history: History) -> None:
    history.sent("a")
    lost = history.sent("b")
    history.sent("c")
    history.answered("a", "c")
    report = history.report()
    assert report.lost == [lost]
    assert found(report) == {"lost"}
    assert not report.complete
    assert report.details() == ["lost: Heartbeat of CP-1 (message id b)"]


def test_the_answer_of_another_charge_point_is_no_answer(history: History) -> None:
    history.sent("a", to="CP-1")
    history.sent("b", to="CP-2")
    history.answered("a", "b", to="CP-2")
    report = history.report()
    assert found(report) == {"lost", "unexpected"}


def test_a_message_is_answered_twice(history: History) -> None:
    history.sent("a")
    twice = history.sent("b")
    history.answered("a", "b", "b", "b")
    report = history.report()
    assert [each.message for each in report.answered_twice] == [twice]
    assert len(report.answered_twice[0].answers) == 3
    assert found(report) == {"answered twice"}
    assert report.details() == ["answered twice: 3 answers to Heartbeat of CP-1 (message id b)"]


def test_a_late_second_answer_is_not_out_of_order(history: History) -> None:
    for message_id in "abc":
        history.sent(message_id)
    history.answered("a", "b", "a", "c")
    assert found(history.report()) == {"answered twice"}


def test_an_answer_is_unexpected(history: History) -> None:
    history.sent("a")
    history.answered("a", "x")
    report = history.report()
    assert found(report) == {"unexpected"}
    assert report.details() == ["unexpected: CALLRESULT to message x of CP-1"]


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"\xff",
        b"[3]",
        b"[3, 5, {}]",
        b'[4, "a", "Code", "text"]',
        b'[5, "a", {}]',
        b"[" * 9_999,
    ],
)
def test_an_unreadable_answer_is_unexpected_and_answers_nothing(history: History, entry: bytes) -> None:
    history.sent("a")
    history.answers["CP-1"] = [read_answer("CP-1", entry)]
    report = history.report()
    assert found(report) == {"lost", "unexpected"}
    assert report.unexpected[0].kind is AnswerKind.UNREADABLE


def test_a_command_to_the_charge_point_is_no_answer(history: History) -> None:
    history.sent("a")
    history.answered("a")
    history.answers["CP-1"].append(read_answer("CP-1", b'{"payload": [2, "x", "Reset", {}]}'))
    assert found(history.report()) == set()


def test_a_bare_array_is_read_as_an_answer() -> None:
    answer = read_answer("CP-1", b'[4, "a", "NotSupported", "no", {"why": 1}]')
    assert (answer.kind, answer.code, answer.description) == (AnswerKind.ERROR, "NotSupported", "no")
    assert answer.payload == {"why": 1}
    assert str(answer) == "CALLERROR NotSupported to message a of CP-1"


def test_answers_are_out_of_order(history: History) -> None:
    first = history.sent("a")
    history.sent("b")
    third = history.sent("c")
    history.answered("b", "c", "a")
    report = history.report()
    assert found(report) == {"out of order"}
    assert [(each.earlier, each.later) for each in report.out_of_order] == [(first, third)]
    assert report.details() == [
        (
            "out of order: Heartbeat of CP-1 (message id a) was answered after Heartbeat of CP-1 (message id c), "
            "which was queued later"
        )
    ]


def test_each_message_that_was_overtaken_counts(history: History) -> None:
    for message_id in "abcd":
        history.sent(message_id)
    history.answered("d", "c", "b", "a")
    assert len(history.report().out_of_order) == 3


def test_order_counts_for_each_charge_point_by_itself(history: History) -> None:
    history.sent("a", to="CP-1")
    history.sent("b", to="CP-2")
    history.sent("c", to="CP-1")
    history.answered("b", to="CP-2")
    history.answered("a", "c", to="CP-1")
    assert found(history.report()) == set()


def test_a_valid_message_is_refused(history: History) -> None:
    history.sent("a")
    history.answered("a", code="InternalError")
    report = history.report()
    assert found(report) == {"valid but refused"}
    assert report.summary.endswith("1 valid but refused")
    assert report.details() == ["valid but refused: CALLERROR InternalError to message a of CP-1 (Heartbeat): because"]


def test_an_invalid_message_is_accepted(history: History) -> None:
    history.sent("a", valid=False, code="NotSupported")
    history.answered("a")
    assert found(history.report()) == {"invalid but accepted"}


def test_an_invalid_message_is_refused_with_another_code(history: History) -> None:
    history.sent("a", valid=False, code="NotSupported")
    history.sent("b", valid=False, code="NotSupported")
    history.answered("a", code="NotSupported")
    history.answered("b", code="NotImplemented")
    report = history.report()
    assert found(report) == {"refused with another code"}
    assert report.details() == [
        (
            "refused with another code: CALLERROR NotImplemented to message b of CP-1 (Heartbeat), "
            "expected NotSupported: what is wrong"
        )
    ]


def test_one_line_explains_the_problem(history: History) -> None:
    history.sent("a", valid=False, code="NotSupported")
    history.answered("a", code="NotImplemented")
    report = history.report()
    assert report.explained == (
        f"{report.summary}; for example CALLERROR NotImplemented to message a of CP-1 "
        "(Heartbeat), expected NotSupported: what is wrong"
    )
    assert report.explain({"refused with another code"}) == report.summary
    history.sent("b")
    assert "; for example lost: Heartbeat of CP-1 (message id b); CALLERROR" in history.report().explained


def test_an_invalid_message_without_an_answer_is_not_lost(history: History) -> None:
    history.sent("a", answerable=False, valid=False)
    assert found(history.report()) == set()


def test_an_answer_to_an_unanswerable_message_is_unexpected(history: History) -> None:
    history.sent("a", answerable=False, valid=False)
    history.answered("a", code="FormationViolation")
    assert found(history.report()) == {"unexpected"}
    (line,) = history.report().details()
    assert line.endswith(": what is wrong")
    assert ", expected no answer to Heartbeat of CP-1" in line


@pytest.mark.parametrize("answers", [(), ("a",)])
def test_where_nothing_is_known_both_is_right(history: History, answers: tuple[str, ...]) -> None:
    history.sent("a", answerable=None, valid=None)
    history.answered(*answers)
    assert found(history.report()) == set()


def test_a_message_without_an_acknowledgement_may_be_answered_or_not(history: History) -> None:
    undecided = history.sent("a", delivery=Delivery.UNKNOWN)
    recovered = history.sent("b", delivery=Delivery.UNKNOWN)
    history.answered("b")
    report = history.report()
    assert found(report) == set()
    assert (report.undecided, report.recovered) == ([undecided], [recovered])
    assert report.summary.endswith("1 unacknowledged and unanswered, 1 unacknowledged but answered")


def test_the_answer_to_a_message_that_was_not_queued_is_unexpected(history: History) -> None:
    history.sent("a", delivery=Delivery.FAILED)
    history.answered("a")
    report = history.report()
    assert found(report) == {"unexpected"}
    assert report.answered == []


def test_messages_without_an_id_share_unclaimed_answers(history: History) -> None:
    history.sent(None)
    history.sent("a")
    history.sent(None)
    history.answered("made-up-1", "a", "made-up-2")
    assert found(history.report()) == set()
    history.answered("made-up-3")
    assert found(history.report()) == {"unexpected"}


def test_a_readable_message_without_an_id_is_answered_under_any_id_though_nothing_says_that_it_is_valid(
    history: History,
) -> None:
    history.sent(None, valid=None)
    history.sent(None, valid=None)
    history.answered("made-by-the-system-1", "made-by-the-system-2")
    report = history.report()
    assert found(report) == set()
    assert len(report.answered) == 2


def test_an_unreadable_message_is_refused_under_any_id(history: History) -> None:
    history.sent(None, valid=False, code="FormationViolation")
    history.answered("-1", code="FormationViolation")
    assert found(history.report()) == set()


def test_an_unreadable_message_does_not_claim_the_result_of_somebody_else(history: History) -> None:
    unreadable = history.sent(None, valid=False, code="FormationViolation")
    history.answered("somebody-else-7")
    report = history.report()
    assert report.lost == [unreadable]
    assert report.accepted == []
    assert [each.message_id for each in report.unexpected] == ["somebody-else-7"]


def test_a_result_whose_id_stands_in_an_invalid_message_accepts_it(history: History) -> None:
    accepted = history.sent(None, valid=False, code="FormationViolation")
    accepted.data = b'{"payload":[2,4711,"Heartbeat",{}]}'
    history.answered("4711")
    assert [each.message for each in history.report().accepted] == [accepted]


def test_a_message_without_an_id_is_lost(history: History) -> None:
    history.sent(None)
    lost = history.sent(None)
    history.answered("made-up")
    assert history.report().lost == [lost]


def test_an_id_that_was_used_several_times_gets_as_many_answers(history: History) -> None:
    for _ in range(3):
        history.sent("-1", valid=False, code="FormationViolation")
    history.answered("-1", "-1", "-1", code="FormationViolation")
    assert found(history.report()) == set()
    history.answered("-1", code="FormationViolation")
    assert found(history.report()) == {"answered twice"}


@pytest.mark.parametrize("shared", ["-1", None])
def test_where_one_of_a_shared_id_went_unanswered_no_order_is_known(history: History, shared: str | None) -> None:
    """The second was refused and the first ignored, or taken under an id of its own; nothing was overtaken."""
    history.sent(shared, valid=False, answerable=None, code="FormationViolation")
    history.sent("a")
    history.sent(shared, valid=False, answerable=None, code="FormationViolation")
    history.sent("b")
    history.answered("a")
    history.answered("-1", code="FormationViolation")
    history.answered("b")
    assert history.report().out_of_order == []


def test_of_an_answer_under_another_id_no_order_is_known(history: History) -> None:
    """The first was taken under the id that it has, and the CALLERROR is that to the third, which shares no id."""
    history.sent("-1", valid=False, answerable=None, code="FormationViolation")
    history.sent("a")
    history.sent(None, valid=False, answerable=None, code="FormationViolation")
    history.answered("too long", "a")
    history.answered("-1", code="FormationViolation")
    assert history.report().out_of_order == []


def test_where_all_of_a_shared_id_were_answered_their_order_counts(history: History) -> None:
    history.sent("a")
    history.sent("-1", valid=False, code="FormationViolation")
    history.answered("-1", code="FormationViolation")
    history.answered("a")
    assert len(history.report().out_of_order) == 1


def test_of_an_id_that_was_used_several_times_the_last_is_lost(history: History) -> None:
    history.sent("a")
    second = history.sent("a")
    history.answered("a")
    assert history.report().lost == [second]


def test_answers_to_other_messages_of_the_run_are_left_out(history: History) -> None:
    history.sent("earlier")
    history.messages.clear()
    history.sent("a")
    history.answered("earlier", "a")
    report = history.report()
    assert (found(report), report.messages) == (set(), 1)


def test_many_violations_are_shown_by_a_few_examples(history: History) -> None:
    for number in range(10):
        history.sent(str(number))
    report = history.report()
    assert report.details() == [
        "lost: Heartbeat of CP-1 (message id 0)",
        "lost: Heartbeat of CP-1 (message id 1)",
        "lost: Heartbeat of CP-1 (message id 2)",
        "lost: … and 7 more",
    ]
    assert len(report.details(most=10)) == 10


@given(
    plan=st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["once", "lost", "twice"])), max_size=40),
    unexpected=st.integers(0, 3),
)
def test_injected_violations_of_a_history_are_found(plan: list[tuple[str, str]], unexpected: int) -> None:
    history = History()
    for number, (point, fate) in enumerate(plan):
        history.sent(str(number), to=point)
        if fate != "lost":
            history.answered(str(number), to=point)
        if fate == "twice":
            history.answered(str(number), to=point)
    asked = {point for point, _ in plan}
    for number in range(unexpected if "A" in asked else 0):
        history.answered(f"x{number}", to="A")
    report = history.report()
    fates = [fate for _, fate in plan]
    assert len(report.lost) == fates.count("lost")
    assert len(report.answered_twice) == fates.count("twice")
    assert len(report.answered) == len(plan) - fates.count("lost")
    assert len(report.unexpected) == (unexpected if "A" in asked else 0)
    assert report.out_of_order == []


@given(st.permutations(range(8)))
def test_there_is_disorder_exactly_when_the_order_differs(order: list[int]) -> None:
    history = History()
    for number in range(8):
        history.sent(str(number))
    history.answered(*map(str, order))
    assert bool(history.report().out_of_order) == (order != sorted(order))
