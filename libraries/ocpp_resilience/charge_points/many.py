"""Many charge points at the same time, and complete charging sessions."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ocpp_resilience.charge_points.point import Answer, ChargePoint
from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.evidence.measure.times import percentile
from ocpp_resilience.ocpp.frames import MessageType
from ocpp_resilience.ocpp.version import Call, TransactionId
from ocpp_resilience.text import counted
from ocpp_resilience.waiting import in_words

T = TypeVar("T")

CONNECTING_AT_ONCE = 100
SHOWN_PROBLEMS = 5


@dataclass(slots=True, kw_only=True)
class Session:
    """A charging session from plugging in to leaving.

    Attributes:
        charge_point: whose it was.
        connector: the number of the connector.
        id_tag: the id tag of the driver.
        transaction_id: the id that the server gave, or in OCPP 2.x the charge point.
        meter_start: the meter at the start, in Wh.
        meter_stop: the meter at the end, in Wh.
        answers: the answers to all of its messages, in order.
        seconds: how long all of it took.
    """

    charge_point: str
    connector: int
    id_tag: str
    transaction_id: TransactionId
    meter_start: int
    meter_stop: int
    answers: list[Answer] = field(repr=False)
    seconds: float


@dataclass(slots=True, kw_only=True)
class Exchange:
    """The outcome of messages of many charge points.

    Attributes:
        sent: how many messages were sent.
        answered: how many were answered with a CALLRESULT.
        refused: how many were answered with a CALLERROR.
        unanswered: how many got no answer.
        codes: how many CALLERRORs had which code.
        problems: one for each message without a valid CALLRESULT.
        seconds: how long all of it took.
        rate: answers per second.
        median: half of the answers came within this many milliseconds.
        p99: 99 % of the answers came within this many milliseconds.
        slowest: the slowest answer, in milliseconds.
        answers: all answers.
    """

    sent: int
    answers: list[Answer] = field(repr=False)
    problems: list[str] = field(repr=False)
    seconds: float

    @property
    def answered(self) -> int:
        return sum(1 for answer in self.answers if answer.kind is MessageType.CALLRESULT)

    @property
    def refused(self) -> int:
        return len(self.answers) - self.answered

    @property
    def unanswered(self) -> int:
        return self.sent - len(self.answers)

    @property
    def codes(self) -> dict[str, int]:
        return dict(Counter(answer.code for answer in self.answers if answer.code is not None))

    @property
    def rate(self) -> float:
        return len(self.answers) / self.seconds if self.seconds else 0.0

    @property
    def median(self) -> float:
        return self.percentile(50)

    @property
    def p99(self) -> float:
        return self.percentile(99)

    @property
    def slowest(self) -> float:
        return self.percentile(100)

    def percentile(self, percent: float) -> float:
        """The time within which this many percent of the answers came, in milliseconds; 0 without answers."""
        times = sorted(answer.seconds for answer in self.answers)
        return percentile(times, percent) * 1000 if times else 0.0

    @property
    def summary(self) -> str:
        """All of it in one sentence."""
        text = (
            f"{self.answered} of {counted(self.sent, 'message')} answered, {self.refused} refused, "
            f"{self.unanswered} unanswered in {in_words(self.seconds)}"
        )
        if self.answers:
            text += f"; median {self.median:.1f} ms, 99 % within {self.p99:.1f} ms, slowest {self.slowest:.1f} ms"
        return text


async def together(
    points: Sequence[ChargePoint],
    act: Callable[[ChargePoint], Coroutine[Any, Any, T]],
    *,
    at_once: int | None = None,
) -> list[T | ExpectationFailed]:
    """Have all of them act at the same time, each result or failure in its place.

    Args:
        points: the charge points.
        act: the action of each.
        at_once: this many at a time at most.

    Raises:
        UsageError: they cannot act in this way.
    """
    gate = asyncio.Semaphore(at_once or max(1, len(points)))

    async def one(point: ChargePoint) -> T | ExpectationFailed:
        async with gate:
            try:
                return await act(point)
            except ExpectationFailed as error:
                return error

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(point)) for point in points]
    except BaseExceptionGroup as group:
        refused, others = group.split(UsageError)
        if refused is None or others is not None:
            raise
        # A usage error is the same for all of them. What `except*` raises would be a group again.
        raise refused.exceptions[0] from None
    return [task.result() for task in tasks]


def all_succeeded(results: Sequence[T | ExpectationFailed], what: str) -> list[T]:
    """The results, if none of them is a failure.

    Raises:
        ExpectationFailed: some are; the message says how many, and shows the first of them.
    """
    failures = [result for result in results if isinstance(result, ExpectationFailed)]
    if failures:
        shown = " ".join(str(failure) for failure in failures[:SHOWN_PROBLEMS])
        raise ExpectationFailed(f"{len(failures)} of {len(results)} {what}. The first: {shown}")
    return [result for result in results if not isinstance(result, ExpectationFailed)]


async def connect_all(points: Sequence[ChargePoint], *, limit: float) -> None:
    """Connect all of them, 100 at a time, each within `limit` seconds.

    Raises:
        ExpectationFailed: some did not connect; those that did stay connected.
    """
    results = await together(points, lambda point: point.connect(limit=limit), at_once=CONNECTING_AT_ONCE)
    all_succeeded(results, "charge points could not connect")


async def close_all(points: Sequence[ChargePoint]) -> None:
    """End all of their connections concurrently; an unresponsive gateway has 1.5 s."""
    await together(points, lambda point: point.close(), at_once=CONNECTING_AT_ONCE)


async def exchange(
    points: Sequence[ChargePoint],
    action: str,
    payload: Mapping[str, Any] | None,
    *,
    each: int,
    limit: float,
) -> Exchange:
    """Have each of them send a message this many times, one after its answer; all of them at the same time.

    Args:
        points: the charge points.
        action: the action.
        payload: its fields, on top of sensible ones.
        each: how many messages each sends.
        limit: the longest wait for each answer, in seconds.
    """
    answers: list[Answer] = []
    problems: list[str] = []

    async def act(point: ChargePoint) -> None:
        for _ in range(each):
            try:
                answer = await point.call(action, point.version.sample(action) | dict(payload or {}), limit=limit)
            except ExpectationFailed as error:
                problems.append(str(error))
                continue
            answers.append(answer)
            try:
                answer.accepted()
            except ExpectationFailed as wrong:
                problems.append(str(wrong))

    began = time.monotonic()
    await together(points, act)
    return Exchange(sent=len(points) * each, answers=answers, problems=problems, seconds=time.monotonic() - began)


async def charge(
    point: ChargePoint,
    *,
    connector: int,
    id_tag: str,
    meter_start: int,
    energy: int,
    meter_values: int,
    boot: bool,
    limit: float,
) -> Session:
    """A whole charging session: boot, authorize, start, meter values, stop, and the status messages in between.

    In OCPP 1.6 these are StartTransaction, MeterValues and StopTransaction; in later versions, TransactionEvents.

    Args:
        point: the charge point.
        connector: the number of the connector.
        id_tag: the id tag of the driver.
        meter_start: the meter at the start, in Wh.
        energy: energy of the session, in Wh.
        meter_values: how many meter values are sent.
        boot: whether it begins with a BootNotification.
        limit: the longest wait for each answer, in seconds.

    Raises:
        ExpectationFailed: a message was not answered, refused, or answered with another status than Accepted.
    """
    answers: list[Answer] = []
    began = time.monotonic()

    phrases = point.version.phrases
    transaction = point.version.transaction(connector=connector, id_tag=id_tag)

    async def say(message: Call) -> dict[str, Any]:
        answer = await point.call(*message, limit=limit)
        answers.append(answer)
        payload = answer.accepted()
        return payload if isinstance(payload, dict) else {}

    if boot:
        first = point.version.boot
        _accepted(point, first, (await say(Call(first, point.version.sample(first)))).get("status"))
    await say(phrases.status(connector, "Preparing"))
    authorize = phrases.authorize(id_tag)
    _accepted(point, authorize.action, phrases.verdict(await say(authorize)))
    start = transaction.start(meter_start, rfc3339())
    started = await say(start)
    _accepted(point, start.action, phrases.verdict(started))
    if not transaction.started(started) or transaction.id is None:
        raise ExpectationFailed(f"{start.action} of {point.id} was answered without a transaction id: {started}")
    await say(phrases.status(connector, "Charging"))
    for number in range(1, meter_values + 1):
        await say(transaction.meter_values(meter_start + energy * number // (meter_values + 1), rfc3339()))
    await say(transaction.stop(meter_start + energy, rfc3339()))
    await say(phrases.status(connector, "Available"))
    return Session(
        charge_point=point.id,
        connector=connector,
        id_tag=id_tag,
        transaction_id=transaction.id,
        meter_start=meter_start,
        meter_stop=meter_start + energy,
        answers=answers,
        seconds=time.monotonic() - began,
    )


def _accepted(point: ChargePoint, action: str, status: Any) -> None:
    if status != "Accepted":
        raise ExpectationFailed(f"{action} of {point.id} was answered with status {status}, expected Accepted.")


class ChargePoints:
    """The charge points of a test run, by alias.

    They can also be found by their id, as long as only one of them has it.
    """

    def __init__(self) -> None:
        self._points: dict[str, ChargePoint] = {}
        self.busy: set[ChargePoint] = set()
        """Those of a fleet that charges, which belong to the fleet until it stops."""

    def find(self, alias: str) -> ChargePoint | None:
        """The charge point of this alias or id, if there is one."""
        if alias in self._points:
            return self._points[alias]
        same = [point for point in self._points.values() if point.id == alias]
        return same[0] if len(same) == 1 else None

    def get(self, alias: str) -> ChargePoint:
        """The charge point of this alias or id.

        Raises:
            UsageError: there is none.
        """
        if found := self.find(alias):
            return found
        names = [f"'{name}'" for name in self._points]
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        known = f"there is only {shown}" if names else "call `Connect Charge Point` first"
        raise UsageError(f"There is no charge point '{alias}'; {known}.")

    def add(self, points: Mapping[str, ChargePoint]) -> None:
        """Keep charge points under these aliases."""
        self._points.update(points)

    def __contains__(self, alias: str) -> bool:
        return alias in self._points

    def forget(self, points: Iterable[ChargePoint]) -> None:
        """Forget charge points."""
        gone = set(points)
        self._points = {alias: point for alias, point in self._points.items() if point not in gone}

    def all(self) -> list[ChargePoint]:
        """All of them that are not at work in a fleet, oldest first."""
        return [point for point in self._points.values() if point not in self.busy]
