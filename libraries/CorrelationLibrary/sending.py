"""Keywords that send commands, and judge what their callers were told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from robot.api import logger

from CorrelationLibrary.base import LineComponent, several
from ocpp_resilience.correlation.commands import MARGIN_SECONDS, REFUSED, TIMED_OUT, Command, Commands
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.waiting import in_words, seconds


class Sending(LineComponent):
    """Commands and outcomes."""

    @keyword(tags=("commands", "send"))
    def send_command(
        self,
        action: str,
        charge_point: str,
        *,
        timeout: timedelta | None = None,
        alias: str = "commands",
        **fields: Any,
    ) -> Command:
        """Sends one command and waits until the caller was told what became of it.

        A command that the system cannot use as it is (HTTP status 400) fails. Every other outcome is for the test to
        judge. To expect a 400, use `Start Commands` and `Commands Should Have Status`.

        Args:
            action: the OCPP action; the target's profile says which there are.
            charge_point: whom it is for.
            timeout: how long the system is to wait for the answer; its own default if not given.
            alias: which commands.
            fields: the fields of the command, as the profile calls them.

        Returns:
            The command with `status`, `reason`, `data`, `seconds`, `own_answer`.

        Raises:
            UsageError: the target has no such command, or its profile no such field; names those that it has.
            ExpectationFailed: the system answers 400; says with which reason, and which fields the profile has.
            WaitTimeout: the caller was told nothing at all.

        Example:
        ```robotframework
        @{points}    Announce Charge Points    1    answering=at once
        ${reset}    Send Command    Reset    ${points}[0]    type=Soft
        Should Be Equal As Integers    ${reset.status}    200
        ```
        """
        client = self._lines.get(alias).client
        limit = None if timeout is None else seconds(timeout)
        batch = client.start([client.make(action, charge_point, timeout=limit, fields=fields)])
        client.collect(batch, timeout=self._patience(batch, alias))
        logger.info(f"{batch[0]}; after {in_words(batch[0].seconds or 0)}.")
        if batch[0].status == REFUSED:
            known = ", ".join(client.fields(action)) or "none"
            raise ExpectationFailed(
                f"The system cannot use {action} to {charge_point}: {REFUSED} {batch[0].reason or 'without a reason'}. "
                f"Fields that the profile has: {known}; given: {', '.join(fields) or 'none'}."
            )
        return batch[0]

    @keyword(tags=("commands", "send"))
    def start_commands(
        self,
        count: int = 1,
        *,
        action: str = "GetConfiguration",
        charge_points: str | list[str] | None = None,
        timeout: timedelta | None = None,
        alias: str = "commands",
        **fields: Any,
    ) -> Commands:
        """Sends commands at the same time, each by a caller of its own, and does not wait.

        Args:
            count: how many.
            action: the OCPP action.
            charge_points: whom they are for, in turns; all that were announced if not given.
            timeout: how long the system is to wait for each answer; its own default if not given.
            alias: which commands.
            fields: the fields of each command. Without the field that tells answers apart (`key` of GetConfiguration)
                each command gets one of its own; with it, all of them are equal.

        Returns:
            The commands, in the order of their charge points; each learns by itself what becomes of it.

        Raises:
            UsageError: the target has no such command, or there is no charge point.

        Example:
        ```robotframework
        Announce Charge Points    50
        ${commands}    Start Commands    1000    timeout=10s
        Answer Commands    ${commands}    order=random
        Commands Should Be Answered    ${commands}
        ```
        """
        line = self._lines.get(alias)
        points = [charge_points] if isinstance(charge_points, str) else (charge_points or line.charge_points)
        if count < 1 or not points:
            raise UsageError(
                f"There are {count} commands for {len(points)} charge points; at least 1 of each is needed."
            )
        limit = None if timeout is None else seconds(timeout)
        batch = line.client.start(
            [
                line.client.make(action, points[number % len(points)], timeout=limit, fields=fields)
                for number in range(count)
            ]
        )
        logger.info(f"Started {batch.count} x {action} to {len(set(points))} charge points.")
        return batch

    @keyword(tags=("commands", "check"))
    def wait_for_commands(
        self,
        commands: Commands | Command | list[Command],
        *,
        timeout: timedelta | None = None,
        alias: str = "commands",
    ) -> Commands:
        """Waits until every caller was told something, whatever that is.

        Args:
            commands: what was started.
            timeout: the longest wait; a little more than the commands' own timeout if not given.
            alias: which commands.

        Returns:
            The commands.

        Raises:
            WaitTimeout: some callers were told nothing.

        Example:
        ```robotframework
        ${commands}    Start Commands    10    timeout=1s
        ${commands}    Wait For Commands    ${commands}
        Log    ${commands.statuses}
        ```
        """
        return self._wait(commands, timeout, alias)

    @keyword(tags=("commands", "check"))
    def commands_should_be_answered(
        self,
        commands: Commands | Command | list[Command],
        *,
        timeout: timedelta | None = None,
        alias: str = "commands",
    ) -> Commands:
        """Fails unless every caller gets the answer of the charge point to its very own command.

        Args:
            commands: what was started.
            timeout: the longest wait; a little more than the commands' own timeout if not given.
            alias: which commands.

        Returns:
            The commands.

        Raises:
            ExpectationFailed: a caller was told something else, or got another one's answer; shows how many, and one.
            WaitTimeout: some callers were told nothing.

        Example:
        ```robotframework
        ${commands}    Start Commands    10
        Answer Commands    ${commands}
        Commands Should Be Answered    ${commands}
        ```
        """
        batch = self._wait(commands, timeout, alias)
        if batch.own_answers != batch.count:
            raise ExpectationFailed(f"Expected an own answer for each of {batch.summary}.")
        return batch

    @keyword(tags=("commands", "check"))
    def command_should_time_out(
        self,
        commands: Commands | Command | list[Command],
        *,
        timeout: timedelta | None = None,
        alias: str = "commands",
    ) -> Commands:
        """Fails unless every caller is told that the charge point has not answered in time: HTTP status 408.

        Args:
            commands: what was started.
            timeout: the longest wait; a little more than the commands' own timeout if not given.
            alias: which commands.

        Returns:
            The commands; `quickest` and `slowest` are the seconds until the first and the last caller was told.

        Raises:
            ExpectationFailed: a caller was told something else.
            WaitTimeout: some callers were told nothing.

        Example:
        ```robotframework
        Announce Charge Points    1
        ${command}    Start Commands    1    timeout=1s
        ${told}    Command Should Time Out    ${command}
        Should Be True    ${told.slowest} < 2
        ```
        """
        return _with_status(TIMED_OUT, self._wait(commands, timeout, alias))

    @keyword(tags=("commands", "check"))
    def commands_should_have_status(
        self,
        status: int,
        commands: Commands | Command | list[Command],
        *,
        timeout: timedelta | None = None,
        alias: str = "commands",
    ) -> Commands:
        """Fails unless every caller gets this HTTP status.

        Args:
            status: the HTTP status.
            commands: what was started.
            timeout: the longest wait; a little more than the commands' own timeout if not given.
            alias: which commands.

        Returns:
            The commands.

        Raises:
            ExpectationFailed: a caller was told something else.
            WaitTimeout: some callers were told nothing.

        Example:
        ```robotframework
        ${command}    Start Commands    1    charge_points=nobody
        Commands Should Have Status    503    ${command}
        ```
        """
        return _with_status(status, self._wait(commands, timeout, alias))

    @keyword(tags=("commands", "send", "security"))
    def send_every_command(
        self, charge_point: str, *, timeout: timedelta | None = None, alias: str = "commands"
    ) -> Commands:
        """Sends one of each command that the target's profile knows, at the same time, and waits for what comes of it.

        Args:
            charge_point: whom they are for.
            timeout: how long the system is to wait for each answer; its own default if not given.
            alias: which commands; those of `Open Commands` with another token, for example.

        Returns:
            The commands, each with `action`, `status` and `reason`.

        Raises:
            WaitTimeout: some callers were told nothing.

        Example:
        ```robotframework
        Open Commands    ${redis}    ${server}    token=wrong    alias=stranger
        ${commands} =    Send Every Command    CP-1    alias=stranger
        Commands Should Have Status    401    ${commands}    alias=stranger
        ```
        """
        client = self._lines.get(alias).client
        limit = None if timeout is None else seconds(timeout)
        batch = client.start(
            [
                client.make(action, charge_point, timeout=limit, fields=client.usual_fields(action))
                for action in client.target.commands.requests
            ]
        )
        client.collect(batch, timeout=self._patience(batch, alias))
        return batch

    @keyword(tags=("commands", "send"))
    def abandon_commands(self, commands: Commands | None = None, *, alias: str = "commands") -> None:
        """Lets the callers go away before they are told anything: their connections are closed.

        Args:
            commands: what `Start Commands` returned, all of it; every command that still waits, if not given.
            alias: which commands.

        Raises:
            UsageError: it is something else.

        Example:
        ```robotframework
        ${commands}    Start Commands    10
        Wait For Received Commands    ${commands}
        Abandon Commands    ${commands}
        Pending Correlations Should Be    0
        ```
        """
        client = self._lines.get(alias).client
        for batch in client.running if commands is None else [commands]:
            client.abandon(batch)

    def _wait(self, commands: object, timeout: timedelta | None, alias: str) -> Commands:
        batch = several(commands)
        limit = self._patience(batch, alias) if timeout is None else seconds(timeout)
        self._lines.get(alias).client.collect(batch, timeout=limit)
        logger.info(f"{batch.summary}.")
        return batch

    def _patience(self, batch: Commands, alias: str) -> float:
        default = self._lines.get(alias).target.commands.default_timeout
        return max((each.timeout or default for each in batch), default=default) + MARGIN_SECONDS


def _with_status(status: int, batch: Commands) -> Commands:
    if odd := [each for each in batch if each.status != status]:
        raise ExpectationFailed(
            f"Expected HTTP status {status} for each of {batch.count} commands, {len(odd)} have another outcome; "
            f"for example {odd[0]}."
        )
    return batch
