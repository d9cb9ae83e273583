"""Keywords that ask the server's HTTP API."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed, ServiceError, UsageError, WaitTimeout
from ocpp_resilience.evidence.measure.times import ResponseTimes, response_times
from ocpp_resilience.http_client import shorten
from ocpp_resilience.ports import free_port
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.server import Health, OcppServer
from ocpp_resilience.text import counted
from ocpp_resilience.waiting import wait_until

NOT_FOUND = 404


class Endpoints(Component):
    """Health, metrics, inspection."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers

    @keyword(tags=("server", "getter"))
    def get_free_port(self) -> int:
        """Returns a free port of 127.0.0.1, for a server that listens on the same port after a restart.

        Raises:
            ServiceError: there is none.

        Example:
        ```robotframework
        ${port}    Get Free Port
        Start Server    ${redis}    WS_PORT=${port}
        Kill Server
        Start Server    ${redis}    WS_PORT=${port}
        ```
        """
        return free_port()

    @keyword(tags=("server", "health", "getter"))
    def get_health(self, *, alias: str = "server") -> dict[str, Any]:
        """Returns the health document of the server.

        Returns:
            The document as the server gives it, in the reference server's case with `status`, `redis` and `queue`.

        Raises:
            ExpectationFailed: the answer is not a 200 with a JSON object.
            ServiceError: there was no answer.

        Example:
        ```robotframework
        ${health}    Get Health
        Log    ${health}[redis][reconnects] reconnects
        ```
        """
        return self._servers.get(alias).health()

    @keyword(tags=("server", "health", "check"))
    def health_should_be(self, expected: Health, *, alias: str = "server") -> None:
        """Fails unless the server's health check has the expected result now.

        Args:
            expected: `healthy` or `degraded`.

        Raises:
            ExpectationFailed: it has another health.

        Example:
        ```robotframework
        Health Should Be    healthy
        ```
        """
        server = self._servers.get(alias)
        seen = server.health_status()
        if seen != expected.value:
            raise ExpectationFailed(
                f"The health of {server.name} is {server.explained(seen)}; expected {expected.value}."
            )

    @keyword(tags=("server", "health", "check"))
    def wait_until_health_is(
        self, expected: Health, *, alias: str = "server", timeout: timedelta = timedelta(seconds=5)
    ) -> float:
        """Waits until the server's health check has the expected result, and returns how long that took, in seconds.

        Args:
            expected: `healthy` or `degraded`.

        Raises:
            WaitTimeout: it said something else until the end.
            ServiceError: it exited; the end of its output is shown.

        Example:
        ```robotframework
        Stop Redis
        Wait Until Health Is    degraded
        Start Redis
        ${seconds}    Wait Until Health Is    healthy    timeout=30s
        ```
        """
        return self._servers.get(alias).wait_for_health(expected, timeout)

    @keyword(tags=("server", "health", "wait"))
    def let_outage_be_noticed(self, *, timeout: timedelta = timedelta(seconds=3), alias: str = "server") -> bool:
        """Waits until the server reports that it is degraded without Redis, or the time is up.

        What it says of itself is not judged here, so that a server that always calls itself healthy is tested like
        others. That Redis is away is proven by the fault itself.

        Returns:
            Whether it said that it is degraded.

        Raises:
            ExpectationFailed: it exited; the end of its output is shown.

        Example:
        ```robotframework
        Kill Redis
        Let Outage Be Noticed
        Start Redis
        ```
        """
        server = self._servers.get(alias)
        told = server.target.http.health is not None

        def noticed() -> bool | None:
            if not server.process.alive:
                raise ExpectationFailed(server.exited())
            if not told:
                return None
            try:
                return True if server.health_status() == Health.DEGRADED.value else None
            except (ExpectationFailed, ServiceError):
                return None

        try:
            return wait_until(noticed, timeout=timeout, failure=str)
        except WaitTimeout:
            return False

    @keyword(tags=("server", "getter"))
    def find_unknown_resources(self, *, alias: str = "server") -> list[str]:
        """Requests a charge point, a connector and a transaction that do not exist, and returns all answers other than
        404.

        Returns:
            A sentence for each path of the profile (`http.resources`, else those in `state`) with another answer.

        Raises:
            LacksCapability: the profile has no such path.
            ServiceError: there was no answer.

        Example:
        ```robotframework
        @{found}    Find Unknown Resources
        Should Be Empty    ${found}
        ```
        """
        server = self._servers.get(alias)
        ids: dict[str, str | int] = {
            "charge_point_id": f"NOBODY-{secrets.token_hex(4)}",
            "connector_id": 1,
            "transaction_id": 2_000_000_000 + secrets.randbelow(100_000_000),
        }
        found = []
        for path in server.target.resource_paths(ids):
            reply = server.get(path)
            if reply.status != NOT_FOUND:
                found.append(f"GET {path} is answered {reply.status} {shorten(reply.body)}".rstrip())
        logger.info("\n".join(found) or "All are answered 404.")
        return found

    @keyword(tags=("server", "health"))
    def wait_until_server_is_healthy(
        self, *, alias: str = "server", timeout: timedelta = timedelta(seconds=30)
    ) -> float:
        """Waits until the server is healthy, and returns the seconds that this took.

        A server is ready when it reports that it is healthy. If its profile has no `http.health`, its ready check
        decides, and without one it is ready at once.

        Raises:
            WaitTimeout: it did not become so.
            ServiceError: it exited; the end of its output is shown.

        Example:
        ```robotframework
        Ensure Server Is Running
        Wait Until Server Is Healthy
        ```
        """
        return self._servers.get(alias).wait_until_well(timeout)

    @keyword(tags=("server", "health", "measurement"))
    def measure_health_response_time(self, samples: int = 50, *, alias: str = "server") -> ResponseTimes:
        """Polls the server's health repeatedly, and returns how long the answers took.

        Each request has a connection of its own; the time is counted from connecting until the whole answer is there.

        Args:
            samples: how many times.

        Returns:
            A dictionary with `samples`, and `min`, `median`, `p90`, `p95`, `p99` and `max` in milliseconds.

        Example:
        ```robotframework
        ${times}    Measure Health Response Time    samples=100
        Should Be True    ${times}[max] < 100
        ```
        """
        if samples < 1:
            raise UsageError(f"samples is {samples}, at least 1 is required.")
        server = self._servers.get(alias)
        times = response_times([server.time_health() for _ in range(samples)])
        logger.info(
            f"{samples} health answers of {server.name}: median {times['median']:.1f} ms, "
            f"95 % within {times['p95']:.1f} ms, slowest {times['max']:.1f} ms."
        )
        return times

    @keyword(tags=("server", "metrics", "getter"))
    def get_metrics(self, *, alias: str = "server") -> dict[str, float]:
        """Returns all metrics of the server.

        Returns:
            Name to value; a name has its labels in alphabetical order: `messages_total{action="Heartbeat"}`.

        Raises:
            ExpectationFailed: the answer is not a 200 in Prometheus' text format.

        Example:
        ```robotframework
        ${metrics}    Get Metrics
        Log Many    &{metrics}
        ```
        """
        return {sample.key: sample.value for sample in self._servers.get(alias).metrics()}

    @keyword(tags=("server", "metrics", "getter"))
    def get_metric(self, name: str, *, alias: str = "server", default: float | None = None, **labels: str) -> float:
        """Returns the value of one metric.

        Args:
            name: the name.
            default: the value of a metric that is not there; without it that is a failure. A counter with labels often
                appears only when it is first counted.
            labels: labels that it must have. Where several fit, the sum of them is returned.

        Raises:
            ExpectationFailed: the server has no such metric, and there is no default.

        Example:
        ```robotframework
        ${invalid}    Get Metric    ocpp_messages_invalid_total    default=0
        ${unknown}    Get Metric    ocpp_messages_invalid_total    code=NotImplemented    default=0
        ```
        """
        server = self._servers.get(alias)
        samples = server.metrics()
        values = [
            sample.value
            for sample in samples
            if sample.name == name and all(sample.labels.get(label) == value for label, value in labels.items())
        ]
        if values:
            return sum(values)
        if default is not None:
            return default
        wanted = f"{name} with {', '.join(f'{label}={value}' for label, value in labels.items())}" if labels else name
        names = ", ".join(sorted({sample.name for sample in samples})) or "none at all"
        raise ExpectationFailed(f"{server.name} has no metric {wanted}. It has: {names}.")

    @keyword(tags=("server", "inspection", "getter"))
    def get_processor_inspection(self, *, alias: str = "server") -> dict[str, Any]:
        """Returns the status of the server's processor.

        Returns:
            For the reference server: `consumer`, `owner`, `in_flight`, `processed`, `invalid` (code to count),
            `last_error` and `reconnects`; with a sharded queue also `shards` (`count`, `owned`, `router`).

        Example:
        ```robotframework
        ${processor}    Get Processor Inspection
        Should Be Equal As Integers    ${processor}[in_flight]    0
        ```
        """
        return self._servers.get(alias).inspection()

    @keyword(tags=("server", "inspection"))
    def wait_until_server_owns_shards(
        self, count: int, *, alias: str = "server", timeout: timedelta = timedelta(seconds=10)
    ) -> list[int]:
        """Waits until the server's processor owns exactly this many shards of the queue.

        Args:
            count: how many.

        Returns:
            The numbers of the shards.

        Raises:
            WaitTimeout: it owned another number until the end.
            ExpectationFailed: it does not speak of shards; the setting that shares the queue may be missing.

        Example:
        ```robotframework
        Start Server    ${redis}    alias=first    QUEUE_SHARDS=8
        Start Server    ${redis}    alias=second    QUEUE_SHARDS=8
        ${shards}    Wait Until Server Owns Shards    4    alias=second
        ```
        """
        server = self._servers.get(alias)
        seen: list[int] = []

        def look() -> list[int] | None:
            shards = server.inspection().get("shards")
            if not isinstance(shards, dict) or not isinstance(shards.get("owned"), list):
                raise ExpectationFailed(f"The inspection of {server.name} names no shards. Was it started with them?")
            seen[:] = shards["owned"]
            return list(seen) if len(seen) == count else None

        return wait_until(
            look,
            timeout=timeout,
            failure=lambda: (
                f"{server.name} owned {counted(len(seen), 'shard')} instead of {count}: "
                f"{', '.join(map(str, seen)) or 'none'}"
            ),
        )
