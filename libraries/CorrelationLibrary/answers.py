"""Keywords that answer for charge points."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from robot.api import logger

from CorrelationLibrary.base import LineComponent, several
from ocpp_resilience.correlation.commands import Command, Commands
from ocpp_resilience.correlation.gateway_stand_in import Order, Received, ScriptedAnswer, Way
from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.waiting import seconds


class AnswerKeywords(LineComponent):
    """Keywords that script the answers of charge points, and list the commands that they received."""

    @keyword(tags=("commands", "getter", "charge_point"))
    def wait_for_received_commands(
        self,
        commands: Commands | Command | list[Command] | None = None,
        *,
        count: int | None = None,
        timeout: timedelta = timedelta(seconds=10),
        alias: str = "commands",
    ) -> list[Received]:
        """Waits until charge points have received commands, and returns those without an answer, the oldest first.

        Args:
            commands: which ones; any if not given.
            count: how many at least; all of `commands`, or 1, if not given.

        Returns:
            The received commands, with `charge_point`, `message_id`, `action` and `payload`.

        Raises:
            WaitTimeout: there were fewer.

        Example:
        ```robotframework
        ${command}    Start Commands    1
        @{received}    Wait For Received Commands    ${command}
        Log    ${received[0].message_id}
        ```
        """
        line = self._lines.get(alias)
        batch = None if commands is None else several(commands)
        wanted = count if count is not None else (1 if batch is None else batch.count)
        points = None if batch is None else set(batch.charge_points)
        marks = None
        if batch is not None and all(each.mark is not None for each in batch):
            marks = {str(each.mark) for each in batch}
        return line.stand_in.wait_for_held(
            lambda: line.stand_in.held(marks=marks, charge_points=points), wanted, timeout=seconds(timeout)
        )

    @keyword(tags=("commands", "answer", "charge_point"))
    def answer_commands(
        self,
        commands: Commands | Command | list[Command] | None = None,
        *,
        way: Way = Way.RESULT,
        order: Order = Order.RECEIVED,
        most: int | None = None,
        count: int | None = None,
        seed: int | None = None,
        payload: dict[str, Any] | None = None,
        timeout: timedelta = timedelta(seconds=10),
        alias: str = "commands",
    ) -> list[ScriptedAnswer]:
        """Waits until charge points have received their commands, and lets them answer.

        After the timeout of the commands, these are late answers.

        Args:
            commands: which ones; all that are held if not given.
            way: `result` answers; `error` answers with a CALLERROR; `twice` answers each two times; `unknown` answers
                with unknown ids, and holds the commands further.
            order: `received`, `reversed` or `random`.
            most: no more than this many of them, the first in that order (`received`, `reversed`).
            count: how many have to be there; all of `commands`, or 1, if not given.
            seed: makes a random order again.
            payload: the payload of the answers, in place of the default for the action.
            timeout: the longest wait for the commands.

        Returns:
            The answers, in the order in which they were given, with `charge_point`, `message_id` and `payload`.

        Raises:
            WaitTimeout: there were fewer commands.
            ServiceError: Redis cannot be reached.

        Example:
        ```robotframework
        ${commands}    Start Commands    100
        Answer Commands    ${commands}    order=random
        Answer Commands    ${others}    way=twice
        ```
        """
        received = self.wait_for_received_commands(commands, count=count, timeout=timeout, alias=alias)
        if most is not None:
            received = received[-most:] if order is Order.REVERSED else received[:most]
        given = self._lines.get(alias).stand_in.answer(received, way=way, order=order, seed=seed, payload=payload)
        logger.info(f"Gave {len(given)} answers to {len(received)} commands ({way.value}, {order.value}).")
        return given

    @keyword(tags=("commands", "answer", "charge_point"))
    def answer_received_commands(self, received: list[Received], *, alias: str = "commands") -> list[ScriptedAnswer]:
        """Lets charge points answer commands that they received earlier, whether or not a caller still waits.

        Args:
            received: what `Wait For Received Commands` returned.

        Returns:
            The answers, as `Answer Commands`.

        Raises:
            ServiceError: Redis cannot be reached.

        Example:
        ```robotframework
        ${received}    Wait For Received Commands    ${commands}
        Command Should Time Out    ${commands}
        Answer Received Commands    ${received}
        ```
        """
        return self._lines.get(alias).stand_in.answer(received)

    @keyword(tags=("commands", "getter"))
    def count_commands_with_another_answer(self, commands: Commands, answers: list[ScriptedAnswer]) -> int:
        """Returns how many callers received the answer to another command.

        Args:
            commands: commands that are done, one to each charge point.
            answers: what `Answer Commands` gave to them.

        Example:
        ```robotframework
        ${given}    Answer Commands    ${commands}
        Wait For Commands    ${commands}
        ${mixed up}    Count Commands With Another Answer    ${commands}    ${given}
        ```
        """
        own = {each.charge_point: each.payload for each in answers}
        return sum(each.answered and each.data != own.get(each.charge_point) for each in several(commands))

    @keyword(tags=("commands", "check"))
    def command_should_have_answer(
        self, command: Command | Commands, answer: ScriptedAnswer | list[ScriptedAnswer]
    ) -> None:
        """Fails unless the caller received exactly this answer of the charge point.

        It tells two equal commands apart: the default answer to GetConfiguration contains the message id of its
        command.

        Args:
            command: one command that is done.
            answer: one answer that `Answer Commands` gave.

        Raises:
            ExpectationFailed: it got another answer, or none.

        Example:
        ```robotframework
        ${command}    Start Commands    1
        ${answer}    Answer Commands    ${command}
        Wait For Commands    ${command}
        Command Should Have Answer    ${command}    ${answer}
        ```
        """
        one = several(command)[0]
        given = answer if isinstance(answer, ScriptedAnswer) else answer[0]
        if not one.answered or one.data != given.payload:
            raise ExpectationFailed(f"Expected the answer {given.payload} for {one}; it received {one.data}.")

    @keyword(tags=("commands", "check"))
    def commands_should_have_errors(
        self, commands: Commands | Command | list[Command], answers: list[ScriptedAnswer]
    ) -> None:
        """Fails unless each caller received the CALLERROR of its charge point: its code and its description.

        Args:
            commands: commands that are done.
            answers: what `Answer Commands` gave to them with `way=error`; each has a description of its own.

        Raises:
            ExpectationFailed: callers were told something else; shows how many, and one.

        Example:
        ```robotframework
        ${commands}    Start Commands    10
        ${given}    Answer Commands    ${commands}    way=error
        Wait For Commands    ${commands}
        Commands Should Have Errors    ${commands}    ${given}
        ```
        """
        batch = several(commands)
        if odd := [problem for each in batch if (problem := _untold(each, answers))]:
            raise ExpectationFailed(
                f"{len(odd)} of {batch.count} callers were not told the error of their charge point; for example "
                f"{odd[0]}"
            )


def _untold(command: Command, answers: list[ScriptedAnswer]) -> str | None:
    """What a caller should have been told and was not; `None` if it was."""
    mark = command.mark or ""
    given = [each for each in answers if each.charge_point == command.charge_point]
    own = next((each for each in given if each.command is not None and each.command.carries(mark)), None)
    if own is None:
        return f"{command}, which was not answered with an error"
    told = f"{command.reason} {command.data}"
    code, description = own.payload[0], own.payload[1]
    missing = [text for text in (code, description) if text not in told]
    if command.answered or missing:
        return f"{command}, {command.data}; expected {code}: {description}"
    return None
