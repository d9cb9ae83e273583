"""How much of the machine somebody else uses: what is slow then may be slow because of them."""

from __future__ import annotations

import time

import psutil

NOT_WORK = {"idle", "iowait", "guest", "guest_nice"}
"""Fields of `psutil.cpu_times` that are no work, or are in another field already."""


class Contention:
    """Processor time that programs other than this one and what it started use, from the making of this on.

    Programs that were started by somebody else but belong to the test (Redis in a container, a server that runs
    already) count as others.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._all, self._own = all_seconds(), own_seconds()

    def cores(self) -> float:
        """How many processor cores the others have used on average; 2.0 on a machine of two is all of it."""
        length = time.monotonic() - self._began
        others = (all_seconds() - self._all) - (own_seconds() - self._own)
        return max(0.0, others / length) if length else 0.0


def all_seconds() -> float:
    """Processor time that everybody has used since the machine started."""
    return float(sum(value for name, value in psutil.cpu_times()._asdict().items() if name not in NOT_WORK))


def own_seconds() -> float:
    """Processor time of this process and of what it started, what has ended included."""
    root = psutil.Process()
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total
