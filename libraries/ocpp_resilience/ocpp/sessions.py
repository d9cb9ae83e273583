"""Shared parts of the scripts of charging sessions, and the script of each version.

A script is a generator: it yields the next CALLs of a charge point and is sent the payloads of their answers, `None`
for one that was refused or not answered.
"""

from __future__ import annotations

import importlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Protocol, TypeAlias

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.version import TransactionId, Version

Step: TypeAlias = tuple[str, dict[str, Any]]
Answers: TypeAlias = Sequence[dict[str, Any] | None]
Script: TypeAlias = Generator[list[Step], Answers, None]

MOST_CONNECTORS = 4


@dataclass(slots=True)
class KnownTransactions:
    """State shared by the charge points: the ids of transactions of the others.

    Attributes:
        transactions: id and charge point of each transaction.
    """

    transactions: list[tuple[TransactionId, str]] = field(default_factory=list)

    def foreign(self, charge_point: str, chance: random.Random) -> TransactionId | None:
        """A transaction of another charge point."""
        others = [number for number, owner in self.transactions if owner != charge_point]
        return chance.choice(others) if others else None


class SessionScript(ABC):
    """The random messages of one charge point, made by the OCPP version.

    Args:
        charge_point: its id.
        chance: decides.
        neighbours: the charge points whose transactions it knows of.
        rounds: how many times it sends some messages.
        actions: the actions that the system supports; other messages are left out.
    """

    def __init__(
        self,
        charge_point: str,
        chance: random.Random,
        neighbours: KnownTransactions,
        rounds: int,
        *,
        actions: Collection[str],
    ) -> None:
        self.charge_point = charge_point
        self._chance = chance
        self._neighbours = neighbours
        self._rounds = rounds
        self._actions = actions
        self._connectors = chance.randint(1, MOST_CONNECTORS)
        """Connectors; of OCPP 2.x, EVSEs."""
        # Some charge points were offline: their timestamps are days old.
        self._clock = datetime.fromtimestamp(time.time() - chance.choice((0, 0, 3600, 86_400 * 3)), UTC)

    @abstractmethod
    def run(self) -> Script:
        """The script."""

    def _supported(self, steps: Sequence[Step]) -> list[Step]:
        return [step for step in steps if step[0] in self._actions]

    def _numbers(self) -> range:
        return range(1, self._connectors + 1)

    def _now(self) -> str:
        """A time after all earlier ones, in a random zone."""
        self._clock += timedelta(milliseconds=self._chance.randrange(1, 60_000))
        if self._chance.random() < 0.8:
            return rfc3339(self._clock)
        return self._in_another_zone(self._clock)

    def _in_another_zone(self, moment: datetime) -> str:
        zone = timezone(timedelta(minutes=self._chance.choice((-300, 60, 120, 345))))
        return moment.astimezone(zone).isoformat(timespec="milliseconds")

    def _of_one_instant(self, meter: int) -> list[tuple[str, int]]:
        """Timestamps and readings of which the first counts: the second is of the same instant, the third older."""
        self._clock += timedelta(minutes=1)
        earlier = self._clock - timedelta(seconds=1)
        return [
            (rfc3339(self._clock), meter + 100),
            (self._in_another_zone(self._clock), meter + 200),
            (self._in_another_zone(earlier), meter + 300),
        ]


Repeated: TypeAlias = Generator[Step, dict[str, Any], tuple[Step, dict[str, Any]]]
"""A session message by message, each of which is sent again before the next; it is sent the payload of each answer, and
returns a message of the session that is sent once more when all is over, with the fields that its answer has to have.
"""
Attempts: TypeAlias = Generator[list[tuple[str, Step]], Answers, list[tuple[str, Step]]]
"""Messages with their charge points: those that have to be answered first, and returned, the attempts themselves."""


class Sessions(Protocol):
    """The module with the sessions of a version.

    Attributes:
        SessionScript: a script by chance.
        TRANSACTION_ACTIONS: the actions without which there is no session.
    """

    SessionScript: type[SessionScript]
    TRANSACTION_ACTIONS: tuple[str, ...]

    @staticmethod
    def repeated() -> Repeated:
        """A session with repeated messages."""
        ...

    @staticmethod
    def attempts(owners: Sequence[str]) -> Attempts:
        """Stops and readings for transactions that are not the sender's to change.

        Each charge point has a transaction that runs and one that is over. Then each tries to change one that runs at
        its neighbour, one that is over there, its own that is over, and one that there never was.
        """
        ...


def sessions_of(version: Version) -> Sessions:
    """The sessions of a version.

    Raises:
        UsageError: it has none.
    """
    if not version.sessions:
        raise UsageError(f"{version} has no random sessions.")
    found: Sessions = importlib.import_module(f"ocpp_resilience.ocpp.{version.sessions}")  # type: ignore[assignment]
    return found
