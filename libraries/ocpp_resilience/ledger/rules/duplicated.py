"""What was answered or applied too often."""

from __future__ import annotations

from ocpp_resilience.ledger.entry import Entry


def surplus_answers(entry: Entry) -> int:
    """How many answers a message has too many."""
    return max(0, entry.answers - entry.allowed_answers)


def surplus_effects(entry: Entry) -> int:
    """How often a message was applied too often."""
    return max(0, len(entry.effects) - 1)
