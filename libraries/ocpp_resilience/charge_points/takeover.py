"""Charge points that reconnect while their older connection is still open, one by one or concurrently."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ocpp_resilience.charge_points.ghost import Ghost
from ocpp_resilience.charge_points.many import together
from ocpp_resilience.charge_points.point import ChargePoint
from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.ocpp.frames import Direction, MessageType
from ocpp_resilience.text import counted, examples

LOOK_EVERY = 0.01
WITHOUT_HANDSHAKE = 1006
"""The close code of a connection that ended without one (RFC 6455 section 7.1.5)."""


@dataclass(slots=True, kw_only=True)
class TakeoverReport:
    """The outcome of connections that were taken over.

    Attributes:
        takeovers: how many older connections there were.
        answered: CALLs that were answered on the newer connection; one for each takeover.
        answered_twice: CALLs that were answered more than once on the newer connection.
        left: older connections that were still open at the end.
        cut: older connections that ended without a closing handshake.
        commands_to_ghosts: commands that came over an older connection.
        slowest: seconds until the last older connection ended.
        problems: the problems, a sentence each.
    """

    takeovers: int = 0
    answered: int = 0
    answered_twice: int = 0
    left: int = 0
    cut: int = 0
    commands_to_ghosts: int = 0
    slowest: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def unanswered(self) -> int:
        """CALLs that were sent again on the newer connection and not answered."""
        return self.takeovers - self.answered

    @property
    def summary(self) -> str:
        """All of it in one sentence."""
        text = (
            f"{counted(self.takeovers, 'takeover')}: {self.answered} CALLs answered, {self.answered_twice} answered "
            f"twice, {counted(self.left, 'older connection')} left, {self.cut} cut without a closing handshake, "
            f"{counted(self.commands_to_ghosts, 'command')} to older connections, the last of which ended after "
            f"{self.slowest:.2f} s"
        )
        return f"{text}; {examples(self.problems)}" if self.problems else text

    def add(self, other: TakeoverReport) -> None:
        """Count the other's takeovers too."""
        self.takeovers += other.takeovers
        self.answered += other.answered
        self.answered_twice += other.answered_twice
        self.left += other.left
        self.cut += other.cut
        self.commands_to_ghosts += other.commands_to_ghosts
        self.slowest = max(self.slowest, other.slowest)
        self.problems += other.problems


async def take_over(points: Sequence[ChargePoint], *, limit: float, connect_limit: float) -> TakeoverReport:
    """Have each charge point leave its connection behind with a CALL in flight, connect again, and send it again.

    Args:
        points: the charge points; they are connected.
        limit: the longest wait for each answer, and for the end of each older connection, in seconds.
        connect_limit: the longest wait for each connection.
    """
    report = TakeoverReport()

    async def act(point: ChargePoint) -> None:
        action = "Heartbeat"
        message_id = (await point.send_call(action, point.version.sample(action))).message_id
        ghost = await point.reconnect_as_ghost(limit=connect_limit)
        report.takeovers += 1
        since = point.last_number
        try:
            await point.repeat_last_call(limit=limit)
            report.answered += 1
        finally:
            await _ended(ghost, report, limit)
        answers = [
            frame
            for frame in point.seen(direction=Direction.RECEIVED, since=since)
            if frame.kind in {MessageType.CALLRESULT, MessageType.CALLERROR} and frame.message_id == message_id
        ]
        if len(answers) > 1:
            report.answered_twice += 1
            report.problems.append(f"{message_id} of {point.id} was answered {len(answers)} times.")

    for outcome in await together(points, act):
        if isinstance(outcome, ExpectationFailed):
            report.problems.append(str(outcome))
    return report


async def _ended(ghost: Ghost, report: TakeoverReport, limit: float) -> None:
    """Wait for the end of an older connection, and count the outcome."""
    until = time.monotonic() + limit
    while ghost.end is None and time.monotonic() < until:  # noqa: ASYNC110 - its end is noted by its reader
        await asyncio.sleep(LOOK_EVERY)
    if ghost.seconds is None:
        report.left += 1
        report.problems.append(f"The older connection of {ghost.charge_point} is still open after {limit:g} s.")
    else:
        report.slowest = max(report.slowest, ghost.seconds)
        report.cut += ghost.end is not None and ghost.end.code == WITHOUT_HANDSHAKE
    commands = ghost.commands
    report.commands_to_ghosts += len(commands)
    report.problems += [f"{ghost.charge_point} received {each} over its older connection." for each in commands]
