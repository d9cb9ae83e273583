"""Acknowledged events of a transaction that the system has lost (OCPP 2.0.1 and 2.1)."""

from __future__ import annotations

from collections.abc import Iterator

from ocpp_resilience.ledger.entry import Entry
from ocpp_resilience.ledger.event_sequence import EventSequence


def missed_events(sequence: EventSequence) -> Iterator[tuple[Entry, str]]:
    """Each acknowledged event that is not among those kept, with what is wrong."""
    kept = sequence.kept
    if kept is None:
        return
    for number, entry in sorted(sequence.certain.items()):
        if number in kept.missing:
            yield entry, f"was acknowledged, and event {number} of transaction {kept.tx} counts as missing"
        elif number > kept.seq_no:
            what = f"the highest event of transaction {kept.tx} is {kept.seq_no}, below {number}"
            yield entry, f"was acknowledged, and {what}"
