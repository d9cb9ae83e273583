"""Messages that were refused and applied all the same."""

from __future__ import annotations

from ocpp_resilience.ledger.entry import Entry
from ocpp_resilience.ledger.records import Op


def done_although_refused(entry: Entry) -> bool:
    """Whether the system acted on a message that it had refused, or that was certainly not sent."""
    return entry.outcome is Op.FAIL and entry.was_done
