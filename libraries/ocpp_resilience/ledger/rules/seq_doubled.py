"""Numbers of a transaction that stand for two events (OCPP 2.0.1 and 2.1); the same event may come again."""

from __future__ import annotations

from collections.abc import Iterator

from ocpp_resilience.ledger.entry import Entry
from ocpp_resilience.ledger.event_sequence import EventSequence


def doubled_numbers(sequence: EventSequence) -> Iterator[tuple[Entry, Entry]]:
    """Each event whose number an earlier, different event has, with that one."""
    first: dict[int, Entry] = {}
    for entry in sequence.sent:
        assert entry.event is not None  # noqa: S101 - for the type checker
        before = first.setdefault(entry.event.seq_no, entry)
        if before.event is not None and before.event.type != entry.event.type:
            yield entry, before
