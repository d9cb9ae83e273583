"""Stored events of a transaction that no charge point can have sent (OCPP 2.0.1 and 2.1)."""

from __future__ import annotations

from collections.abc import Iterator

from ocpp_resilience.ledger.event_sequence import EventSequence

MOST_MISSING = 1000
"""A system need not remember more missing numbers; with so many, those left out say nothing."""


def unsent_numbers(sequence: EventSequence) -> Iterator[tuple[int, bool]]:
    """Each number that was seen without being acknowledged or unknown, and whether it was refused."""
    kept = sequence.kept
    if kept is None or len(kept.missing) >= MOST_MISSING:
        return
    possible = set(sequence.certain) | {entry.event.seq_no for entry in sequence.possible if entry.event}
    begin = sequence.begin if sequence.begin is not None else 0
    for number in range(begin, kept.seq_no + 1):
        if number not in possible and number not in kept.missing:
            yield number, number in sequence.refused
