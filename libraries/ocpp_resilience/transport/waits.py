"""Waits for conditions on a queue, and judges them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from ocpp_resilience.errors import ExpectationFailed, UsageError, WaitTimeout, WrongAnswers
from ocpp_resilience.redis.connection import AWAY
from ocpp_resilience.redis.snapshot import KeyDifference, KeySnapshot, compare
from ocpp_resilience.robot.console import CONSOLE, Rate, time_left
from ocpp_resilience.text import counted, examples
from ocpp_resilience.transport.answers import Answer, AnswerKind
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.dead_letters import DeadLetter, DeadLetterFilter, DeadLetterMark
from ocpp_resilience.transport.matching import AnswerReport
from ocpp_resilience.transport.messages import Delivery, SentMessage, SentMessages
from ocpp_resilience.waiting import in_words, seconds, wait_until

ANSWER_PAUSE = 0.01
"""The longest pause between two looks for an answer, in seconds: answer times are measured to this."""
DRAIN_PAUSE = 0.02
"""The same while many answers come in; a look is one round trip of LLENs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainStatistics:
    """Distribution of the answer times of messages.

    Attributes:
        messages: how many messages were to be answered.
        seconds: from the acknowledgement of the first message queued until the last answer was seen.
        seconds_after_last: from the acknowledgement of the last message queued until the last answer was seen.
        rate: messages per second, over `seconds`.
        report: the outcomes of the messages.
    """

    messages: int
    seconds: float
    seconds_after_last: float
    rate: float
    report: AnswerReport = field(repr=False)

    @property
    def summary(self) -> str:
        """The whole in one line."""
        return f"{self.report.summary}; {self.rate:.0f} messages/s over {in_words(self.seconds)}"

    def __str__(self) -> str:
        return self.summary


def wait_for_answer(
    client: QueueClient, message: SentMessage, timeout: timedelta | float, *, longest_pause: float = ANSWER_PAUSE
) -> Answer:
    """The answer to `message`, as soon as it arrives.

    Raises:
        UsageError: the message cannot be answered.
        WaitTimeout: there was none in time.
    """
    point = message.charge_point
    if point is None or message.answerable is False:
        raise UsageError(f"No answer to {message} is possible, so there is nothing to wait for.")
    watch = client.watch()

    def look() -> Answer | None:
        if (known := client.answer_to(message)) is not None:
            return known
        client.refresh([point])
        return client.answer_to(message)

    def failure() -> str:
        others = _others(client.answers_of(point))
        return f"No answer to {message}; {others}{_queue_note(client, message)}"

    answer = watch.wait(look, timeout=timeout, failure=failure, longest_pause=longest_pause)
    return replace(answer, seconds=None if message.sent_at is None else answer.seen_at - message.sent_at)


def _others(answers: Sequence[Answer]) -> str:
    if not answers:
        return "the charge point has no answers"
    shown = ", ".join(str(each.message_id) for each in answers[-3:])
    return f"the charge point has {counted(len(answers), 'answer')}, the newest to {shown}"


def _queue_note(client: QueueClient, message: SentMessage | None = None) -> str:
    """Whether the queue still holds messages, as far as Redis can be asked."""
    if message is not None and message.delivery is not Delivery.ACKNOWLEDGED and message.number:
        return f"; its delivery is {message.delivery.value}"
    try:
        length = client.length()
    except AWAY:
        return ""
    holds = "the charge points hold" if client.through_gateway else f"the {client.place} holds"
    return f"; {holds} {counted(length, 'message')}{client.problem}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def should_be_answered(client: QueueClient, message: SentMessage, timeout: timedelta | float) -> Answer:
    """The CALLRESULT to `message`.

    Raises:
        ExpectationFailed: it was refused, or not answered in time.
        WrongAnswers: the protocol does not allow the answer.
    """
    answer = wait_for_answer(client, message, timeout)
    if answer.kind is not AnswerKind.RESULT:
        raise ExpectationFailed(f"Expected {message} to be accepted, but it was refused: {_refusal(answer)}.")
    if problems := client.history.answer_problems(message, answer):
        text = f"The answer to {message} is wrong: {examples(problems)}."
        raise WrongAnswers(text, violations=["answered wrongly"])
    return answer


def should_be_refused(
    client: QueueClient, message: SentMessage, code: str | None, timeout: timedelta | float
) -> Answer:
    """The CALLERROR to `message`; with `code` it has to have that one.

    Raises:
        ExpectationFailed: it was accepted, refused with another code, or not answered in time.
    """
    answer = wait_for_answer(client, message, timeout)
    wanted = "" if code is None else f" with {code}"
    if not answer.kind.refuses:
        raise ExpectationFailed(f"Expected {message} to be refused{wanted}, but it was accepted: {answer.payload}.")
    if code is not None and answer.code != code:
        raise ExpectationFailed(
            f"Expected {message} to be refused{wanted}, but it was refused with {_refusal(answer)}."
        )
    return answer


def _refusal(answer: Answer) -> str:
    return f"{answer.code} ({answer.description})" if answer.description else f"{answer.code}"


def should_have_answers(client: QueueClient, charge_point: str, count: int, timeout: timedelta | float) -> list[Answer]:
    """The answers to `charge_point`, exactly `count`.

    Raises:
        ExpectationFailed: there are more.
        WaitTimeout: there were fewer until the end.
    """

    def look() -> list[Answer] | None:
        client.refresh([charge_point])
        answers = client.answers_of(charge_point)
        return answers if len(answers) >= count else None

    def failure() -> str:
        seen = _others(client.answers_of(charge_point))
        return f"Expected {counted(count, 'answer')} to {charge_point}; {seen}{_queue_note(client)}"

    answers = client.watch().wait(look, timeout=timeout, failure=failure, longest_pause=ANSWER_PAUSE)
    if len(answers) > count:
        further = ", ".join(str(each) for each in answers[count : count + 3])
        raise ExpectationFailed(
            f"Expected {counted(count, 'answer')} to {charge_point}, but there are {len(answers)}: {further}."
        )
    return answers


def wait_until_empty(client: QueueClient, timeout: timedelta | float) -> float:
    """Wait until the queue is empty.

    Returns:
        How long that took, in seconds.

    Raises:
        WaitTimeout: it was not until the end.
    """
    started = time.monotonic()
    seen = {"length": "an unknown number of messages", "oldest": ""}

    def look() -> float | None:
        length = client.length()
        if length == 0:
            return time.monotonic() - started
        oldest = client.oldest(1)
        seen["length"] = counted(length, "message")
        seen["oldest"] = f" (oldest: {oldest[0]})" if oldest else ""
        return None

    return client.watch().wait(
        look,
        timeout=timeout,
        failure=lambda: f"{_capital(client.place)} still had {seen['length']}{seen['oldest']}",
        longest_pause=DRAIN_PAUSE,
    )


def wait_for_all(
    client: QueueClient, messages: SentMessages, *, timeout: timedelta | float, settle: timedelta | float
) -> DrainStatistics:
    """Wait until every message that has to be answered is, then look for further answers for `settle` after the last.

    Each poll counts new answers in one round trip; they are fetched when there are enough of them.

    Returns:
        The times, and a report that may still name violations.

    Raises:
        WaitTimeout: some were not answered until the end; the message names it.
    """
    points = messages.charge_points
    for point in points:
        client.follow(point)
    watch = client.watch()
    missing = sum(1 for each in messages if each.answerable and each.delivery is Delivery.ACKNOWLEDGED)
    first_look = True
    complete_at = 0.0
    total, seen, rate = missing, 0, Rate()
    report: AnswerReport | None = None
    judged = 0

    def progress() -> str:
        fast = rate.of(seen)
        left = f", {time_left((total - seen) / fast)}" if fast else ""
        return f"Queue: {seen:,} of {total:,} messages answered, {fast:,.0f}/s{left}"

    def look() -> bool | None:
        nonlocal missing, first_look, complete_at, seen, report, judged
        grown = client.answers.grown(points)
        seen = total - missing + grown
        counted_at = time.monotonic()
        if grown < missing and not first_look:
            return None
        client.refresh(points)
        # Counted answers were there at that time; where counting them did not suffice, when they were fetched counts.
        complete_at = counted_at if grown >= missing else time.monotonic()
        first_look = False
        judged = _read(client, points)
        report = client.report(messages)
        missing = len(report.lost)
        return True if missing == 0 else None

    def failure() -> str:
        # Answers since the last poll, which may have been too few to fetch.
        report = _judged_again(client, messages)
        summary, example = report.summary, report.explained.removeprefix(report.summary)
        return f"Not every message was answered: {summary}{_queue_note(client)}{example}"

    try:
        with CONSOLE.showing(progress):
            watch.wait(look, timeout=timeout, failure=failure, longest_pause=DRAIN_PAUSE)
    except WaitTimeout as late:
        lines = [str(late), *client.final_report(messages).details()]
        raise WaitTimeout("\n".join(lines), waited=late.waited, last_seen=late.last_seen) from None
    _settle(client, points, complete_at + seconds(settle))
    if report is None or _read(client, points) != judged:
        report = client.report(messages)
    return _statistics(messages, report, complete_at)


def some_answered(client: QueueClient, messages: SentMessages, timeout: timedelta | float) -> int:
    """How many of these are answered, as soon as it is one.

    Raises:
        WaitTimeout: none was in time.
    """
    points = messages.charge_points

    def look() -> int | None:
        client.refresh(points)
        return len(client.report(messages).answered) or None

    return client.watch().wait(
        look,
        timeout=timeout,
        failure=lambda: f"None of {counted(messages.count, 'message')} was answered{_queue_note(client)}",
        longest_pause=ANSWER_PAUSE,
    )


def watch_answers(
    client: QueueClient, messages: SentMessages, *, timeout: timedelta | float, settle: timedelta | float
) -> DrainStatistics:
    """As `wait_for_all`, without judging: unanswered messages are reported."""
    try:
        return wait_for_all(client, messages, timeout=timeout, settle=settle)
    except ExpectationFailed:  # a timeout is one
        return _statistics(messages, _judged_again(client, messages), time.monotonic())


def _judged_again(client: QueueClient, messages: SentMessages) -> AnswerReport:
    with contextlib.suppress(*AWAY):
        client.refresh(messages.charge_points)
    return client.final_report(messages)


def _read(client: QueueClient, points: Sequence[str]) -> int:
    """How many answers were read so far."""
    return sum(len(client.answers.of(point)) for point in points)


def _settle(client: QueueClient, points: Sequence[str], until: float) -> None:
    """Keep reading until then, and once more; surplus answers come late by nature."""

    def look() -> bool | None:
        over = time.monotonic() >= until  # first, so that the last look is one after the time
        client.refresh(points)
        return True if over else None

    longest = max(0.0, until - time.monotonic()) + 1
    client.watch().wait(look, timeout=longest, failure=lambda: "The answers could not be read again")


def _statistics(messages: SentMessages, report: AnswerReport, complete_at: float) -> DrainStatistics:
    first, last = messages.first_acknowledged_at, messages.last_acknowledged_at
    duration = max(complete_at - first, 0.0) if first is not None else 0.0
    count = messages.answerable.count
    return DrainStatistics(
        messages=count,
        seconds=duration,
        seconds_after_last=max(complete_at - last, 0.0) if last is not None else 0.0,
        rate=count / duration if duration else 0.0,
        report=report,
    )


def no_answer_should_arrive(client: QueueClient, message: SentMessage, duration: timedelta | float) -> None:
    """Watch for `duration` that nothing comes in that could be an answer to `message`.

    Raises:
        ExpectationFailed: something did.
        WaitTimeout: Redis could not be asked.
    """
    watch = client.watch()
    until = time.monotonic() + seconds(duration)

    def look() -> list[Answer] | None:
        over = time.monotonic() >= until  # first, so that the last look is one after the time
        client.refresh(client.answers.charge_points)
        found = client.unexpected_answers()
        if message.answerable is not False and (answer := client.answer_to(message)) is not None:
            found = [answer, *found]
        return found if found or over else None

    found = watch.wait(look, timeout=seconds(duration) + 1, failure=lambda: "The answers could not be read")
    if found:
        raise ExpectationFailed(f"Expected no answer to {message}, but there is {found[0]}: {found[0].text}")


def dead_letter_should_exist(
    client: QueueClient, wanted: DeadLetterFilter, mark: DeadLetterMark | None, timeout: timedelta | float
) -> DeadLetter:
    """The newest of the dead letters that are meant, as soon as there is one.

    Raises:
        WaitTimeout: there was none until the end.
    """
    seen: list[DeadLetter] = []

    def look() -> DeadLetter | None:
        nonlocal seen
        seen = client.dead_letters(mark)
        return next(iter(wanted.select(seen)), None)

    def failure() -> str:
        newest = f"the newest is {seen[0]}" if seen else "there are none"
        asked = f" {wanted}" if str(wanted) else ""
        after = "" if mark is None else " after the mark"
        return f"No dead letter{asked} among {len(seen)}{after}; {newest}{_queue_note(client)}"

    return client.watch().wait(look, timeout=timeout, failure=failure)


def key_changes(
    client: QueueClient, before: KeySnapshot, *, ignore: Sequence[str], timeout: timedelta | float
) -> KeyDifference:
    """How the keys differ from a snapshot, as soon as they do not, else when the time is up."""
    difference = KeyDifference()

    def look() -> bool | None:
        nonlocal difference
        difference = compare(before, client.snapshot(values=bool(before.values)), ignore=ignore)
        return None if difference else True

    with contextlib.suppress(WaitTimeout):
        wait_until(look, timeout=timeout, failure=str)
    return difference


def keys_should_equal(
    client: QueueClient, before: KeySnapshot, *, ignore: Sequence[str], timeout: timedelta | float
) -> None:
    """Wait until the keys are those of a snapshot.

    Raises:
        WaitTimeout: they were not until the end; names those that differ.
    """
    difference = KeyDifference()

    def look() -> bool | None:
        nonlocal difference
        difference = compare(before, client.snapshot(values=bool(before.values)), ignore=ignore)
        return None if difference else True

    client.watch().wait(look, timeout=timeout, failure=lambda: f"The keys differ from the snapshot: {difference}")
