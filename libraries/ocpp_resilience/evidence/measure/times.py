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
        p95: the smallest time that 95 % of all do not exceed.
    """

    samples: int
    min: float
    median: float
    p95: float
    max: float


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
        p95=ordered[math.ceil(0.95 * len(ordered)) - 1],
        max=ordered[-1],
    )
