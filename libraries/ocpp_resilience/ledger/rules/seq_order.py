"""Events of a transaction sent behind a later one without marking it (OCPP 2.0.1 part 2, use case E04).

What a charge point could not send when it happened is marked `offline`; an event may also come again.
"""

from __future__ import annotations

from collections.abc import Iterator

from ocpp_resilience.ledger.entry import Entry
from ocpp_resilience.ledger.event_sequence import EventSequence


def out_of_order(sequence: EventSequence) -> Iterator[tuple[Entry, Entry]]:
    """Each unmarked event that was sent for the first time behind a higher number, with the highest before it."""
    highest: Entry | None = None
    seen: set[int] = set()
    for entry in sequence.sent:
        assert entry.event is not None  # noqa: S101 - for the type checker
        number = entry.event.seq_no
        if highest is None or highest.event is None or number > highest.event.seq_no:
            highest = entry
        elif number not in seen and not entry.event.offline:
            yield entry, highest
        seen.add(number)
