"""Keywords for charge points on bad networks: they send again, connect twice, and send while a command waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from robot.api import logger

from ChargePointLibrary.base import ALIAS, ANSWER_TIMEOUT, ConnectingComponent
from ocpp_resilience import background
from ocpp_resilience.charge_points.crossing import Crossing, CrossingReport, Order
from ocpp_resilience.charge_points.ghost import Ghost
from ocpp_resilience.charge_points.point import Answer
from ocpp_resilience.charge_points.takeover import TakeoverReport, take_over
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.ocpp.frames import in_short
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.waiting import in_words, wait_until

CONNECT_TIMEOUT = timedelta(seconds=10)


class Takeover(ConnectingComponent):
    """Sending again, taking over, crossing."""

    _crossing: Crossing | None = None

    @keyword(tags=("charge point", "send"))
    def repeat_last_call(
        self,
        *,
        alias: str = ALIAS,
        reconnect: bool = True,
        new_message_id: bool = False,
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> Answer:
        """Sends the last CALL of a charge point again, and returns the answer.

        A charge point does so that has got no answer: the same frame after it has connected again, or the same event
        under a new message id.

        Args:
            reconnect: whether its connection is cut and opened again first.
            new_message_id: whether the event gets a new message id; else it is the same frame.

        Raises:
            UsageError: it has not sent anything yet.
            NoAnswer: there was no answer; the message shows other received frames.

        Example:
        ```robotframework
        ${first}    Start Transaction
        ${again}    Repeat Last Call
        Should Be Equal    ${again.payload}    ${first}
        ```
        """
        point = self._points.get(alias)
        if reconnect:
            background.run(point.abort)
            background.run(point.connect, limit=CONNECT_TIMEOUT.total_seconds())
        limit = timeout.total_seconds()
        answer: Answer = background.run(
            point.repeat_last_call, timeout=None, limit=limit, new_message_id=new_message_id
        )
        logger.info(f"{answer.action} of {point.id} was sent again: {answer}")
        return answer

    @keyword(tags=("charge point", "connection", "fault"))
    def reconnect_as_ghost(
        self, *, alias: str = ALIAS, gateway: str | None = None, timeout: timedelta = CONNECT_TIMEOUT
    ) -> Ghost:
        """Reconnects a charge point while its older connection stays open, as after a power failure.

        Args:
            alias: which charge point; it is connected.
            gateway: which gateway; by default the same.
            timeout: the longest wait for the newer connection.

        Returns:
            The older connection: `commands` that came over it since, `seconds` that it lasted, `end`. `Ghost Should
            End` waits for its end.

        Raises:
            ConnectFailed: the gateway did not accept the newer connection.
            NotConnected: there is no older connection.

        Example:
        ```robotframework
        ${ghost}    Reconnect As Ghost
        Ghost Should End    ${ghost}    timeout=30 s
        Send Heartbeat
        ```
        """
        point = self._points.get(alias)
        if gateway is not None:
            point.gateway = self._gateways.get(gateway)
        ghost: Ghost = background.run(point.reconnect_as_ghost, limit=timeout.total_seconds())
        logger.info(f"{point.id} has connected again; its older connection is left open.")
        return ghost

    @keyword(tags=("charge point", "connection", "check"))
    def ghost_should_end(self, ghost: Ghost, *, timeout: timedelta = timedelta(seconds=30)) -> float:
        """Waits until the gateway has ended an abandoned connection, and returns how long that took.

        Args:
            ghost: the result of `Reconnect As Ghost`.

        Returns:
            Seconds that it lasted beside the newer connection.

        Raises:
            WaitTimeout: it is still open.
            ExpectationFailed: a command came over it, although there was a newer connection.

        Example:
        ```robotframework
        ${ghost}    Reconnect As Ghost
        ${seconds}    Ghost Should End    ${ghost}
        ```
        """
        lasted = wait_until(
            lambda: ghost.seconds,
            timeout=timeout,
            failure=lambda: f"The older connection of {ghost.charge_point} should have been ended, but it is open",
        )
        if ghost.commands:
            raise ExpectationFailed(
                f"{ghost.charge_point} got {in_short(ghost.commands)} over its older connection after it had "
                "connected again."
            )
        logger.info(f"The older connection of {ghost.charge_point} was ended {ghost.end}, after {in_words(lasted)}.")
        return lasted

    @keyword(tags=("charge point", "connection", "load"))
    def take_over_connections(
        self,
        charge_points: Sequence[str] | None = None,
        *,
        rounds: int = 1,
        gateway: str | None = None,
        timeout: timedelta = timedelta(seconds=30),
    ) -> TakeoverReport:
        """Reconnects charge points while their older connections are open, all at the same time.

        Each sends a CALL, connects again before it is answered, and sends the same frame again on the newer connection.

        Args:
            rounds: how many times, one after the other.
            gateway: which gateway they connect to; by default the same.
            timeout: the longest wait for an answer, and for the end of an older connection.

        Returns:
            `takeovers`, `answered`, `unanswered`, `answered_twice`, `left` (older connections that are still open),
            `cut` (those that ended without a closing handshake), `commands_to_ghosts`, `slowest` (seconds until the
            last older connection ended), `problems` and `summary`. Nothing is judged here.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    50
        ${report}    Take Over Connections    ${ids}    rounds=20
        Should Be Equal    ${report.answered}    ${report.takeovers}    ${report.summary}
        ```
        """
        points = self.chosen(charge_points)
        if not points or rounds < 1:
            raise UsageError("Nothing to take over: at least one charge point and one round are required.")
        if gateway is not None:
            for point in points:
                point.gateway = self._gateways.get(gateway)
        whole = TakeoverReport()
        limit, connect_limit = timeout.total_seconds(), CONNECT_TIMEOUT.total_seconds()
        for _ in range(rounds):
            whole.add(background.run(take_over, points, timeout=None, limit=limit, connect_limit=connect_limit))
        logger.info(f"{whole.summary}.")
        return whole

    @keyword(tags=("charge point", "command", "getter"))
    def count_commands_to_older_connections(self, charge_points: Sequence[str] | None = None) -> int:
        """Returns how many commands were sent over connections that their charge points had already abandoned.

        Example:
        ```robotframework
        Take Over Connections
        ${count}    Count Commands To Older Connections
        Should Be Equal    ${count}    ${0}
        ```
        """
        return sum(len(ghost.commands) for point in self.chosen(charge_points) for ghost in point.ghosts)

    @keyword(tags=("charge point", "command", "send"))
    def cross_calls(
        self,
        order: Order,
        charge_points: Sequence[str] | None = None,
        *,
        action: str = "Heartbeat",
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> None:
        """Lets charge points send CALLs that cross incoming commands, until `Stop Crossing Calls`.

        Args:
            order: `command first`: before a charge point answers a command, it sends a CALL and waits for its answer;
                `call first`: a CALL is outstanding whenever a command comes.
            action: the action of the CALLs.
            timeout: the longest wait for their answers.

        Raises:
            UsageError: calls are crossed already.

        Example:
        ```robotframework
        Cross Calls    command first
        ${commands}    Start Commands    100    charge_points=${ids}
        Commands Should Be Answered    ${commands}
        ${report}    Stop Crossing Calls
        Should Be Equal    ${report.crossed}    ${100}
        ```
        """
        if self._crossing is not None:
            raise UsageError("Crossing calls are running already; call `Stop Crossing Calls` first.")
        points = self.chosen(charge_points)
        if not points:
            raise UsageError("No charge point is connected; call `Connect Charge Points` first.")
        crossing = Crossing(points, order, action=action, limit=timeout.total_seconds())
        background.run(crossing.start)
        self._crossing = crossing
        self.cleanup.add("the CALLs that cross commands", self._cancel)

    def _cancel(self) -> None:
        crossing, self._crossing = self._crossing, None
        if crossing is not None:
            background.run(crossing.cancel)

    @keyword(tags=("charge point", "command", "getter"))
    def stop_crossing_calls(self) -> CrossingReport:
        """Stops the traffic of `Cross Calls`, and returns the outcome.

        Returns:
            `commands` that came, those that `crossed` a CALL, `calls`, `answered` (once), `answered_twice`,
            `unanswered`, `repeated` (commands that came again), `unanswered_commands`, `problems` and `summary`.
            Nothing is judged here.

        Raises:
            UsageError: no calls are crossed.

        Example:
        ```robotframework
        ${report}    Stop Crossing Calls
        Should Be Equal    ${report.answered}    ${report.calls}    ${report.summary}
        ```
        """
        if self._crossing is None:
            raise UsageError("No crossing calls are running; call `Cross Calls` first.")
        crossing, self._crossing = self._crossing, None
        report: CrossingReport = background.run(crossing.end, timeout=None)
        logger.info(f"{report.summary}.")
        return report
