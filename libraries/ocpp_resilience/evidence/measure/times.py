"""The spread of measured times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TypedDict


class ResponseTimes(TypedDict):
    """Response times in milliseconds.

    Keys:
        samples: how many there are.
        min, median, max: as they say.
        p90, p95, p99: the smallest time that so many percent of all do not exceed.
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
