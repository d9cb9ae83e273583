"""Redis' protocol as the fault proxy needs it: where a request or a reply ends, which words a request has."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

_END = b"\r\n"
_LONGEST_LINE = 64 * 1024


class NotResp(ValueError):
    """The bytes do not follow the Redis protocol and cannot be interpreted."""


class _Incomplete(Exception):
    """More bytes are needed."""


class Splitter:
    """Splits a stream of bytes into complete RESP values (RESP2 and RESP3), for any size of the pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; returns the values that they complete.

        Raises:
            NotResp: the bytes are no RESP; `rest` still has them.
        """
        self._buffer += data
        values = []
        start = 0
        try:
            while start < len(self._buffer) and len(self._buffer) >= self._needed:
                end = self._end(start)
                values.append(bytes(self._buffer[start:end]))
                start = end
                self._needed = 0
        except _Incomplete:
            self._needed -= start
        del self._buffer[:start]
        return values

    @property
    def rest(self) -> bytes:
        """The bytes of the value that is not complete yet."""
        return bytes(self._buffer)

    def _line(self, start: int) -> tuple[bytes, int]:
        end = self._buffer.find(_END, start)
        if end < 0:
            if len(self._buffer) - start > _LONGEST_LINE:
                raise NotResp("a line does not end")
            raise _Incomplete
        return bytes(self._buffer[start:end]), end + 2

    def _end(self, start: int) -> int:
        """The end of the value that begins at `start`."""
        line, end = self._line(start)
        kind, rest = line[:1], line[1:]
        if kind in {b"+", b"-", b":", b"_", b"#", b",", b"("}:
            return end
        try:
            size = int(rest)
        except ValueError:
            if kind.isalpha():  # an inline command, as a person types it
                return end
            raise NotResp(f"{line[:20]!r}") from None
        if kind in {b"$", b"=", b"!"}:
            if size < 0:
                return end
            end += size + 2
            if end > len(self._buffer):
                self._needed = end
                raise _Incomplete
            return end
        if kind in {b"*", b"~", b">"}:
            values = size
        elif kind in {b"%", b"|"}:
            values = 2 * size
        elif kind.isalpha():
            return end
        else:
            raise NotResp(f"{line[:20]!r}")
        for _ in range(max(values, 0)):
            end = self._end(end)
        # An attribute stands before the value that it describes.
        return self._end(end) if kind == b"|" else end


def words_of(request: bytes) -> list[bytes]:
    """The words of one whole request."""
    if not request.startswith(b"*"):
        return request.split()
    words = []
    position = request.index(_END) + 2
    while position < len(request):
        line_end = request.index(_END, position)
        size = int(request[position + 1 : line_end])
        words.append(request[line_end + 2 : line_end + 2 + size])
        position = line_end + 2 + size + 2
    return words


_SCRIPTS = {b"EVAL", b"EVALSHA", b"FCALL", b"EVAL_RO", b"EVALSHA_RO", b"FCALL_RO"}
_NO_SCRIPT_BEGAN = {
    b"ASK",
    b"BUSY",
    b"CLUSTERDOWN",
    b"LOADING",
    b"MASTERDOWN",
    b"MISCONF",
    b"MOVED",
    b"NOAUTH",
    b"NOREPLICAS",
    b"NOSCRIPT",
    b"OOM",
    b"READONLY",
    b"TRYAGAIN",
}
"""Codes of errors with which a script has written nothing: it was refused as a whole, or at its first write."""


def was_run(command: bytes, reply: bytes) -> bool:
    """Whether Redis ran the request that it gave this reply to.

    An error reply means that it did not: a command runs whole or not at all (EXECABORT, MOVED, NOSCRIPT, OOM, READONLY,
    WRONGTYPE, BUSY, …). A script is the exception, since its writes before an error stay: it counts as run, except with
    an error that excludes writes. A command that is only queued for EXEC (`+QUEUED`) is not run, and neither is an EXEC
    that WATCH stopped (a null reply).

    Args:
        command: the first word of the request.
        reply: the whole reply.
    """
    command = command.upper()
    if reply.startswith((b"-", b"!")):
        text = reply[1:] if reply.startswith(b"-") else reply.partition(_END)[2]
        return command in _SCRIPTS and not _NO_SCRIPT_BEGAN.intersection(text.split(maxsplit=1)[:1])
    if reply == b"+QUEUED\r\n":
        return False
    return not (command == b"EXEC" and reply in {b"*-1\r\n", b"_\r\n"})


def keys_of(words: Sequence[bytes]) -> Sequence[bytes]:
    """The possible keys of a request: the keys of a script, else every argument."""
    if words[0].upper() in _SCRIPTS and len(words) > 2:
        try:
            return words[3 : 3 + int(words[2])]
        except ValueError:
            return ()
    return words[1:]


def matches(words: Sequence[bytes], command: str, keys: Sequence[str], arguments: Sequence[str] = ()) -> bool:
    """Whether a request is of a command and has, for each glob pattern, such a key or argument.

    Args:
        words: the request.
        command: the command, `*` for any; several are separated by `|`.
        keys: glob patterns of keys.
        arguments: glob patterns of arguments, keys included.
    """
    if not words or (command != "*" and words[0].decode("utf-8", "replace").upper() not in command.upper().split("|")):
        return False
    return _has_each(keys, keys_of(words)) and _has_each(arguments, words[1:])


def _has_each(patterns: Sequence[str], words: Sequence[bytes]) -> bool:
    if not patterns:
        return True
    texts = [word.decode("utf-8", "replace") for word in words]
    return all(any(fnmatch.fnmatchcase(text, pattern) for text in texts) for pattern in patterns)
