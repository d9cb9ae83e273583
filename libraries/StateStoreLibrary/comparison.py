"""Keywords that compare records, and make large ones."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import counted, examples
from StateStoreLibrary.base import StateComponent, fields_given

SHOWN = 80
EXAMPLES = 10
ROOM = 300
"""Characters for the fields that a message shows."""
_CHARACTERS = 'abcdefghijklmnopqrstuvwxyz0123456789 äöüß€"\\/{}[]:,\n\t'


def fields_of(record: Any, where: str = "") -> dict[str, Any]:
    """The fields of a record, a list or a mapping of them, by their path."""
    if isinstance(record, msgspec.Struct):
        parts: list[tuple[str, Any]] = [(f".{name}", value) for name, value in fields_given(record).items()]
    elif isinstance(record, Mapping):
        parts = [(f"[{name}]", value) for name, value in record.items()]
    elif isinstance(record, Sequence) and not isinstance(record, str):
        parts = [(f"[{index}]", value) for index, value in enumerate(record)]
    else:
        return {where: record}
    found: dict[str, Any] = {}
    for name, value in parts:
        found.update(fields_of(value, where + name))
    return found


def differences(
    first: Any, second: Any, ignore: Sequence[str] = (), *, words: tuple[str, str] | None = None
) -> list[str]:
    """The fields that are not equal, each with both values; `words` say in front of these which is which."""
    one, other = fields_of(first), fields_of(second)
    missing = object()
    found = []
    for name in [*one, *(name for name in other if name not in one)]:
        here, there = one.get(name, missing), other.get(name, missing)
        if name.rpartition(".")[2] in ignore or (type(here) is type(there) and here == there):
            continue
        shown = ["nothing" if value is missing else _shown(value) for value in (here, there)]
        both = " and ".join(shown) if words is None else ", ".join(map(" ".join, zip(words, shown, strict=True)))
        found.append(f"{name.lstrip('.')}: {both}")
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


class Comparison(StateComponent):
    """Comparing field by field."""

    @keyword(tags=("state", "assertion"))
    def records_should_be_equal(self, first: object, second: object, *, ignore: list[str] | None = None) -> None:
        """Fails when two records, or lists or mappings of records, differ in any field, value or type.

        Args:
            first: a record, or several.
            second: the expected one.
            ignore: fields that do not count, for example `version`.

        Raises:
            ExpectationFailed: they differ; the message says in how many fields, and shows three with both values.

        Example:
        ```robotframework
        ${saved}    Save Charge Point    CP-1    vendor=V
        ${read}    Get Charge Point    CP-1
        Records Should Be Equal    ${read}    ${saved}
        ```
        """
        found = differences(first, second, ignore or ())
        if found:
            for each in found[:EXAMPLES]:
                logger.info(each)
            how_many = f"{counted(len(found), 'field')} {'differs' if len(found) == 1 else 'differ'}"
            raise ExpectationFailed(f"{how_many}: {examples(found, room=ROOM)}.")

    @keyword(tags=("state", "getter"))
    def get_differing_fields(self, read: object, written: object, *, ignore: list[str] | None = None) -> list[str]:
        """Returns the fields that differ between the written and the read record, each with both values.

        Args:
            read: a record, or a list or mapping of records.
            written: the expected one.
            ignore: fields that do not count, for example `version`.

        Example:
        ```robotframework
        @{differing}    Get Differing Fields    ${read}    ${saved}
        ${some}    Get Examples    ${differing}
        Should Be Empty    ${differing}    msg=Not as written: ${some}
        ```
        """
        found = differences(read, written, ignore or (), words=("read", "written"))
        for each in found[:EXAMPLES]:
            logger.info(each)
        return found

    @keyword(tags=("state", "data"))
    def generate_text(self, size: int, *, seed: int = 1) -> str:
        """Returns text of exactly this many UTF-8 bytes, with some non-ASCII characters and some that JSON escapes.

        Args:
            size: how many bytes.
            seed: the same seed gives the same text.

        Raises:
            UsageError: the size is negative.

        Example:
        ```robotframework
        ${large}    Generate Text    ${1024 * 1024}
        Save Charge Point    CP-1    vendor=${large}
        ```
        """
        if size < 0:
            raise UsageError(f"A text of {size} bytes is not possible; size must not be negative.")
        rng = random.Random(seed)  # noqa: S311 - not for secrets
        block = "".join(rng.choice(_CHARACTERS) for _ in range(2000))
        data = (block.encode() * (size // len(block) + 1))[:size]
        text = data.decode("utf-8", "ignore")
        # A character that was cut off is made up for.
        return text + "x" * (size - len(text.encode()))
