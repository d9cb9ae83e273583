"""Whether the system counted the events that were sent later (OCPP 2.0.1 and 2.1): each once, and no others."""

from __future__ import annotations

from ocpp_resilience.ledger.event_sequence import EventSequence


def offline_miscounted(sequence: EventSequence) -> str:
    """What is wrong with the number of events that came later; empty if nothing is."""
    kept = sequence.kept
    if kept is None or kept.offline is None:
        return ""
    certain = {number for number, entry in sequence.certain.items() if entry.event and entry.event.offline}
    possible = certain | {entry.event.seq_no for entry in sequence.possible if entry.event and entry.event.offline}
    if len(certain) <= kept.offline <= len(possible):
        return ""
    expected = str(len(certain)) if len(certain) == len(possible) else f"{len(certain)} to {len(possible)}"
    return f"transaction {kept.tx} has {kept.offline} events that were sent later, expected {expected}"
