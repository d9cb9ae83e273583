"""Keywords that measure the server's resource use."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from typing import NamedTuple, TypedDict

from robot.api import logger

from ocpp_resilience.errors import ServiceError, UsageError, WaitTimeout
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.waiting import in_words, seconds, wait_until


class MemoryUse(TypedDict):
    """Memory of a server."""

    bytes: int
    mib: float
    processes: int


class _Watch(NamedTuple):
    """Processor time when a watch began."""

    pid: int
    cpu: float
    began: float


class Usage(Component):
    """Memory and processor time."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers
        self._watched: dict[str, _Watch] = {}

    @keyword(tags=("server", "measurement"))
    def get_server_memory(self, *, alias: str = "server") -> MemoryUse:
        """Returns the memory that the server holds: the resident set size of its process and of those under it.

        Returns:
            A dictionary with `bytes`, the same in `mib`, and the number of `processes`.

        Raises:
            ServiceError: it does not run.

        Example:
        ```robotframework
        ${before}    Get Server Memory
        ${after}    Get Server Memory
        Should Be True    ${after}[bytes] < 1.1 * ${before}[bytes]
        ```
        """
        server = self._servers.get(alias)
        memory = server.measured.memory()
        logger.info(f"{server.name} holds {memory.mib:.1f} MiB.")
        return MemoryUse(bytes=memory.resident_bytes, mib=memory.mib, processes=memory.processes)

    @keyword(tags=("server", "measurement"))
    def get_memory_growth(self, before: MemoryUse, *, alias: str = "server") -> float:
        """Returns by how much the server's memory has grown, in percent; negative if it has shrunk.

        Args:
            before: the result of `Get Server Memory`, after a warm-up.

        Raises:
            ServiceError: it does not run.

        Example:
        ```robotframework
        ${before}    Get Server Memory
        ${growth}    Get Memory Growth    ${before}
        Should Be True    ${growth} < 10
        ```
        """
        after = self.get_server_memory(alias=alias)
        return 100 * (int(after["bytes"]) / int(before["bytes"]) - 1)

    @keyword(tags=("server", "measurement"))
    def get_server_descriptors(
        self, *, at_most: int | None = None, timeout: timedelta = timedelta(seconds=10), alias: str = "server"
    ) -> int:
        """Returns how many file descriptors the server has open: sockets, files and pipes.

        Args:
            at_most: waits until there are no more than that, since closed connections take a moment.
            timeout: the longest wait; the records found by then are returned.

        Raises:
            ServiceError: it does not run.

        Example:
        ```robotframework
        ${before}    Get Server Descriptors
        ${after}    Get Server Descriptors    at_most=${before}
        Should Be Equal    ${after}    ${before}
        ```
        """
        server = self._servers.get(alias)
        seen = server.measured.descriptors()
        if at_most is not None:

            def look() -> int | None:
                nonlocal seen
                seen = server.measured.descriptors()
                return seen if seen <= at_most else None

            with contextlib.suppress(WaitTimeout):
                wait_until(look, timeout=timeout, failure=lambda: "")
        logger.info(f"{server.name} has {seen} file descriptors open.")
        return seen

    @keyword(tags=("server", "fault"))
    def limit_server_descriptors(self, count: int, *, alias: str = "server") -> None:
        """Limits the file descriptors of the server (sockets, files, pipes) until its next start.

        Args:
            count: how many.

        Raises:
            NotPossibleHere: the system cannot limit another process, or it is not ours; the test is skipped.

        Example:
        ```robotframework
        Limit Server Descriptors    256
        @{connected}    Connect Charge Points    300    refusable=True
        ```
        """
        self._servers.get(alias).measured.limit_descriptors(count)

    @keyword(name="Measure Server CPU", tags=("server", "measurement"))
    def measure_server_cpu(self, duration: timedelta = timedelta(seconds=5), *, alias: str = "server") -> float:
        """Measures the server's processor time for a while, in percent of one core.

        The operating system counts in steps of some 10 ms: watch long enough for the precision that you need.

        Args:
            duration: how long.

        Raises:
            ServiceError: it does not run, or exited meanwhile.

        Example:
        ```robotframework
        ${percent}    Measure Server CPU    10s
        Should Be True    ${percent} < 2
        ```
        """
        if duration <= timedelta(0):
            raise UsageError(f"duration is {in_words(duration)}, it has to be above 0.")
        server = self._servers.get(alias)
        percent = server.measured.cpu_share(duration) * 100
        logger.info(f"{server.name} used {percent:.2f} % of a core over {in_words(duration)}.")
        return percent

    @keyword(name="Start Watching Server CPU", tags=("server", "measurement"))
    def start_watching_server_cpu(self, *, alias: str = "server") -> None:
        """Starts measuring processor time; `Get Watched Server CPU` returns the use since then.

        Nothing runs in the background, so other keywords can be used meanwhile.

        Args:
            alias: which server. One that was watched already is watched anew.

        Raises:
            ServiceError: it does not run.

        Example:
        ```robotframework
        Start Watching Server CPU    alias=quiet
        ```
        """
        process = self._servers.get(alias).measured
        self._watched[alias] = _Watch(process.pid, process.cpu_seconds(), time.monotonic())

    @keyword(name="Get Watched Server CPU", tags=("server", "measurement", "wait"))
    def get_watched_server_cpu(self, *, at_least: timedelta = timedelta(0), alias: str = "server") -> float:
        """Returns the processor time used since `Start Watching Server CPU`, in percent of one core.

        Args:
            at_least: the shortest time of the watch; the keyword waits for the rest of it.

        Raises:
            UsageError: it is not watched.
            ServiceError: it exited meanwhile, or was started again.

        Example:
        ```robotframework
        Start Watching Server CPU
        ${percent}    Get Watched Server CPU    at_least=10 s
        Should Be True    ${percent} < 2
        ```
        """
        server = self._servers.get(alias)
        watch = self._watched.get(alias)
        if watch is None:
            raise UsageError(f"{server.name} is not watched; call `Start Watching Server CPU` first.")
        left = watch.began + seconds(at_least) - time.monotonic()
        if left > 0:
            server.measured.cpu_share(left)
        used, length = server.measured.cpu_seconds() - watch.cpu, time.monotonic() - watch.began
        if server.measured.pid != watch.pid:
            raise ServiceError(f"{server.name} was started again while it was watched.")
        percent = 100 * max(0.0, used) / length
        logger.info(f"{server.name} used {percent:.2f} % of a core over {in_words(length)}.")
        return percent
