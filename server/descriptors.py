"""File descriptors: how many the process may open, and how they are shared out.

At the limit nothing can be accepted any more, not even a health check. So charge points get a share, the HTTP API gets
another, and a reserve stays for Redis, the log and the event loop.
"""

from __future__ import annotations

import contextlib
import resource

SMALLEST_RESERVE = 48
LARGEST_RESERVE = 4096


def raise_limit() -> None:
    """Let the process open as many files as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def for_charge_points() -> int:
    """Maximum number of open connections of charge points."""
    return max(1, _limit() - _reserve())


def for_requests() -> int:
    """Maximum number of open HTTP connections."""
    return max(1, _reserve() // 2)


def _limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft


def _reserve() -> int:
    return min(LARGEST_RESERVE, max(SMALLEST_RESERVE, _limit() // 4))
