"""Keywords that ask for a server's health while the test does something else."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import ResilienceError, ServiceError
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.server import Health, OcppServer
from ocpp_resilience.waiting import in_words, seconds

EVERY_SECONDS = 0.05
"""The time between two questions."""


class Watch:
    """Asks a server for its health again and again, in a thread of its own, until it is stopped or the server ends.

    Attributes:
        seen: the status in each answer; `None` for a missing or unreadable one.
        broken: why the asking broke off before it was to end; empty if it did not.
    """

    def __init__(self, server: OcppServer) -> None:
        self.server = server
        self.seen: list[str | None] = []
        self.broken = ""
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        """Begin now."""
        self._began = time.monotonic()
        self._thread.start()

    def end(self, at_least: float = 0.0) -> float:
        """Stop when it has watched for `at_least` seconds, or the server has ended; returns for how long it did."""
        self._thread.join(max(0.0, self._began + at_least - time.monotonic()))
        self._stop.set()
        self._thread.join(60)
        return time.monotonic() - self._began

    def close(self) -> None:
        """Stop at once."""
        self.end()

    def _run(self) -> None:
        while self.server.process.alive:
            try:
                self.seen.append(self.server.health_status())
            except ResilienceError:
                self.seen.append(None)
            except Exception as error:  # noqa: BLE001 - a share of half of the answers must not pass for one of all
                self.broken = f"{type(error).__name__}: {error}"
                return
            if self._stop.wait(EVERY_SECONDS):
                break


class HealthWatch(Component):
    """Health beside the test."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers
        self._watches: Registry[Watch] = Registry(
            "watch of the health", starter="Start Watching Health", close=Watch.close
        )

    @keyword(tags=("server", "health", "measurement"))
    def start_watching_health(self, *, alias: str = "server") -> None:
        """Asks for the server's health from now on, about twenty times a second, while other keywords go on.

        `Get Watched Health Share` ends that; so do the end of the server and that of the suite.

        Args:
            alias: which server. One that was watched already is watched anew.

        Raises:
            UsageError: there is none.

        Example:
        ```robotframework
        Stop Redis
        Start Watching Health
        ${share}    Get Watched Health Share    degraded    at_least=5 s
        ```
        """
        server = self._servers.get(alias)
        if self._watches.find(alias) is not None:
            self._watches.remove(alias, self.cleanup)
        watch = Watch(server)
        self._watches.add(alias, watch, self.cleanup)
        watch.start()

    @keyword(tags=("server", "health", "measurement", "wait"))
    def get_watched_health_share(
        self, expected: Health, *, at_least: timedelta = timedelta(0), alias: str = "server"
    ) -> float:
        """Ends `Start Watching Health`, and returns in which share of the answers the health was as expected.

        No answer, or another one, counts as not expected.

        Args:
            expected: `healthy` or `degraded`.
            at_least: the shortest time of the watch; the keyword waits for the rest of it.
            alias: which server.

        Returns:
            A share in percent.

        Raises:
            UsageError: it is not watched.
            ServiceError: the server exited; the end of its output is shown. Or the asking broke off.

        Example:
        ```robotframework
        Start Watching Health
        ${share}    Get Watched Health Share    healthy    at_least=2 s
        Should Be Equal    ${share}    ${100}
        ```
        """
        watch = self._watches.get(alias)
        length = watch.end(seconds(at_least))
        self._watches.remove(alias, self.cleanup)
        if not watch.server.process.alive:
            raise ServiceError(watch.server.exited())
        if watch.broken or not watch.seen:
            raise ServiceError(f"{watch.server.name} was not watched to the end: {watch.broken or 'no answer yet'}.")
        said = sum(each == expected.value for each in watch.seen)
        logger.info(
            f"{watch.server.name}: {said} of {len(watch.seen)} answers in {in_words(length)} say {expected.value}."
        )
        return 100 * said / len(watch.seen)
