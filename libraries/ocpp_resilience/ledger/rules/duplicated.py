"""Messages that were answered or applied too often."""

from __future__ import annotations

from ocpp_resilience.ledger.entry import Entry


def surplus_answers(entry: Entry) -> int:
    """Number of surplus answers of a message."""
    return max(0, entry.answers - entry.allowed_answers)


def surplus_effects(entry: Entry) -> int:
    """Number of surplus applications of a message."""
    return max(0, len(entry.effects) - 1)
