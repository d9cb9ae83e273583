"""Comparing measured values with thresholds, and keeping them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from robot.api import logger

from ocpp_resilience.errors import Inconclusive, MissedRequirement, SkippedAsInconclusive, UsageError
from ocpp_resilience.evidence.measure.times import Spread
from ocpp_resilience.evidence.measurements import FILE_NAME, Measurement, MeasurementFile, as_html, failure_text
from ocpp_resilience.evidence.requirements import Requirements, load_with_ours
from ocpp_resilience.evidence.thresholds import LENGTHS_OF_TIME, Judgement, Threshold, in_unit, value_of, with_unit
from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.profile import PROTOCOL
from ocpp_resilience.report import series
from ocpp_resilience.robot.facts import RECORDER, TestIdentity, current_test
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.variables import evidence_folder, robot_variable
from ocpp_resilience.text import counted, examples, with_short_numbers

OF_A_LOAD = {"msg/s", "x", "ms"}
"""Units of values that are valid only if the generator kept to its schedule."""


class Measurements(Component):
    """Keywords for thresholds and measured values."""

    def __init__(self, requirements: Path, measurements: Path | None) -> None:
        self._requirements_file = requirements
        self._measurements_file = measurements

    @cached_property
    def requirements(self) -> Requirements:
        """The given requirements file and the project's requirements, in the text of the OCPP version."""
        return load_with_ours([self._requirements_file]).in_version(robot_variable(PROTOCOL))

    @keyword(tags=("evidence", "assertion"))
    def requirement_should_be_met(
        self,
        requirement: str,
        name: str,
        measured: int | float | timedelta | list[float] | dict[str, float] | Spread,
        *,
        samples: int | None = None,
        method: str | None = None,
        message: str | None = None,
    ) -> None:
        """Compares a measured value with the threshold of a requirement, and fails when it is not met.

        The requirement, its threshold, the measured value and the margin are logged as a table, and the measurement is
        recorded as `Record Measurement` does, whether it is met or not.

        The value is inconclusive, which fails too, when a fault that began in the same test was not proven to have
        taken effect. A value that keeps its threshold is recorded as inconclusive, without a failure, when the load
        generator of the same test was the limit and it is a rate, a ratio or a response time. Events that must never
        happen, such as a lost message, are judged all the same.

        Args:
            requirement: the id, for example `R13.3`.
            name: the name of the threshold, for example `health_response_time`.
            measured: a number in the threshold's unit, or a length of time (`85 ms`, or a `timedelta`). Also many: a
                list of them, or the spread of times that `Measure Answer Time` and loads return (`${load.latency}`). Of
                these the statistic of the threshold is taken: `p95`, `median`, `maximum` and so on.
            samples: how many single measurements the value is made from; their number where many are given.
            method: how it was measured, in words.
            message: text that the failure message begins with.

        Raises:
            MissedRequirement: the threshold is not met; the message shows the limit, the measured value and the
                difference.
            Inconclusive: it decides nothing; the message says which fault is not proven, or that there are too few
                samples for a percentile.
            UsageError: unknown requirement or threshold, or a value that does not fit the threshold's unit.

        Example:

        ```robotframework
        ${health} =    Measure Health Response Time    samples=200
        Requirement Should Be Met    R13.3    health_response_time    ${health}
        ${times} =    Measure Answer Time    samples=50
        Requirement Should Be Met    R13.1    answer_time    ${times}[max] ms    samples=50
        ```
        """
        known = self.requirements.get(requirement)
        threshold = self.requirements.threshold(requirement, name)
        value, number = value_of(measured, threshold)
        samples = number if samples is None else samples
        judgement = threshold.judge(value)
        method = with_short_numbers(method) if method else None
        test = current_test()
        unproven = _unproven(test)
        doubts = unproven or _doubts(judgement) + _too_few(threshold, samples)
        self._keep(
            Measurement.of(
                requirement,
                name,
                judgement.measured,
                judgement.threshold.unit,
                judgement=judgement,
                samples=samples,
                method=method,
                test=test,
                doubt="; ".join(doubts),
            )
        )
        logger.info(as_html(known, name, judgement, samples=samples, method=method), html=True)
        text = "" if judgement.met else failure_text(known, name, judgement, samples=samples, method=method)
        if text and message:
            text = f"{message} {text}"
        if unproven:
            raise Inconclusive(
                f"{requirement} {name} is inconclusive, because not every fault is proven: "
                f"{'; '.join(unproven)}. {text}".rstrip(),
                requirement=requirement,
            )
        if text and doubts:
            raise Inconclusive(
                f"{requirement} {name} is inconclusive: {'; '.join(doubts)}. {text}", requirement=requirement
            )
        if doubts:
            logger.warn(f"{requirement} {name} is inconclusive: {'; '.join(doubts)}.")
        if text:
            raise MissedRequirement(text, requirement=requirement)

    @keyword(tags=("evidence",))
    def skip_as_inconclusive(self, reason: str, *, requirement: str | None = None) -> None:
        """Skips the test as inconclusive.

        Args:
            reason: why, in words.
            requirement: the id that is not decided; earlier measurements of the test's other requirements stand.
                Without one, nothing of the test is decided.

        Raises:
            SkippedAsInconclusive: always.
            UsageError: unknown requirement.

        Example:

        ```robotframework
        IF    $load.duration < 600    Skip As Inconclusive    Too short a run.    requirement=R18.4
        ```
        """
        if requirement is not None:
            self.requirements.get(requirement)
        raise SkippedAsInconclusive(f"Inconclusive: {reason}", requirement=requirement)

    @keyword(tags=("evidence", "getter"))
    def get_examples(self, found: Sequence[object], *, most: int = 3, room: int = 200) -> str:
        """Returns the first few findings and the number of the others, as one line for a failure message.

        Args:
            found: the findings; any objects with a text.
            most: maximum number of findings. A long one is cut, or counted with the others.
            room: maximum number of characters of all findings together.

        Returns:
            For example `CP-1; CP-2; CP-3; and 62 more`, and `none` if nothing was found.

        Example:
        ```robotframework
        ${count} =    Get Length    ${partial}
        ${some} =    Get Examples    ${partial}
        Requirement Should Be Met    R15.7    partial_writes    ${count}    message=Partial: ${some}.
        ```
        """
        return examples(found, most, room)

    @keyword(tags=("evidence", "getter"))
    def requirement_has_threshold(self, requirement: str, name: str) -> bool:
        """Returns whether a requirement has a threshold of this name.

        Args:
            requirement: the id, for example `R17.1`.
            name: the name of the threshold, for example `crashes`.

        Raises:
            UsageError: there is no such requirement.

        Example:
        ```robotframework
        ${counted} =    Requirement Has Threshold    R17.1    crashes
        IF    $counted    Requirement Should Be Met    R17.1    crashes    ${0}
        ```
        """
        return name in self.requirements.get(requirement).thresholds

    @keyword(tags=("evidence", "getter"))
    def get_threshold(self, requirement: str, name: str) -> int | float | timedelta:
        """Returns the limit that a requirement sets.

        Args:
            requirement: the id, for example `R13.3`.
            name: the name of the threshold, for example `shutdown`.

        Returns:
            A `timedelta` for a length of time, so that it can be given as a `timeout`; else a number in the
            threshold's unit.

        Raises:
            UsageError: unknown requirement or threshold; the message lists those that there are.

        Example:

        ```robotframework
        ${limit} =    Get Threshold    R13.3    shutdown
        Stop Server    timeout=${limit}
        ```
        """
        threshold = self.requirements.threshold(requirement, name)
        logger.info(f"{requirement} {name}: {threshold}")
        return threshold.limit

    @keyword(tags=("evidence",))
    def record_measurement(
        self,
        requirement: str,
        name: str,
        value: int | float | timedelta | list[float] | dict[str, float] | Spread,
        *,
        unit: str | None = None,
        samples: int | None = None,
        method: str | None = None,
    ) -> None:
        """Records a measured value for the report, without affecting the verdict of the test.

        The value is written to `measurements.jsonl` at once. When the requirement has a threshold of that name, its
        margin and verdict are kept beside the value.

        Args:
            requirement: the id, for example `R13.5`.
            name: the name of a threshold, or another name for a value that has none.
            value: a number, or a length of time; many of them as in `Requirement Should Be Met`, where there is a
                threshold of that name.
            unit: needed when there is no threshold of that name, for example `ms` or `messages`.
            samples: how many single measurements the value is made from.
            method: how it was measured, in words.

        Raises:
            UsageError: unknown requirement, no unit, another unit than the threshold's, or a value that does not fit.

        Example:

        ```robotframework
        Record Measurement    R13.5    queue_depth_peak    ${peak}    unit=messages    method=sampled every 100 ms
        ```
        """
        known = self.requirements.get(requirement)
        threshold = known.thresholds.get(name)
        if threshold is not None and unit not in {None, threshold.unit}:
            raise UsageError(
                f"The threshold {requirement} {name} is in {threshold.unit}, not in {unit}. Leave the unit out."
            )
        unit = threshold.unit if threshold else unit
        if not unit:
            raise UsageError(
                f"{requirement} has no threshold '{name}', so the unit of the value has to be given, "
                f"for example unit={next(iter(LENGTHS_OF_TIME))}. Thresholds: {', '.join(known.thresholds)}."
            )
        if threshold is not None:
            value, number = value_of(value, threshold)
            samples = number if samples is None else samples
        elif not isinstance(value, int | float | timedelta):
            raise UsageError(
                f"{requirement} has no threshold '{name}' that says which statistic of many values counts."
            )
        in_its_unit = in_unit(value, unit)
        method = with_short_numbers(method) if method else None
        judgement = threshold.judge(in_its_unit) if threshold else None
        test = current_test()
        doubts = (_unproven(test) or _doubts(judgement) + _too_few(judgement.threshold, samples)) if judgement else []
        measurement = Measurement.of(
            requirement,
            name,
            in_its_unit,
            unit,
            judgement=judgement,
            samples=samples,
            method=method,
            test=test,
            doubt="; ".join(doubts),
        )
        self._keep(measurement)
        verdict = f" (required {threshold}: {measurement.verdict})" if threshold else ""
        logger.info(f"{requirement} {name}: {with_unit(in_its_unit, unit)}{verdict}")

    @keyword(tags=("evidence",))
    def record_chart(
        self,
        title: str,
        unit: str,
        lines: dict[str, list[tuple[float, float]]],
        *,
        requirement: str | None = None,
        limit: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Draws values over time in the log and on the page, with the faults of that time shaded.

        Args:
            title: the title of the chart.
            unit: of the values.
            lines: by name, the points: seconds since 1970 and a value, in the order of time.
            requirement: the id of the requirement that it belongs to.
            limit: a threshold to draw.
            seed: the seed of the random choices, shown beside the chart.

        Raises:
            UsageError: unknown requirement.

        Example:

        ```robotframework
        VAR    @{memory}    ${{ (1700000000.0, 51.2) }}    ${{ (1700000001.0, 51.9) }}
        VAR    &{lines}    server=${memory}
        Record Chart    Memory of the server    MB    ${lines}    requirement=R18.4    limit=${100}
        ```
        """
        if requirement is not None:
            self.requirements.get(requirement)
        series.keep(title, unit, lines, requirement=requirement, limit=limit, seed=seed)

    def _keep(self, measurement: Measurement) -> None:
        path = self._measurements_file
        if path is None and (folder := evidence_folder()):
            path = folder / FILE_NAME
        if path is None:
            raise UsageError(
                "There is no output folder outside Robot Framework; give the library a file, measurements=PATH."
            )
        MeasurementFile(path).append(measurement)


def _unproven(test: TestIdentity) -> list[str]:
    """The unproven faults of a test, each with the observation."""
    return [f"{fault}: {fault.proof or 'nothing was seen'}" for fault in JOURNAL.unproven(test.suite, test.test)]


def _doubts(judgement: Judgement) -> list[str]:
    """The reasons why the loads of this test are inconclusive for a value.

    A late generator makes a load smaller and its times longer. So a rate, a ratio or a time within its limit is
    doubtful; a missed limit may be the generator's fault, except for events that must never happen.
    """
    threshold = judgement.threshold
    if judgement.met:
        return RECORDER.doubts if threshold.unit in OF_A_LOAD else []
    never = threshold.comparison == "==" and threshold.value == 0
    return [] if never else RECORDER.doubts


def _too_few(threshold: Threshold, samples: int | None) -> list[str]:
    """That a percentile is made from too few samples, where their number is known."""
    needed = threshold.samples_needed
    if samples is None or samples >= needed:
        return []
    return [f"{counted(samples, 'sample')} for a {threshold.statistic}, which needs at least {needed}"]
