"""Keywords that drive the correlation manager of the reference server alone, in a separate process."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger

from ocpp_resilience.correlation import direct
from ocpp_resilience.correlation.direct import MemoryMeasurement, MemoryReport, WorkersReport
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.waiting import seconds


class Direct(Component):
    """The manager alone."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int, str], MemoryMeasurement] = {}

    @keyword(tags=("correlation", "measurement"))
    def start_measuring_correlation_memory(self, *pending: int, end: str = "mixed") -> None:
        """Starts the measurement of `Measure Correlation Memory` for each of these numbers, and does not wait.

        `Measure Correlation Memory` with the same arguments waits for the result.

        Args:
            pending: how many pending requests.
            end: how they end, as in `Measure Correlation Memory`.

        Raises:
            UsageError: a value cannot be used.

        Example:
        ```robotframework
        Start Measuring Correlation Memory    1000    100000
        ${memory}    Measure Correlation Memory    100000
        ```
        """
        for count in pending:
            if (count, end) not in self._begun:
                measurement = self._begun[count, end] = direct.start_measuring_memory(count, end=end)
                self.cleanup.add("a measurement of memory", measurement.close)

    @keyword(tags=("correlation", "measurement"))
    def measure_correlation_memory(
        self, pending: int, *, end: str = "mixed", timeout: timedelta = timedelta(seconds=60)
    ) -> MemoryReport:
        """Measures the memory of pending requests in the reference server's correlation manager, and what they leave.

        The manager runs in a separate process. Memory is that of Python's objects; the process returns free memory to
        the system in large pieces only.

        Args:
            pending: how many.
            end: how they end: `resolve`, `fail`, `cancel`, `expire`, or `mixed` for each a quarter.
            timeout: the longest that it may take.

        Returns:
            A report with `pending`, `bytes_each`, `kilobytes_each`, `percent_left` (growth afterwards, in percent of
            the process), `left_over`, `ended` and `seconds`.

        Raises:
            UsageError: a value cannot be used.
            ServiceError: the process failed or took too long.

        Example:
        ```robotframework
        ${memory}    Measure Correlation Memory    1000
        Should Be True    ${memory.kilobytes_each} < 5
        ```
        """
        begun = self._begun.pop((pending, end), None)
        if begun is None:
            report = direct.measure_memory(pending, end=end, timeout=timeout)
        else:
            self.cleanup.discard(begun.close)
            report = begun.report(seconds(timeout))
        logger.info(
            f"{report.pending} pending requests: {report.bytes_each:.0f} bytes each, {report.percent_left:.1f} % left "
            f"afterwards, {report.left_over} requests left over, {report.seconds:.2f} seconds; {report.ended}"
        )
        return report

    @keyword(tags=("correlation", "measurement"))
    def run_correlation_workers(
        self,
        workers: int = 50,
        operations: int = 1000,
        *,
        seed: int | None = None,
        timeout: timedelta = timedelta(seconds=60),
    ) -> WorkersReport:
        """Runs many concurrent workers on the reference server's correlation manager: register, answer, refuse, cancel,
        expire.

        Each request is ended by another task than the one that waits for it, in another order; a fifth of them are
        answered at about the instant at which they expire. The manager runs in a separate process.

        Args:
            workers: how many.
            operations: how many requests each of them registers.
            seed: makes the same operations again.
            timeout: the longest that it may take.

        Returns:
            A report with `workers`, `operations`, `lost`, `mixed_up`, `left_over`, `miscounted`, `outcomes`, `totals`,
            `seconds`, `examples` (of the lost ones) and `summary`.

        Raises:
            UsageError: a value cannot be used.
            ServiceError: the process failed or took too long.

        Example:
        ```robotframework
        ${report}    Run Correlation Workers    50    1000
        Should Be Equal As Integers    ${report.lost}    0
        ```
        """
        report = direct.run_workers(workers, operations, seed=seed, timeout=timeout)
        logger.info(f"{report.summary}; {report.outcomes}, {report.seconds:.2f} seconds.")
        return report
