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
        min, median, max: the usual meaning.
        p95: the smallest time that 95 % of all do not exceed.
    """

    samples: int
    min: float
    median: float
    p95: float
    max: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of `ordered` (ascending, at least one) that `percent` % of all do not exceed."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


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
        p95=percentile(ordered, 95),
        max=ordered[-1],
    )
