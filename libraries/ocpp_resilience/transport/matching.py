"""Matches answers to messages; the rules of the ledger decide whether one was lost, answered twice or out of order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ocpp_resilience.ledger import rules
from ocpp_resilience.ledger.entry import Entry
from ocpp_resilience.ledger.records import Op
from ocpp_resilience.text import counted, examples
from ocpp_resilience.transport.answers import Answer, AnswerKind
from ocpp_resilience.transport.invalid_records import UNREADABLE_ID
from ocpp_resilience.transport.messages import Delivery, SentMessage

EXAMPLES = 3
Check: TypeAlias = Callable[[SentMessage, Answer], list[str]]
_NAMED = {"lost": "lost: ", "still on the queue": "still on the queue: ", "unexpected": "unexpected: "}
"""Kinds of violations whose text needs an explanation."""


class ExpectedAnswers:
    """Number of answers that this run may expect, by charge point and message id.

    A message id is usually used once; tests that use one several times on purpose get as many answers, and the n-th
    answer belongs to the n-th message. Messages whose answer may have any id share the answers that no other message
    claims.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[str | None]] = defaultdict(Counter)

    def add(self, message: SentMessage) -> None:
        """Take in a message that was, or may have been, put on the queue; gives it its `occurrence`."""
        if message.charge_point is None or message.answerable is False:
            return
        counts = self._counts[message.charge_point]
        message.occurrence = counts[message.answer_message_id]
        counts[message.answer_message_id] += 1

    def count(self, charge_point: str, message_id: str | None) -> int:
        """Number of allowed answers to `charge_point` with `message_id`; `None` if any number is allowed."""
        counts = self._counts.get(charge_point)
        return counts[message_id] if counts else 0

    def forget(self, charge_point: str) -> None:
        """Expect nothing more for `charge_point`."""
        self._counts.pop(charge_point, None)

    @classmethod
    def of(cls, messages: Iterable[SentMessage]) -> ExpectedAnswers:
        """The expected answers when `messages` are all that was sent."""
        expected = cls()
        for message in messages:
            expected.add(message)
        return expected


@dataclass(frozen=True, slots=True)
class Answered:
    """A message with an answer to it."""

    message: SentMessage
    answer: Answer

    def __str__(self) -> str:
        return f"{self.answer} ({self.message.action or 'a message'})"


@dataclass(frozen=True, slots=True)
class AnsweredTwice:
    """A message id with more answers than messages."""

    message: SentMessage
    answers: list[Answer]

    def __str__(self) -> str:
        return f"{len(self.answers)} answers to {self.message}"


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """A message with a CALLRESULT that the protocol does not allow."""

    message: SentMessage
    answer: Answer
    problems: list[str]

    def __str__(self) -> str:
        return f"the answer to {self.message} is wrong: {examples(self.problems, most=2)}"


@dataclass(frozen=True, slots=True)
class OrderViolation:
    """Two messages of one charge point that were answered in the other order than queued."""

    earlier: SentMessage
    later: SentMessage

    def __str__(self) -> str:
        return f"{self.earlier} was answered after {self.later}, which was queued later"


@dataclass(slots=True)
class AnswerReport:
    """The outcomes of some messages.

    Attributes:
        messages: how many messages were looked at.
        answered_percent: how many of those that have to be answered are.
        answered: the messages that have an answer, each with its (first) answer.
        lost: messages that Redis acknowledged, that have to be answered, and are not.
        waiting: those of them that are still on the queue, once no more is waited for; they are not among the lost.
        answered_twice: message ids with more answers than messages.
        unexpected: answers that belong to no message of this run, and unreadable ones.
        out_of_order: messages that were answered after one that was queued behind them, for the same charge point.
        refused: valid messages that were answered with a CALLERROR.
        accepted: invalid messages that were answered with a CALLRESULT.
        other_code: invalid messages that were refused with another code than expected.
        wrong: valid messages with a CALLRESULT that the response schema, or the meaning of its values, does not allow.
        undecided: messages without an acknowledgement and without an answer: both is possible.
        recovered: messages without an acknowledgement, but answered.
        unanswerable: charge point to its first message without a possible answer.
    """

    messages: int = 0
    answered: list[Answered] = field(default_factory=list)
    lost: list[SentMessage] = field(default_factory=list)
    waiting: list[SentMessage] = field(default_factory=list)
    answered_twice: list[AnsweredTwice] = field(default_factory=list)
    unexpected: list[Answer] = field(default_factory=list)
    out_of_order: list[OrderViolation] = field(default_factory=list)
    refused: list[Answered] = field(default_factory=list)
    accepted: list[Answered] = field(default_factory=list)
    other_code: list[Answered] = field(default_factory=list)
    wrong: list[WrongAnswer] = field(default_factory=list)
    undecided: list[SentMessage] = field(default_factory=list)
    recovered: list[SentMessage] = field(default_factory=list)
    unanswerable: dict[str, SentMessage] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The whole in one line."""
        parts = [
            f"{len(self.answered)} answered",
            f"{len(self.lost)} lost",
            f"{len(self.answered_twice)} answered twice",
            f"{len(self.unexpected)} unexpected",
            f"{len(self.out_of_order)} out of order",
        ]
        further: dict[str, Sequence[object]] = {
            "still on the queue": self.waiting,
            "valid but refused": self.refused,
            "invalid but accepted": self.accepted,
            "refused with another code": self.other_code,
            "answered wrongly": self.wrong,
            "unacknowledged and unanswered": self.undecided,
            "unacknowledged but answered": self.recovered,
        }
        parts += [f"{len(found)} {what}" for what, found in further.items() if found]
        return f"{counted(self.messages, 'message')}: {', '.join(parts)}"

    @property
    def explained(self) -> str:
        """The outcomes in one line, with the first violation."""
        return self.explain()

    def explain(self, ignored: Collection[str] = ()) -> str:
        """The outcomes in one line, with the first violation; kinds in `ignored` do not count."""
        kinds = {what: found for what, found in self.violations().items() if what not in ignored}
        first = [f"{_NAMED.get(what, '')}{self._shown(found[0])}" for what, found in kinds.items() if found]
        return f"{self.summary}; for example {examples(first, most=2)}" if first else self.summary

    def details(self, most: int = EXAMPLES) -> list[str]:
        """The first few examples of everything that is not as it should be, a line each."""
        lines = []
        for what, found in self.violations().items():
            lines += [f"{what}: {self._shown(each)}" for each in found[:most]]
            if len(found) > most:
                lines.append(f"{what}: … and {len(found) - most} more")
        return lines

    def _shown(self, violation: object) -> str:
        if isinstance(violation, Answer) and (silent := self.unanswerable.get(violation.charge_point)) is not None:
            return f"{violation}, expected no answer to {silent}: {silent.about}"
        if isinstance(violation, Answered) and violation.message.expected_code not in {None, violation.answer.code}:
            return f"{violation}, expected {violation.message.expected_code}: {violation.message.about}"
        if isinstance(violation, SentMessage) and violation.about and violation.valid is not True:
            return f"{violation}: {violation.about}"
        if isinstance(violation, Answered) and violation.answer.description:
            return f"{violation}: {violation.answer.description}"
        return str(violation)

    def violations(self) -> dict[str, Sequence[object]]:
        """Violations by kind; kinds without an example are included."""
        return {
            "lost": self.lost,
            "still on the queue": self.waiting,
            "answered twice": self.answered_twice,
            "unexpected": self.unexpected,
            "out of order": self.out_of_order,
            "valid but refused": self.refused,
            "invalid but accepted": self.accepted,
            "refused with another code": self.other_code,
            "answered wrongly": self.wrong,
        }

    @property
    def answered_percent(self) -> float:
        """Percentage of messages with a required answer that were answered; 100 if there are none."""
        due = len(self.answered) + len(self.lost) + len(self.waiting)
        return 100 * len(self.answered) / due if due else 100.0

    @property
    def complete(self) -> bool:
        """Whether every message that has to be answered is."""
        return not self.lost and not self.waiting

    def __str__(self) -> str:
        return self.summary


def match(
    messages: Iterable[SentMessage],
    answers: Mapping[str, Sequence[Answer]],
    expected: ExpectedAnswers | None = None,
    *,
    check: Check | None = None,
) -> AnswerReport:
    """Match answers to messages.

    Args:
        messages: the messages to judge, in the order queued.
        answers: the answer list of each charge point from the oldest to the newest.
        expected: everything that the run expects, where `messages` are only a part of it.
        check: returns the problems of the CALLRESULT to a message.

    Returns:
        The outcomes of the messages. Answers to other messages of the run are left out.
    """
    judged = list(messages)
    expected = expected or ExpectedAnswers.of(judged)
    report = AnswerReport(messages=len(judged))
    by_point: defaultdict[str, list[SentMessage]] = defaultdict(list)
    for message in judged:
        if message.charge_point is None:
            if message.answerable and message.delivery is Delivery.ACKNOWLEDGED:
                report.lost.append(message)
        else:
            by_point[message.charge_point].append(message)
    for point, sent in by_point.items():
        _match_point(report, point, sent, answers.get(point, ()), expected, check=check)
    return report


def _match_point(
    report: AnswerReport,
    point: str,
    sent: Sequence[SentMessage],
    answers: Sequence[Answer],
    expected: ExpectedAnswers,
    *,
    check: Check | None,
) -> None:
    by_id: defaultdict[str | None, list[tuple[int, Answer]]] = defaultdict(list)
    for position, answer in enumerate(answers):
        if answer.kind is AnswerKind.UNREADABLE:
            report.unexpected.append(answer)
        elif answer.kind is not AnswerKind.CALL:
            known = expected.count(point, answer.message_id) > 0
            by_id[answer.message_id if known else None].append((position, answer))
    unclear = _unclear_ids(point, by_id, expected)
    stray = _StrayAnswers(by_id.pop(None, []), expected.count(point, None))
    claimed: list[tuple[int, Entry]] = []
    entries: dict[int, SentMessage] = {}
    last_with_id: dict[str, SentMessage] = {}
    for message in sent:
        if message.answerable is False:
            report.unanswerable.setdefault(point, message)
        entry = _entry(point, message)
        entries[id(entry)] = message
        found_one = None
        if message.answerable is not False and message.delivery is not Delivery.FAILED:
            if message.answer_message_id is None:
                found_one = stray.claim(message)
            else:
                candidates = by_id.get(message.answer_message_id, [])
                found_one = candidates[message.occurrence] if len(candidates) > message.occurrence else None
        if found_one is not None:
            position, answer = found_one
            if message.answer_message_id not in unclear:
                claimed.append((position, entry))
            _see(entry, answer)
            _judge(report, message, answer)
            if check is not None and (problems := check(message, answer)):
                report.wrong.append(WrongAnswer(message, answer, problems))
        if message.answerable:
            _judge_fate(report, message, entry)
        if message.answer_message_id is not None:
            last_with_id[message.answer_message_id] = message
    for message_id, message in last_with_id.items():
        entry = _entry(point, message, allowed_answers=expected.count(point, message_id))
        found = [answer for _, answer in by_id.get(message_id, [])]
        for answer in found:
            _see(entry, answer)
        if rules.surplus_answers(entry):
            report.answered_twice.append(AnsweredTwice(message, found))
    report.unexpected += stray.unexpected()
    answered = [entry for _, entry in sorted(claimed, key=lambda pair: pair[0])]
    report.out_of_order += [
        OrderViolation(earlier=entries[id(message)], later=entries[id(before)])
        for message, before in rules.reordered(answered)
    ]


def _unclear_ids(
    point: str, by_id: Mapping[str | None, Sequence[tuple[int, Answer]]], expected: ExpectedAnswers
) -> set[str | None]:
    """The ids of answers that are not known to be those of one message, so that they say nothing of the order.

    Several messages share an id, and not all were answered; or there are messages whose answer may have any id, or
    answers under an id that no message has: then a CALLERROR without an id may be that to each of them.
    """
    shared = {id_ for id_, found in by_id.items() if 1 < expected.count(point, id_) != len(found)}
    any_id = by_id.get(None) or expected.count(point, None)
    return {None, *shared, *({UNREADABLE_ID} if any_id else ())}


class _StrayAnswers:
    """Answers of a charge point with unknown ids, for messages whose answer may have any id.

    A readable message without an id gets one from the system if it is valid, and whether it is may not be known. An
    invalid message of which not even the id can be read is refused by a CALLERROR with whatever id; a CALLRESULT is its
    answer only if the id stands somewhere in it, and any other one is somebody else's.

    Args:
        answers: the answers with their positions, in order.
        count: how many messages of the run may have them.
    """

    def __init__(self, answers: Sequence[tuple[int, Answer]], count: int) -> None:
        self._answers = list(answers)
        self._count = count
        self._judged = 0
        self._taken: set[int] = set()
        self._accepted = 0

    def claim(self, message: SentMessage) -> tuple[int, Answer] | None:
        """The answer to a message, with its position."""
        self._judged += 1
        if message.valid is True or (message.valid is None and message.answerable):
            return self._take(self._answers, message.occurrence)
        for place, (_, answer) in enumerate(left := self._left(errors=False)):
            if answer.message_id and answer.message_id.encode("utf-8", "surrogatepass") in message.data:
                self._accepted += 1
                return self._take(left, place)
        errors = [each for each in self._answers if each[1].kind is AnswerKind.ERROR]
        return self._take(errors, message.occurrence - self._accepted)

    def unexpected(self) -> list[Answer]:
        """Answers that belong to no message, without those of messages that are not judged here."""
        others = max(self._count - self._judged, 0)
        results, errors = self._left(errors=False), self._left(errors=True)
        more = max(self._count - len(self._taken) - min(others, len(results)), 0)
        return [answer for _, answer in (*results[others:], *errors[more:])]

    def _take(self, answers: Sequence[tuple[int, Answer]], place: int) -> tuple[int, Answer] | None:
        if not 0 <= place < len(answers) or answers[place][0] in self._taken:
            return None
        self._taken.add(answers[place][0])
        return answers[place]

    def _left(self, *, errors: bool) -> list[tuple[int, Answer]]:
        kept = [each for each in self._answers if (each[1].kind is AnswerKind.ERROR) is errors]
        return [each for each in kept if each[0] not in self._taken]


_OUTCOMES = {Delivery.ACKNOWLEDGED: Op.OK, Delivery.UNKNOWN: Op.UNKNOWN, Delivery.FAILED: Op.FAIL}


def _entry(point: str, message: SentMessage, *, allowed_answers: int = 1) -> Entry:
    """A queued message as the rules judge it."""
    return Entry(
        cp=point,
        id=message.answer_message_id or "",
        action=message.action,
        seq=message.number,
        via="queue",
        outcome=_OUTCOMES.get(message.delivery),
        allowed_answers=allowed_answers,
    )


def _see(entry: Entry, answer: Answer) -> None:
    if answer.code is None:
        entry.results += 1
    else:
        entry.errors.append(answer.code)


def _judge_fate(report: AnswerReport, message: SentMessage, entry: Entry) -> None:
    if rules.missing(entry, looked_for=False):
        report.lost.append(message)
    elif entry.outcome is Op.UNKNOWN:
        (report.recovered if entry.answers else report.undecided).append(message)


def _judge(report: AnswerReport, message: SentMessage, answer: Answer) -> None:
    pair = Answered(message, answer)
    report.answered.append(pair)
    if message.valid is True and answer.kind.refuses:
        report.refused.append(pair)
    if message.valid is False and answer.kind is AnswerKind.RESULT:
        report.accepted.append(pair)
    elif message.expected_code is not None and answer.kind.refuses:
        wanted = AnswerKind.RESULT_ERROR if message.is_answer else AnswerKind.ERROR
        if (answer.kind, answer.code) != (wanted, message.expected_code):
            report.other_code.append(pair)
