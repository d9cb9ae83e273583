"""Keywords about commands to a charge point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from robot.api import logger

from ChargePointLibrary.base import ALIAS, PointComponent
from ocpp_resilience import background
from ocpp_resilience.charge_points.behaviour import ANY, How, Script, check_can_reject
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.frames import Direction, Frame, MessageType, in_short
from ocpp_resilience.ocpp.version import Setting
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import counted
from ocpp_resilience.waiting import wait_until


class Commands(PointComponent):
    """Answering them, and seeing that they came."""

    @keyword(tags=("charge point", "command"))
    def let_charge_points_answer(
        self,
        action: str = ANY,
        how: How = How.ACCEPT,
        *,
        delay: timedelta = timedelta(0),
        spread: timedelta = timedelta(0),
        payload: Mapping[str, Any] | None = None,
        code: str = "GenericError",
        description: str = "Scripted by the test.",
        times: int | None = None,
        charge_points: Sequence[str] | None = None,
    ) -> None:
        """Sets how charge points answer the commands of an action from now on.

        Args:
            action: the action; `*` for all. A command of OCPP 1.6 with another name in the version of the charge point
                goes by either name: `GetConfiguration` stands for GetVariables too.
            how: `accept` sensibly; `obey` (accepts, then acts: sends the message that TriggerMessage asks for, starts
                or stops the transaction, reports the device model, disconnects for a Reset); `reject` (status Rejected
                or its equivalent); `callerror`; `silence` (no answer); `disconnect` (instead of an answer); `twice`
                (the same answer two times); `unknown id` (an answer with a message id of no command); `cross` (sends a
                Heartbeat and waits for its answer before it answers).
            delay: how long it takes.
            spread: up to how much longer, by chance, so that answers come in random order.
            payload: the payload of the answer, in the place of the sensible one.
            code: the error code of a CALLERROR.
            description: the description of a CALLERROR.
            times: number of commands; after them, the previous setting holds again. All by default.
            charge_points: their aliases or ids; all that there are now by default.

        Raises:
            UsageError: OCPP has no answer to this action that refuses it.

        Example:
        ```robotframework
        Let Charge Points Answer    Reset    reject
        Let Charge Points Answer    GetConfiguration    callerror    code=InternalError    times=1
        Let Charge Points Answer    delay=1s    spread=2s
        Let Charge Points Answer    RemoteStartTransaction    silence
        ```
        """
        if how is How.REJECT:
            for point in self.chosen(charge_points):
                check_can_reject(point.version.named(action), point.version)
        if times is not None and times < 1:
            raise UsageError(f"times is {times}, at least 1 is required.")
        for point in self.chosen(charge_points):
            script = Script(
                how=how,
                delay=delay.total_seconds(),
                spread=spread.total_seconds(),
                payload=payload,
                code=code,
                description=description,
                times=times,
            )
            background.call(point.behaviour.follow, point.version.named(action), script)

    @keyword(tags=("charge point", "command"))
    def reset_charge_point_answers(self, charge_points: Sequence[str] | None = None) -> None:
        """Resets all settings of `Let Charge Points Answer`.

        Example:
        ```robotframework
        Let Charge Points Answer    how=silence
        Reset Charge Point Answers
        ```
        """
        for point in self.chosen(charge_points):
            background.call(point.behaviour.forget)

    @keyword(tags=("charge point", "command"))
    def set_charge_point_configuration(
        self, key: str, value: str, *, readonly: bool = False, alias: str = ALIAS
    ) -> None:
        """Sets a configuration key of a charge point, for GetConfiguration and ChangeConfiguration.

        In OCPP 2.0.1 and 2.1 it sets a variable, for GetVariables and SetVariables.

        Args:
            key: the key; of a variable, `component/variable`, such as `OCPPCommCtrlr/HeartbeatInterval`.
            value: its value.
            readonly: whether ChangeConfiguration, or SetVariables, is rejected.

        Example:
        ```robotframework
        Set Charge Point Configuration    SerialNumber    S-1    readonly=True
        ```
        """
        configuration = self._points.get(alias).behaviour.configuration
        background.call(configuration.__setitem__, key, Setting(value, readonly=readonly))

    @keyword(tags=("charge point", "command", "getter"))
    def get_charge_point_configuration(self, *, alias: str = ALIAS) -> dict[str, str]:
        """Returns the configuration of a charge point, as changed by received commands.

        Example:
        ```robotframework
        ${configuration}    Get Charge Point Configuration
        Should Be Equal    ${configuration}[HeartbeatInterval]    60
        ```
        """
        configuration = self._points.get(alias).behaviour.configuration
        return {key: setting.value for key, setting in sorted(configuration.items())}

    @keyword(tags=("charge point", "command", "check"))
    def command_should_be_received(
        self,
        action: str,
        *,
        count: int = 1,
        since: int | Frame = 0,
        alias: str = ALIAS,
        timeout: timedelta = timedelta(seconds=5),
        **fields: Any,
    ) -> Frame:
        """Waits until a charge point has received a command, and returns it.

        Args:
            action: the action of the command, named as in `Let Charge Points Answer`.
            count: at least this many that fit.
            since: only later frames: the result of `Mark Frames`, or a frame.
            fields: fields that its payload has to have.

        Returns:
            The newest that fits; `payload` and `message_id` are its own.

        Raises:
            WaitTimeout: it did not come; the message shows the received frames.

        Example:
        ```robotframework
        ${command}    Command Should Be Received    ChangeConfiguration    key=HeartbeatInterval
        Should Be Equal    ${command.payload}[value]    60
        ```
        """
        point = self._points.get(alias)
        action = point.version.named(action)
        number = since.number if isinstance(since, Frame) else since

        def commands(name: str | None = None) -> list[Frame]:
            return point.seen(direction=Direction.RECEIVED, kind=MessageType.CALL, action=name, since=number)

        def fits(frame: Frame) -> bool:
            payload = frame.payload if isinstance(frame.payload, dict) else {}
            return all(name in payload and payload[name] == value for name, value in fields.items())

        def probe() -> Frame | None:
            found = [frame for frame in commands(action) if fits(frame)]
            return found[-1] if len(found) >= count else None

        def failure() -> str:
            wanted = f" with {fields}" if fields else ""
            how_many = "" if count == 1 else f" {count} times"
            same = [frame for frame in commands(action) if not fits(frame)]
            near = f" {action} came with {same[-1].payload}." if same else ""
            state = "" if point.connected else f" It {point.state()}."
            return (
                f"{point.id} should have received {action}{wanted}{how_many}. Of commands it received "
                f"{in_short(commands())}.{near}{state}"
            )

        frame = wait_until(probe, timeout=timeout, failure=failure)
        logger.info(f"{point.id} received {frame.text} at {frame.timestamp}.")
        return frame

    @keyword(tags=("charge point", "command", "check"))
    def no_command_should_be_received(
        self, action: str | None = None, *, since: int | Frame = 0, alias: str = ALIAS
    ) -> None:
        """Fails if a charge point has received a command.

        It looks once: have something happen first that would come after the command, such as a Heartbeat's answer.

        Args:
            action: the action, named as in `Let Charge Points Answer`; any by default.
            since: only later frames: the result of `Mark Frames`, or a frame.

        Raises:
            ExpectationFailed: it has; the message names it.

        Example:
        ```robotframework
        Send Heartbeat
        No Command Should Be Received    Reset
        ```
        """
        point = self._points.get(alias)
        action = None if action is None else point.version.named(action)
        number = since.number if isinstance(since, Frame) else since
        found = point.seen(direction=Direction.RECEIVED, kind=MessageType.CALL, action=action, since=number)
        wait_until(
            lambda: None if found else True,
            timeout=0,
            failure=lambda: (
                f"{point.id} should have received no {action or 'command'}, but it received {in_short(found)}"
            ),
        )

    @keyword(tags=("charge point", "command", "getter"))
    def count_commands(
        self,
        action: str | None = None,
        *,
        charge_points: Sequence[str] | None = None,
        expected: int | None = None,
        timeout: timedelta = timedelta(seconds=5),
    ) -> int:
        """Returns how many commands charge points have received.

        Args:
            action: the action, named as in `Let Charge Points Answer`; any by default.
            expected: waits until it is this many; more is a failure.

        Raises:
            WaitTimeout: it was another number until the end.

        Example:
        ```robotframework
        ${count}    Count Commands    GetConfiguration    expected=200    timeout=10s
        ```
        """
        points = self.chosen(charge_points)

        def count() -> int:
            wanted = (None if action is None else point.version.named(action) for point in points)
            return sum(
                len(point.seen(direction=Direction.RECEIVED, kind=MessageType.CALL, action=name))
                for point, name in zip(points, wanted, strict=True)
            )

        if expected is None:
            return count()
        return wait_until(
            lambda: expected if count() == expected else None,
            timeout=timeout,
            failure=lambda: (
                f"{counted(len(points), 'charge point')} should have received {expected} "
                f"{action or 'command'}s, but it is {count()}"
            ),
        )
