"""Keywords about charge points that send as fast as they can."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

from robot.api import logger

from LoadLibrary.workshop import LoadSetup
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.load.flood import Flood, FloodPlan, FloodResult
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.waiting import in_words, seconds

HEARTBEAT = '[2,"{n}","Heartbeat",{}]'


class Floods(Component):
    """Floods."""

    def __init__(self, workshop: LoadSetup) -> None:
        self._shop = workshop
        self._flooders = Ids()
        self._flood: Flood | None = None

    @keyword(tags=("load", "security"))
    def start_flood(
        self,
        charge_points: int = 1,
        *,
        frame: str = HEARTBEAT,
        pings: bool = False,
        reading: bool = True,
        longest: timedelta = timedelta(seconds=30),
    ) -> list[str]:
        """Starts a flood: charge points send one kind of frame as fast as they can, from a separate process.

        They do not wait for answers. `Stop Flood` or the end of the suite ends it.

        Args:
            charge_points: how many.
            frame: the text of a frame; `{n}` in it stands for a number of nine digits, another one in each frame.
            pings: whether pings with this text (at most 125 bytes) are sent in the place of frames; each has to be
                answered with the same text (RFC 6455 section 5.5.3).
            reading: whether they read what they get.
            longest: the flood ends after this time at the latest.

        Returns:
            Their ids.

        Raises:
            ServiceError: they could not connect.
            UsageError: there is a flood already, or `Set Load Target` was not called.

        Example:
        ```robotframework
        Start Flood    5
        ${load} =    Run Load    rate=20    duration=5 s
        Stop Flood
        ```
        """
        if self._flood is not None:
            raise UsageError("A flood is running already; call `Stop Flood` first.")
        aim = self._shop.aimed()
        ids = [self._flooders.charge_point("FLOOD") for _ in range(charge_points)]
        self._flood = Flood(
            FloodPlan(
                urls=[aim.url + aim.target.gateway_path(quote(each, safe="")) for each in ids],
                subprotocol=aim.target.gateway.subprotocol,
                frame=frame,
                seconds=seconds(longest),
                pings=pings,
                reading=reading,
            )
        )
        self.cleanup.add("the flood", self._close)
        return ids

    @keyword(tags=("load", "security"))
    def stop_flood(self, *, after: timedelta = timedelta(0)) -> FloodResult:
        """Ends the flood.

        Args:
            after: how long to wait for its end where the gateway may end all of its connections.

        Returns:
            The result, with `sent` (frames), `size` (their bytes), `closed` (charge points whose connection the gateway
            closed) and `seconds`.

        Raises:
            UsageError: there is none.

        Example:
        ```robotframework
        Start Flood
        ${flood} =    Stop Flood
        Log    ${flood.sent} frames
        ```
        """
        if self._flood is None:
            raise UsageError("No flood is running; call `Start Flood` first.")
        result = self._flood.stop(after=seconds(after))
        self._flood = None
        self.cleanup.discard(self._close)
        logger.info(f"{result.sent} frames in {in_words(result.seconds)}; {result.closed} connections were ended.")
        return result

    def _close(self) -> None:
        if self._flood is not None:
            self._flood.close()
            self._flood = None
