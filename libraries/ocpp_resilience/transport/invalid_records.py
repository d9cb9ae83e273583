"""Matches a server's records of invalid messages, in its log and dead letters, to those messages."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.text import counted, examples
from ocpp_resilience.transport.messages import SentMessage
from ocpp_resilience.waiting import wait_until

UNREADABLE_ID = "-1"
"""The message id of a CALLERROR to a message without a readable id (OCPP-J 1.6 errata)."""
ROOM = 240
"""Characters for the examples in a summary."""

Record = Mapping[str, Any]
"""A server's record of an invalid message: `code`, `reason`, `charge_point_id`, `message_id`."""


@dataclass(slots=True)
class RecordReport:
    """The result of matching records to messages.

    Attributes:
        messages: how many invalid messages there were.
        kind: the kind of record, for example `log record`.
        unrecorded: those without a record that has the right code, a reason, and charge point and message id where the
            server knew them.
        surplus: records that belong to none of them, or to one that has its record already.
    """

    messages: int
    kind: str = "record"
    unrecorded: list[SentMessage] = field(default_factory=list)
    surplus: list[Record] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Number of messages without a record."""
        return len(self.unrecorded)

    @property
    def extra(self) -> int:
        """Number of surplus records."""
        return len(self.surplus)

    @property
    def percent(self) -> float:
        """The messages that have their record, in percent; 100 if there are no messages."""
        return 100.0 if not self.messages else 100 * (self.messages - self.missing) / self.messages

    @property
    def summary(self) -> str:
        """The whole in one line, with the first few examples."""
        missing, extra = f"{self.missing} without a {self.kind}", f"{counted(self.extra, self.kind)} too many"
        parts = [f"{counted(self.messages, 'invalid message')}, {missing}, {extra}"]
        lacking = [f"no {self.kind} with {each.expected_code} of {each} ({each.about})" for each in self.unrecorded]
        surplus = [f"too many: {_shown(each)}" for each in self.surplus]
        kinds = [found for found in (lacking, surplus) if found]
        parts += [examples(found, room=ROOM // len(kinds)) for found in kinds]
        return "; ".join(parts)

    def __str__(self) -> str:
        return self.summary


def match_records(
    messages: Iterable[SentMessage], records: Iterable[Record], *, kind: str = "record", strict: bool = True
) -> RecordReport:
    """Give each invalid message its record.

    A record belongs to a message if the code is the expected one and a reason is given; for a message that can be
    answered, charge point and message id have to be right as well, since the server needs both for the answer.

    Args:
        messages: the invalid messages, with the codes that they have to get; of those that are left open, each may have
            a record or none.
        records: the server's records since then.
        kind: the kind of record.
        strict: whether the code has to be the expected one.
    """
    sent = [each for each in messages if not (each.open and each.valid is None)]
    left_open = [each for each in messages if each.open and each.valid is None]
    report = RecordReport(len(sent), kind)
    known: defaultdict[tuple[object, object], list[Record]] = defaultdict(list)
    for record in records:
        if record.get("reason"):
            known[record.get("code") if strict else None, record.get("charge_point_id")].append(record)
        else:
            report.surplus.append(record)
    unnamed = Counter[str | None]()
    for message in sent:
        code = message.expected_code if strict else None
        candidates = known[code, message.charge_point]
        found = next((each for each in candidates if _same_message_id(message, each)), None)
        if found is not None:
            candidates.remove(found)
        elif message.answerable:
            report.unrecorded.append(message)
        else:
            unnamed[code] += 1
            if unnamed[code] > len(known[code, None]):
                report.unrecorded.append(message)
    for message in left_open:
        candidates = known[None, message.charge_point] or known[None, None]
        if candidates:
            candidates.pop()
    for (key, charge_point), left in known.items():
        report.surplus += left[unnamed[None if key is None else str(key)] :] if charge_point is None else left
    return report


def wait_for_records(
    messages: Iterable[SentMessage],
    records: Callable[[], Iterable[Record]],
    *,
    kind: str,
    timeout: timedelta | float,
    strict: bool = True,
) -> RecordReport:
    """Match until each message has its record, at most for `timeout`; returns the last match, complete or not.

    Args:
        messages: the invalid messages, with the codes that they have to get.
        records: the server's records so far.
        kind: the kind of record.
        timeout: the longest wait for the last record.
        strict: whether the code has to be the expected one.
    """
    sent = list(messages)
    report = RecordReport(len(sent), kind)

    def complete() -> bool | None:
        nonlocal report
        report = match_records(sent, records(), kind=kind, strict=strict)
        return None if report.missing else True

    with contextlib.suppress(WaitTimeout):
        wait_until(complete, timeout=timeout, failure=lambda: report.summary)
    return report


def _same_message_id(message: SentMessage, record: Record) -> bool:
    if not message.answerable or message.answer_message_id in {None, UNREADABLE_ID}:
        return True
    return bool(record.get("message_id") == message.answer_message_id)


def _shown(record: Record) -> str:
    names = {"charge_point_id": "of", "message_id": "message id"}
    known = [f"{said} {record[name]}" for name, said in names.items() if record.get(name) is not None]
    return f"{record.get('code')} {', '.join(known) or 'of nobody'}: {record.get('reason') or 'without a reason'}"
