"""Memory over time: does it grow without bound? The slope after a warm-up, with its confidence interval.

The slope is Theil and Sen's: the median of the slopes between all pairs of samples, which single jumps do not move.
Its confidence interval is Sen's (1968), from the ranks. Resident memory changes in steps and stays for a while, so that
neighbouring samples say the same: they are put together in at most 60 blocks, each the median of its samples.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from resilience.errors import UsageError

BLOCKS = 60
FEWEST = 10
NORMAL_95 = 1.959964
"""Two-sided 95 % of the normal distribution."""
MB = 1_000_000
LONGEST_EXTRAPOLATION = 20
"""How many times the sampled time a leak may be extrapolated to."""


class Bound(StrEnum):
    """What the samples say about a limit."""

    WITHIN = "within"
    BEYOND = "beyond"
    OPEN = "inconclusive"


class MemoryGrowth(msgspec.Struct, frozen=True, kw_only=True):
    """How memory grew.

    Attributes:
        samples: how many, after the warm-up.
        seconds: from the first of these to the last.
        required_seconds: the time that growth is extrapolated to.
        base_mb: memory after the warm-up, in MB (1,000,000 bytes).
        plain_mb, plain_percent: growth from the first tenth of the samples to the last, as it was.
        slope, slope_low, slope_high: KB (1,000 bytes) a second, and its 95 % confidence interval.
        growth_mb, growth_low_mb, growth_high_mb: the slope over `required_seconds`, in MB.
    """

    samples: int
    seconds: float
    required_seconds: float
    base_mb: float
    plain_mb: float
    plain_percent: float
    slope: float
    slope_low: float
    slope_high: float

    @property
    def growth_mb(self) -> float:
        """The slope over the required time."""
        return self.slope * self.required_seconds / 1000

    @property
    def growth_low_mb(self) -> float:
        """The lower bound of the slope over the required time."""
        return self.slope_low * self.required_seconds / 1000

    @property
    def growth_high_mb(self) -> float:
        """The upper bound of the slope over the required time."""
        return self.slope_high * self.required_seconds / 1000

    @property
    def growth_high_percent(self) -> float:
        """The same in percent of the memory after the warm-up."""
        return 100 * self.growth_high_mb / self.base_mb

    @property
    def growth_low_percent(self) -> float:
        """The lower bound in percent of the memory after the warm-up."""
        return 100 * self.growth_low_mb / self.base_mb

    def bound(self, *, most_mb: float, most_percent: float) -> Bound:
        """Whether growth over the required time stays below both limits, with the certainty of the interval.

        A process that has just started still grows into its work: less than a twentieth of the required time accuses
        nobody.
        """
        if self.growth_low_mb >= most_mb or self.growth_low_percent >= most_percent:
            return Bound.BEYOND if self.seconds >= self.required_seconds / LONGEST_EXTRAPOLATION else Bound.OPEN
        if self.growth_high_mb < most_mb and self.growth_high_percent < most_percent:
            return Bound.WITHIN
        return Bound.OPEN

    @property
    def summary(self) -> str:
        """The whole in words."""
        return (
            f"{self.base_mb:.1f} MB after the warm-up, {self.plain_mb:+.2f} MB ({self.plain_percent:+.1f} %) in "
            f"{self.seconds:.0f} s; slope {self.slope:+.2f} KB/s (95 %: {self.slope_low:+.2f} to "
            f"{self.slope_high:+.2f}), which is {self.growth_mb:+.1f} MB ({self.growth_low_mb:+.1f} to "
            f"{self.growth_high_mb:+.1f}) in {self.required_seconds:.0f} s; {self.samples} samples"
        )


def memory_growth(
    times: Sequence[float], sizes: Sequence[float], *, warm_up: float, required_seconds: float
) -> MemoryGrowth:
    """How memory grew after a warm-up.

    Args:
        times: of the samples, in seconds, ascending.
        sizes: in bytes.
        warm_up: samples of the first so many seconds do not count.
        required_seconds: the time that growth is extrapolated to; never less than what was sampled.

    Raises:
        UsageError: there are too few samples after the warm-up.
    """
    kept = [(at, size) for at, size in zip(times, sizes, strict=True) if at - times[0] >= warm_up]
    if len(kept) < FEWEST:
        raise UsageError(
            f"Only {len(kept)} memory samples after a warm-up of {warm_up:g} s; {FEWEST} are needed. Sample for "
            "longer, or more often."
        )
    seconds = kept[-1][0] - kept[0][0]
    tenth = max(1, len(kept) // 10)
    first = statistics.median(size for _, size in kept[:tenth])
    last = statistics.median(size for _, size in kept[-tenth:])
    slope, low, high = theil_sen(*_blocks(kept))
    return MemoryGrowth(
        samples=len(kept),
        seconds=seconds,
        required_seconds=max(required_seconds, seconds),
        base_mb=first / MB,
        plain_mb=(last - first) / MB,
        plain_percent=100 * (last - first) / first,
        slope=slope / 1000,
        slope_low=low / 1000,
        slope_high=high / 1000,
    )


def theil_sen(times: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """The slope of `values` over `times` (Theil and Sen), and its 95 % confidence interval (Sen 1968)."""
    count = len(times)
    slopes = sorted(
        (values[later] - values[earlier]) / (times[later] - times[earlier])
        for earlier in range(count)
        for later in range(earlier + 1, count)
    )
    pairs = len(slopes)
    # Kendall's variance; ties in the values make it smaller, so that this is the careful side.
    half = NORMAL_95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18) / 2
    low = slopes[max(0, math.floor(pairs / 2 - half))]
    high = slopes[min(pairs - 1, math.ceil(pairs / 2 + half))]
    return statistics.median(slopes), low, high


def _blocks(kept: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    size = max(1, math.ceil(len(kept) / BLOCKS))
    blocks = [kept[start : start + size] for start in range(0, len(kept), size)]
    return (
        [statistics.fmean(at for at, _ in block) for block in blocks],
        [statistics.median(value for _, value in block) for block in blocks],
    )
