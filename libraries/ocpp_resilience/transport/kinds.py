"""The interface of all kinds of transports: send requests, receive answers.

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
    """The destination of requests, for error messages."""
    keeps: bool
    """Whether messages wait in the transport while no consumer runs."""

    def push(self, messages: Sequence[SentMessage]) -> str | None:
        """Send `messages` in their order, and record the result of each.

        Returns:
            The first error; `None` if everything was acknowledged.
        """
        ...

    def length(self) -> int:
        """Number of unfinished messages: waiting, or taken and not acknowledged."""
        ...

    def in_flight(self) -> int:
        """Number of messages taken and not acknowledged; 0 if that is not visible."""
        ...

    def oldest(self, count: int) -> list[bytes]:
        """The messages that are next, the oldest first; they stay where they are."""
        ...

    def withdraw(self, ours: Callable[[bytes], bool]) -> int:
        """Take out those messages that are `ours`; returns how many had not been done."""
        ...

    def waiting(self, ours: Callable[[bytes], bool]) -> int:
        """Number of unfinished messages among `ours`."""
        ...


class Answers(Protocol):
    """The transport of answers; they are read without removing them."""

    changed: Counter[str]
    """Number of times that earlier answers of a charge point had disappeared."""
    observer: Callable[[Answer], None] | None
    """Told of each answer once, when it is read, those of one charge point in their order."""

    @property
    def charge_points(self) -> list[str]:
        """Charge points whose answers are followed."""
        ...

    def open(self) -> None:
        """Begin to listen; raises as the Redis client does."""
        ...

    def known(self, charge_point: str) -> bool:
        """Whether the answers of a charge point are followed."""
        ...

    def begin(self, charge_points: Sequence[str]) -> None:
        """Follow these from now on; existing answers are not of this run."""
        ...

    def follow(self, charge_point: str) -> None:
        """Follow a charge point, all those answers included that are there already."""
        ...

    def expect(self, messages: Iterable[SentMessage]) -> None:
        """These are about to be sent."""
        ...

    def grown(self, charge_points: Iterable[str]) -> int:
        """Number of answers that have arrived and `refresh` has not read."""
        ...

    def refresh(self, charge_points: Iterable[str]) -> list[Answer]:
        """Read new answers, those to one charge point from the oldest to the newest."""
        ...

    def of(self, charge_point: str) -> list[Answer]:
        """Everything read so far of a charge point, oldest first."""
        ...

    def skipped(self, charge_point: str) -> int:
        """Number of answers that a charge point had before it was followed."""
        ...

    def forget(self, charge_point: str) -> None:
        """Follow a charge point no longer."""
        ...

    def remove(self, charge_points: Sequence[str], ours: Callable[[Answer], bool]) -> tuple[int, int]:
        """Remove the answers of this run; returns how many single answers, and how many keys, were removed."""
        ...

    def close(self) -> None:
        """Stop reading in the background."""
        ...
