"""Keywords about the correlation counts of the system under test."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from robot.api import logger

from CorrelationLibrary.base import LineComponent, several
from ocpp_resilience.correlation.commands import Command, Commands
from ocpp_resilience.errors import ExpectationFailed, ServiceError, UsageError, WaitTimeout
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.system.inspection import Correlations, Waiting
from ocpp_resilience.waiting import in_words, seconds, wait_until

LOGGED = 20
"""Errors in the log."""


class Counting(LineComponent):
    """Pending commands and totals."""

    @keyword(tags=("commands", "inspection", "getter"))
    def get_correlations(self, *, alias: str = "commands") -> Correlations:
        """Returns the pending commands and the number of ended ones by outcome; the result can be given as `since`.

        Returns:
            An object with `pending` (a number), `oldest` (those that wait longest, with `message_id`, `charge_point`
            and `age` in seconds) and `totals` (`registered`, `resolved`, `failed`, `expired`, `cancelled`, `late`,
            `duplicate`, `unknown`).

        Raises:
            UsageError: the target has no such inspection.
            ServiceError: there was no answer.

        Example:
        ```robotframework
        ${mark}    Get Correlations
        Answer Commands    way=unknown
        Correlation Totals Should Be    since=${mark}    unknown=1
        ```
        """
        return self._lines.get(alias).inspect()

    @keyword(tags=("commands", "inspection", "check"))
    def pending_correlations_should_be(
        self,
        expected: int,
        *,
        besides: Commands | Command | list[Command] | None = None,
        timeout: timedelta = timedelta(seconds=5),
        alias: str = "commands",
    ) -> int:
        """Waits until exactly this many commands are pending, and fails if that does not happen in time.

        An inspection that the system does not answer in time is asked again: many commands at once can hold it up.

        Args:
            expected: how many.
            besides: commands that still wait and do not count.

        Returns:
            The number.

        Raises:
            WaitTimeout: it was another number until the end, or the system did not answer.

        Example:
        ```robotframework
        ${commands}    Start Commands    100
        Pending Correlations Should Be    100
        Answer Commands    ${commands}
        Pending Correlations Should Be    0
        ```
        """
        line = self._lines.get(alias)
        return _wait_for_number(
            expected,
            lambda: line.inspect().pending,
            besides=besides,
            timeout=timeout,
            failure=f"Expected {expected} pending commands, the system has",
        )

    @keyword(tags=("commands", "inspection", "getter"))
    def get_pending_correlations(
        self, *, besides: Commands | Command | list[Command] | None = None, alias: str = "commands"
    ) -> int:
        """Returns how many commands wait for their answers now.

        Args:
            besides: commands that still wait and do not count.

        Example:
        ```robotframework
        ${left}    Get Pending Correlations
        Requirement Should Be Met    R14.5    left_over    ${left}
        ```
        """
        others = 0 if besides is None else several(besides).waiting
        return self._lines.get(alias).inspect().pending - others

    @keyword(tags=("commands", "inspection", "getter"))
    def find_wrong_inspection(
        self,
        commands: Commands | Command | list[Command],
        *,
        besides: Commands | Command | list[Command] | None = None,
        alias: str = "commands",
    ) -> list[str]:
        """Returns errors in the list of the oldest pending commands.

        Each entry is a command that waits, with its charge point, action, timeout and age as far as the inspection
        gives them (`commands.inspection` in the profile), and no command that waits longer than a listed one is
        missing.

        Args:
            commands: commands that wait; their charge points have received them.
            besides: other commands that may still wait.

        Raises:
            UsageError: the target has no such inspection.

        Example:
        ```robotframework
        ${commands}    Start Commands    200
        Wait For Received Commands    ${commands}
        @{wrong}    Find Wrong Inspection    ${commands}
        Should Be Empty    ${wrong}
        ```
        """
        line, batch = self._lines.get(alias), several(commands)
        began = min((each.sent_at for each in batch if each.sent_at is not None), default=0.0)
        timeouts = list({line.target.commands.waits(each.timeout) for each in batch})
        asked = time.monotonic()
        seen = line.inspect()
        answered = time.monotonic()
        waiting = [
            Waiting(
                message_id=each.message_id,
                charge_point=each.charge_point,
                action=each.action,
                least=asked - each.received_at,
                most=answered - began,
                timeout=timeouts[0] if len(timeouts) == 1 else None,
            )
            for each in line.stand_in.held(charge_points=set(batch.charge_points))
            if each.received_at >= began  # a command of an earlier test that has expired is still held
        ]
        found = seen.problems(waiting, 0 if besides is None else several(besides).waiting)
        logger.info("\n".join(found[:LOGGED]) or f"The list of {len(seen.oldest)} pending commands is right.")
        return found

    @keyword(tags=("commands", "getter"))
    def get_command_timeout(self, asked: timedelta | None = None, *, alias: str = "commands") -> float:
        """Returns how many seconds the system waits for the answer of a charge point, by the target's profile.

        Args:
            asked: how long it is asked to wait; a system whose callers cannot choose (`commands.timeout`) waits as long
                as it always does.

        Example:
        ```robotframework
        ${seconds}    Get Command Timeout    1 s
        ```
        """
        return self._lines.get(alias).target.commands.waits(None if asked is None else seconds(asked))

    @keyword(tags=("commands", "getter"))
    def get_commands_at_once(self, *, alias: str = "commands") -> int | None:
        """Returns how many commands one charge point may receive at a time (`commands.at_once` in the profile).

        Returns:
            The number; `None` for any number.

        Example:
        ```robotframework
        ${most}    Get Commands At Once
        ```
        """
        return self._lines.get(alias).target.commands.at_once

    @keyword(tags=("commands", "inspection", "check"))
    def stored_correlations_should_be(
        self,
        expected: int,
        *,
        besides: Commands | Command | list[Command] | None = None,
        timeout: timedelta = timedelta(seconds=5),
        alias: str = "commands",
    ) -> int:
        """Waits until Redis has entries of exactly this many pending commands, and fails if that does not happen in
        time.

        Args:
            expected: how many.
            besides: commands that still wait and do not count.

        Returns:
            The number.

        Raises:
            UsageError: the target has no such key.
            WaitTimeout: it was another number until the end.
            ServiceError: Redis cannot be reached.

        Example:
        ```robotframework
        Commands Should Be Answered    ${commands}
        Stored Correlations Should Be    0
        ```
        """
        stand_in = self._lines.get(alias).stand_in
        return _wait_for_number(
            expected,
            stand_in.noted,
            besides=besides,
            timeout=timeout,
            failure=f"Expected {expected} commands noted in Redis as waited for, there are",
        )

    @keyword(tags=("commands", "inspection", "getter"))
    def wait_for_correlation_totals(
        self,
        *,
        since: Correlations,
        timeout: timedelta = timedelta(seconds=5),
        alias: str = "commands",
        **totals: int,
    ) -> dict[str, int]:
        """Waits until these counters have grown by at least these amounts, or the time is up, without failing.

        Args:
            since: the result of `Get Correlations`.
            totals: counter to number, as for `Correlation Totals Should Be`.

        Returns:
            By how much each counter has grown.

        Raises:
            UsageError: the system has no such counter.

        Example:
        ```robotframework
        ${mark}    Get Correlations
        Answer Commands    ${commands}    way=twice
        ${grown}    Wait For Correlation Totals    since=${mark}    duplicate=10
        Log    ${grown}[duplicate] of 10
        ```
        """
        return self._grown(since, totals, timeout, alias)

    @keyword(tags=("commands", "inspection", "check"))
    def correlation_totals_should_be(
        self,
        *,
        since: Correlations,
        timeout: timedelta = timedelta(seconds=5),
        alias: str = "commands",
        **totals: int,
    ) -> dict[str, int]:
        """Waits until these counters have grown by exactly these amounts, and fails if that does not happen in time.

        Args:
            since: the result of `Get Correlations`.
            totals: counter to number: `registered`, `resolved`, `failed`, `expired`, `cancelled`, `late`, `duplicate`,
                `unknown`.

        Returns:
            By how much each counter has grown.

        Raises:
            UsageError: the system has no such counter.
            ExpectationFailed: a counter grew by more, or by less until the end.

        Example:
        ```robotframework
        ${mark}    Get Correlations
        Answer Commands    ${commands}    way=twice
        Correlation Totals Should Be    since=${mark}    resolved=1    duplicate=1
        ```
        """
        grown = self._grown(since, totals, timeout, alias)
        if odd := {name: count for name, count in totals.items() if grown[name] != count}:
            late = f" within {in_words(timeout)}" if any(grown[name] < count for name, count in odd.items()) else ""
            expected = ", ".join(f"{name} {count}" for name, count in odd.items())
            found = ", ".join(f"{name} {grown[name]}" for name in odd)
            raise ExpectationFailed(f"Expected the counters to grow by {expected}{late}; they grew by {found}.")
        return grown

    def _grown(
        self, since: Correlations, totals: dict[str, int], timeout: timedelta | float, alias: str
    ) -> dict[str, int]:
        line = self._lines.get(alias)
        grown: dict[str, int] = {}

        def enough() -> bool | None:
            nonlocal grown
            grown = line.inspect().since(since)
            if missing := sorted(totals.keys() - grown.keys()):
                raise UsageError(f"The system has no counter {', '.join(missing)} (it has: {', '.join(grown)}).")
            return True if all(grown[name] >= count for name, count in totals.items()) else None

        with suppress(WaitTimeout):
            wait_until(enough, timeout=timeout, failure=lambda: "")
        logger.info(f"The counters grew by {grown}.")
        return grown


def _wait_for_number(
    expected: int,
    count: Callable[[], int],
    *,
    besides: Commands | Command | list[Command] | None,
    timeout: timedelta | float,
    failure: str,
) -> int:
    """Poll a count, less the known waiting commands, until it has the expected value; `failure` begins the error
    message."""
    seen = ""

    def as_expected() -> int | None:
        nonlocal seen
        try:
            found = count() - (0 if besides is None else several(besides).waiting)
        except ServiceError as error:
            seen = f"an unknown number of them: {error}"
            return None
        seen = str(found)
        return found if found == expected else None

    return wait_until(as_expected, timeout=timeout, failure=lambda: f"{failure} {seen}")
