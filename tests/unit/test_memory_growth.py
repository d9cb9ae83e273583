"""Memory verdicts: a leak is found early, a sound process is never accused."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from itertools import accumulate

import pytest

from ocpp_resilience.errors import ServiceError, UsageError
from ocpp_resilience.evidence.measure.memory import Bound, accused_after, memory_growth, theil_sen, visible_leak
from ocpp_resilience.evidence.measure.sampling import Sampler
from ocpp_resilience.waiting import wait_until

EVERY = 0.5


def verdict(sizes: list[float], *, warm_up: float = 10.0) -> Bound:
    times = [EVERY * number for number in range(len(sizes))]
    growth = memory_growth(times, sizes, warm_up=warm_up, required_seconds=600)
    return growth.bound(most_mb=100, most_percent=10)


def steps(chance: random.Random, count: int, *, leak: float = 0.0) -> list[float]:
    """80 MB that settle in the first seconds, then jump up and down in pages, as resident memory does."""
    jumps = accumulate(chance.choice((0, 0, 0, 0, 0, 0, 0, 0, 4096 * 20, -4096 * 20)) for _ in range(count))
    return [
        8e7 + 5e6 * min(1.0, number * EVERY / 8) + jump + leak * number * EVERY for number, jump in enumerate(jumps)
    ]


def test_a_leak_of_a_kilobyte_a_message_is_found_within_a_minute() -> None:
    """At 100 messages a second."""
    for seed in range(20):
        assert verdict(steps(random.Random(seed), 120, leak=100_000)) is Bound.BEYOND


def test_sound_memory_is_never_accused() -> None:
    seen = [verdict(steps(random.Random(seed), 240)) for seed in range(100)]
    assert Bound.BEYOND not in seen


def test_a_few_seconds_prove_no_leak() -> None:
    """Extrapolated to 10 minutes, the growth of a process that has just started would be a leak."""
    growing = [8e7 + 50_000 * number for number in range(60)]
    assert verdict(growing) is Bound.OPEN
    assert verdict(growing + [growing[-1] + 50_000 * number for number in range(60)]) is Bound.BEYOND


def accused(sizes: list[float], *, warm_up: float = 8.0) -> float | None:
    """The time of the first accusation by a verdict on every sample."""
    times = [EVERY * number for number in range(len(sizes))]
    return accused_after(times, sizes, warm_up=warm_up, required_seconds=600, most_mb=100, most_percent=10)


def test_a_steady_process_is_never_accused_at_any_sample() -> None:
    assert accused([6e7] * 240) is None


def test_a_leak_is_accused_as_soon_as_there_is_enough_of_it() -> None:
    """100 KB a second after the warm-up of 8 s: a twentieth of the required time has passed at 38 s."""
    leaking = [6e7 + 100_000 * EVERY * number for number in range(240)]
    assert accused(leaking) == pytest.approx(38, abs=EVERY)
    # A fifth of 10 % of 60 MB has to have been lost in two thirds of the time: 12 KB a second take 150 s for that.
    slow = [6e7 + 12_000 * EVERY * number for number in range(480)]
    assert accused(slow) == pytest.approx(8 + 150, abs=2)


@pytest.mark.parametrize("fills_in", [10, 20, 40])
def test_growth_that_slows_down_is_not_accused_before_the_required_time(fills_in: int) -> None:
    """Free lists of an interpreter: 12 MB more, ever more slowly; a straight line through it would be a leak."""
    sizes = [6e7 + 1.2e7 * (1 - math.exp(-EVERY * number / fills_in)) for number in range(240)]
    assert accused(sizes) is None


def test_a_leak_on_top_of_growth_that_slows_down_is_accused_in_the_end() -> None:
    filling = [6e7 + 4e6 * (1 - math.exp(-EVERY * number / 30)) for number in range(1220)]
    leaking = [size + 40_000 * EVERY * number for number, size in enumerate(filling)]
    assert accused(leaking) is not None


def test_the_smallest_visible_leak_of_a_soak_is_stated() -> None:
    assert visible_leak(60, 60_000, most_mb=100, most_percent=10) == pytest.approx(100)
    assert visible_leak(60, 6_000, most_mb=1, most_percent=10) == pytest.approx(166.7, abs=0.1)


def test_a_leak_that_will_not_reach_the_limit_is_not_accused() -> None:
    """9 KB a second are 5.4 MB in 10 minutes, less than 10 % of 60 MB."""
    assert accused([6e7 + 9_000 * EVERY * number for number in range(480)]) is None


@pytest.mark.parametrize("at", [0, 4, 9, 20, 40, 60])
def test_a_step_is_not_accused_whether_before_or_after_the_end_of_the_warm_up(at: int) -> None:
    """A process that takes 4 MB once, on a machine that is slower than the warm-up expects."""
    chance = random.Random(at)
    sizes = [5.6e7 + (4e6 if EVERY * number >= at else 0) + chance.gauss(0, 20_000) for number in range(240)]
    assert accused(sizes) is None


@pytest.mark.parametrize("filling", [5_000, 12_000])
def test_a_process_that_fills_its_caches_and_is_then_steady_is_not_accused(filling: int) -> None:
    """3.7 MB in the first two seconds, as the reference server, and bytes a second in the next 80."""
    times = [number * EVERY for number in range(240)]
    assert accused([5.63e7 + 3.7e6 * min(1.0, at / 2) + filling * min(80.0, at) for at in times]) is None


@pytest.mark.parametrize("period", [3, 10, 17, 30])
def test_the_teeth_of_a_garbage_collector_are_not_accused(period: int) -> None:
    """Memory that rises by 20 MB and falls back, for the first time before a verdict is possible."""
    assert accused([6e7 + 2e7 * (number * EVERY % period) / period for number in range(240)], warm_up=0) is None


def test_a_leak_under_the_teeth_of_a_garbage_collector_is_found() -> None:
    sizes = [
        6e7 + 100_000 * number * EVERY + chance * 5e6
        for number, chance in ((each, each * EVERY % 10 / 10) for each in range(240))
    ]
    assert accused(sizes) is not None


def test_noise_is_never_accused_at_any_sample() -> None:
    """Also of neighbouring samples that say nearly the same, which an interval for independent ones takes for more."""
    for seed in range(5):
        chance = random.Random(seed)
        level, sizes = 0.0, []
        for _ in range(160):
            level = 0.98 * level + chance.gauss(0, 100_000)
            sizes.append(6e7 + level)
        assert accused(sizes) is None


def test_a_single_jump_is_no_slope() -> None:
    flat = [8e7] * 60 + [8.3e7] * 60
    times = [EVERY * number for number in range(120)]
    growth = memory_growth(times, flat, warm_up=0, required_seconds=600)
    assert growth.plain_mb == pytest.approx(3)
    assert growth.slope_low <= 0


def test_the_slope_is_that_of_the_line_and_outliers_do_not_move_it() -> None:
    times = [float(number) for number in range(60)]
    values = [5 * at + (1e6 if at % 10 == 0 else 0) for at in times]
    slope, low, high = theil_sen(times, values)
    assert slope == pytest.approx(5, abs=0.1)
    assert low <= slope <= high


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="Only 1 memory samples after a warm-up of 5 s; 10 are needed"):
        memory_growth([0, 1, 6], [1, 1, 1], warm_up=5, required_seconds=600)


LEAKING = """
import time
kept, began, longest, last = [], time.monotonic(), 0.0, time.monotonic()
while True:
    now = time.monotonic()
    while len(kept) < 10 * (now - began):
        kept.append(bytearray(b"x" * 1_000_000))
    if now - last > longest:
        longest = now - last
        print(longest, flush=True)
    last = now
    time.sleep(0.1)
"""
"""As much as is due by the clock: a busy machine makes it leak later and not less. It says how long it stood still."""


def real_leak() -> tuple[Sampler, float]:
    """Three seconds of a real process that leaks 10 MB/s, and for how long the machine held that process up."""
    with subprocess.Popen([sys.executable, "-c", LEAKING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()  # it has begun
            sampler = Sampler({"leaking": process.pid}, every=0.05)
            series = sampler.get("leaking")
            try:
                wait_until(lambda: True if len(series.times) > 60 else None, timeout=60, failure=lambda: "too few")
            finally:
                sampler.stop()
        finally:
            process.kill()
        return sampler, max(map(float, process.stdout.read().split()), default=0.0)


def test_a_real_process_that_leaks_is_found_and_its_growth_is_right() -> None:
    """A process that is held up leaks in steps, which is another growth: such a sample is taken again, a few times.

    It is thrown away by what the process says of its own clock, not by the growth that was measured.
    """
    for _ in range(6):
        sampler, held_up = real_leak()
        if held_up < 0.5:
            break
    else:
        pytest.fail("The machine held up the process for half a second in each of 6 samples.")
    growth = sampler.growth("leaking", warm_up=0.5, required_seconds=40)
    assert growth.slope == pytest.approx(10_000, rel=0.3)
    assert growth.slope_low < growth.slope < growth.slope_high
    assert growth.bound(most_mb=100, most_percent=10) is Bound.BEYOND


def test_a_process_that_is_not_there_is_an_error() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    with pytest.raises(ServiceError, match="does not exist"):
        Sampler({"gone": process.pid})
    with pytest.raises(UsageError, match="no process to sample"):
        Sampler({})
