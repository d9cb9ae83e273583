"""Bounded polling: the one way in which keywords wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from ocpp_resilience.errors import WaitTimeout

T = TypeVar("T")

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.1


def seconds(value: timedelta | float) -> float:
    """The length of `value` in seconds, whether Robot gave a `timedelta` or Python a number."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def in_words(value: timedelta | float) -> str:
    """A length of time for people: `850 ms`, `1 second`, `5 seconds`, `2.5 seconds`."""
    length = seconds(value)
    if 0 < length < 1:
        return f"{length * 1000:.0f} ms"
    text = f"{length:.2f}".rstrip("0").rstrip(".")
    return f"{text} second" if text == "1" else f"{text} seconds"


def wait_until(
    probe: Callable[[], T | None],
    *,
    timeout: timedelta | float,
    failure: Callable[[], str],
    longest_pause: float = LONGEST_PAUSE,
) -> T:
    """Call `probe` until it returns something else than `None`, at most for `timeout`.

    The pause between two calls starts at 2 ms and doubles up to `longest_pause`, so that quick things are seen quickly
    and slow ones cost little. The probe is always called once more after the time is up: a machine that was away for
    the whole time does not make a failure of its own.

    Args:
        probe: looks once and returns the result, or `None` for "not yet". It must not block for long.
        timeout: the longest wait, in seconds or as a `timedelta`.
        failure: makes the message with the expectation and the last observation; called only after the timeout.
        longest_pause: the longest pause between two looks, in seconds.

    Returns:
        The probe's result.

    Raises:
        WaitTimeout: the probe returned `None` until the end.
    """
    limit = seconds(timeout)
    started = time.monotonic()
    pause = FIRST_PAUSE
    while True:
        left = started + limit - time.monotonic()
        found = probe()
        if found is not None:
            return found
        if left <= 0:
            seen = failure()
            raise WaitTimeout(f"{seen} (waited {in_words(limit)})", waited=limit, last_seen=seen)
        time.sleep(min(pause, left))
        pause = min(pause * 2, longest_pause)
