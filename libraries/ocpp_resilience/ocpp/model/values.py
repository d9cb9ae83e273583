"""Conditions on a field of the state that allow several values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

from ocpp_resilience.clock import rfc3339

Allowed: TypeAlias = Any
"""A value, or one of the classes below."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time, however it is written.

    Attributes:
        text: as the charge point wrote it.
    """

    text: str

    def allows(self, value: object) -> bool:
        """Whether `value` is the same moment."""
        return value == self.text or (isinstance(value, str) and moment(value) == moment(self.text) is not None)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Within:
    """A point in time, with zone, in a span of seconds since 1970.

    Attributes:
        earliest, latest: the span.
    """

    earliest: float
    latest: float

    def allows(self, value: object) -> bool:
        """Whether `value` is a moment in the span."""
        seconds = moment(value) if isinstance(value, str) else None
        return seconds is not None and self.earliest <= seconds <= self.latest

    def or_within(self, other: object) -> Within:
        """The span that holds both."""
        if not isinstance(other, Within):
            return self
        return Within(min(self.earliest, other.earliest), max(self.latest, other.latest))

    def __str__(self) -> str:
        latest = "now" if self.latest == float("inf") else rfc3339(self.latest)
        return f"a time with zone from {rfc3339(self.earliest)} to {latest}"


@dataclass(frozen=True, slots=True)
class Writes:
    """How often a record was written: its version, which goes up by one with each write.

    A system may write the effects of several messages at once, but not of one that was sent when the one before was
    answered already.

    Attributes:
        least, most: the bounds.
        answered: when the last message that changed the record was answered, in seconds since 1970.
    """

    least: int = 0
    most: int = 0
    answered: float = float("-inf")

    def after(self, began: float, answered: float, *, certain: bool) -> Writes:
        """After one more message, sent at `began`; if it is uncertain, the time of its effect is unknown."""
        apart = certain and began > self.answered
        return Writes(max(self.least + apart, 1), self.most + 1, answered if certain else float("inf"))

    def and_perhaps(self, more: int) -> Writes:
        """Behind further writes, at most this many."""
        return Writes(self.least, self.most + more, self.answered)

    def allows(self, value: object) -> bool:
        """Whether `value` is such a version."""
        return type(value) is int and self.least <= value <= self.most

    def or_within(self, other: object) -> Writes:
        """The bounds that hold both."""
        if not isinstance(other, Writes):
            return self
        return Writes(min(self.least, other.least), max(self.most, other.most), max(self.answered, other.answered))

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several values."""

    values: tuple[Any, ...]

    def allows(self, value: object) -> bool:
        """Whether `value` is one of them."""
        return value in self.values

    def __str__(self) -> str:
        return " or ".join(repr(each) for each in self.values)


def allows(allowed: Allowed, value: object) -> bool:
    """Whether a field may have this value."""
    if isinstance(allowed, Instant | Within | Writes | OneOf):
        return allowed.allows(value)
    return bool(type(allowed) is type(value) and allowed == value)


def shown(allowed: Allowed) -> str:
    """The allowed values, for an error message."""
    return str(allowed) if isinstance(allowed, Instant | Within | Writes | OneOf) else repr(allowed)


def moment(text: str) -> float | None:
    """An RFC 3339 time in seconds since 1970; `None` if it is not one, or has no zone."""
    try:
        # A leap second is the one before, which is as exact as seconds since 1970 are.
        parsed = datetime.fromisoformat(text.upper().replace(":60", ":59"))
    except ValueError:
        return None
    if parsed.tzinfo is None:
        return None
    return (parsed - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()


ENERGY = "Energy.Active.Import.Register"
"""The measurand of the energy register, and of a sample that names none."""
LARGEST_READING = 2**31


def watt_hours(value: Decimal) -> Allowed | None:
    """The whole watt hours of a reading, cut or rounded; `None` if it is no number, or too large for a register."""
    if not value.is_finite() or abs(value) >= LARGEST_READING:
        return None
    if value == int(value):
        return int(value)
    return OneOf((int(value), round(value)))
