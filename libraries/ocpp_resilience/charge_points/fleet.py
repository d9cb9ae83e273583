"""A fleet that keeps charging: it reconnects, and retries unanswered messages."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.charge_points.errors import ConnectFailed, NoAnswer, NotConnected
from ocpp_resilience.charge_points.point import Answer, ChargePoint
from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.ocpp.frames import MessageType
from ocpp_resilience.ocpp.sessions import KnownTransactions, SessionScript, sessions_of
from ocpp_resilience.text import counted, examples
from ocpp_resilience.waiting import in_words

ENDLESS = 1_000_000
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Between two attempts to connect, in seconds."""
GHOST_SECONDS = 30.0
"""Time limit for the gateway to end a connection that was taken over."""


@dataclass(slots=True)
class FleetReport:
    """The outcome of the messages of a fleet.

    Attributes:
        sent: messages, each counted once however often it was sent.
        answered: of these, those with a CALLRESULT.
        refused: those with a CALLERROR, by code.
        repeated: how often a message was sent again on a new connection.
        takeovers: how often that was done while the older connection was open.
        unanswered: messages that were neither answered nor refused in time.
        wrong: answers that the protocol does not allow.
        left: connections that were taken over and not ended.
        slowest: the longest wait for an answer, in seconds.
    """

    sent: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    takeovers: int = 0
    unanswered: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def refusals(self) -> int:
        """Number of CALLERRORs."""
        return self.refused.total()

    @property
    def problems(self) -> list[str]:
        """Messages without an answer, wrong answers, and connections that were not ended."""
        return [*self.unanswered, *self.wrong, *self.left]

    @property
    def summary(self) -> str:
        """The outcome in one line, with the first problem."""
        refused = ", ".join(f"{count} refused with {code}" for code, count in sorted(self.refused.items()))
        text = (
            f"{self.answered} of {counted(self.sent, 'message')} of the fleet answered"
            f"{f', {refused}' if refused else ''}, {self.repeated} sent again, "
            f"{counted(self.takeovers, 'takeover')}, {len(self.unanswered)} without an "
            f"answer, {len(self.wrong)} answered wrongly, the slowest after {in_words(self.slowest)}"
        )
        return f"{text}; for example {examples(self.problems)}" if self.problems else text

    def __str__(self) -> str:
        return self.summary


class Fleet:
    """Charge points with random sessions, one outstanding CALL each, until they are stopped.

    Args:
        points: the charge points, connected or not.
        seed: of the random messages.
        limit: the longest wait for an answer and for a connection, in seconds.
        pause: between an answer and the next CALL of a charge point, in seconds.
        patience: after this many seconds without an answer a charge point cuts its connection and connects again; the
            limit ends that.
        takeovers: the share of messages behind which a charge point connects again at once, while its older connection
            stays open, and sends the message again.
    """

    def __init__(
        self,
        points: Sequence[ChargePoint],
        *,
        seed: int,
        limit: float,
        pause: float,
        patience: float = math.inf,
        takeovers: float = 0.0,
    ) -> None:
        self.points = list(points)
        self.report = FleetReport()
        self._chance = random.Random(seed)  # noqa: S311 - has to be repeatable
        self._limit = limit
        self._pause = pause
        self._patience = patience
        self._takeovers = takeovers
        self._answers: Counter[str] = Counter()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin; when this returns, each charge point has had answers.

        Raises:
            ExpectationFailed: that took longer than an answer may take.
        """
        neighbours = KnownTransactions()
        for point in self.points:
            chance = random.Random(self._chance.random())  # noqa: S311
            script = sessions_of(point.version).SessionScript(
                point.id, chance, neighbours, ENDLESS, actions=point.gateway.target.handled
            )
            self._tasks.append(asyncio.create_task(self._charge(point, script), name=f"fleet: {point.id}"))
        until = time.monotonic() + self._limit
        while not all(point.seen(kind=MessageType.CALLRESULT) for point in self.points):
            if time.monotonic() > until:
                await self.abandon()
                raise ExpectationFailed(f"Not every charge point of the fleet was answered: {self.report}.")
            await asyncio.sleep(FIRST_PAUSE)

    async def be_answered(self) -> None:
        """Wait until each charge point has had one more answer.

        Raises:
            ExpectationFailed: that took longer than an answer may take; names the charge points.
        """
        before = self._answers.copy()
        until = time.monotonic() + self._limit
        while waiting := [point.id for point in self.points if self._answers[point.id] == before[point.id]]:
            if time.monotonic() > until:
                raise ExpectationFailed(
                    f"{len(waiting)} of {counted(len(self.points), 'charge point')} of the fleet got no answer within "
                    f"{in_words(self._limit)}: {examples(waiting)}."
                )
            await asyncio.sleep(FIRST_PAUSE)

    async def stop(self) -> FleetReport:
        """Let each charge point finish its current message; returns the outcome of all messages."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        if self.report.takeovers:
            await self._see_ghosts_end()
        return self.report

    async def _see_ghosts_end(self) -> None:
        ghosts = [ghost for point in self.points for ghost in point.ghosts]
        until = time.monotonic() + GHOST_SECONDS
        while any(ghost.end is None for ghost in ghosts) and time.monotonic() < until:  # noqa: ASYNC110 - see `End`
            await asyncio.sleep(FIRST_PAUSE)
        self.report.left += [
            f"an older connection of {ghost.charge_point} is still open" for ghost in ghosts if ghost.end is None
        ]

    async def abandon(self) -> None:
        """End immediately; outstanding messages are dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _charge(self, point: ChargePoint, script: SessionScript) -> None:
        run = script.run()
        steps = next(run)
        while not self._stopping.is_set():
            payloads: list[dict[str, Any] | None] = []
            for action, payload in steps:
                answer = None if self._stopping.is_set() else await self._say(point, action, payload)
                usable = answer is not None and answer.code is None and isinstance(answer.payload, dict)
                payloads.append(answer.payload if answer is not None and usable else None)
            steps = run.send(payloads)

    async def _say(self, point: ChargePoint, action: str, payload: dict[str, Any]) -> Answer | None:
        """Send a message until it is answered, refused, or its time is up."""
        self.report.sent += 1
        message_id = point.new_message_id()
        began = time.monotonic()
        attempts = 0
        while True:
            try:
                if not point.connected:
                    await self._connect(point, began)
                self.report.repeated += attempts > 0
                attempts += 1
                if attempts == 1 and self._chance.random() < self._takeovers:
                    await self._take_over(point, action, payload, message_id)
                rest = max(FIRST_PAUSE, began + self._limit - time.monotonic())
                answer = await point.call(action, payload, limit=min(self._patience, rest), message_id=message_id)
            except NotConnected:
                if self._stopping.is_set():
                    return None  # of unknown outcome; the model follows both
                continue
            except NoAnswer as late:
                if time.monotonic() - began < self._limit:
                    await point.abort()
                    continue
                self.report.unanswered.append(str(late))
                return None
            except ConnectFailed as failed:
                if not self._stopping.is_set():
                    self.report.unanswered.append(f"{action} of {point.id} could not be sent: {failed}")
                return None
            break
        self._answers[point.id] += 1
        self.report.slowest = max(self.report.slowest, answer.seconds)
        if answer.code is not None:
            self.report.refused[answer.code] += 1
        else:
            self.report.answered += 1
            self.report.wrong += [f"{action} '{message_id}' of {point.id}: {each}" for each in answer.problems]
        await asyncio.sleep(self._pause)
        return answer

    async def _take_over(self, point: ChargePoint, action: str, payload: dict[str, Any], message_id: str) -> None:
        """Send a message and reconnect before it is answered; if that fails, there is no connection."""
        await point.send_call(action, payload, message_id)
        try:
            await point.reconnect_as_ghost(limit=min(self._patience, self._limit))
        except ConnectFailed as failed:
            raise NotConnected(str(failed)) from None
        self.report.takeovers += 1
        self.report.repeated += 1

    async def _connect(self, point: ChargePoint, began: float) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await point.connect(limit=self._limit)
            except ConnectFailed:
                if self._stopping.is_set() or time.monotonic() - began > self._limit:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                return
