"""Keywords about the sessions that the system's registry has."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
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

        Raises:
            LacksCapability: the target profile names no key of the registry.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    3
        Boot All    ${ids}
        @{there}    Get Registered Sessions    ${ids}
        Length Should Be    ${there}    3
        ```
        """
        return self._queues.get(alias).registered(charge_points)

    @keyword(tags=("queue", "sessions", "cleanup"))
    def remove_registered_sessions(
        self, charge_points: Sequence[str], *, listed: bool = False, alias: str = "queue"
    ) -> None:
        """Removes the sessions of charge points from the registry in Redis, as if they had expired there.

        Args:
            charge_points: their ids.
            listed: whether they stay in the set of the connected ones, which does not expire.

        Raises:
            LacksCapability: the target profile names no key of the registry.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    3
        Boot All    ${ids}
        Remove Registered Sessions    ${ids}
        @{there}    Get Registered Sessions    ${ids}
        Should Be Empty    ${there}
        ```
        """
        self._queues.get(alias).unregister(charge_points, listed=listed)

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
        return self._wait({"": charge_points}, {"": since} if since else {}, timeout, alias)[""]

    @keyword(tags=("queue", "wait", "sessions"))
    def wait_for_groups_of_sessions_to_end(
        self,
        groups: Mapping[str, Sequence[str]],
        *,
        since: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=60),
        alias: str = "queue",
    ) -> dict[str, EndedSessions]:
        """Waits until the registry has no session of several groups of charge points, and times each group.

        As `Wait For Sessions To End`, for charge points that are lost in several ways at once.

        Args:
            groups: the ids of charge points that are gone, by the name of their group.
            since: from when the time counts, by the name of the group; by default from now.
            timeout: the longest wait for all, from now.

        Returns:
            `seconds` and `ghosts` of each group, by its name.

        Raises:
            LacksCapability: the target profile names no key of the registry.

        Example:
        ```robotframework
        VAR    &{groups}    half-open=${some}    black hole=${others}
        VAR    &{since}    half-open=${half open.began}    black hole=${black hole.began}
        &{ended}    Wait For Groups Of Sessions To End    ${groups}    since=${since}    timeout=10 s
        Should Be Empty    ${ended}[black hole].ghosts
        ```
        """
        return self._wait(groups, since or {}, timeout, alias)

    def _wait(
        self, groups: Mapping[str, Sequence[str]], since: Mapping[str, str], timeout: timedelta, alias: str
    ) -> dict[str, EndedSessions]:
        client = self._queues.get(alias)
        began = {name: datetime.fromisoformat(since[name]) if name in since else datetime.now(UTC) for name in groups}
        ended: dict[str, EndedSessions] = {}

        def look() -> bool | None:
            """Note the groups without a session; those that are left keep their latest time."""
            for name, charge_points in groups.items():
                if name not in ended or ended[name].ghosts:
                    left = client.registered(charge_points)
                    ended[name] = EndedSessions((datetime.now(UTC) - began[name]).total_seconds(), left)
            return None if any(each.ghosts for each in ended.values()) else True

        with contextlib.suppress(WaitTimeout):
            wait_until(look, timeout=timeout, failure=lambda: "")
        for name, each in ended.items():
            logger.info(
                f"{f'{name}: ' if name else ''}{counted(len(groups[name]) - len(each.ghosts), 'session')} ended in "
                f"{each.seconds:.2f} s; ghosts: {examples(each.ghosts)}."
            )
        return ended
