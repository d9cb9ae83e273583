"""Keywords about a fleet that charges in the background during a test."""

from __future__ import annotations

import math
from datetime import timedelta

from robot.api import logger

from ChargePointLibrary.base import ConnectingComponent
from ocpp_resilience import background
from ocpp_resilience.charge_points.fleet import Fleet, FleetReport
from ocpp_resilience.charge_points.gateway import Gateway
from ocpp_resilience.charge_points.many import ChargePoints, connect_all
from ocpp_resilience.charge_points.point import ChargePoint
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.text import counted
from ocpp_resilience.transport.volume import new_seed

LONGEST_ANSWER = timedelta(seconds=15)
STOPPING_SECONDS = 120.0


class Fleets(ConnectingComponent):
    """Fleets that charge in the background."""

    def __init__(self, points: ChargePoints, gateways: Registry[Gateway], ids: Ids) -> None:
        super().__init__(points, gateways, ids)
        self._fleets: dict[str, Fleet] = {}

    @keyword(tags=("charge point", "send", "load", "transaction"))
    def start_charging_fleet(
        self,
        count: int = 10,
        *,
        alias: str = "fleet",
        gateway: str = "gateway",
        pause: timedelta = timedelta(milliseconds=50),
        timeout: timedelta = LONGEST_ANSWER,
        patience: timedelta | None = None,
        takeovers: float = 0.0,
        seed: int | None = None,
    ) -> list[str]:
        """Connects charge points that run varied charging sessions until `Stop Charging Fleet`, and returns their ids.

        They send the messages of `Charge Varied Sessions`. Each has one CALL outstanding. After the end of its
        connection, a charge point reconnects and repeats the unanswered CALL with the same message id. Keywords about
        all charge points leave out those of a fleet until it stops.

        Args:
            count: how many charge points.
            alias: the name of the fleet.
            gateway: where they connect.
            pause: between an answer and the next CALL of a charge point.
            timeout: the longest time within which each CALL has to be answered or refused.
            patience: without an answer for so long, a charge point cuts its connection, reconnects and repeats the
                CALL; it waits for the whole timeout if not given.
            takeovers: the share of CALLs after which a charge point reconnects at once, while its older connection
                stays open, and repeats the CALL.
            seed: of the random messages; chosen and logged if not given.

        Raises:
            ExpectationFailed: some could not connect.
            UsageError: there is a fleet with this alias.

        Example:
        ```robotframework
        @{ids}    Start Charging Fleet    10
        Kill Redis
        Start Redis
        ${fleet}    Stop Charging Fleet
        Should Be Empty    ${fleet.problems}    ${fleet}
        ```
        """
        if alias in self._fleets:
            raise UsageError(f"The fleet '{alias}' is charging already; call `Stop Charging Fleet` first.")
        chosen = new_seed() if seed is None else seed
        where = self._gateways.get(gateway)
        made = {(point := ChargePoint(self._ids.charge_point(), where)).id: point for _ in range(count)}
        self.keep(made)
        points = list(made.values())
        limit = timeout.total_seconds()
        background.run(connect_all, points, limit=limit, timeout=None)

        async def start() -> Fleet:
            fleet = Fleet(
                points,
                seed=chosen,
                limit=limit,
                pause=pause.total_seconds(),
                patience=math.inf if patience is None else patience.total_seconds(),
                takeovers=takeovers,
            )
            await fleet.start()
            return fleet

        fleet: Fleet = background.run(start)
        self._fleets[alias] = fleet
        self._points.busy |= set(points)
        self.cleanup.add(f"fleet '{alias}'", lambda: self._abandon(alias, fleet))
        logger.info(f"Fleet '{alias}' of {counted(count, 'charge point')} charges. Seed: {chosen}.")
        return list(made)

    @keyword(tags=("charge point", "wait"))
    def wait_until_fleet_is_answered(self, *, alias: str = "fleet") -> None:
        """Waits until each charge point of a fleet has had one more answer; the `timeout` of the fleet limits it.

        Raises:
            ExpectationFailed: some had none in time; names them.
            UsageError: there is no such fleet.

        Example:
        ```robotframework
        Start Charging Fleet    10
        Kill Server
        Restart Server
        Wait Until Fleet Is Answered
        Stop Charging Fleet
        ```
        """
        background.run(self._get(alias).be_answered)

    @keyword(tags=("charge point", "send", "load", "transaction"))
    def stop_charging_fleet(self, *, alias: str = "fleet") -> FleetReport:
        """Lets each charge point of a fleet finish its current message, and returns the outcome of all messages.

        Nothing is judged here. The charge points stay connected, and their frames are kept.

        Returns:
            `sent`, `answered`, `refused` (CALLERRORs by code), `refusals` (their number), `repeated` (sent again on a
            new connection), `takeovers`, `unanswered` (neither answered nor refused in time), `wrong` (answers that
            the protocol does not allow), `left` (older connections that were not ended), `problems` (these three),
            `slowest` (seconds) and `summary`.

        Raises:
            UsageError: there is no such fleet.

        Example:
        ```robotframework
        ${fleet}    Stop Charging Fleet
        Should Be Empty    ${fleet.problems}    ${fleet}
        ```
        """
        fleet = self._get(alias)
        del self._fleets[alias]
        self._points.busy -= set(fleet.points)
        report: FleetReport = background.run(fleet.stop, timeout=STOPPING_SECONDS)
        logger.info("\n".join([f"{report}.", *report.problems[:20]]))
        return report

    def _get(self, alias: str) -> Fleet:
        if alias not in self._fleets:
            raise UsageError(f"There is no fleet '{alias}'; call `Start Charging Fleet` first.")
        return self._fleets[alias]

    def _abandon(self, alias: str, fleet: Fleet) -> None:
        if self._fleets.get(alias) is fleet:
            del self._fleets[alias]
            self._points.busy -= set(fleet.points)
            background.run(fleet.abandon, timeout=STOPPING_SECONDS)
