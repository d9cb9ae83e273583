"""Answers out of order: behind the answer to a later message of the same charge point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ocpp_resilience.ledger.entry import Entry
from ocpp_resilience.ledger.records import Op


def reordered(answered: Iterable[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Each message that was answered after a later one, with that one.

    Args:
        answered: the messages of one charge point in the order of their answers; one without a place has no order, and
            of several answers to one message the first counts.
    """
    latest: Entry | None = None
    queued: Entry | None = None
    seen: set[int] = set()
    for entry in answered:
        if entry.seq is None or id(entry) in seen:
            continue
        seen.add(id(entry))
        # A message that its sender has given up waits for Redis, while a gateway answers the Heartbeats behind it
        # itself.
        before = queued if entry.outcome is Op.UNKNOWN else latest
        if before is not None and before.seq is not None and entry.seq < before.seq:
            yield entry, before
            continue
        if latest is None or latest.seq is None or entry.seq > latest.seq:
            latest = entry
        if not _is_answered_on_the_way(entry):
            queued = entry


def _is_answered_on_the_way(entry: Entry) -> bool:
    """Whether a gateway may answer it without the processors, while Redis is away."""
    return entry.via == "websocket" and entry.action == "Heartbeat"
