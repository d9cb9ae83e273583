"""Keywords for commands that are sent in the background."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta
from typing import Any

from robot.api import logger

from CorrelationLibrary.base import LineComponent
from ocpp_resilience.correlation.traffic import CommandTraffic, TrafficReport
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ledger import Ledger
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.robot.variables import evidence_folder
from ocpp_resilience.text import file_name
from ocpp_resilience.waiting import seconds, wait_until


class Traffic(LineComponent):
    """Commands on and on."""

    def __init__(self, *shared: Any) -> None:
        super().__init__(*shared)
        self._numbers = itertools.count(1)

    @keyword(tags=("commands", "send", "ledger"))
    def start_command_traffic(
        self,
        charge_points: list[str],
        *,
        every: timedelta = timedelta(seconds=1),
        timeout: timedelta = timedelta(seconds=10),
        seed: int = 1,
        alias: str = "commands",
    ) -> str:
        """Starts sending GetConfiguration commands to charge points in the background, one at a time to each.

        Each command asks for a key of its own and is written down in a ledger, `evidence/<alias>-<n>.jsonl` beside
        Robot's output: answered, refused, or unknown. Charge points that write down what they carry out (`Load Profile`
        with `commands=True`) complete it: judged together, an answered command has to have been carried out once, and a
        refused one never.

        Args:
            charge_points: the recipients.
            every: the time between two commands to a charge point, on average.
            timeout: how long the system is to wait for each answer.
            seed: of the pauses, which are drawn by chance.

        Returns:
            The path of the ledger.

        Raises:
            UsageError: traffic runs already, there is no charge point, or the target's answers cannot be told apart.

        Example:
        ```robotframework
        ${profile}    Load Profile    session    commands=True
        Start Load    duration=1 minute    profile=${profile}
        @{points}    Get Load Charge Points
        Start Command Traffic    ${points}
        Restart Redis    kill
        ${traffic}    Stop Command Traffic
        Log    ${traffic.summary}
        ```
        """
        line = self._lines.get(alias)
        if line.traffic is not None:
            raise UsageError("Command traffic is running already; call `Stop Command Traffic` first.")
        if not charge_points:
            raise UsageError("Command traffic needs at least one charge point.")
        folder = evidence_folder()
        if folder is None:
            raise UsageError(
                "The ledger of the commands needs an output folder, which exists only in a Robot Framework run."
            )
        file = folder / f"{file_name(alias)}-{next(self._numbers)}.jsonl"
        file.unlink(missing_ok=True)
        ledger = Ledger(file, seed=seed)
        try:
            line.traffic = CommandTraffic(
                line.client, charge_points, ledger, pause=seconds(every), timeout=seconds(timeout), seed=seed
            )
        except UsageError:
            ledger.close()
            raise
        line.traffic.start()
        return str(file)

    @keyword(tags=("commands", "check", "wait"))
    def command_traffic_should_reach_all_charge_points(
        self, *, timeout: timedelta = timedelta(seconds=30), alias: str = "commands"
    ) -> None:
        """Waits until each charge point has answered one more command of the traffic.

        Raises:
            UsageError: no traffic runs.
            WaitTimeout: some charge points have not; names them.

        Example:
        ```robotframework
        Start Command Traffic    ${points}
        Restart Server
        Command Traffic Should Reach All Charge Points
        ```
        """
        traffic, since = self._traffic(alias), time.monotonic()
        wait_until(
            lambda: None if traffic.unanswered(since) else True,
            timeout=timeout,
            failure=lambda: f"No command was answered by {', '.join(traffic.unanswered(since))}",
        )

    def _traffic(self, alias: str) -> CommandTraffic:
        traffic = self._lines.get(alias).traffic
        if traffic is None:
            raise UsageError("No command traffic is running; call `Start Command Traffic` first.")
        return traffic

    @keyword(tags=("commands", "send", "ledger"))
    def stop_command_traffic(self, *, alias: str = "commands") -> TrafficReport:
        """Stops the traffic of `Start Command Traffic`, once every caller has its response.

        Returns:
            An object with `sent`, `answered`, `refused`, `undecided`, `timed_out` (of the undecided), `mixed_up`,
            `unclear` (failed without a reason), `slowest_refusal` (seconds), `ledger` (the file) and `summary`.

        Raises:
            UsageError: none runs.
            WaitTimeout: some callers got no response.

        Example:
        ```robotframework
        ${traffic}    Stop Command Traffic
        Should Be Equal    ${traffic.mixed_up}    ${0}
        ```
        """
        traffic = self._traffic(alias)
        self._lines.get(alias).traffic = None
        try:
            report = traffic.stop()
        finally:
            traffic.close()
        logger.info(report.summary)
        return report
