"""The data that a run wrote into Redis, found again without a scan of the key space."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.ocpp.sessions import MOST_CONNECTORS
from ocpp_resilience.redis.connection import RedisClient
from ocpp_resilience.transport.answers import Answer
from ocpp_resilience.transport.dead_letters import (
    RECOGNISED_CHARACTERS,
    digest,
    mark_of,
    read_dead_letter,
    since,
    spellings,
)
from ocpp_resilience.transport.kinds import Answers, Requests
from ocpp_resilience.transport.matching import ExpectedAnswers
from ocpp_resilience.transport.messages import SentMessage
from ocpp_resilience.transport.queue_keys import QueueKeys, as_expression
from ocpp_resilience.waiting import wait_until

ALWAYS_LOOKED_AT = range(MOST_CONNECTORS + 1)
"""Connectors that are looked at even if no queued message named them: 0 is the charge point itself."""

SCANNED_AT_ONCE = 1_000
STUCK = 0.5
"""A queue that did not move for so long, in seconds, is not being worked on."""


@dataclass(slots=True, kw_only=True)
class RemovedData:
    """The removed data.

    Attributes:
        messages: messages that were still queued.
        answers: entries taken out of answer lists that were there before this run.
        keys: keys deleted: answer lists, state of charge points, connectors and transactions.
        dead_letters: entries taken out of the dead letters.
        left: charge points whose state was there before this run, and was therefore left alone.
    """

    messages: int = 0
    answers: int = 0
    keys: int = 0
    dead_letters: int = 0
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.keys} keys, {self.messages} queued messages, {self.answers} single answers "
            f"and {self.dead_letters} dead letters removed"
        )


@dataclass(slots=True)
class _ChargePoint:
    """A charge point that this run wrote to; `foreign` if something was kept about it before."""

    foreign: bool
    connectors: set[int] = field(default_factory=set)


class RunData:
    """Everything that one queue client wrote, and its removal.

    Args:
        queue: the client for the database with the queue.
        state: the client for the database with the state.
        keys: the names of the keys.
        requests: the way of the messages.
        answers: the answers that are followed.
        others: the clients for the databases of further keys, by number.
        expected: the answers that are expected.
    """

    def __init__(
        self,
        keys: QueueKeys,
        requests: Requests,
        answers: Answers,
        expected: ExpectedAnswers,
        *,
        queue: RedisClient,
        state: RedisClient,
        others: Mapping[int, RedisClient],
    ) -> None:
        self._queue = queue
        self._state = state
        self._keys = keys
        self._requests = requests
        self._answers = answers
        self._others = others
        self._expected = expected
        self._points: dict[str, _ChargePoint] = {}
        self._messages: set[bytes] = set()
        self._beginnings: set[bytes] = set()
        self._adopted = False
        self._foreign_letters = mark_of(())

    @property
    def exists(self) -> bool:
        """Whether something was written and not removed again."""
        return bool(self._messages or self._adopted)

    def note_existing(self) -> None:
        """Remember the existing dead letters, which do not belong to this run."""
        if self._keys.dead_letters is not None:
            self._foreign_letters = mark_of(self._queue.lrange(self._keys.dead_letters, 0, -1))

    def begin(self, messages: Iterable[SentMessage]) -> None:
        """Before `messages` are sent, follow the answer lists of their charge points, and look for existing records.

        Raises:
            redis.RedisError: Redis cannot be reached; nothing was noted then.
        """
        named: dict[str, set[int]] = {}
        for message in messages:
            if message.charge_point is not None:
                connectors = named.setdefault(message.charge_point, set())
                if message.connector is not None:
                    connectors.add(message.connector)
        new = [(point, connectors) for point, connectors in named.items() if point not in self._points]
        # Also those whose answers were only read so far: their entries are foreign.
        self._answers.begin([point for point, _ in new])
        self._look(new)
        for point, connectors in named.items():
            self._points[point].connectors |= connectors

    def adopt(self, points: Iterable[str]) -> None:
        """Count charge points as this run's although their messages did not come through the queue client."""
        for point in points:
            self._points.setdefault(point, _ChargePoint(foreign=False))
            self._adopted = True

    @property
    def foreign_points(self) -> list[str]:
        """The charge points that something was kept about before."""
        return [point for point, known in self._points.items() if known.foreign]

    @property
    def own_points(self) -> list[str]:
        """The charge points that are this run's, and were not removed yet."""
        return [point for point, known in self._points.items() if not known.foreign]

    def _look(self, points: Sequence[tuple[str, set[int]]]) -> None:
        groups = [[*self._keys.state_of(point), *self._connector_keys(point, numbers)] for point, numbers in points]
        pipeline = self._state.pipeline(transaction=False)
        for group in groups:
            if group:
                pipeline.exists(*group)
        existing = iter(pipeline.execute())
        for (point, _), group in zip(points, groups, strict=True):
            kept = bool(next(existing)) if group else False
            self._points[point] = _ChargePoint(foreign=kept or self._answers.skipped(point) > 0)

    def _connector_keys(self, point: str, connectors: Iterable[int | str]) -> list[str]:
        numbers = dict.fromkeys(map(str, [*ALWAYS_LOOKED_AT, *connectors]))
        return [key for number in numbers if (key := self._keys.connector_of(point, number)) is not None]

    def took_place(self, messages: Iterable[SentMessage]) -> None:
        """After `messages` were, or may have been, put on the queue."""
        for message in messages:
            self._messages.add(digest(message.data))
            if message.valid is not True:
                self._beginnings |= {digest(each.encode("utf-8", "surrogatepass")) for each in spellings(message.data)}
            self._expected.add(message)

    def remove(self, *, timeout: float) -> RemovedData:
        """Remove the data that this run wrote, and nothing else.

        Args:
            timeout: the longest wait for messages that are being processed at this moment.

        Raises: redis.RedisError: Redis cannot be reached; removed keys stay removed, the rest stays noted.
        """
        removed = RemovedData()
        removed.messages = self._remove_messages(timeout)
        removed.dead_letters = self._remove_dead_letters()
        removed.left = [point for point, record in self._points.items() if record.foreign]
        own = {point: record for point, record in self._points.items() if not record.foreign}
        # First: charge points that leave in order may send once more, which the system writes down.
        self._remove_answers(removed)
        removed.keys += self._remove_state(own)
        removed.keys += self._remove_others(own)
        for point in self._points:
            self._answers.forget(point)
            self._expected.forget(point)
        self._points.clear()
        self._adopted = False
        self._messages.clear()
        self._beginnings.clear()
        return removed

    def _remove_messages(self, timeout: float) -> int:
        if not self._messages or not self._still_queued():
            return 0
        self._let_processing_end(timeout)
        return self._requests.withdraw(self._ours)

    def withdraw(self) -> int:
        """Take this run's messages that nobody has taken off the queue; returns how many."""
        return self._requests.withdraw(self._ours) if self._messages else 0

    def _ours(self, entry: bytes) -> bool:
        return digest(entry) in self._messages

    def _still_queued(self) -> int:
        return self._requests.waiting(self._ours)

    def _let_processing_end(self, timeout: float) -> None:
        """Wait while the number of our messages decreases: a message leaves its data only when it is processed."""
        watch = _SettledState(self._still_queued)
        with contextlib.suppress(WaitTimeout):
            wait_until(watch.look, timeout=timeout, failure=lambda: "The queue is still being worked on")

    def _remove_dead_letters(self) -> int:
        if self._keys.dead_letters is None:
            return 0
        pipeline = self._queue.pipeline(transaction=False)
        entries = self._queue.lrange(self._keys.dead_letters, 0, -1)
        for entry in since(entries, self._foreign_letters):
            if self._is_ours(entry):
                pipeline.lrem(self._keys.dead_letters, 1, entry)
        return int(sum(pipeline.execute()))

    def _is_ours(self, entry: bytes) -> bool:
        letter = read_dead_letter(entry)
        record = self._points.get(letter.charge_point) if letter.charge_point is not None else None
        if record is not None and not record.foreign:
            return True
        beginning = letter.raw[:RECOGNISED_CHARACTERS].encode("utf-8", "surrogatepass")
        return digest(beginning) in self._beginnings

    def _remove_state(self, points: dict[str, _ChargePoint]) -> int:
        transactions = self._transactions(points)
        listed = self._members([(point, key) for point in points if (key := self._keys.connectors_of(point))])
        pipeline = self._state.pipeline(transaction=False)
        for point, record in points.items():
            connectors = {*record.connectors, *listed.get(point, ())}
            keys = [*self._keys.state_of(point), *self._connector_keys(point, connectors)]
            for transaction in transactions[point]:
                keys += self._keys.transaction_keys(point, transaction)
            if keys:
                pipeline.delete(*keys)
        removed = int(sum(pipeline.execute()))
        if points and self._keys.charge_points is not None and self._state.type(self._keys.charge_points) == b"set":
            self._state.srem(self._keys.charge_points, *points)
        return removed

    def _transactions(self, points: Iterable[str]) -> dict[str, set[str]]:
        indexes = [(point, index) for point in points for index in self._keys.transaction_indexes(point)]
        if not indexes:
            return self._answered_transactions(list(points))
        return {point: set() for point in points} | self._members(indexes)

    def _members(self, indexes: Sequence[tuple[str, str]]) -> dict[str, set[str]]:
        """The members of index keys of any kind, each with its charge point."""
        pipeline = self._state.pipeline(transaction=False)
        for _, index in indexes:
            pipeline.type(index)
        kinds = pipeline.execute()
        asked: list[str] = []
        for (point, index), kind in zip(indexes, kinds, strict=True):
            if kind == b"zset":
                pipeline.zrange(index, 0, -1)
            elif kind == b"set":
                pipeline.smembers(index)
            elif kind == b"list":
                pipeline.lrange(index, 0, -1)
            else:
                continue
            asked.append(point)
        found: dict[str, set[str]] = {point: set() for point in asked}
        for point, members in zip(asked, pipeline.execute(), strict=True):
            found[point] |= {each.decode("utf-8", "backslashreplace") for each in members}
        return found

    def _answered_transactions(self, points: Sequence[str]) -> dict[str, set[str]]:
        """The ids in the answers to StartTransaction, for systems that keep no index."""
        self._answers.refresh(point for point in points if self._answers.known(point))
        return {
            point: {
                str(number)
                for answer in self._answers.of(point)
                if isinstance(number := answer.payload.get("transactionId"), (int, str))
            }
            for point in points
        }

    def _remove_answers(self, removed: RemovedData) -> None:
        """Remove the answers to this run, and the keys that exist once for a charge point."""
        points = list(self._points)

        def is_ours(answer: Answer) -> bool:
            point = answer.charge_point
            return bool(self._expected.count(point, answer.message_id) or self._expected.count(point, None))

        removed.answers, deleted = self._answers.remove(points, is_ours)
        own = [key for point in points if not self._answers.skipped(point) for key in self._keys.transport_of(point)]
        removed.keys += deleted + (self._queue.delete(*own) if own else 0)

    def _remove_others(self, points: Iterable[str]) -> int:
        """The further keys of charge points, found by their patterns in one scan of each database."""
        own = set(points)
        removed = 0
        for database, patterns in self._keys.others.items():
            client = self._others[database]
            shapes = [as_expression(pattern) for pattern in patterns]
            found = []
            for key in client.scan_iter(count=SCANNED_AT_ONCE) if own else ():
                name = key.decode("utf-8", "backslashreplace")
                for shape in shapes:
                    if (match := shape.fullmatch(name)) and match["charge_point_id"] in own:
                        found.append(name)
                        break
            for first in range(0, len(found), SCANNED_AT_ONCE):
                removed += client.delete(*found[first : first + SCANNED_AT_ONCE])
        return removed


class _SettledState:
    """Sees when a number has not changed for a while."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._last: int | None = None
        self._since = 0.0

    def look(self) -> int | None:
        """The number, once it is 0 or has not changed for `STUCK` seconds."""
        current = self._number()
        if current != self._last:
            self._last, self._since = current, time.monotonic()
        return current if current == 0 or time.monotonic() - self._since >= STUCK else None
