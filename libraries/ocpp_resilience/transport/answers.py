"""Answers: reading them off the answer lists without taking them, so that nothing is lost when a read is cut off."""

from __future__ import annotations

import enum
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.ocpp.frames import MessageType
from ocpp_resilience.redis.connection import RedisClient
from ocpp_resilience.text import shortened
from ocpp_resilience.transport.queue_keys import QueueKeys


class AnswerKind(enum.Enum):
    """What stands in an answer list."""

    RESULT = "CALLRESULT"
    ERROR = "CALLERROR"
    CALL = "CALL"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One entry of a charge point's answer list.

    Attributes:
        charge_point: in whose list it stands.
        message_id: which message it answers; `None` where that cannot be read.
        kind: CALLRESULT, CALLERROR, a CALL (a command, which is no answer), or unreadable.
        payload: the fields of a CALLRESULT or CALL; the details of a CALLERROR.
        code: the error code of a CALLERROR.
        description: the error description of a CALLERROR.
        data: the entry, byte for byte.
        seen_at: when this library saw it, in seconds of `time.monotonic`.
        seconds: from handing the message to Redis until the answer was seen; `None` where the message is not known.
    """

    charge_point: str
    message_id: str | None
    kind: AnswerKind
    payload: dict[str, Any] = field(default_factory=dict)
    code: str | None = None
    description: str | None = None
    data: bytes = field(default=b"", repr=False)
    seen_at: float = 0.0
    seconds: float | None = None

    @property
    def text(self) -> str:
        """The entry as text; bytes that are not UTF-8 are shown as `\\xff`."""
        return self.data.decode("utf-8", "backslashreplace")

    def __str__(self) -> str:
        if self.kind is AnswerKind.UNREADABLE:
            return f"{shortened(self.text)} in the answers of {self.charge_point}"
        what = f"{self.kind.value} {self.code}" if self.kind is AnswerKind.ERROR else self.kind.value
        return f"{what} to message {self.message_id} of {self.charge_point}"


def read_answer(charge_point: str, data: bytes, *, seen_at: float = 0.0) -> Answer:
    """Read one entry of the answer list of `charge_point`: an envelope, or the bare OCPP-J array."""

    def made(kind: AnswerKind, message_id: str | None, **rest: Any) -> Answer:
        return Answer(charge_point=charge_point, kind=kind, message_id=message_id, data=data, seen_at=seen_at, **rest)

    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return made(AnswerKind.UNREADABLE, None)
    match document.get("payload") if isinstance(document, dict) else document:
        case [MessageType.CALLRESULT, str(message_id), dict(payload)]:
            return made(AnswerKind.RESULT, message_id, payload=payload)
        case [MessageType.CALLERROR, str(message_id), str(code), str(description), dict(details)]:
            return made(AnswerKind.ERROR, message_id, code=code, description=description, payload=details)
        case [MessageType.CALL, str(message_id), str(_), dict(payload)]:
            return made(AnswerKind.CALL, message_id, payload=payload)
    return made(AnswerKind.UNREADABLE, None)


@dataclass(slots=True)
class _AnswerList:
    """What was read of one list, oldest first; `skipped` entries were there before this run's first message."""

    entries: list[bytes]
    skipped: int
    answers: list[Answer]


class AnswerLists:
    """The answer lists, followed without taking anything off them.

    A list grows at its left end, so that what is new are the entries that an index from the right end has not reached.
    Each read fetches them together with the newest known one: if that is not the same any more, somebody took entries
    or Redis lost some, and the list is read again as a whole. What was seen once is kept, whatever becomes of the list.
    """

    def __init__(self, client: RedisClient, keys: QueueKeys) -> None:
        self._client = client
        self._keys = keys
        self._lists: dict[str, _AnswerList] = {}
        self.changed: Counter[str] = Counter()
        """How often the list of a charge point had lost entries that were seen before."""
        self.observer: Callable[[Answer], None] | None = None
        """Told of each entry once, when it is read, those of one charge point in their order."""

    def known(self, charge_point: str) -> bool:
        """Whether the list of `charge_point` is followed."""
        return charge_point in self._lists

    @property
    def charge_points(self) -> list[str]:
        """Whose lists are followed."""
        return list(self._lists)

    def follow(self, charge_point: str, existing: list[bytes]) -> None:
        """Follow a list from now on; `existing`, newest first, is in it already and is not this run's."""
        entries = existing[::-1]
        self._lists[charge_point] = _AnswerList(entries=entries, skipped=len(entries), answers=[])

    def grown(self, charge_points: Iterable[str]) -> int:
        """How many entries the lists have that were not read yet: one round trip, and nothing is fetched.

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
        """Fetch what is new in the lists of these charge points.

        Returns:
            The new answers, those of one charge point from the oldest to the newest.

        Raises:
            redis.RedisError: Redis cannot be reached or refuses; what was read before is kept.
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
            # From the left end to the newest known entry, which is fetched once more; the whole list if none is known.
            known = len(self._lists[point].entries)
            pipeline.lrange(self._keys.answers_of(point), 0, -max(known, 1))
        fetched = pipeline.execute()
        seen_at = time.monotonic()
        found: list[Answer] = []
        for point, newest_first in zip(due, fetched, strict=True):
            found += self._take_in(point, newest_first[::-1], seen_at)
        return found

    def _take_in(self, charge_point: str, fetched: list[bytes], seen_at: float) -> list[Answer]:
        kept = self._lists[charge_point]
        if kept.entries and (not fetched or fetched[0] != kept.entries[-1]):
            self.changed[charge_point] += 1
            whole = self._client.lrange(self._keys.answers_of(charge_point), 0, -1)[::-1]
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
        answers = [read_answer(charge_point, entry, seen_at=seen_at) for entry in new]
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
        """How many entries the list of `charge_point` had before it was followed."""
        followed = self._lists.get(charge_point)
        return followed.skipped if followed else 0

    def forget(self, charge_point: str) -> None:
        """Follow the list of `charge_point` no longer."""
        self._lists.pop(charge_point, None)
