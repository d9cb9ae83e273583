"""Keywords that measure what the server uses."""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from robot.api import logger
from robot.api.deco import keyword

from resilience.errors import UsageError
from resilience.library import Component
from resilience.ocpp_server import OcppServer
from resilience.registry import Registry
from resilience.waiting import in_words


class MemoryUse(TypedDict):
    """Memory of a server."""

    bytes: int
    mib: float
    processes: int


class Usage(Component):
    """Memory and processor time."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers

    @keyword(tags=("server", "measurement"))
    def get_server_memory(self, *, alias: str = "server") -> MemoryUse:
        """Returns the memory that the server holds: the resident set size of its process and of those under it.

        Args:
            alias: which server.

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
            before: what `Get Server Memory` returned earlier, after a warm-up.
            alias: which server.

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

    @keyword(name="Measure Server CPU", tags=("server", "measurement"))
    def measure_server_cpu(self, duration: timedelta = timedelta(seconds=5), *, alias: str = "server") -> float:
        """Watches the server for a while and returns the processor time that it used, in percent of one core.

        The operating system counts in steps of some 10 ms: watch long enough for the precision that you need.

        Args:
            duration: how long.
            alias: which server.

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
