"""The events of one transaction of OCPP 2.0.1 or 2.1 and the stored ones, as input of the rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ocpp_resilience.ledger.entry import Entry
from ocpp_resilience.ledger.records import KeptEvents, Op

START, END = "Started", "Ended"


@dataclass(slots=True)
class EventSequence:
    """The events of one transaction.

    Attributes:
        sent: the messages with its events, in the order in which they were sent.
        kept: what the system keeps; `None` where nobody looked.
        certain: the numbers that have to be among those kept, each with its message: acknowledged, not below the
            Started and not above the Ended, where such events may be ignored.
        possible: the messages whose events may be among those kept.
        refused: the numbers that were refused whenever they were sent.
        begin: the lowest number of a Started.
    """

    sent: list[Entry]
    kept: KeptEvents | None = None
    certain: dict[int, Entry] = field(default_factory=dict)
    possible: list[Entry] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    begin: int | None = None


def sequence_of(sent: Iterable[Entry], kept: KeptEvents | None) -> EventSequence:
    """What is certain, possible and refused of the events of one transaction."""
    found = EventSequence(list(sent), kept)
    acknowledged: dict[int, Entry] = {}
    for entry in found.sent:
        if entry.event is None:
            continue
        number = entry.event.seq_no
        if entry.outcome is Op.OK and not entry.errors:
            acknowledged.setdefault(number, entry)
        if entry.outcome is Op.FAIL or entry.errors:
            found.refused.add(number)
        else:
            found.possible.append(entry)
    found.refused -= {entry.event.seq_no for entry in found.possible if entry.event}
    numbers = [(entry.event.type, entry.event.seq_no) for entry in found.possible if entry.event]
    found.begin = min((number for kind, number in numbers if kind == START), default=None)
    end = min((number for kind, number in numbers if kind == END), default=None)
    found.certain = {
        number: entry
        for number, entry in acknowledged.items()
        if (found.begin is None or number >= found.begin) and (end is None or number <= end)
    }
    return found
