"""Records that could come by the thousand: a few of each kind are written, the others are counted."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST = 5
"""Records of one kind within `WINDOW`."""
WINDOW = 1.0
"""Seconds."""


class LogRateLimit:
    """Says which records are written, and how many were not.

    Args:
        clock: seconds, monotonic; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}
        self._left_out: dict[str, int] = {}

    def allows(self, kind: str) -> bool:
        """Whether a record of this kind is to be written; if not, it is counted."""
        clock = self._clock()
        began, written = self._windows.get(kind, (clock, 0))
        if clock - began >= WINDOW:
            began, written = clock, 0
        if written < MOST:
            self._windows[kind] = began, written + 1
            return True
        self._left_out[kind] = self._left_out.get(kind, 0) + 1
        return False

    def left_out(self, *, at_the_end: bool = False) -> dict[str, int]:
        """Counts of suppressed records by kind since the last call.

        Args:
            at_the_end: also those of a window that is not over yet.
        """
        clock = self._clock()
        over = [kind for kind in self._left_out if at_the_end or clock - self._windows[kind][0] >= WINDOW]
        return {kind: self._left_out.pop(kind) for kind in over}
