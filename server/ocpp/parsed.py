"""Messages that this process has parsed and queued, for its own processor: it need not parse them again."""

from __future__ import annotations

from server.ocpp.frames import DEEPEST_NESTING, Call

MOST_MESSAGES = 1024
"""Messages that are remembered; they come back within milliseconds, unless another process has the queue."""
MOST_BYTES = 4096
"""Bytes of a message that is remembered at most: one kind of bound is enough then."""


class ParsedMessages:
    """Remembers the meaning of entries of the request queue, each until it is asked for once.

    An entry is known by its bytes, so nothing depends on what becomes of it meanwhile: what is not known is parsed.
    """

    def __init__(self) -> None:
        self._messages: dict[bytes, Call] = {}

    def remember(self, raw: bytes, message: Call) -> None:
        """Remember that `server.ocpp.envelope.parse` makes `message` of `raw`; the oldest are forgotten."""
        # A frame that nearly is nested too deeply is so in its envelope.
        if len(raw) > MOST_BYTES or raw.count(b"{") + raw.count(b"[") > DEEPEST_NESTING:
            return
        self._messages[raw] = message
        if len(self._messages) > MOST_MESSAGES:
            del self._messages[next(iter(self._messages))]

    def take(self, raw: bytes) -> Call | None:
        """The message in `raw`, if it is known; it is not afterwards."""
        return self._messages.pop(raw, None)
