"""Thresholds: a limit, the compared value, and the result of the comparison."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeAlias

import msgspec

from ocpp_resilience.errors import UsageError
from ocpp_resilience.evidence.measure.times import percentile
from ocpp_resilience.text import counted, did_you_mean

Comparison = Literal["<", "<=", "==", ">=", ">"]
STATISTICS = ("maximum", "minimum", "median", "mean", "count", "share", "rate", "growth", "ratio", "single")
"""What can be compared when there are many samples; percentiles, such as p95 and p99.9, come on top."""

_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")

LENGTHS_OF_TIME = {"ms": 0.001, "s": 1.0, "min": 60.0}
"""Units of time, each with its length in seconds."""

UNITS = frozenset({*LENGTHS_OF_TIME, "KB", "MB", "MiB", "%", "msg/s", "x", "HTTP status"})
"""Units that need no listing under `counted`."""

RATES = ("/s", "/min", "/h")
"""Each thing that is counted also has these rates as its units: `messages/s`."""

Measured: TypeAlias = Any
"""A number, a length of time, a list of them, or a spread of times."""


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limit of a measured value.

    Attributes:
        comparison: how the measured value has to stand to `value`.
        value: the limit, in `unit`.
        unit: the unit of the limit and of what is compared with it.
        statistic: what is compared when there are many samples: one of `STATISTICS`, or a percentile such as `p99.9`.
        measures: what was measured, in words.
    """

    comparison: Comparison
    value: int | float
    unit: str
    statistic: str
    measures: str

    @property
    def limit(self) -> int | float | timedelta:
        """The limit as keywords pass it on: a `timedelta` for a length of time, else the number."""
        if self.unit in LENGTHS_OF_TIME:
            return timedelta(seconds=self.value * LENGTHS_OF_TIME[self.unit])
        return self.value

    @property
    def samples_needed(self) -> int:
        """How many samples a percentile needs: with fewer, it is the maximum under another name; 0 for the others."""
        percent = percent_of(self.statistic)
        return 0 if percent is None else math.ceil(round(100 / (100 - percent), 6))

    def in_unit(self, measured: float | timedelta) -> float:
        """The measured value as a number in this threshold's unit.

        Raises:
            UsageError: a length of time for a unit that is none, or not a finite number.
        """
        return in_unit(measured, self.unit)

    def judge(self, measured: float | timedelta) -> Judgement:
        """Compare a measured value, a number in this threshold's unit or a length of time, with the limit."""
        return Judgement(self, self.in_unit(measured))

    def __str__(self) -> str:
        return f"{self.comparison} {with_unit(self.value, self.unit)}"


def percent_of(statistic: str) -> float | None:
    """The 99.9 of `p99.9`; `None` for a statistic that is no percentile."""
    found = _PERCENTILE.fullmatch(statistic)
    return float(found[1]) if found and 0 < float(found[1]) < 100 else None


def statistic_problem(statistic: str) -> str | None:
    """The error in the name of a statistic; `None` if it is valid."""
    if statistic in STATISTICS or percent_of(statistic) is not None:
        return None
    allowed = f"allowed: {', '.join(STATISTICS)}, or a percentile such as p95 or p99.9"
    return f"unknown statistic '{statistic}' ({allowed}){did_you_mean(statistic, STATISTICS)}"


def value_of(measured: Measured, threshold: Threshold) -> tuple[float | timedelta, int | None]:
    """The value that a threshold compares, and its number of samples, if known.

    Args:
        measured: one value; or many, of which the statistic of the threshold is taken: a list of numbers in its unit or
            of lengths of time, or a spread of times such as `Measure Answer Time` and a load return.
        threshold: what it is compared with.

    Raises:
        UsageError: the statistic cannot be taken of these values.
    """
    if isinstance(measured, int | float | timedelta):
        return measured, None
    if isinstance(measured, Sequence) and not isinstance(measured, str | bytes):
        return _statistic(threshold, [threshold.in_unit(each) for each in measured]), len(measured)
    return _from_spread(threshold, measured)


def _statistic(threshold: Threshold, values: Sequence[float]) -> float:
    if not values:
        raise UsageError(f"The {threshold.statistic} cannot be computed: the list is empty.")
    if (percent := percent_of(threshold.statistic)) is not None:
        return percentile(sorted(values), percent)
    match threshold.statistic:
        case "maximum":
            return max(values)
        case "minimum":
            return min(values)
        case "median":
            return statistics.median(values)
        case "mean":
            return statistics.fmean(values)
        case "count":
            return len(values)
    if len(values) == 1:
        return values[0]
    raise UsageError(
        f"A {threshold.statistic} cannot be computed from a list of {counted(len(values), 'value')}: give a single "
        "value, or use another statistic in the threshold (maximum, minimum, median, mean, count, or a percentile)."
    )


IN_A_SPREAD = {"maximum": "max", "minimum": "min"}
"""What a spread of times calls a statistic, where it has another name."""


def _from_spread(threshold: Threshold, spread: Any) -> tuple[float | timedelta, int | None]:
    """A statistic of a spread of times, which are in milliseconds."""
    fields = spread if isinstance(spread, Mapping) else {name: getattr(spread, name) for name in _fields(spread)}
    if "samples" not in fields:
        raise UsageError(
            f"A measured value has to be a finite number, a duration, a list of them or a spread of times, not "
            f"{spread!r}."
        )
    samples = int(fields["samples"])
    if not samples:
        raise UsageError(f"The {threshold.statistic} cannot be computed: nothing was measured.")
    name = IN_A_SPREAD.get(threshold.statistic, threshold.statistic).replace(".", "_")
    if name == "median" and name not in fields:
        name = "p50"
    if name not in fields:
        there = ", ".join(str(each).replace("_", ".") for each in fields if each != "samples")
        raise UsageError(
            f"This spread of times has no {threshold.statistic} (it has: {there}). Give the list of single times."
        )
    return timedelta(milliseconds=fields[name]), samples


def _fields(spread: object) -> tuple[str, ...]:
    return tuple(getattr(type(spread), "__struct_fields__", ()))


@dataclass(frozen=True)
class Judgement:
    """A measured value beside its threshold."""

    threshold: Threshold
    measured: float

    @property
    def met(self) -> bool:
        """Whether the measured value keeps the threshold."""
        measured, limit = self.measured, self.threshold.value
        match self.threshold.comparison:
            case "<":
                return measured < limit
            case "<=":
                return measured <= limit
            case "==":
                return measured == limit
            case ">=":
                return measured >= limit
            case ">":
                return measured > limit

    @property
    def margin(self) -> float:
        """How far the measured value is on the good side of the limit, in the threshold's unit; below 0 when missed."""
        measured, limit = self.measured, self.threshold.value
        match self.threshold.comparison:
            case "<" | "<=":
                return _difference(limit, measured)
            case "==":
                return 0 if measured == limit else -abs(_difference(limit, measured))
            case ">=" | ">":
                return _difference(measured, limit)

    @property
    def verdict(self) -> str:
        """`met` or `not met`."""
        return "met" if self.met else "not met"

    @property
    def margin_in_words(self) -> str:
        """The margin for people: `85 ms (85 %)`, with the share of the limit where there is one."""
        if self.margin == 0:
            return "exact" if self.threshold.comparison == "==" else "none: exactly the limit"
        text = with_unit(self.margin, self.threshold.unit)
        share = self._share
        return text if share is None else f"{text} ({share})"

    @property
    def miss_in_words(self) -> str:
        """By how much the threshold was missed: `missed by 40 ms (40 %)`."""
        if self.margin == 0:
            return f"exactly the limit, which is not {'below' if self.threshold.comparison == '<' else 'above'} it"
        text = f"missed by {with_unit(abs(self.margin), self.threshold.unit)}"
        share = self._share
        return text if share is None else f"{text} ({share.lstrip('-')})"

    @property
    def _share(self) -> str | None:
        limit = self.threshold.value
        if not limit or self.threshold.comparison == "==":
            return None
        return with_unit(self.margin / abs(limit) * 100, "%")


def in_unit(measured: float | timedelta, unit: str) -> float:
    """A measured value as a number in `unit`.

    Args:
        measured: a number that is in `unit` already, or a length of time.
        unit: for a length of time one of `ms`, `s`, `min`.

    Raises:
        UsageError: a length of time for a unit that is none, or not a finite number.
    """
    if isinstance(measured, timedelta):
        if unit not in LENGTHS_OF_TIME:
            raise UsageError(f"A duration ({measured}) cannot be given in '{unit}'. Give a number of {unit}.")
        # Microseconds are the resolution of a timedelta; the rest is what binary fractions add.
        return _plain(round(measured.total_seconds() / LENGTHS_OF_TIME[unit], 9))
    if isinstance(measured, bool) or not isinstance(measured, int | float) or not math.isfinite(measured):
        raise UsageError(f"A measured value has to be a finite number or a duration, not {measured!r}.")
    return measured


SMALLER = {"min": ("s", 60.0, 1.0), "s": ("ms", 1000.0, 0.1)}
"""Units of time, each with the smaller one, how many of it make one, and below which value it is used."""


def with_unit(value: float, unit: str) -> str:
    """A number for people, with its unit: `85 ms`, `20,000 messages`, `1 message`, `0.25 %`.

    Four digits are enough for a measured value, and a short time is in a small unit: `3.805 ms`, not `0.003805 s`.
    """
    if unit in SMALLER and value and abs(value) < SMALLER[unit][2]:
        smaller, factor, _ = SMALLER[unit]
        return with_unit(_plain(round(value * factor, 9)), smaller)
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 4
    text = f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text in {"0", "-0"} and value != 0:
        text = f"{value:.1g}" if size >= 1e-4 else "< 0.0001" if value > 0 else "> -0.0001"
    if size == 1 and unit not in UNITS:
        unit = _singular(unit)
    return f"{text} {unit}"


def _difference(left: float, right: float) -> float:
    """A difference without the noise of binary fractions: 0.3 - 0.1 is 0.2."""
    return _plain(round(left - right, 9))


def _plain(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def _singular(unit: str) -> str:
    return unit[:-2] if unit.endswith(("sses", "shes")) else unit.removesuffix("s")
