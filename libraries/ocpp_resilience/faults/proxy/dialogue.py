"""Requests and replies of one connection through the fault proxy, so that a fault can fall on a chosen one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ocpp_resilience.faults.proxy.command_rule import CommandRule
from ocpp_resilience.faults.proxy.resp import NotResp, Splitter, was_run, words_of

if TYPE_CHECKING:
    from ocpp_resilience.faults.proxy.relay import Connection


@dataclass
class _Due:
    """A reply that is due.

    Attributes:
        command: the first word of its request; empty if that is not known.
        faults: those that may fall on the reply, if Redis ran the request.
    """

    command: bytes = b""
    faults: list[CommandRule] = field(default_factory=list)


class Dialogue:
    """Requests and replies of one connection, so that a fault can fall on a chosen one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._up = Splitter()
        self._down = Splitter()
        # The replies that are due, oldest first; bytes are a reply of our own.
        self._due: deque[_Due | bytes] = deque()
        self._plain = False
        # Requests that Redis sends no reply to: CLIENT REPLY SKIP and the one behind it.
        self._unanswered = 0
        self._waiting = connection.untracked
        if not connection.untracked:
            # The exchange in progress: requests without a reply, and incomplete values.
            try:
                for raw in self._up.feed(b"".join(connection.turn_up)):
                    if self._is_answered(words_of(raw)):
                        self._due.append(_Due())
                for _ in self._down.feed(b"".join(connection.turn_down)):
                    if self._due:
                        self._due.popleft()
            except NotResp:
                self._plain = True
        self._sent_up, self._sent_down = len(self._up.rest), len(self._down.rest)
        connection.turn_up.clear()
        connection.turn_down.clear()

    def requests(self, data: bytes) -> None:
        """Bytes of the client: whole requests are looked at, and passed on if no fault falls on them."""
        connection = self._connection
        if self._waiting and connection.answered:
            self._waiting = False
        if self._plain or self._waiting:
            connection.up.feed(data)
            return
        try:
            whole = self._up.feed(data)
        except NotResp:
            self._give_up()
            return
        passing = bytearray()
        for index, raw in enumerate(whole):
            words = words_of(raw)
            if words and words[0].upper() in {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR"}:
                # From here on replies and messages cannot be told apart.
                self._plain = True
                connection.up.feed(bytes(passing) + b"".join(whole[index:]) + self._up.rest)
                if self._down.rest:
                    connection.down.feed(self._down.rest[self._sent_down :])
                return
            fault = connection.proxy.choose(connection.proxy.faults_for(words, "before"))
            due = _Due(words[0] if words else b"", connection.proxy.faults_for(words, "after"))
            sent, self._sent_up = self._sent_up, 0
            answered = self._is_answered(words)
            if fault is None:
                if answered:
                    self._due.append(due)
                passing += raw[sent:]
                continue
            if passing:
                connection.up.feed(bytes(passing))
                passing.clear()
            match fault.action:
                case "cut":
                    connection.close()
                    return
                case "delay":
                    if answered:
                        self._due.append(due)
                    connection.up.feed(raw[sent:], fault.delay / 1000)
                case "error":
                    if answered:
                        self._due.append(b"-%s\r\n" % fault.error.encode())
                        self._flush_own()
                case "drop":
                    pass
        if passing:
            connection.up.feed(bytes(passing))

    def _is_answered(self, words: list[bytes]) -> bool:
        """Whether Redis replies to the next request."""
        if [word.upper() for word in words] == [b"CLIENT", b"REPLY", b"SKIP"]:
            self._unanswered = 2
        answered = self._unanswered == 0
        self._unanswered = max(0, self._unanswered - 1)
        return answered

    def replies(self, data: bytes) -> None:
        """Process bytes of the server: each complete reply gets its faults."""
        connection = self._connection
        connection.answered = True
        if self._plain or self._waiting:
            connection.down.feed(data)
            return
        try:
            whole = self._down.feed(data)
        except NotResp:
            self._give_up()
            return
        for raw in whole:
            self._flush_own()
            if raw.startswith(b">"):  # a push message of RESP3 is no reply
                connection.down.feed(raw[self._sent_down :])
                self._sent_down = 0
                continue
            fault = self._fault_of(cast(_Due, self._due.popleft()), raw) if self._due else None
            sent, self._sent_down = self._sent_down, 0
            rest = raw[sent:]
            if fault is None:
                connection.down.feed(rest)
                continue
            match fault.action:
                case "cut":
                    connection.down.feed(rest[: int(len(rest) * fault.cut_after)])
                    connection.close()
                    return
                case "delay":
                    connection.down.feed(rest, fault.delay / 1000)
                case "error":
                    connection.down.feed(b"-%s\r\n" % fault.error.encode())
                case "drop":
                    pass
        self._flush_own()

    def _fault_of(self, due: _Due, reply: bytes) -> CommandRule | None:
        """The fault that falls on a reply."""
        if due.faults and not was_run(due.command, reply):
            for fault in due.faults:
                fault.not_run += 1
            return None
        return self._connection.proxy.choose(due.faults)

    def finish(self) -> None:
        """Remove all faults; held-back bytes of an incomplete value are passed on."""
        if not self._plain:
            self._release()

    def _flush_own(self) -> None:
        while self._due and isinstance(self._due[0], bytes):
            self._connection.down.feed(cast(bytes, self._due.popleft()))

    def _give_up(self) -> None:
        """This is not Redis' protocol: everything passes as it is."""
        self._plain = True
        self._release()

    def _release(self) -> None:
        for pipe, splitter, sent in (
            (self._connection.up, self._up, self._sent_up),
            (self._connection.down, self._down, self._sent_down),
        ):
            if rest := splitter.rest[sent:]:
                pipe.feed(rest)
