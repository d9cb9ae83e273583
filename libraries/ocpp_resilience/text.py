"""Words for messages: counts, examples and shortened text."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence


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


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one is most like, without regard to case, spaces and underscores.

    Returns:
        `None` if none is like it.
    """
    plain = {_plain(each): each for each in reversed(list(known))}
    close = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.75)
    return plain[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'alias'?`, to end a sentence with; a full stop where no known name is like it."""
    found = nearest(name, known)
    return f"; did you mean '{found}'?" if found else "."


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def shortened(text: str, limit: int = 120) -> str:
    """`text` in quotes, cut after `limit` characters, for use within a sentence."""
    shown = ascii(text) if not text.isprintable() else f"'{text}'"
    return shown if len(shown) <= limit else f"{shown[:limit]}… ({len(text)} characters)"


def with_short_numbers(text: str) -> str:
    """A text in which no number has more than four digits that somebody reads: `9.674363955631145 %` is `9.674 %`."""

    def short(found: re.Match[str]) -> str:
        number = float(found[0])
        return f"{number:.0f}" if number >= 1000 else f"{number:.4g}"

    return re.sub(r"(?<![\d.])\d+\.\d{5,}(?![\d.])", short, text)


def file_name(text: str) -> str:
    """A text as a part of a file's name: short, without separators, and another one for another text."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:60]
    if plain and plain == text.replace(" ", "-"):
        return plain
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")
