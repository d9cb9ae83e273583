"""Requests and answers in Redis streams."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import redis

from ocpp_resilience.redis.connection import RedisClient
from ocpp_resilience.transport.answers import Answer
from ocpp_resilience.transport.bodies import SENDER, Body
from ocpp_resilience.transport.gathered import GatheredAnswers
from ocpp_resilience.transport.messages import SentMessage
from ocpp_resilience.transport.queue_keys import Names, QueueKeys
from ocpp_resilience.transport.sending import push

READ_AT_ONCE = 1_000
MOST_COUNTED = 1_000_000


def as_fields(data: bytes, body: Body) -> list[bytes]:
    """The fields of a stream entry with this message, name and value in turn.

    The fields are those of the template; any other message becomes the field that carries the message.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not document:
        return [body.frame_field.encode(), data]
    fields: list[bytes] = []
    for name, value in document.items():
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        fields += [name.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass")]
    return fields


def as_document(fields: Mapping[bytes, bytes], body: Body | None) -> bytes:
    """The message in a stream entry: its fields as a JSON object, or its only field if that is none of the template."""
    template = {} if body is None else body.template
    texts = {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in fields.items()}
    if len(texts) == 1 and not texts.keys() & template.keys():
        return next(iter(texts.values())).encode()
    return json.dumps(texts, ensure_ascii=False).encode()


class StreamRequests:
    """A stream, or one for each charge point, with consumer groups.

    Args:
        client: the database with the queue.
        pattern: the name of the stream; may hold `{charge_point_id}`.
        body: the template of a request.
        group: the group whose work counts as done; all groups if not given.
        wait_replicas: replicas that have to have a message before it counts as acknowledged.
    """

    keeps = True

    def __init__(
        self, client: RedisClient, pattern: str, *, body: Body, group: str | None, wait_replicas: int = 0
    ) -> None:
        self._wait_replicas = wait_replicas
        self.place = pattern
        self._client: Any = client
        self._body = body
        self._group = group
        self._keys = Names(pattern)
        self._ids: dict[str, list[bytes]] = {}

    def push(self, messages: Sequence[SentMessage]) -> str | None:
        """Add messages to the stream."""

        def note(message: SentMessage, reply: Any) -> None:
            self._ids.setdefault(self._keys.of(message), []).append(reply)

        return push(
            self._client,
            messages,
            lambda each: ("XADD", self._keys.of(each), "*", *as_fields(each.data, self._body)),
            note,
            wait_replicas=self._wait_replicas,
        )

    def length(self) -> int:
        """Number of entries that were not delivered, or delivered and not acknowledged."""
        return sum(len(self._undelivered(key)) for key in self._keys) + self.in_flight()

    def in_flight(self) -> int:
        """Number of entries that were delivered and not acknowledged."""
        return sum(group["pending"] for key in self._keys for group in self._groups(key))

    def _groups(self, key: str) -> list[dict[str, Any]]:
        try:
            groups = self._client.xinfo_groups(key)
        except redis.ResponseError:  # no such stream
            return []
        return [each for each in groups if self._group in {None, each["name"].decode("utf-8", "replace")}]

    def _undelivered(self, key: str, count: int = MOST_COUNTED) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """The entries that the slowest group has not been given; without a group, all entries."""
        last = min((_order(group["last-delivered-id"]) for group in self._groups(key)), default=None)
        start = "-" if last is None else f"({last[0]}-{last[1]}"
        found: list[tuple[bytes, dict[bytes, bytes]]] = self._client.xrange(key, min=start, count=count)
        return found

    def oldest(self, count: int) -> list[bytes]:
        """The entries that are delivered next."""
        found = [fields for key in self._keys for _, fields in self._undelivered(key, count)]
        return [as_document(fields, self._body) for fields in found[:count]]

    def _own(self, key: str) -> list[bytes]:
        return self._ids.get(key, [])

    def waiting(self, ours: Callable[[bytes], bool]) -> int:  # noqa: ARG002 - the ids say which are ours
        """Number of our entries that were not acknowledged."""
        own = {each for key in self._keys for each in self._own(key)}
        undelivered = sum(number in own for key in self._keys for number, _ in self._undelivered(key))
        return undelivered + (self.in_flight() if own else 0)

    def withdraw(self, ours: Callable[[bytes], bool]) -> int:  # noqa: ARG002 - the same
        """Delete our entries, processed or not: a stream keeps acknowledged entries."""
        removed = 0
        for key, own in self._ids.items():
            undelivered = {number for number, _ in self._undelivered(key)}
            removed += sum(number in undelivered for number in own)
            for first in range(0, len(own), READ_AT_ONCE):
                part = own[first : first + READ_AT_ONCE]
                self._client.xdel(key, *part)
                for group in self._groups(key):
                    self._client.xack(key, group["name"], *part)
        self._ids.clear()
        return removed


def _order(number: bytes) -> tuple[int, int]:
    first, _, second = number.decode().partition("-")
    return int(first), int(second)


class StreamAnswers(GatheredAnswers):
    """A stream of all charge points, one of each, or one of each gateway.

    Args:
        client: the database with the queue.
        keys: names the streams.
        body: reads the answers.
    """

    def __init__(self, client: RedisClient, keys: QueueKeys, *, body: Body | None) -> None:
        super().__init__(body)
        self._client: Any = client
        self._pattern = keys.responses.replace("{gateway}", SENDER)
        self._last: dict[str, bytes] = {}
        self._owner: dict[str, str | None] = {}
        self._ids: dict[str, list[bytes]] = {}

    def open(self) -> None:
        """Begin after the existing entries."""
        if "{" not in self._pattern:
            self._watch(self._pattern, None)

    def _watch(self, name: str, charge_point: str | None) -> None:
        if name not in self._last:
            newest = self._client.xrevrange(name, count=1)
            self._last[name] = newest[0][0] if newest else b"0-0"
            self._owner[name] = charge_point

    def begin(self, charge_points: Sequence[str]) -> None:
        """Follow these from now on."""
        self._watch_points(charge_points)
        super().begin(charge_points)

    def follow(self, charge_point: str) -> None:
        """Follow a charge point."""
        self._watch_points([charge_point])
        super().follow(charge_point)

    def _watch_points(self, charge_points: Iterable[str]) -> None:
        if "{charge_point_id}" in self._pattern:
            for point in charge_points:
                self._watch(self._pattern.replace("{charge_point_id}", point), point)

    def expect(self, messages: Iterable[SentMessage]) -> None:
        """These are about to be sent."""
        known = list(messages)
        super().expect(known)
        if "{message_id}" in self._pattern:
            for message in known:
                if message.message_id is not None:
                    self._watch(self._pattern.replace("{message_id}", message.message_id), message.charge_point)

    def gather(self) -> None:
        """Read the entries after the last one read."""
        while self._last:
            found = self._client.xread(self._last, count=READ_AT_ONCE)
            seen_at = time.monotonic()
            for stream, entries in found:
                name = stream.decode()
                for number, fields in entries:
                    self._last[name] = number
                    self._ids.setdefault(name, []).append(number)
                    self.took_in(self._owner[name], as_document(fields, self._body), seen_at=seen_at)
            if not found:
                return

    def remove(self, charge_points: Sequence[str], ours: Callable[[Answer], bool]) -> tuple[int, int]:  # noqa: ARG002 - all read are
        """Delete the streams of charge points and of messages, and from one of all the entries that were read."""
        self.gather()
        entries = keys = 0
        for name, owner in list(self._owner.items()):
            if owner is None:
                own = self._ids.pop(name, [])
                for first in range(0, len(own), READ_AT_ONCE):
                    entries += self._client.xdel(name, *own[first : first + READ_AT_ONCE])
            else:
                keys += self._client.delete(name)
                del self._owner[name], self._last[name]
                self._ids.pop(name, None)
        return entries, keys
