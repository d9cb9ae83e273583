"""CALLs that cross: a charge point sends one while a command to it is unanswered, in both orders."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ocpp_resilience.charge_points.behaviour import ANY, How, Script
from ocpp_resilience.charge_points.errors import NoAnswer, NotConnected
from ocpp_resilience.charge_points.point import ChargePoint
from ocpp_resilience.ocpp.frames import Direction, Frame, MessageType
from ocpp_resilience.text import counted, examples

_ANSWERS = {MessageType.CALLRESULT, MessageType.CALLERROR}


class Order(enum.Enum):
    """The order of the two messages, as the charge point sees it."""

    COMMAND_FIRST = "command first"
    """A command has come; before it is answered, the charge point sends a CALL and waits for its answer."""
    CALL_FIRST = "call first"
    """A CALL of the charge point is outstanding whenever a command comes."""


@dataclass(slots=True, kw_only=True)
class CrossingReport:
    """The outcome of CALLs and commands that crossed.

    Attributes:
        commands: commands that came.
        crossed: those of them that crossed a CALL of the charge point.
        calls: CALLs that charge points sent.
        answered: CALLs that were answered once.
        answered_twice: CALLs that were answered more than once.
        repeated: commands that came again with the same message id.
        unanswered_commands: commands that the charge point has not answered.
        problems: the problems, a sentence each.
    """

    commands: int = 0
    crossed: int = 0
    calls: int = 0
    answered: int = 0
    answered_twice: int = 0
    repeated: int = 0
    unanswered_commands: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def unanswered(self) -> int:
        """CALLs without any answer."""
        return self.calls - self.answered - self.answered_twice

    @property
    def summary(self) -> str:
        """All of it in one sentence."""
        text = (
            f"{self.crossed} of {counted(self.commands, 'command')} crossed a CALL; of {counted(self.calls, 'CALL')} "
            f"{self.answered} were answered, {self.answered_twice} answered twice, {self.unanswered} unanswered; "
            f"{counted(self.repeated, 'command')} came again, {self.unanswered_commands} unanswered"
        )
        return f"{text}; {examples(self.problems)}" if self.problems else text

    def add(self, who: str, frames: Iterable[Frame]) -> None:
        """Evaluate the frames of one charge point's connection, oldest first."""
        outstanding: set[str] = set()
        answers: Counter[str] = Counter()
        waiting: dict[str, bool] = {}
        """Commands that are not answered yet, and whether they have crossed a CALL."""
        came: set[str] = set()
        for frame in frames:
            message_id = frame.message_id or ""
            sent = frame.direction is Direction.SENT
            if frame.kind is MessageType.CALL and sent:
                outstanding.add(message_id)
                answers.setdefault(message_id, 0)
                waiting = dict.fromkeys(waiting, True)
            elif frame.kind is MessageType.CALL:
                self.commands += 1
                if message_id in came:
                    self.repeated += 1
                    self.problems.append(f"{who} received {frame} again.")
                came.add(message_id)
                waiting[message_id] = bool(outstanding)
            elif frame.kind in _ANSWERS and sent:
                self.crossed += waiting.pop(message_id, False)
            elif frame.kind in _ANSWERS:
                outstanding.discard(message_id)
                answers[message_id] += message_id in answers
        self.unanswered_commands += len(waiting)
        self.calls += len(answers)
        self.answered += sum(times == 1 for times in answers.values())
        self.answered_twice += sum(times > 1 for times in answers.values())
        self.problems += [
            f"{each} of {who} was answered {counted(times, 'time')}." for each, times in answers.items() if times != 1
        ]


class Crossing:
    """CALLs that cross commands, from its start to its end.

    Args:
        points: the charge points.
        order: which is sent first.
        action: the action of the CALLs.
        limit: the longest wait for each answer, in seconds.
    """

    def __init__(self, points: Sequence[ChargePoint], order: Order, *, action: str, limit: float) -> None:
        self._points = {point: point.last_number for point in points}
        self._order = order
        self._action = action
        self._limit = limit
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """From now on, every command crosses a CALL."""
        for point in self._points:
            if self._order is Order.COMMAND_FIRST:
                point.behaviour.follow(ANY, Script(how=How.CROSS, action=self._action, patience=self._limit))
            else:
                name = f"CALLs of {point.id} that cross commands"
                self._tasks.append(asyncio.create_task(self._call_on_and_on(point), name=name))

    async def _call_on_and_on(self, point: ChargePoint) -> None:
        with contextlib.suppress(NotConnected):
            while not self._ending:
                with contextlib.suppress(NoAnswer):
                    await point.call(self._action, point.version.sample(self._action), limit=self._limit)

    async def end(self) -> CrossingReport:
        """Stop, wait for the last answer, and return the outcome since the start."""
        self._ending = True
        if self._tasks:
            await asyncio.wait(self._tasks)
        report = CrossingReport()
        for point, since in self._points.items():
            if self._order is Order.COMMAND_FIRST:
                point.behaviour.forget()
                await point.settled()
            report.add(point.id, point.seen(since=since))
        return report

    async def cancel(self) -> None:
        """Stop immediately."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
