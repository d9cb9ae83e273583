"""Keywords about the sessions that the system's registry has."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from robot.api import logger

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import counted, examples
from ocpp_resilience.waiting import wait_until
from RedisQueueLibrary.base import QueueComponent


@dataclass(frozen=True)
class EndedSessions:
    """The end of sessions in the registry.

    Attributes:
        seconds: until the last one had ended, or until the timeout.
        ghosts: the charge points whose session was still there then.
    """

    seconds: float
    ghosts: list[str]


class Sessions(QueueComponent):
    """The registry of connected charge points."""

    @keyword(tags=("queue", "getter", "sessions"))
    def get_registered_sessions(self, charge_points: Sequence[str], *, alias: str = "queue") -> list[str]:
        """Returns the charge points among these that the registry in Redis lists as connected.

        Args:
            charge_points: the ids to look for.
            alias: which queue.

        Raises:
            LacksCapability: the target profile names no key of the registry.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    3
        @{there}    Get Registered Sessions    ${ids}
        Length Should Be    ${there}    3
        ```
        """
        return self._queues.get(alias).registered(charge_points)

    @keyword(tags=("queue", "sessions", "cleanup"))
    def remove_registered_sessions(self, charge_points: Sequence[str], *, alias: str = "queue") -> None:
        """Removes the sessions of charge points from the registry in Redis, as if they had expired there.

        Args:
            charge_points: their ids.
            alias: which queue.

        Raises:
            LacksCapability: the target profile names no key of the registry.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    3
        Remove Registered Sessions    ${ids}
        @{there}    Get Registered Sessions    ${ids}
        Should Be Empty    ${there}
        ```
        """
        self._queues.get(alias).unregister(charge_points)

    @keyword(tags=("queue", "getter", "sessions"))
    def wait_for_sessions_to_end(
        self,
        charge_points: Sequence[str],
        *,
        since: str | None = None,
        timeout: timedelta = timedelta(seconds=60),
        alias: str = "queue",
    ) -> EndedSessions:
        """Waits until the registry has no session of these charge points, and returns how long that took.

        A session without its charge point is a ghost: commands are sent to it and lost. The keyword does not fail on
        ghosts; it returns them.

        Args:
            charge_points: the ids of charge points that are gone.
            since: from when the time counts, such as `began` of a fault, RFC 3339 with zone; by default from now.
            timeout: the longest wait, from now.
            alias: which queue.

        Returns:
            `seconds` and `ghosts`.

        Raises:
            LacksCapability: the target profile names no key of the registry.

        Example:
        ```robotframework
        ${gone}    Half Open    alias=edge
        ${ended}    Wait For Sessions To End    ${ids}    since=${gone.began}    timeout=10 s
        Should Be Empty    ${ended.ghosts}
        ```
        """
        client = self._queues.get(alias)
        began = datetime.fromisoformat(since) if since else datetime.now(UTC)
        with contextlib.suppress(WaitTimeout):
            wait_until(lambda: None if client.registered(charge_points) else True, timeout=timeout, failure=lambda: "")
        ended = EndedSessions((datetime.now(UTC) - began).total_seconds(), client.registered(charge_points))
        logger.info(
            f"{counted(len(charge_points) - len(ended.ghosts), 'session')} ended in {ended.seconds:.2f} s; "
            f"ghosts: {examples(ended.ghosts)}."
        )
        return ended
