"""Continuous commands, one at a time to each charge point, recorded in a ledger."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import aiohttp

from ocpp_resilience import background
from ocpp_resilience.correlation.commands import MARGIN_SECONDS, TIMED_OUT, Command, CommandClient
from ocpp_resilience.errors import UsageError
from ocpp_resilience.http_client import pick
from ocpp_resilience.ledger import Expect, Ledger
from ocpp_resilience.text import counted
from ocpp_resilience.waiting import wait_until

ACTION = "GetConfiguration"


@dataclass(kw_only=True)
class TrafficReport:
    """The outcome of the commands.

    Attributes:
        ledger: the file in which each of them is.
        sent: how many.
        answered: callers that got the answer to their own command.
        mixed_up: callers that got the answer to another command.
        refused: callers that got a refusal, or could not send the request: the charge point does not get the command.
        undecided: callers that do not know whether it was carried out.
        timed_out: those of them that got a timeout.
        unclear: callers that got a failure without a reason; at most a few are shown in `examples`.
        slowest_refusal: the longest that a caller waited for a refusal, in seconds.
        examples: some of the commands that were mixed up or unclear.
    """

    ledger: str
    sent: int = 0
    answered: int = 0
    mixed_up: int = 0
    refused: int = 0
    undecided: int = 0
    timed_out: int = 0
    unclear: int = 0
    slowest_refusal: float = 0.0

    def __post_init__(self) -> None:
        self.examples: list[str] = []

    @property
    def summary(self) -> str:
        """One line, and the examples."""
        text = (
            f"{counted(self.sent, 'command')}: {self.answered} answered, {self.refused} refused (the slowest after "
            f"{self.slowest_refusal:.2f} s), {self.undecided} undecided, {self.timed_out} of them timed out; "
            f"{self.mixed_up} mixed up, {self.unclear} without a reason"
        )
        return "\n".join([text, *self.examples])


class CommandTraffic:
    """Sends commands until it is stopped.

    Charge points must record the commands that they carry out (`Start Load` with `commands`): in the ledger an answered
    command needs its trace there, and a refused one must have none.

    Args:
        client: where commands go.
        charge_points: the recipients, at the same time.
        ledger: where each command and its fate is written down.
        pause: seconds between two commands to a charge point, on average.
        timeout: seconds that the system waits for an answer.
        seed: of the pauses.

    Raises:
        UsageError: the target's command has no text that identifies answers.
    """

    def __init__(
        self,
        client: CommandClient,
        charge_points: Sequence[str],
        ledger: Ledger,
        *,
        pause: float,
        timeout: float,
        seed: int,
    ) -> None:
        if (made := client.make(ACTION, charge_points[0])).echo is None:
            raise UsageError(
                f"Target '{client.target.name}' does not name the field of the answer to {made.action} with the "
                "caller's text (mark and echo), so answers cannot be assigned to commands."
            )
        self._client = client
        self._charge_points = list(charge_points)
        self._ledger = ledger
        self._pause = pause
        self._timeout = timeout
        self._seed = seed
        self._stop = asyncio.Event()
        self._running: Future[None] | None = None
        self._ended = threading.Event()
        self._answered: dict[str, float] = {}
        self.report = TrafficReport(ledger=str(ledger.path))

    def start(self) -> None:
        """Begin."""
        self._running = background.start(self._run)

    def stop(self) -> TrafficReport:
        """Send nothing new, wait until every caller has an outcome, and close the ledger.

        Raises:
            WaitTimeout: some callers got no response.
        """
        if self._running is not None:
            background.call(self._stop.set)
            limit = self._timeout + MARGIN_SECONDS + 5
            wait_until(
                lambda: True if self._running is None or self._running.done() else None,
                timeout=limit,
                failure=lambda: f"Of {self.report.sent} callers and more some have no outcome",
            )
            self._running.result(0)
        self._ledger.end()
        self._ledger.close()
        return self.report

    def unanswered(self, since: float) -> list[str]:
        """The charge points that have answered no command of those sent since then (monotonic clock)."""
        return [each for each in self._charge_points if self._answered.get(each, 0.0) < since]

    def close(self) -> None:
        """Abort the traffic, and wait at most 10 s until the last write to the ledger."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            self._ended.wait(2 * background.CLEAN_UP_SECONDS)
        self._ledger.close()

    async def _run(self) -> None:
        try:
            await self._send_all()
        finally:
            self._ended.set()

    async def _send_all(self) -> None:
        # No connection is used twice, so that one that cannot be made says for sure that nothing was sent.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with self._client.session(connector) as session, asyncio.TaskGroup() as tasks:
            for charge_point in self._charge_points:
                tasks.create_task(self._one_after_the_other(session, charge_point))

    async def _one_after_the_other(self, session: aiohttp.ClientSession, charge_point: str) -> None:
        chance = random.Random(f"{self._seed}/{charge_point}")  # noqa: S311 - pauses, no secret
        while not await self._stopped_within(chance.uniform(0, 2 * self._pause)):
            command = self._client.make(ACTION, charge_point, timeout=self._timeout)
            name = command.mark or ""
            self._ledger.invoke(charge_point, name, ACTION, via="command", expect=Expect.BOTH)
            await self._client.send(session, command)
            self._judge(command, name)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    def _judge(self, command: Command, name: str) -> None:
        report, ledger, charge_point = self.report, self._ledger, command.charge_point
        report.sent += 1
        if command.own_answer:
            report.answered += 1
            self._answered[charge_point] = command.sent_at or 0.0
            ledger.acknowledged(charge_point, name)
            ledger.answered(charge_point, name)
        elif command.answered:
            # The ledger shows it twice: this command has no answer, and another one has an unexpected answer.
            report.mixed_up += 1
            self._show(command)
            ledger.acknowledged(charge_point, name)
            echoed = pick(command.data, command.echo or "")
            for other in echoed if isinstance(echoed, list) else [echoed]:
                ledger.answered(charge_point, str(other))
        elif command.certainly_not_sent(self._client.target):
            report.refused += 1
            report.slowest_refusal = max(report.slowest_refusal, command.seconds or 0.0)
            ledger.failed(charge_point, name, command.problem or command.reason)
        else:
            report.undecided += 1
            report.timed_out += command.status == TIMED_OUT
            ledger.unknown(charge_point, name, command.problem or f"{command.status} {command.reason}")
        if command.problem is None and not command.answered and not command.reason:
            report.unclear += 1
            self._show(command)

    def _show(self, command: Command) -> None:
        if len(self.report.examples) < 5:
            self.report.examples.append(str(command))
