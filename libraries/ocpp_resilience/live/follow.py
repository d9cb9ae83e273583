"""Reading files of JSON lines while they grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

MOST_BYTES = 8 * 1024 * 1024
"""Bytes that are read of a file at once; of a longer piece the beginning is passed over."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Follower:
    """Returns the lines that were added to a file since the last look; an unfinished line waits for its end.

    Args:
        path: the file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def new_lines(self) -> list[dict[str, Any]]:
        """The new lines; what is no JSON object is passed over. A file that has become shorter is read anew."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                if size < self._position:
                    self._position = 0
                begin = max(self._position, size - MOST_BYTES)
                file.seek(begin)
                data = file.read(size - begin)
        except OSError:
            return []
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].split(b"\n")
        if begin > self._position:
            # The first one may have begun before.
            del lines[0]
        self._position = begin + whole
        return [value for line in lines if line and (value := _value(line)) is not None]


def _value(line: bytes) -> dict[str, Any] | None:
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
