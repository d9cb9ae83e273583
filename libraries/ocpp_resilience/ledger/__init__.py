"""The ledger: everything that was sent and seen, kept as a file, and judged from that file alone.

`Ledger` writes, `check` judges by the `rules`, and `python -m ocpp_resilience.ledger check FILE…` judges again offline.
"""

from ocpp_resilience.ledger.checker import Checker, LedgerReport, Verdict, Violation, check
from ocpp_resilience.ledger.records import (
    EVENT_ACTION,
    Event,
    Expect,
    KeptEvents,
    LedgerError,
    Op,
    Record,
    event_of,
    read,
)
from ocpp_resilience.ledger.writer import Ledger

__all__ = [
    "EVENT_ACTION",
    "Checker",
    "Event",
    "Expect",
    "KeptEvents",
    "Ledger",
    "LedgerError",
    "LedgerReport",
    "Op",
    "Record",
    "Verdict",
    "Violation",
    "check",
    "event_of",
    "read",
]
