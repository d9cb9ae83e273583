"""Reading the JSON-lines log of a running server, as data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from ocpp_resilience.waiting import wait_until

Record = dict[str, Any]


class LogRecords:
    """The records of a log file that grows.

    A record is a dictionary. Fields that the system names differently are renamed to the names that the keywords use,
    and so are the events. A line that is not a JSON object becomes `{"event": None, "text": line}`. A last line without
    its end is not looked at until it is complete.

    Args:
        file: the log; it need not exist yet.
        fields: the keywords' field names to the log's.
        events: the keywords' event names to the log's.
        patterns: for a text log: event and regular expression, whose named groups become fields.
    """

    def __init__(
        self,
        file: Path,
        *,
        fields: Mapping[str, str] | None = None,
        events: Mapping[str, str] | None = None,
        patterns: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._file = file
        self._fields = {theirs: ours for ours, theirs in (fields or {}).items() if ours != theirs}
        self._events = {theirs: ours for ours, theirs in (events or {}).items() if ours != theirs}
        self._patterns = [(event, re.compile(pattern)) for event, pattern in patterns]
        self._records: list[Record] = []
        self._offset = 0
        self._rest = b""

    def refresh(self) -> list[Record]:
        """Read the records written since the last call; returns all records so far."""
        try:
            with self._file.open("rb") as source:
                source.seek(self._offset)
                written = source.read()
        except FileNotFoundError:
            return self._records
        self._offset += len(written)
        *lines, self._rest = (self._rest + written).split(b"\n")
        self._records.extend(self._parse(line) for line in lines if line.strip())
        return self._records

    def position(self) -> int:
        """The current number of records: the value of `since` for later records."""
        return len(self.refresh())

    def matching(self, fields: Mapping[str, Any] | None = None, *, since: int = 0) -> list[Record]:
        """The records from position `since` on whose fields have these values.

        A value matches when it is equal, or equal as text: Robot Framework's `0` is a string. `None` matches a null and
        a field that is not there.
        """
        fields = fields or {}
        return [record for record in self.refresh()[since:] if matches(record, fields)]

    def wait_for(
        self, fields: Mapping[str, Any], *, timeout: timedelta | float, count: int = 1, since: int = 0
    ) -> list[Record]:
        """Wait until at least `count` records match, and return them.

        Raises:
            WaitTimeout: there were fewer.
        """

        def enough() -> list[Record] | None:
            found = self.matching(fields, since=since)
            return found if len(found) >= count else None

        def failure() -> str:
            found = len(self.matching(fields, since=since))
            written = len(self._records) - since
            last = (
                f"the last of {count_in_words(written)}: {shorten(self._records[-1])}" if written > 0 else "no record"
            )
            return f"Expected {count_in_words(count)} with {fields_in_words(fields)} in the log, found {found} ({last})"

        return wait_until(enough, timeout=timeout, failure=failure)

    def _parse(self, line: bytes) -> Record:
        text = line.decode("utf-8", "replace").rstrip("\r")
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            return self._recognise(text)
        record: Record = _without_surrogates(parsed) if "\\u" in text else parsed
        if self._fields:
            record = {self._fields.get(name, name): value for name, value in record.items()}
        if self._events and isinstance(event := record.get("event"), str):
            record["event"] = self._events.get(event, event)
        return record

    def _recognise(self, text: str) -> Record:
        for event, pattern in self._patterns:
            if found := pattern.search(text):
                return {"event": event, **found.groupdict(), "text": text}
        return {"event": None, "text": text}


def matches(record: Record, fields: Mapping[str, Any]) -> bool:
    """Whether every one of `fields` has its value in the record."""
    return all(_same(record.get(name), value) for name, value in fields.items())


def _same(seen: Any, expected: Any) -> bool:
    if seen is None or expected is None:
        return seen is expected
    return bool(seen == expected) or _as_text(seen) == _as_text(expected)


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_surrogates(value: Any) -> Any:
    """Half a character cannot be written to Robot's output; it becomes a replacement character."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(part) for part in value]
    return value


def count_in_words(count: int) -> str:
    """`no record`, `1 record`, `2 records`."""
    return f"{count or 'no'} record{'' if count in {0, 1} else 's'}"


def fields_in_words(fields: Mapping[str, Any]) -> str:
    """`event=invalid_message, code=NotImplemented`, as a test writes it."""
    return ", ".join(f"{name}={value}" for name, value in fields.items()) or "any fields"


def shorten(record: Record, limit: int = 300) -> str:
    """A record for a message."""
    text = json.dumps(record, ensure_ascii=False, default=str)
    return text if len(text) <= limit else f"{text[:limit]}…"
