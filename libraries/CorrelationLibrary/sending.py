"""Keywords that send commands, and judge the responses to their callers."""

from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta
from typing import Any

from robot.api import logger
from robot.api.types import Secret

from CorrelationLibrary.base import LineComponent, several
from ocpp_resilience.correlation.commands import MARGIN_SECONDS, REFUSED, TIMED_OUT, Command, Commands
from ocpp_resilience.correlation.strangers import StrangerReport, try_as_stranger, try_as_web_page
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.http_client import pick
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import examples
from ocpp_resilience.waiting import in_words, seconds

SLACK_SECONDS = 5.0


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
        """Sends one command and waits until the caller has received its outcome.

        A command that the system cannot use as it is (HTTP status 400) fails. Every other outcome is for the test to
        judge. To expect a 400, use `Start Commands` and `Commands Should Have Status`.

        Args:
            action: the OCPP action, named as in `Start Commands`; the target's profile lists the supported ones.
            charge_point: the recipient.
            timeout: how long the system is to wait for the answer; its own default if not given.
            fields: the fields of the command, as the profile calls them.

        Returns:
            The command with `status`, `reason`, `data`, `seconds`, `own_answer`.

        Raises:
            UsageError: the target has no such command, or its profile no such field; names those that it has.
            ExpectationFailed: the system answers 400; says with which reason, and which fields the profile has.
            WaitTimeout: the caller got no response.

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

    @keyword(tags=("commands", "send", "getter"))
    def ask_for_variables(
        self,
        charge_point: str,
        *names: str,
        timeout: timedelta | None = None,
        alias: str = "commands",
    ) -> dict[str, str]:
        """Sends a GetVariables (OCPP 2.0.1 and 2.1), and returns the values that the charge point answers with.

        Args:
            charge_point: the id of the recipient.
            names: the variables, each as `component/variable`.
            timeout: how long the system is to wait for the answer; its own default if not given.

        Returns:
            The values by the names given.

        Raises:
            UsageError: the OCPP version or the target has no GetVariables, or a name is none.
            ExpectationFailed: it was not answered, or the charge point gave another status than Accepted.

        Example:
        ```robotframework
        ${values}    Ask For Variables    CP-1    OCPPCommCtrlr/HeartbeatInterval
        Should Be Equal    ${values}[OCPPCommCtrlr/HeartbeatInterval]    300
        ```
        """
        version = self._lines.get(alias).target.version
        if "GetVariables" not in version.commands:
            raise UsageError(f"{version} has no GetVariables; the target is tested in that version.")
        if wrong := [name for name in names if name.count("/") != 1] or not names:
            raise UsageError(f"{wrong if names else 'Nothing'} is not a variable (allowed: component/variable).")
        parts = [name.split("/") for name in names]
        asked = [{"component": {"name": component}, "variable": {"name": variable}} for component, variable in parts]
        command = self.send_command("GetVariables", charge_point, timeout=timeout, alias=alias, getVariableData=asked)
        if not command.answered:
            raise ExpectationFailed(f"Expected an answer: {command}.")
        results = pick(command.data, "getVariableResult")
        found = results if isinstance(results, list) and len(results) == len(names) else [{}] * len(names)
        refused = [
            f"{name} is {each.get('attributeStatus')}"
            for name, each in zip(names, found, strict=True)
            if each.get("attributeStatus") != "Accepted"
        ]
        if refused:
            raise ExpectationFailed(f"{charge_point} should have given all variables, but {examples(refused)}.")
        return {name: str(each.get("attributeValue")) for name, each in zip(names, found, strict=True)}

    @keyword(tags=("commands", "send"))
    def start_commands(
        self,
        count: int = 1,
        *,
        action: str = "GetConfiguration",
        charge_points: str | list[str] | None = None,
        timeout: timedelta | None = None,
        mark: str | None = None,
        alias: str = "commands",
        **fields: Any,
    ) -> Commands:
        """Sends commands at the same time, each by a separate caller, and does not wait.

        Where the target limits the commands to one charge point at a time (`commands.at_once` in its profile), the
        others follow as soon as one has ended.

        Args:
            count: how many.
            action: the OCPP action. A command of OCPP 1.6 with another name in the version is sent under that name:
                GetConfiguration as GetVariables.
            charge_points: the recipients, in turns; all that were announced if not given.
            timeout: how long the system is to wait for each answer; its own default if not given, or where the caller
                cannot choose (`commands.timeout` in the profile).
            mark: the text that tells answers apart (the `key` of GetConfiguration, the name of the variable of
                GetVariables); without it, each command gets one of its own, with it, all of them are equal.
            fields: the fields of each command.

        Returns:
            The commands, in the order of their charge points; each records its outcome by itself.

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
                line.client.make(action, points[number % len(points)], timeout=limit, fields=fields, mark=mark)
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
        """Waits until every caller has a response, a failure included.

        Args:
            commands: the started commands.
            timeout: the longest wait; a little more than the commands' own timeout if not given.

        Returns:
            The commands.

        Raises:
            WaitTimeout: some callers got no response.

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
        """Fails unless every caller receives the charge point's answer to its own command.

        Args:
            commands: the started commands.
            timeout: the longest wait; a little more than the commands' own timeout if not given.

        Returns:
            The commands.

        Raises:
            ExpectationFailed: a caller got another response, or got another one's answer; shows how many, and one.
            WaitTimeout: some callers got no response.

        Example:
        ```robotframework
        ${commands}    Start Commands    10
        Answer Commands    ${commands}
        Commands Should Be Answered    ${commands}
        ```
        """
        batch = self._wait(commands, timeout, alias)
        if batch.own_answers != batch.count:
            raise ExpectationFailed(f"Expected each command to get its own answer: {batch.summary}.")
        return batch

    @keyword(tags=("commands", "check"))
    def command_should_time_out(
        self,
        commands: Commands | Command | list[Command],
        *,
        timeout: timedelta | None = None,
        alias: str = "commands",
    ) -> Commands:
        """Fails unless every caller receives HTTP status 408: the charge point has not answered in time.

        Args:
            commands: the started commands.
            timeout: the longest wait; a little more than the commands' own timeout if not given.

        Returns:
            The commands; `quickest` and `slowest` are the seconds until the first and the last response.

        Raises:
            ExpectationFailed: a caller got another response.
            WaitTimeout: some callers got no response.

        Example:
        ```robotframework
        Announce Charge Points    1
        ${command}    Start Commands    1    timeout=1s
        ${told}    Command Should Time Out    ${command}
        Should Be True    ${told.slowest} < 2
        ```
        """
        return _with_status(TIMED_OUT, self._wait(commands, timeout, alias))

    @keyword(tags=("command", "check"))
    def command_should_fit_its_receipts(self, command: Command, receipts: int, *, alias: str = "commands") -> None:
        """Fails unless the caller's outcome of a command agrees with how often the charge point received the command.

        It is received once at most: once if the caller got its answer, and never if the caller was told that nothing
        was sent (`commands.not_sent` of the target's profile).

        Args:
            command: what `Send Command` returned.
            receipts: how often the charge point received it.

        Raises:
            ExpectationFailed: it does not fit; says what the caller was told.

        Example:
        ```robotframework
        ${command}    Send Command    GetConfiguration    ${charge point}
        ${receipts}    Count Commands    GetConfiguration    charge_points=["${charge point}"]
        Command Should Fit Its Receipts    ${command}    ${receipts}
        ```
        """
        target = self._lines.get(alias).target
        allowed = (1,) if command.answered else (0,) if command.certainly_not_sent(target) else (0, 1)
        if receipts not in allowed:
            expected = " or ".join(map(str, allowed))
            raise ExpectationFailed(f"Received {receipts} times, expected {expected}: {command}.")

    @keyword(tags=("commands", "check"))
    def commands_should_have_status(
        self,
        status: int,
        commands: Commands | Command | list[Command],
        *,
        timeout: timedelta | None = None,
        alias: str = "commands",
    ) -> Commands:
        """Fails unless every caller receives this HTTP status.

        Args:
            status: the HTTP status.
            commands: the started commands.
            timeout: the longest wait; a little more than the commands' own timeout if not given.

        Returns:
            The commands.

        Raises:
            ExpectationFailed: a caller got another response.
            WaitTimeout: some callers got no response.

        Example:
        ```robotframework
        ${command}    Start Commands    1    charge_points=nobody
        Commands Should Have Status    404    ${command}
        ```
        """
        return _with_status(status, self._wait(commands, timeout, alias))

    @keyword(tags=("commands", "send", "security"))
    def send_every_command(
        self, charge_point: str, *, timeout: timedelta | None = None, alias: str = "commands"
    ) -> Commands:
        """Sends each command of the target's profile and OCPP version once, all at the same time, and waits for the
        outcomes.

        Args:
            charge_point: the recipients.
            timeout: how long the system is to wait for each answer; its own default if not given.
            alias: which commands; those of `Open Commands` with another token, for example.

        Returns:
            The commands, each with `action`, `status` and `reason`.

        Raises:
            WaitTimeout: some callers got no response.

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
                if action in client.target.version.commands
            ]
        )
        client.collect(batch, timeout=self._patience(batch, alias))
        return batch

    @keyword(tags=("commands", "send", "security"))
    def try_requests_without_token(
        self, charge_point: str, token: str | Secret, *, alias: str = "commands"
    ) -> StrangerReport:
        """Sends requests of every kind to the API without a valid token, and returns the outcomes.

        The commands and inspections that the target's profile knows: without a token and with almost right ones, by
        every method, and with the path in other forms. Where there is such a path and method, the answer has to be 401
        or 403; elsewhere it may also be that there is nothing.

        Args:
            charge_point: whom the commands are for.
            token: the right token, from which almost right ones are made.

        Returns:
            `count` and `let_in`, a list of those that were not refused. Nothing is judged here.

        Raises:
            ServiceError: there was no answer.

        Example:
        ```robotframework
        Open Commands    ${redis}    ${server}    token=${TOKEN}
        ${report} =    Try Requests Without Token    CP-1    ${TOKEN}
        Should Be Empty    ${report.let_in}
        ```
        """
        right = str(token.value) if isinstance(token, Secret) else token
        report = try_as_stranger(self._lines.get(alias).client, charge_point, right)
        logger.info(f"{report}.")
        return report

    @keyword(tags=("commands", "send", "security"))
    def try_requests_of_web_page(
        self, charge_point: str, *, origin: str = "http://elsewhere.example", alias: str = "commands"
    ) -> StrangerReport:
        """Sends each command as a browser would for a web page of another origin, and returns the outcomes.

        With the header `Origin`, and without it as a form of the page can: with a content type that is not JSON. The
        token of `Open Commands` is right, since the browser of an operator may have it.

        Args:
            charge_point: the recipient of the commands.
            origin: the origin of the page.
            alias: the name given to `Open Commands`.

        Returns:
            `count` and `let_in`, a list of those that were not refused. Nothing is judged here.

        Raises:
            ServiceError: there was no answer.

        Example:
        ```robotframework
        ${report} =    Try Requests Of Web Page    CP-1
        Should Be Empty    ${report.let_in}
        ```
        """
        report = try_as_web_page(self._lines.get(alias).client, charge_point, origin)
        logger.info(f"{report}.")
        return report

    @keyword(tags=("commands", "send"))
    def disconnect_command_callers(self, commands: Commands | None = None, *, alias: str = "commands") -> None:
        """Closes the connections of callers before they have received an outcome.

        Args:
            commands: the result of `Start Commands`, all of it; every command that still waits, if not given.

        Raises:
            UsageError: it is something else.

        Example:
        ```robotframework
        ${commands}    Start Commands    10
        Wait For Received Commands    ${commands}
        Disconnect Command Callers    ${commands}
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
        commands = self._lines.get(alias).target.commands
        longest = max((commands.waits(each.timeout) for each in batch), default=commands.waits(None))
        busiest = max(Counter(each.charge_point for each in batch).values(), default=1)
        turns = 1 if commands.at_once is None else math.ceil(busiest / commands.at_once)
        # The client gives up first, and says of each command what became of it.
        return longest * turns + MARGIN_SECONDS + SLACK_SECONDS


def _with_status(status: int, batch: Commands) -> Commands:
    if odd := [each for each in batch if each.status != status]:
        raise ExpectationFailed(
            f"Expected HTTP status {status} for each of {batch.count} commands, {len(odd)} have a different outcome; "
            f"for example {odd[0]}."
        )
    return batch
