"""The list of messages that the system under test set aside."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.ocpp.model.values import moment
from ocpp_resilience.text import counted, shortened
from ocpp_resilience.transport.messages import Message

RECOGNISED_CHARACTERS = 200
"""By how much of its beginning a set-aside message is recognised: an envelope's message id is within it.

Systems keep different lengths; how much has to be kept is judged by a test, once the dead letter is recognised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message that was set aside.

    Attributes:
        received_at: when the system met it, as the system writes it.
        code: the error code.
        reason: the reason, for people.
        charge_point: the charge point of the message, if the system could tell.
        message_id: its message id, where the system could tell.
        raw: the message as text, cut at 4 KiB.
        text: the entry as it stands in the list.
    """

    received_at: str | None
    code: str | None
    reason: str | None
    charge_point: str | None
    message_id: str | None
    raw: str
    text: str = field(repr=False)
    data: bytes = field(repr=False)

    @property
    def age(self) -> float | None:
        """How many seconds ago `received_at` is; `None` where that is no time with a zone."""
        received = None if self.received_at is None else moment(self.received_at)
        return None if received is None else time.time() - received

    @property
    def record(self) -> dict[str, str | None]:
        """The fields that a log record about the message has too, under the contract's names."""
        return {
            "code": self.code,
            "reason": self.reason,
            "charge_point_id": self.charge_point,
            "message_id": self.message_id,
        }

    def __str__(self) -> str:
        whose = f" of {self.charge_point}" if self.charge_point is not None else ""
        return f"{self.code}{whose}: {self.reason} ({shortened(self.raw)})"


@dataclass(frozen=True, slots=True)
class DeadLetterMark:
    """The dead letters at one moment, to distinguish later ones.

    Attributes:
        entries: digests of the entries, with the number of entries that are equal.
    """

    entries: Counter[bytes]

    def __str__(self) -> str:
        return f"<{counted(self.entries.total(), 'dead letter')}>"


def read_dead_letter(data: bytes) -> DeadLetter:
    """Read one entry; fields that cannot be read are `None`, and `raw` is then the whole entry."""
    text = data.decode("utf-8", "backslashreplace")
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    fields: dict[str, Any] = document if isinstance(document, dict) else {"raw": text}

    def text_of(name: str) -> str | None:
        value = fields.get(name)
        return value if isinstance(value, str) else None

    return DeadLetter(
        received_at=text_of("received_at"),
        code=text_of("code"),
        reason=text_of("reason"),
        charge_point=text_of("charge_point_id"),
        message_id=text_of("message_id"),
        raw=text_of("raw") or "",
        text=text,
        data=data,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """A filter for dead letters; fields that are `None` match everything."""

    charge_point: str | None = None
    code: str | None = None
    raw_contains: str | None = None
    message: Message | None = None

    def select(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Those of `letters` that are meant, in their order."""
        return [letter for letter in letters if self._matches(letter)]

    def _matches(self, letter: DeadLetter) -> bool:
        return (
            (self.charge_point is None or letter.charge_point == self.charge_point)
            and (self.code is None or letter.code == self.code)
            and (self.raw_contains is None or self.raw_contains in letter.raw)
            and (self.message is None or letter.raw[:RECOGNISED_CHARACTERS] in spellings(self.message.data))
        )

    def __str__(self) -> str:
        parts = []
        if self.message is not None:
            parts.append(f"for {self.message}")
        if self.charge_point is not None:
            parts.append(f"of {self.charge_point}")
        if self.code is not None:
            parts.append(f"with code {self.code}")
        if self.raw_contains is not None:
            parts.append(f"containing {shortened(self.raw_contains)}")
        return " ".join(parts)


def spellings(data: bytes) -> set[str]:
    """Possible forms of the beginning of a message in a dead letter: systems show non-UTF-8 bytes differently."""
    # Four bytes a character at most; a character that is cut lies behind the part that is compared.
    beginning = data[: 4 * RECOGNISED_CHARACTERS + 4]
    ways = [
        beginning.decode("utf-8", errors) for errors in ("replace", "backslashreplace", "ignore", "surrogateescape")
    ]
    return {way[:RECOGNISED_CHARACTERS] for way in [*ways, beginning.decode("latin-1")]}


def digest(data: bytes) -> bytes:
    """A fingerprint of an entry or a message, short enough to be kept for many."""
    return hashlib.blake2b(data, digest_size=16).digest()


def mark_of(letters: Iterable[bytes]) -> DeadLetterMark:
    """A mark of these entries."""
    return DeadLetterMark(Counter(digest(entry) for entry in letters))


def since(letters: Sequence[bytes], mark: DeadLetterMark) -> list[bytes]:
    """Those of `letters`, newest first, that came after `mark`.

    Of equal entries the older ones are taken for those that were there before.
    """
    before = mark.entries.copy()
    new = []
    for entry in reversed(letters):
        if before[digest(entry)] > 0:
            before[digest(entry)] -= 1
        else:
            new.append(entry)
    return new[::-1]
