"""Answers that come on a way which they share, sorted by charge point."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ocpp_resilience.redis.connection import RedisClient
from ocpp_resilience.transport.answers import Answer, answer_of, read_body
from ocpp_resilience.transport.bodies import SENDER, Body
from ocpp_resilience.transport.messages import SentMessage
from ocpp_resilience.transport.queue_keys import QueueKeys


class GatheredAnswers:
    """Collects answers by charge point; `gather` reads new ones.

    An answer belongs to the charge point that its body names, else to the one whose message has its id.
    """

    def __init__(self, body: Body | None = None) -> None:
        self.changed: Counter[str] = Counter()
        self.observer: Callable[[Answer], None] | None = None
        self._body = body
        self._lock = threading.RLock()
        self._followed: dict[str, list[Answer]] = {}
        self._new: list[Answer] = []
        self._senders: dict[str, str] = {}

    @property
    def charge_points(self) -> list[str]:
        """Charge points whose answers are collected."""
        return list(self._followed)

    def open(self) -> None:
        """Begin to listen; earlier answers are not of this run."""

    def known(self, charge_point: str) -> bool:
        """Whether the answers of a charge point are followed."""
        return charge_point in self._followed

    def begin(self, charge_points: Sequence[str]) -> None:
        """Follow these from now on."""
        self.gather()
        for point in charge_points:
            self._followed.setdefault(point, [])

    def follow(self, charge_point: str) -> None:
        """Collect answers to a charge point from now on; earlier ones are dropped."""
        self._followed.setdefault(charge_point, [])

    def expect(self, messages: Iterable[SentMessage]) -> None:
        """These are about to be sent."""
        for message in messages:
            if message.charge_point is not None and message.message_id is not None:
                self._senders[message.message_id] = message.charge_point

    def gather(self) -> None:
        """Read the answers since the last call; raises as the Redis client does."""

    def took_in(self, charge_point: str | None, data: bytes, *, seen_at: float | None = None) -> None:
        """An answer arrived; `charge_point` is set if the transport names it."""
        named, frame = read_body(data, self._body)
        sender = self._senders.get(frame[1]) if isinstance(frame, list) and frame[1:] and _is_text(frame[1]) else None
        point = charge_point or (named if isinstance(named, str) else None) or sender
        if point is not None:
            answer = answer_of(point, data, frame, seen_at=time.monotonic() if seen_at is None else seen_at)
            with self._lock:
                self._new.append(answer)

    def grown(self, charge_points: Iterable[str]) -> int:
        """Number of answers that have arrived and `refresh` has not read."""
        self.gather()
        points = set(charge_points)
        with self._lock:
            return sum(answer.charge_point in points for answer in self._new)

    def refresh(self, charge_points: Iterable[str]) -> list[Answer]:
        """Read new answers."""
        self.gather()
        points = set(charge_points)
        with self._lock:
            found = [answer for answer in self._new if answer.charge_point in points]
            self._new = [
                answer
                for answer in self._new
                if answer.charge_point not in points and answer.charge_point in self._followed
            ]
        for answer in found:
            self._followed.setdefault(answer.charge_point, []).append(answer)
            if self.observer is not None:
                self.observer(answer)
        return found

    def of(self, charge_point: str) -> list[Answer]:
        """Everything read so far of a charge point."""
        return list(self._followed.get(charge_point, ()))

    def skipped(self, charge_point: str) -> int:  # noqa: ARG002 - as lists have it
        """Answers before the first `follow` of a charge point were never kept."""
        return 0

    def forget(self, charge_point: str) -> None:
        """Follow a charge point no longer."""
        self._followed.pop(charge_point, None)

    def remove(self, charge_points: Sequence[str], ours: Callable[[Answer], bool]) -> tuple[int, int]:  # noqa: ARG002 - the same
        """Nothing of them is kept anywhere else."""
        return 0, 0

    def close(self) -> None:
        """Nothing reads in the background."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


class SharedListAnswers(GatheredAnswers):
    """One list of all charge points, one of each gateway, or one of each message.

    Args:
        client: the database with the queue.
        keys: names the lists.
        body: reads the answers.
        push: the end that answers are pushed at.
    """

    def __init__(self, client: RedisClient, keys: QueueKeys, *, body: Body | None, push: str) -> None:
        super().__init__(body)
        self._client = client
        self._pattern = keys.responses.replace("{gateway}", SENDER)
        self._by_message = "{message_id}" in self._pattern
        self._left = push == "left"
        self._read: dict[str, int] = {}

    def open(self) -> None:
        """Begin after the existing entries."""
        if not self._by_message:
            self._read[self._pattern] = self._client.llen(self._pattern)

    def expect(self, messages: Iterable[SentMessage]) -> None:
        """Look at the lists of these messages from now on."""
        known = list(messages)
        super().expect(known)
        if self._by_message:
            for message in known:
                if message.message_id is not None:
                    self._read.setdefault(self._pattern.replace("{message_id}", message.message_id), 0)

    def gather(self) -> None:
        """Read the entries added to the lists."""
        names = list(self._read)
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.llen(name)
        due = [
            (name, length) for name, length in zip(names, pipeline.execute(), strict=True) if length != self._read[name]
        ]
        for name, length in due:
            known = self._read[name]
            if length > known:
                # By their place from the end that does not grow, which a push does not change.
                first, last = (-length, -known - 1) if self._left else (known, length - 1)
                entries = self._client.lrange(name, first, last)
                for entry in reversed(entries) if self._left else entries:
                    self.took_in(None, entry)
            self._read[name] = length

    def remove(self, charge_points: Sequence[str], ours: Callable[[Answer], bool]) -> tuple[int, int]:
        """Take the answers of this run out of the lists; an empty list vanishes."""
        self.refresh(charge_points)
        names = list(self._read)
        if self._by_message:
            deleted = self._client.delete(*names) if names else 0
            self._read.clear()
            return 0, deleted
        pipeline = self._client.pipeline(transaction=False)
        for point in charge_points:
            for answer in filter(ours, self.of(point)):
                pipeline.lrem(self._pattern, 1, answer.data)
        removed = int(sum(pipeline.execute()))
        self._read[self._pattern] = self._client.llen(self._pattern)
        return removed, 0
