"""Requests and answers in Redis lists."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ocpp_resilience.redis.connection import RedisClient
from ocpp_resilience.transport.answers import Answer, read_answer
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.messages import SentMessage
from ocpp_resilience.transport.queue_keys import Names, QueueKeys
from ocpp_resilience.transport.sending import push


@dataclass(slots=True)
class _AnswerList:
    """The entries read from one list, oldest first; `skipped` entries precede this run's first message."""

    entries: list[bytes]
    skipped: int
    answers: list[Answer]


class AnswerLists:
    """The answer lists, followed without taking anything off them.

    A list grows at one end, so that the new entries are those beyond an index from the other end.
    Each read fetches them together with the newest known one: if that has changed, another client took entries or Redis
    lost some, and the list is read again as a whole. Answers that were read once are kept, whatever happens to the
    list.
    """

    def __init__(self, client: RedisClient, keys: QueueKeys, *, body: Body | None = None, push: str = "left") -> None:
        self._client = client
        self._keys = keys
        self._body = body
        self._grows_left = push == "left"
        self._lists: dict[str, _AnswerList] = {}
        self.changed: Counter[str] = Counter()
        """How often the list of a charge point had lost entries that were seen before."""
        self.observer: Callable[[Answer], None] | None = None
        """Told of each entry once, when it is read, those of one charge point in their order."""

    def open(self) -> None:
        """Nothing has to be listened to."""

    def known(self, charge_point: str) -> bool:
        """Whether the list of `charge_point` is followed."""
        return charge_point in self._lists

    @property
    def charge_points(self) -> list[str]:
        """Charge points whose lists are followed."""
        return list(self._lists)

    def begin(self, charge_points: Sequence[str]) -> None:
        """Follow these lists from now on; existing entries are not of this run."""
        pipeline = self._client.pipeline(transaction=False)
        for point in charge_points:
            pipeline.lrange(self._keys.answers_of(point), 0, -1)
        for point, existing in zip(charge_points, pipeline.execute(), strict=True):
            entries = self._oldest_first(existing)
            self._lists[point] = _AnswerList(entries=entries, skipped=len(entries), answers=[])

    def follow(self, charge_point: str) -> None:
        """Follow a list, all those answers included that are there already."""
        self._lists[charge_point] = _AnswerList(entries=[], skipped=0, answers=[])

    def expect(self, messages: Iterable[SentMessage]) -> None:
        """Nothing has to be done for a message: the list is its charge point's."""

    def _oldest_first(self, entries: list[bytes]) -> list[bytes]:
        return entries[::-1] if self._grows_left else entries

    def grown(self, charge_points: Iterable[str]) -> int:
        """Number of unread entries in the lists: one round trip, and nothing is fetched.

        Raises:
            redis.RedisError: Redis cannot be reached or refuses.
        """
        followed = [self._lists[each] for each in charge_points]
        lengths = self._lengths(charge_points)
        return sum(max(0, length - len(each.entries)) for length, each in zip(lengths, followed, strict=True))

    def _lengths(self, charge_points: Iterable[str]) -> list[int]:
        pipeline = self._client.pipeline(transaction=False)
        for each in charge_points:
            pipeline.llen(self._keys.answers_of(each))
        return [int(length) for length in pipeline.execute()]

    def refresh(self, charge_points: Iterable[str]) -> list[Answer]:
        """Fetch new entries from the lists of these charge points.

        Returns:
            The new answers, those of one charge point from the oldest to the newest.

        Raises: redis.RedisError: Redis cannot be reached or refuses; earlier answers are kept.
        """
        points = list(charge_points)
        due = [
            point
            for point, length in zip(points, self._lengths(points), strict=True)
            if length != len(self._lists[point].entries)
        ]
        if not due:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for point in due:
            # From the end that grows to the newest known entry, which is fetched once more; all of it if none is known.
            known = len(self._lists[point].entries)
            first, last = (0, -max(known, 1)) if self._grows_left else (max(known - 1, 0), -1)
            pipeline.lrange(self._keys.answers_of(point), first, last)
        fetched = pipeline.execute()
        seen_at = time.monotonic()
        found: list[Answer] = []
        for point, entries in zip(due, fetched, strict=True):
            found += self._take_in(point, self._oldest_first(entries), seen_at)
        return found

    def _take_in(self, charge_point: str, fetched: list[bytes], seen_at: float) -> list[Answer]:
        kept = self._lists[charge_point]
        if kept.entries and (not fetched or fetched[0] != kept.entries[-1]):
            self.changed[charge_point] += 1
            whole = self._oldest_first(self._client.lrange(self._keys.answers_of(charge_point), 0, -1))
            seen_before = Counter(kept.entries)
            new = []
            for entry in whole:
                if seen_before[entry] > 0:
                    seen_before[entry] -= 1
                else:
                    new.append(entry)
            kept.entries = whole
        else:
            new = fetched[1:] if kept.entries else fetched
            kept.entries += new
        answers = [read_answer(charge_point, entry, seen_at=seen_at, body=self._body) for entry in new]
        kept.answers += answers
        if self.observer is not None:
            for answer in answers:
                self.observer(answer)
        return answers

    def of(self, charge_point: str) -> list[Answer]:
        """Everything read so far from the list of `charge_point` since it is followed, oldest first."""
        followed = self._lists.get(charge_point)
        return list(followed.answers) if followed else []

    def skipped(self, charge_point: str) -> int:
        """Number of entries that the list of `charge_point` had before it was followed."""
        followed = self._lists.get(charge_point)
        return followed.skipped if followed else 0

    def forget(self, charge_point: str) -> None:
        """Follow the list of `charge_point` no longer."""
        self._lists.pop(charge_point, None)

    def remove(self, charge_points: Sequence[str], ours: Callable[[Answer], bool]) -> tuple[int, int]:
        """Delete the lists; of those that were there before, take out only the answers to this run."""
        with_history = [point for point in charge_points if self.skipped(point)]
        self.refresh(with_history)
        pipeline = self._client.pipeline(transaction=False)
        for point in with_history:
            for answer in self.of(point):
                if ours(answer):
                    pipeline.lrem(self._keys.answers_of(point), 1, answer.data)
        single = int(sum(pipeline.execute()))
        own = [self._keys.answers_of(point) for point in charge_points if not self.skipped(point)]
        return single, self._client.delete(*own) if own else 0

    def close(self) -> None:
        """Nothing reads in the background."""


class ListRequests:
    """A list, or one for each charge point.

    Args:
        client: the database with the queue.
        pattern: the name of the list; may hold `{charge_point_id}`.
        push: the end that messages are pushed at.
        wait_replicas: replicas that have to have a message before it counts as acknowledged.
    """

    keeps = True

    def __init__(self, client: RedisClient, pattern: str, *, push: str = "left", wait_replicas: int = 0) -> None:
        self._wait_replicas = wait_replicas
        self.place = pattern
        self._client = client
        self._left = push == "left"
        self._keys = Names(pattern)

    def push(self, messages: Sequence[SentMessage]) -> str | None:
        """Put messages on the list."""
        name = "LPUSH" if self._left else "RPUSH"
        return push(
            self._client,
            messages,
            lambda each: (name, self._keys.of(each), each.data),
            wait_replicas=self._wait_replicas,
        )

    def length(self) -> int:
        """Number of messages in the list."""
        return sum(self._client.llen(key) for key in self._keys)

    def in_flight(self) -> int:
        """Nothing of it can be seen in a list."""
        return 0

    def oldest(self, count: int) -> list[bytes]:
        """The messages at the end that is taken from."""
        found: list[bytes] = []
        for key in self._keys:
            if self._left:
                found += reversed(self._client.lrange(key, -count, -1))
            else:
                found += self._client.lrange(key, 0, count - 1)
        return found[:count]

    def waiting(self, ours: Callable[[bytes], bool]) -> int:
        """Number of our messages in the list."""
        return sum(ours(entry) for key in self._keys for entry in self._entries(key))

    def _entries(self, key: str) -> list[bytes]:
        return self._client.lrange(key, 0, -1) if self._client.llen(key) else []

    def withdraw(self, ours: Callable[[bytes], bool]) -> int:
        """Take ours out of the list."""
        # In the order of the list, so that each LREM finds its message at once instead of walking over the rest.
        pipeline = self._client.pipeline(transaction=False)
        for key in self._keys:
            for entry in filter(ours, self._entries(key)):
                pipeline.lrem(key, 1, entry)
        return int(sum(pipeline.execute()))
