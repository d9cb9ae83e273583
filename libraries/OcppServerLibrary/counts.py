"""Keywords that compare metrics and health with known numbers."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.counts import Counts, Miscounts, counts_of
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.transport.messages import SentMessages
from ocpp_resilience.waiting import wait_until


class CountsKept(Component):
    """Numbers of messages and connections, as the system gives them."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers

    @keyword(tags=("server", "metrics", "getter"))
    def get_counts(self, *, alias: str = "server") -> Counts:
        """Returns the server's counts of processed and waiting messages, for `Find Miscounts`.

        The names of its metrics and the field of its health document are in the target profile (`http.counts`).

        Returns:
            `processed` (messages by action), `invalid` (messages by error code), `connections`, `depth` (messages that
            wait, by the metrics), and by the health document `health_depth`, `reconnects` (how often Redis came back)
            and `since` (since when Redis is there, or away, in seconds since 1970 by the clock of the test); `None` for
            what is not named there.

        Raises:
            LacksCapability: the target publishes no metrics.
            ExpectationFailed: a metric or field that the profile names is not there.

        Example:
        ```robotframework
        ${counts}    Get Counts
        Should Be Equal As Integers    ${counts.connections}    0
        ```
        """
        server = self._servers.get(alias)
        has_health = server.target.http.health is not None
        return counts_of(server.target, server.metrics(), server.health() if has_health else None)

    @keyword(tags=("server", "metrics", "getter"))
    def find_miscounts(
        self,
        mark: Counts,
        *messages: SentMessages,
        connections: int | None = None,
        timeout: timedelta = timedelta(seconds=2),
        alias: str = "server",
    ) -> Miscounts:
        """Returns the numbers in metrics and health that differ from the messages queued since a mark.

        Valid messages count as processed by their action, invalid ones as set aside by their error code, and none waits
        any more. The time in the health document is that of the test.

        Args:
            mark: what `Get Counts` returned before the messages were queued. Nobody else may have sent any since.
            messages: what sending keywords returned.
            connections: how many charge points are connected, if that is to be compared.
            timeout: how long the numbers may take to be right.

        Returns:
            `messages` (how many were counted) and `problems` (each number that differs, with both values).

        Raises:
            LacksCapability: the target publishes no metrics.

        Example:
        ```robotframework
        ${before}    Get Counts
        ${sent}    Queue Generated Messages    100
        All Messages Should Be Answered    ${sent}
        ${wrong}    Find Miscounts    ${before}    ${sent}
        Should Be Empty    ${wrong.problems}
        ```
        """
        sent = [message for group in messages for message in group]
        processed = Counter(message.action or "" for message in sent if message.valid is True)
        invalid = Counter(message.expected_code or "" for message in sent if message.valid is False)
        target = self._servers.get(alias).target
        doubtful = sum(1 for message in sent if message.open)

        def problems(now: Counts) -> list[str]:
            found = [*now.processed_since(mark, processed, doubtful), *now.depths(0)]
            found += now.clock_problems(target.behaviour.clock_tolerance)
            if target.strict:
                found += now.invalid_since(mark, invalid, doubtful)
            if connections is not None and now.connections not in {None, connections}:
                found.append(f"{now.connections:g} connections by the metrics, expected {connections}")
            return found

        wrong = Miscounts(len(sent), self._settled(problems, timeout, alias))
        logger.info("\n".join(wrong.problems) or f"The numbers of {len(sent)} messages are right.")
        return wrong

    @keyword(tags=("server", "metrics", "wait"))
    def find_wrong_depths(
        self, expected: int, *, timeout: timedelta = timedelta(seconds=2), alias: str = "server"
    ) -> list[str]:
        """Returns the queue depths in metrics and health that are not as expected.

        Args:
            expected: how many messages wait on the request queue.
            timeout: how long the depths may take to be right.

        Raises:
            LacksCapability: the target publishes no metrics.

        Example:
        ```robotframework
        @{wrong}    Find Wrong Depths    0
        Should Be Empty    ${wrong}
        ```
        """
        return self._settled(lambda now: now.depths(expected), timeout, alias)

    def _settled(self, problems: Callable[[Counts], list[str]], timeout: timedelta, alias: str) -> list[str]:
        found: list[str] = []

        def look() -> bool | None:
            found[:] = problems(self.get_counts(alias=alias))
            return None if found else True

        with contextlib.suppress(WaitTimeout):
            wait_until(look, timeout=timeout, failure=lambda: "")
        return found
