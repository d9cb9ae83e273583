"""Lost messages: an acknowledged message must have its required outcome; a message of unknown state need not."""

from __future__ import annotations

from enum import StrEnum

from ocpp_resilience.ledger.entry import Entry
from ocpp_resilience.ledger.records import Expect, Op


class Fate(StrEnum):
    """The outcome of a message."""

    ACKNOWLEDGED = "acknowledged"
    """The system has taken it over; `missing` says whether it is lost."""
    REFUSED = "refused"
    """It must never be done."""
    RECOVERED = "recovered"
    """The state was unknown, and the message was processed: allowed."""
    UNDECIDED = "undecided"
    """The state is unknown, and the message has no trace: allowed."""


def fate(entry: Entry) -> Fate:
    """The outcome of a message."""
    if entry.outcome is Op.OK:
        return Fate.ACKNOWLEDGED
    if entry.outcome is Op.FAIL:
        return Fate.REFUSED
    return Fate.RECOVERED if entry.was_done else Fate.UNDECIDED


def missing(entry: Entry, *, looked_for: bool) -> str:
    """The missing outcome of an acknowledged message: `answer`, `effect`, both, or nothing.

    Args:
        entry: the message.
        looked_for: whether traces in the state were looked for.
    """
    if entry.outcome is not Op.OK:
        return ""
    absent = []
    if entry.expect is not Expect.EFFECT and not entry.answers:
        absent.append("answer")
    if looked_for and entry.needs_effect and not entry.effects:
        absent.append("effect")
    return " and no ".join(absent)
