"""Keywords about frames on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from robot.api import logger

from ChargePointLibrary.base import ALIAS, PointComponent
from ocpp_resilience.charge_points.conformance import violations
from ocpp_resilience.charge_points.history import PointHistory
from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.ocpp.frames import Direction, Frame, MessageType, in_short
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import counted
from ocpp_resilience.waiting import wait_until


class Frames(PointComponent):
    """Reading the frames."""

    @keyword(tags=("charge point", "frames", "getter"))
    def mark_frames(self, *, alias: str = ALIAS) -> int:
        """Returns the number of the newest frame of a charge point, for `since` of other keywords.

        Example:
        ```robotframework
        ${mark}    Mark Frames
        Send Heartbeat
        @{frames}    Get Received Frames    since=${mark}
        ```
        """
        return self._points.get(alias).last_number

    @keyword(tags=("charge point", "frames", "getter"))
    def get_received_frames(
        self,
        *,
        alias: str = ALIAS,
        kind: MessageType | None = None,
        action: str | None = None,
        since: int | Frame = 0,
    ) -> list[Frame]:
        """Returns the frames that a charge point received, oldest first.

        Args:
            kind: only CALL, CALLRESULT or CALLERROR.
            action: only CALLs with this action.
            since: only later frames: the result of `Mark Frames`, or a frame.

        Example:
        ```robotframework
        @{errors}    Get Received Frames    kind=CALLERROR
        Should Be Empty    ${errors}
        ```
        """
        return self._frames(alias, Direction.RECEIVED, kind, action, since)

    @keyword(tags=("charge point", "frames", "getter"))
    def get_sent_frames(
        self,
        *,
        alias: str = ALIAS,
        kind: MessageType | None = None,
        action: str | None = None,
        since: int | Frame = 0,
    ) -> list[Frame]:
        """Returns the frames that a charge point sent, oldest first.

        Args:
            kind: only CALL, CALLRESULT or CALLERROR.
            action: only CALLs with this action.
            since: only frames sent later: the result of `Mark Frames`, or a frame.

        Example:
        ```robotframework
        @{answers}    Get Sent Frames    kind=CALLRESULT
        ```
        """
        return self._frames(alias, Direction.SENT, kind, action, since)

    def _frames(
        self, alias: str, direction: Direction, kind: MessageType | None, action: str | None, since: int | Frame
    ) -> list[Frame]:
        number = since.number if isinstance(since, Frame) else since
        found = self._points.get(alias).seen(direction=direction, kind=kind, action=action, since=number)
        for frame in found[-100:]:
            logger.debug(f"{frame.timestamp} {frame.direction.value} {frame.text[:2000]}")
        return found

    @keyword(tags=("charge point", "frames", "check"))
    def frame_should_be_sent(
        self,
        action: str,
        *,
        since: int | Frame = 0,
        alias: str = ALIAS,
        timeout: timedelta = timedelta(seconds=5),
    ) -> Frame:
        """Waits until a charge point has sent a CALL with this action by itself, and returns it.

        Args:
            action: the action.
            since: only frames sent later: the result of `Mark Frames`, or a frame.

        Raises:
            WaitTimeout: it did not send it; the message shows the frames that it sent.

        Example:
        ```robotframework
        Let Charge Points Answer    TriggerMessage    obey
        ${frame}    Frame Should Be Sent    StatusNotification
        ```
        """
        point = self._points.get(alias)
        number = since.number if isinstance(since, Frame) else since

        def probe() -> Frame | None:
            found = point.seen(direction=Direction.SENT, kind=MessageType.CALL, action=action, since=number)
            return found[-1] if found else None

        return wait_until(
            probe,
            timeout=timeout,
            failure=lambda: (
                f"{point.id} should have sent {action}. It sent "
                f"{in_short(point.seen(direction=Direction.SENT, since=number))}, and it {point.state()}"
            ),
        )

    @keyword(tags=("charge point", "frames", "state", "getter"))
    def get_charge_point_history(self, charge_points: Sequence[str] | None = None) -> PointHistory:
        """Returns the messages that charge points sent and their outcomes, for `State Should Equal The Model`.

        A CALL without an answer may have been applied or not. The state has to be compared before the charge points are
        removed.

        Example:
        ```robotframework
        Charge Whole Session
        ${history}    Get Charge Point History
        State Should Equal The Model    ${history}
        ```
        """
        points = self.chosen(charge_points)
        return PointHistory(points, points[0].gateway.target.behaviour if points else None)

    @keyword(tags=("charge point", "frames", "check"))
    def protocol_should_have_been_kept(
        self, charge_points: Sequence[str] | None = None, *, command_timeout: timedelta = timedelta(seconds=30)
    ) -> int:
        """Fails if any frame that charge points received violates OCPP-J.

        Each frame must be an OCPP-J message. Commands and answers must keep to the official schemas, and the values of
        answers must be possible (the time within the clock's tolerance, an interval above 0). A command has a message
        id that no other command of its connection has, and only one is outstanding at a time. Each CALL has at most one
        answer, and each answer has a CALL. Each connection is judged by itself. The newest 10,000 frames of each charge
        point are checked.

        Args:
            command_timeout: after so long, a command that was not answered is no longer outstanding.

        Returns:
            How many received frames were looked at.

        Raises:
            ExpectationFailed: rules were broken; the message says how often, and shows the first.

        Example:
        ```robotframework
        Charge Whole Session
        Protocol Should Have Been Kept
        ```
        """
        looked_at, found = 0, []
        for point in self.chosen(charge_points):
            # In this order: a frame that leaves the buffer in between then counts twice, which is no violation.
            frames, before = list(point.frames.copy()), point.before_frames.copy()
            looked_at += sum(1 for frame in frames if frame.direction is Direction.RECEIVED)
            broken = violations(
                frames,
                command_timeout=command_timeout.total_seconds(),
                before=before,
                behaviour=point.gateway.target.behaviour,
                version=point.version,
            )
            found += [f"{point.id}: {each}" for each in broken]
        if found:
            for each in found[:100]:
                logger.info(each)
            raise ExpectationFailed(
                f"OCPP-J was violated {counted(len(found), 'time')} "
                f"in {counted(looked_at, 'received frame')}. "
                f"The first: {' '.join(found[:3])}"
            )
        logger.info(f"{counted(looked_at, 'received frame')} looked at.")
        return looked_at

    @keyword(tags=("charge point", "frames", "invalid", "check"))
    def frame_should_be_refused(
        self, frame: Frame, *, alias: str = ALIAS, timeout: timedelta = timedelta(seconds=5)
    ) -> str:
        """Waits until a frame was refused: by a CALLERROR to its message id or to `-1`, or by closing the connection.

        Args:
            frame: what `Send Frame Of Size` or `Send Raw Frame` returned.

        Returns:
            The error code, or the close code.

        Raises:
            WaitTimeout: it was not; says what came.

        Example:
        ```robotframework
        ${sent}    Send Frame Of Size    300000
        Frame Should Be Refused    ${sent}
        ```
        """
        point = self._points.get(alias)

        def probe() -> str | None:
            for each in point.seen(direction=Direction.RECEIVED, kind=MessageType.CALLERROR, since=frame.number):
                if each.message_id in (frame.message_id, "-1"):
                    return each.code
            return None if point.connected else str(point.ends[-1].code)

        refused = wait_until(
            probe,
            timeout=timeout,
            failure=lambda: (
                f"{point.id} sent {in_short([frame])}, which should have been refused. It received "
                f"{in_short(point.seen(direction=Direction.RECEIVED, since=frame.number))}, and it {point.state()}"
            ),
        )
        logger.info(f"{in_short([frame])} of {point.id} was refused: {refused}.")
        return refused

    @keyword(tags=("charge point", "frames", "check"))
    def answer_should_be_received(
        self,
        message_id: str,
        *,
        code: str | None = None,
        since: int | Frame = 0,
        alias: str = ALIAS,
        timeout: timedelta = timedelta(seconds=5),
    ) -> Frame:
        """Waits until a charge point has received an answer with this message id, and returns it.

        This is for frames sent with `Send Raw Frame`; the keywords that send a CALL wait by themselves.

        Args:
            message_id: the message id.
            code: the error code of the CALLERROR that it has to be; either kind of answer by default.
            since: only later frames: the result of `Mark Frames`, or a frame.

        Raises:
            WaitTimeout: it did not come; the message shows the received frames.

        Example:
        ```robotframework
        ${sent}    Send Raw Frame    [2,"id-1","MakeCoffee",{}]
        Answer Should Be Received    id-1    code=NotImplemented    since=${sent}
        ```
        """
        point = self._points.get(alias)
        number = since.number if isinstance(since, Frame) else since

        def received() -> list[Frame]:
            return point.seen(direction=Direction.RECEIVED, since=number)

        def probe() -> Frame | None:
            return next(
                (
                    frame
                    for frame in received()
                    if frame.kind in (MessageType.CALLRESULT, MessageType.CALLERROR)
                    and frame.message_id == message_id
                    and (code is None or frame.code == code)
                ),
                None,
            )

        wanted = "an answer" if code is None else f"the CALLERROR {code}"
        return wait_until(
            probe,
            timeout=timeout,
            failure=lambda: (
                f"{point.id} should have received {wanted} to {message_id}. It received "
                f"{in_short(received())}, and it {point.state()}"
            ),
        )
