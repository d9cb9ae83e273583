"""The spread of measured times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TypedDict

import msgspec


class ResponseTimes(TypedDict):
    """Response times in milliseconds.

    Keys:
        samples: how many there are.
        min, median, max: the usual meaning.
        p90, p95, p99: the smallest time that this many percent of all do not exceed.
    """

    samples: int
    min: float
    median: float
    p90: float
    p95: float
    p99: float
    max: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of `ordered` (ascending, at least one) that `percent` % of all do not exceed."""
    # Rounded, since 99.9 % of 1,000 is a little more than 999 in binary fractions.
    return ordered[max(0, math.ceil(round(percent / 100 * len(ordered), 6)) - 1)]


def response_times(times: Sequence[float]) -> ResponseTimes:
    """The spread of `times`, which are in seconds; at least one.

    Args:
        times: in seconds.
    """
    ordered = sorted(time * 1000 for time in times)
    return ResponseTimes(
        samples=len(ordered),
        min=ordered[0],
        median=statistics.median(ordered),
        p90=percentile(ordered, 90),
        p95=percentile(ordered, 95),
        p99=percentile(ordered, 99),
        max=ordered[-1],
    )


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A spread of times in milliseconds.

    Attributes:
        samples: how many times there are; the others are 0 if there is none.
        min, mean, p50, p90, p95, p99, p99_9, max: as they say; three significant digits, the mean exact.
    """

    samples: int = 0
    min: float = 0.0
    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    p99_9: float = 0.0
    max: float = 0.0

    def __str__(self) -> str:
        if not self.samples:
            return "nothing measured"
        return (
            f"mean {self.mean:.2f}, median {self.p50:.2f}, p90 {self.p90:.2f}, p95 {self.p95:.2f}, p99 {self.p99:.2f}, "
            f"p99.9 {self.p99_9:.2f}, max {self.max:.2f} ms ({self.samples} samples)"
        )
