"""Points in time as text."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def rfc3339(moment: datetime | float | None = None) -> str:
    """A point in time as OCPP writes it: RFC 3339, in UTC, to the millisecond.

    Args:
        moment: a time with zone, or seconds since the epoch; `None` is now.
    """
    if moment is None:
        moment = datetime.now(UTC)
    elif not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, UTC)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def since_1970(monotonic: float) -> float:
    """A reading of `time.monotonic` in seconds since 1970, by the wall clock as it goes now."""
    return monotonic + time.time() - time.monotonic()
