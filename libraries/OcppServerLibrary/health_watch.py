"""Keywords that ask for a server's health while the test does something else."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from robot.api import logger

from ocpp_resilience.errors import Inconclusive, ResilienceError, ServiceError, UsageError
from ocpp_resilience.evidence.measure.contention import Contention, too_busy
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.server import Health, OcppServer
from ocpp_resilience.waiting import in_words, seconds

EVERY_SECONDS = 0.05
"""The time between two questions."""
NOT_READY = 503
"""How a ready check is answered by a server that is not ready for work."""


class Fault(Protocol):
    """The times at which the end of a fault began and was over, RFC 3339."""

    ending: str | None
    ended: str | None


@dataclass(frozen=True, slots=True)
class HealthSeen:
    """One answer, or two where the server has a ready check too.

    Attributes:
        asked, answered: when, in seconds since 1970.
        status: what the health document said; `None` for no answer, or one that could not be read.
        ready: the HTTP status of the ready check; `None` without one.
    """

    asked: float
    answered: float
    status: str | None
    ready: int | None


class Watch:
    """Asks a server for its health again and again, in a separate thread, until it is stopped or the server ends.

    Attributes:
        seen: what was answered.
        since: when it began, in seconds since 1970.
        broken: why the asking broke off before it was to end; empty if it did not.
    """

    def __init__(self, server: OcppServer) -> None:
        self.server = server
        self.seen: list[HealthSeen] = []
        self.broken = ""
        self._began = time.monotonic()
        self.since = time.time()
        self._stop = threading.Event()
        self._contention = Contention(server.url if server.has_http else None)
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        """Begin now."""
        self._began, self.since = time.monotonic(), time.time()
        self._thread.start()

    def end(self, at_least: float = 0.0) -> float:
        """Stop when it has watched for `at_least` seconds, or the server has ended; returns for how long it did."""
        self._thread.join(max(0.0, self._began + at_least - time.monotonic()))
        self._stop.set()
        self._thread.join(60)
        return time.monotonic() - self._began

    def machine_was_busy(self) -> str:
        """A clause that other programs made the server and the asking slow; empty if they did not."""
        return too_busy(self._contention.cores())

    def close(self) -> None:
        """Stop immediately."""
        self.end()

    def _run(self) -> None:
        while self.server.process.alive:
            try:
                self.seen.append(self._look())
            except Exception as error:  # noqa: BLE001 - a share of half of the answers must not pass for one of all
                self.broken = f"{type(error).__name__}: {error}"
                return
            if self._stop.wait(EVERY_SECONDS):
                break

    def _look(self) -> HealthSeen:
        asked = time.time()
        status, ready = None, None
        path = self.server.target.http.ready
        try:
            status = self.server.health_status()
            ready = None if path is None else self.server.get(path).status
        except ResilienceError:
            status = None
        return HealthSeen(asked, time.time(), status, ready)


class HealthWatch(Component):
    """Health beside the test."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers
        self._watches: Registry[Watch] = Registry(
            "watch of the health", starter="Start Watching Health", close=Watch.close
        )

    @keyword(tags=("server", "health", "measurement"))
    def start_watching_health(self, *, alias: str = "server") -> None:
        """Starts polling the server's health in the background, about twenty times a second.

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
        """Ends `Start Watching Health`, and returns the share of answers with the expected health.

        No answer, or another one, counts as not expected.

        Args:
            expected: `healthy` or `degraded`.
            at_least: the shortest time of the watch; the keyword waits for the rest of it.

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
            raise ServiceError(
                f"{watch.server.name} could not be watched until the end: {watch.broken or 'no answer yet'}."
            )
        said = sum(each.status == expected.value for each in watch.seen)
        logger.info(
            f"{watch.server.name}: {said} of {len(watch.seen)} answers in {in_words(length)} say {expected.value}."
        )
        return 100 * said / len(watch.seen)

    @keyword(tags=("server", "health", "measurement"))
    def find_wrong_health_during_fault(
        self, fault: Fault, *, notice: timedelta = timedelta(milliseconds=700), alias: str = "server"
    ) -> list[str]:
        """Ends `Start Watching Health`, and returns the answers during a fault that did not report a degraded server.

        Health has to say degraded, and the ready check, where there is one, has to be answered 503, for as long as it
        was watched and the fault had not begun to end.

        Args:
            fault: what a keyword of FaultLibrary returned; it was there when watching began, and has ended.
            notice: how long, from the beginning of watching, the server may take to notice it.

        Returns:
            A sentence for each wrong answer; if there was no answer at all in that time, one that says so, or that the
            server exited.

        Raises:
            UsageError: it is not watched, or the fault has not ended.
            Inconclusive: there was no answer at all, while other programs used the processors of the machine.

        Example:
        ```robotframework
        Start Fault Schedule    at 0 s    read-only for 2 s
        Wait For Next Fault
        Start Watching Health
        @{faults}    Fault Schedule Should End
        @{wrong}    Find Wrong Health During Fault    ${faults}[0]
        Should Be Empty    ${wrong}
        ```
        """
        end = fault.ending or fault.ended
        if end is None:
            raise UsageError(f"{fault} has not ended, so the health check during it is incomplete.")
        watch = self._watches.get(alias)
        watch.end()
        self._watches.remove(alias, self.cleanup)
        began = watch.since
        first, last = began + seconds(notice), datetime.fromisoformat(end).timestamp()
        during = [each for each in watch.seen if first <= each.asked and each.answered <= last]
        if not during:
            silence = f"no answer of {watch.server.name} from {in_words(notice)} on until the fault ended"
            if exited := watch.server.ended_by_itself(silence):
                return [exited.partition("\n")[0]]
            if busy := watch.machine_was_busy():
                raise Inconclusive(f"Inconclusive: {silence}, and {busy}.")
            return [silence]
        wrong = []
        for each in during:
            when = f"{each.asked - began:.1f} s after the fault was there"
            if each.status != Health.DEGRADED.value:
                wrong.append(f"{when} health was {each.status or 'not told'}")
            elif each.ready not in {None, NOT_READY}:
                wrong.append(f"{when} the ready check was answered {each.ready}, expected {NOT_READY}")
        logger.info(f"{watch.server.name}: {len(during) - len(wrong)} of {len(during)} answers say degraded.")
        return wrong
