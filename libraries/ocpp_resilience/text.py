"""Words for messages: counts, examples and shortened text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence


def counted(count: int, what: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def examples(found: Sequence[object], most: int = 3, room: int = 200) -> str:
    """The first few of `found` for one line of a message, and how many more there are; `none` if there are none.

    Args:
        found: the existing ones.
        most: how many to show.
        room: characters that they may take together; the first is cut to that, the others are left out then.
    """
    shown: list[str] = []
    for each in found[:most]:
        text = " ".join(str(each).split())
        if shown and sum(map(len, shown)) + len(text) > room:
            break
        shown.append(text if len(text) <= room else f"{text[:room]}…")
    more = f"; and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return "; ".join(shown) + more if shown else "none"


def shortened(text: str, limit: int = 120) -> str:
    """`text` in quotes, cut after `limit` characters, for use within a sentence."""
    shown = ascii(text) if not text.isprintable() else f"'{text}'"
    return shown if len(shown) <= limit else f"{shown[:limit]}… ({len(text)} characters)"


def file_name(text: str) -> str:
    """A text as a part of a file's name: short, without separators, and another one for another text."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:60]
    if plain and plain == text.replace(" ", "-"):
        return plain
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")
