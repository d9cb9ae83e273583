"""Memory over time: does it grow without bound? The slope after a warm-up, with its confidence interval.

The slope is Theil and Sen's: the median of the slopes between all pairs of samples, which single jumps do not move.
Its confidence interval is Sen's (1968), from the ranks. Resident memory changes in steps and stays for a while, so that
neighbouring samples say the same: they are put together in at most 60 blocks, each the median of its samples.

A garbage collector lets memory rise and fall: within a tooth everything grows. Memory that is really kept shows in the
lowest value, which must have risen too before growth counts.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from ocpp_resilience.errors import UsageError

BLOCKS = 60
FEWEST = 10
NORMAL_95 = 1.959964
"""Two-sided 95 % of the normal distribution."""
MOST_ALIKE = 0.9
"""Beyond this autocorrelation the interval is not widened any more: a leak that is not quite a line has it too."""
MB = 1_000_000
LONGEST_EXTRAPOLATION = 20
"""Maximum ratio of the extrapolated to the sampled time."""
STILL_FALLING = 0.6
"""A second half with less than this part of the slope of the first: interpreters fill free lists for a long time."""
CERTAINLY_FALLING = 0.7
"""The same where the confidence intervals of both slopes are apart."""
SAMPLED = 0.9
"""The part of the required time that counts as all of it: a warm-up is cut off."""
LEAST_SEEN = 0.2
"""The part of a limit that has to have been lost already: a process fills its caches slower than this for a while."""


class Bound(StrEnum):
    """Verdicts of the samples on a limit."""

    WITHIN = "within"
    BEYOND = "beyond"
    OPEN = "inconclusive"


class MemoryGrowth(msgspec.Struct, frozen=True, kw_only=True):
    """The growth of memory.

    Attributes:
        samples: how many, after the warm-up.
        seconds: from the first of these to the last.
        required_seconds: the time that growth is extrapolated to.
        base_mb: memory after the warm-up, in MB (1,000,000 bytes).
        plain_mb, plain_percent: growth from the first tenth of the samples to the last, as it was.
        slope, slope_low, slope_high: KB (1,000 bytes) a second, and its 95 % confidence interval.
        lowest_mb: by how much the lowest memory of the last third is above that of the first third.
        slope_early, slope_late: the slope of the first half and of the second, KB a second.
        slows_down: whether the second one is certainly smaller: their 95 % confidence intervals are apart.
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
    lowest_mb: float
    slope_early: float = 0.0
    slope_late: float = 0.0
    slows_down: bool = False

    @property
    def falling(self) -> bool:
        """True if growth was much slower in the second half: buffers are still filling."""
        share = STILL_FALLING if not self.slows_down else CERTAINLY_FALLING
        return self.slope_early > 0 and self.slope_late < share * self.slope_early

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

        A process that has just started still grows into its work. So growth counts only after a twentieth of the
        required time, a loss of a fifth of a limit, and a rise of the lowest memory. A
        slope that is still falling is not extrapolated before the required time is over.
        """
        long_enough = self.seconds >= self.required_seconds / LONGEST_EXTRAPOLATION
        if self.falling and self.seconds < SAMPLED * self.required_seconds:
            long_enough = False
        beyond = [limit for limit in (most_mb, most_percent * self.base_mb / 100) if self._breaks(limit)]
        if beyond and long_enough:
            return Bound.BEYOND
        if self.growth_high_mb < most_mb and self.growth_high_percent < most_percent:
            return Bound.WITHIN
        return Bound.OPEN

    def _breaks(self, limit: float) -> bool:
        """Whether a limit, in MB, is certainly broken in the required time."""
        # From the beginning of the first third to that of the last: where a steady growth is lowest.
        apart = self.seconds * 2 / 3
        return (
            self.growth_low_mb >= limit
            and self.lowest_mb >= LEAST_SEEN * limit
            and self.lowest_mb * self.required_seconds / apart >= limit
        )

    @property
    def _falling_in_words(self) -> str:
        if not self.falling:
            return ""
        return f"; the slope is still falling ({self.slope_early:+.2f}, then {self.slope_late:+.2f} KB/s)"

    @property
    def summary(self) -> str:
        """The whole in words."""
        return (
            f"{self.base_mb:.1f} MB after the warm-up, {self.plain_mb:+.2f} MB ({self.plain_percent:+.1f} %) in "
            f"{self.seconds:.0f} s; slope {self.slope:+.2f} KB/s (95 %: {self.slope_low:+.2f} to "
            f"{self.slope_high:+.2f}), which is {self.growth_mb:+.1f} MB ({self.growth_low_mb:+.1f} to "
            f"{self.growth_high_mb:+.1f}) in {self.required_seconds:.0f} s; {self.samples} samples"
            f"{self._falling_in_words}"
        )


def visible_leak(base_mb: float, messages: int, *, most_mb: float, most_percent: float) -> float:
    """The smallest leak that a run of this many messages shows, in bytes a message: a smaller one keeps the limits.

    Args:
        base_mb: memory after the warm-up, in MB.
        messages: how many were sent after it.
        most_mb, most_percent: the limits over the run.
    """
    return min(most_mb, most_percent * base_mb / 100) * MB / max(messages, 1)


def memory_growth(
    times: Sequence[float], sizes: Sequence[float], *, warm_up: float, required_seconds: float
) -> MemoryGrowth:
    """Determine the growth of memory after a warm-up.

    Args:
        times: of the samples, in seconds, ascending.
        sizes: in bytes.
        warm_up: samples of the first this many seconds do not count.
        required_seconds: the time that growth is extrapolated to; never less than the sampled time.

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
    at, levels = _blocks(kept)
    slope, low, high = theil_sen(at, levels)
    half = len(at) // 2
    early, early_low, _ = theil_sen(at[:half], levels[:half])
    late, _, late_high = theil_sen(at[half:], levels[half:])
    third = max(1, len(levels) // 3)
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
        lowest_mb=(min(levels[-third:]) - min(levels[:third])) / MB,
        slope_early=early / 1000,
        slope_late=late / 1000,
        slows_down=late_high < early_low,
    )


def accused_after(
    times: Sequence[float],
    sizes: Sequence[float],
    *,
    warm_up: float,
    required_seconds: float,
    most_mb: float,
    most_percent: float,
) -> float | None:
    """After how many seconds a verdict at each of the samples would first have been `beyond`; `None`: at none.

    Args:
        times, sizes, warm_up, required_seconds: as for `memory_growth`.
        most_mb, most_percent: as for `MemoryGrowth.bound`.
    """
    for count, at in enumerate(times, 1):
        try:
            growth = memory_growth(times[:count], sizes[:count], warm_up=warm_up, required_seconds=required_seconds)
        except UsageError:  # too early to say anything
            continue
        if growth.bound(most_mb=most_mb, most_percent=most_percent) is Bound.BEYOND:
            return at - times[0]
    return None


def theil_sen(times: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """The slope of `values` over `times` (Theil and Sen), and its 95 % confidence interval (Sen 1968).

    The interval is widened where neighbouring values are alike, since such a sample says less than its number does: by
    the lag-one autocorrelation about the line, as for a first-order autoregression.
    """
    count = len(times)
    slopes = sorted(
        (values[later] - values[earlier]) / (times[later] - times[earlier])
        for earlier in range(count)
        for later in range(earlier + 1, count)
    )
    pairs = len(slopes)
    slope = statistics.median(slopes)
    alike = _autocorrelation([value - slope * at for at, value in zip(times, values, strict=True)])
    # Kendall's variance; ties in the values make it smaller, so that this is the careful side.
    variance = count * (count - 1) * (2 * count + 5) / 18 * (1 + alike) / (1 - alike)
    half = NORMAL_95 * math.sqrt(variance) / 2
    low = slopes[max(0, math.floor(pairs / 2 - half))]
    high = slopes[min(pairs - 1, math.ceil(pairs / 2 + half))]
    return slope, low, high


def _autocorrelation(rests: Sequence[float]) -> float:
    """Lag-one autocorrelation, between 0 and `MOST_ALIKE`."""
    middle = statistics.median(rests)
    apart = [rest - middle for rest in rests]
    total = sum(each * each for each in apart)
    if not total:
        return 0.0
    return min(MOST_ALIKE, max(0.0, sum(one * other for one, other in itertools.pairwise(apart)) / total))


def _blocks(kept: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    size = max(1, math.ceil(len(kept) / BLOCKS))
    blocks = [kept[start : start + size] for start in range(0, len(kept), size)]
    return (
        [statistics.fmean(at for at, _ in block) for block in blocks],
        [statistics.median(value for _, value in block) for block in blocks],
    )
