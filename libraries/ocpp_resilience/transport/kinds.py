"""What a transport does, whichever kind it is: requests are sent, and answers are received.

`lists`, `streams`, `pubsub` and `websocket` have one each; `opening` makes the one that a target profile names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ocpp_resilience.transport.answers import Answer
from ocpp_resilience.transport.messages import SentMessage


class Requests(Protocol):
    """The way of messages from charge points to the system."""

    place: str
    """Where they are put, for messages."""
    keeps: bool
    """Whether messages wait while nobody takes them."""

    def push(self, messages: Sequence[SentMessage]) -> str | None:
        """Send `messages` in their order, and note for each what became of it.

        Returns:
            What went wrong first; `None` if everything was acknowledged.
        """
        ...

    def length(self) -> int:
        """How many messages are not done yet: they wait, or were taken and not acknowledged."""
        ...

    def in_flight(self) -> int:
        """How many were taken and not acknowledged; 0 where that cannot be seen."""
        ...

    def oldest(self, count: int) -> list[bytes]:
        """The messages that are next, the oldest first; they stay where they are."""
        ...

    def withdraw(self, ours: Callable[[bytes], bool]) -> int:
        """Take out those messages that are `ours`; returns how many had not been done."""
        ...

    def waiting(self, ours: Callable[[bytes], bool]) -> int:
        """How many of `ours` are not done yet."""
        ...


class Answers(Protocol):
    """The way of answers back, followed without taking anything away from anybody."""

    changed: Counter[str]
    """How often what was seen of a charge point before had gone."""
    observer: Callable[[Answer], None] | None
    """Told of each answer once, when it is read, those of one charge point in their order."""

    @property
    def charge_points(self) -> list[str]:
        """Whose answers are followed."""
        ...

    def open(self) -> None:
        """Begin to listen; raises as the Redis client does."""
        ...

    def known(self, charge_point: str) -> bool:
        """Whether the answers of a charge point are followed."""
        ...

    def begin(self, charge_points: Sequence[str]) -> None:
        """Follow these from now on; what is there already is not this run's."""
        ...

    def follow(self, charge_point: str) -> None:
        """Follow a charge point, all those answers included that are there already."""
        ...

    def expect(self, messages: Iterable[SentMessage]) -> None:
        """These are about to be sent."""
        ...

    def grown(self, charge_points: Iterable[str]) -> int:
        """How many answers have come that `refresh` has not read yet."""
        ...

    def refresh(self, charge_points: Iterable[str]) -> list[Answer]:
        """Read what is new, those of one charge point from the oldest to the newest."""
        ...

    def of(self, charge_point: str) -> list[Answer]:
        """Everything read so far of a charge point, oldest first."""
        ...

    def skipped(self, charge_point: str) -> int:
        """How many answers a charge point had before it was followed."""
        ...

    def forget(self, charge_point: str) -> None:
        """Follow a charge point no longer."""
        ...

    def remove(self, charge_points: Sequence[str], ours: Callable[[Answer], bool]) -> tuple[int, int]:
        """Remove the answers of this run; returns how many single answers, and how many keys, were removed."""
        ...

    def close(self) -> None:
        """End what reads in the background."""
        ...
