"""Delivery of responses: many lists in one round trip; an entry leaves its list only after it was sent.

A message stays in its list until it is on its way to the charge point; only then it is removed, known by its text.
A gateway that dies in between has lost nothing, and a lost reply costs only another look.

A processor that puts responses in lists also sends them to the gateway (`offer`). One that is certainly the next in its
list is delivered at once; wherever that is not certain, the list is read. See
docs/decisions/0026-responses-come-with-the-wake-up.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog
from redis.exceptions import RedisError

from server.errors import shown
from server.gateway.session import Session
from server.redis.link import RedisLink
from server.redis.script import Script
from server.redis.tail import TAIL, Oversized, entries_of
from server.store.keys import Keys

logger = structlog.get_logger()

NAME = "delivery"
"""Name of this component in error reports to the link."""
CHUNK = 128
"""Lists in one script call."""
MOST_MESSAGES = 16
"""Messages of one list in one call."""
MOST_BYTES = 1024 * 1024
"""A call reads no more once it has read so much."""
LIST_LIFETIME = 3600
"""Seconds that messages wait for their charge point (wire contract)."""
SWEEP_EVERY = 1.0
"""Seconds between two reads of the lists of all sessions, which find responses whose wake-up was lost."""
SWEEP_CHUNK = 500
SWEEP_RATE = 5000
"""Lists that are looked at in a second at most: with more of them than that a sweep comes less often."""
TIDY_AFTER = 0.05
"""Seconds after which sent responses leave their list, unless a read removes them sooner."""

CLOCK_STEP = 0.001
"""Seconds by which a timer of the event loop may come early."""

_TAKE = (
    TAIL
    + """
-- ARGV: most messages of a list, most bytes, longest message, lifetime in s of lists that something is taken from
-- (0: it stays), then per list four and more: list, session, connection, how many were sent, and these. Returns Redis'
-- time in us and per list: -1 if the session is another connection's, 0 if there is none, -2 if the list was not looked
-- at, or its oldest messages, the oldest first, and 1 if there are more.
local most, budget, longest, reply = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), {}
local i = 5
while i <= #ARGV do
    -- Who sent takes out what was sent, even if the session is another's by now.
    local list, sent = ARGV[i], tonumber(ARGV[i + 3])
    if sent > 0 then take_out(list, ARGV, i + 4, i + 3 + sent, longest) end
    local owner = redis.pcall('HGET', ARGV[i + 1], 'connection')
    if owner ~= ARGV[i + 2] then
        reply[#reply + 1] = (owner and type(owner) ~= 'table') and -1 or 0
    elseif budget <= 0 then
        reply[#reply + 1] = -2
    else
        local depth = redis.pcall('LLEN', list)
        if type(depth) ~= 'number' then depth = 1 end
        local batch, bytes = oldest(list, math.min(most, depth), budget - 1, longest)
        budget = budget - bytes
        -- A write, so that WAIT on this connection tells when the replicas have what was taken.
        if ARGV[4] ~= '0' and #batch > 0 then redis.call('EXPIRE', list, ARGV[4]) end
        reply[#reply + 1] = {batch, #batch > 0 and depth > #batch and 1 or 0}
    end
    i = i + 4 + sent
end
local time = redis.pcall('TIME')
return {time[1] * 1000000 + time[2], reply}
"""
)

_REMOVE = (
    TAIL
    + """
-- ARGV: longest message, then per list two and more: list, how many were sent, and these. Takes out what was sent.
local i = 2
while i <= #ARGV do
    local sent = tonumber(ARGV[i + 1])
    take_out(ARGV[i], ARGV, i + 2, i + 1 + sent, tonumber(ARGV[1]))
    i = i + 2 + sent
end
"""
)

_LOOK = """
-- ARGV: lists. Returns the numbers of those that have something, the first one being 1.
local reply = {}
for i = 1, #ARGV do
    if redis.call('EXISTS', ARGV[i]) == 1 then reply[#reply + 1] = i end
end
return reply
"""

_take, _remove, _look = Script(_TAKE), Script(_REMOVE), Script(_LOOK)


class ResponseDelivery:
    """Reads the responses to charge points that are connected here, and hands them to their sessions.

    Args:
        link: for the connection, and to report how Redis is.
        keys: key names.
        live: the sessions that are connected now.
        deliver: gets a session and its messages, oldest first; returns whether they are on their way.
        on_missing: called for a session that Redis knows nothing of.
        on_lost: called for a session whose charge point has connected elsewhere since.
        longest: bytes above which a message is set aside.

    Attributes:
        clock: Redis' time when the messages at hand were taken, Unix time in ms; senders' deadlines are by it.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        *,
        longest: int = MOST_BYTES,
        live: Callable[[], Iterable[Session]],
        deliver: Callable[[Session, Sequence[bytes | str]], bool],
        on_missing: Callable[[Session], None],
        on_lost: Callable[[Session], None],
    ) -> None:
        self._link = link
        self._keys = keys
        self._wire = link.wire()
        self._live = live
        self._deliver = deliver
        self._on_missing = on_missing
        self._on_lost = on_lost
        self._longest = max(longest, MOST_BYTES)
        self.clock = 0
        self._dirty: dict[Session, None] = {}
        # Sessions left out of the last round come first in the next one, so that a huge message does not delay others.
        self._passed_over: dict[Session, None] = {}
        self._sent: dict[Session, None] = {}
        self._tidy_at = 0.0
        # Whose list a script may be reading, or may be taking messages out of: it is on its way, or its reply was lost.
        self._reading: set[Session] = set()
        self._removing: set[Session] = set()
        self._read_at = 0
        self._wanted = asyncio.Event()
        self._stopping = False

    def wake(self, session: Session) -> None:
        """Something may wait for this session."""
        self._dirty[session] = None
        self._wanted.set()

    def offer(self, session: Session, responses: list[str], *, length: int, published: int) -> None:
        """Deliver responses that were put in the list of a session, if they certainly are the next ones there.

        Args:
            session: the session.
            responses: the responses, oldest first, all of them for the session's connection; none if something else
                was put there.
            length: how many messages stood in the list with them.
            published: Redis' time then, in us.
        """
        if session.closed or self._stopping:
            return
        sent = session.sent
        others = length - len(responses)
        # Nothing stood there before them; whatever was sent before is gone then. Or that is all that did.
        alone = others == 0
        next_ones = alone or (sent is not None and others == len(sent) and session not in self._removing)
        if (
            not responses
            or not next_ones
            or session in self._reading
            # They were there when lists were last read, perhaps also this one.
            or published <= self._read_at
            or self._link.wait_replicas
        ):
            self.wake(session)
            return
        if not self._deliver(session, responses):
            return
        session.sent = [*responses] if alone or sent is None else [*sent, *responses]
        self._was_sent(session)

    def _was_sent(self, session: Session) -> None:
        if not self._sent:
            self._tidy_at = time.monotonic() + TIDY_AFTER
            self._wanted.set()
        self._sent[session] = None

    def stop(self) -> None:
        """End `run` after the current read, once sent responses are removed."""
        self._stopping = True
        self._wanted.set()

    async def run(self) -> None:
        """Work until `stop`. Redis being away is waited out."""
        self._link.expect(NAME)
        due = 0.0
        while not self._stopping:
            try:
                if self._dirty:
                    await self._round()
                if self._sent and time.monotonic() >= self._tidy_at - CLOCK_STEP:
                    await self._tidy()
                if time.monotonic() >= due:
                    looked_at = await self._sweep()
                    due = time.monotonic() + max(SWEEP_EVERY, looked_at / SWEEP_RATE)
                self._link.succeeded(NAME)
            except RedisError as error:
                due = 0.0
                await self._link.recover(error, NAME, self._wire)
                continue
            if not self._dirty:
                until = min(due, self._tidy_at) if self._sent else due
                await self._woken(max(0.0, until - time.monotonic()))
        try:
            while self._sent:
                await self._tidy()
        except RedisError as error:
            self._link.failed(error, NAME)

    async def _woken(self, within: float) -> None:
        self._wanted.clear()
        if not self._stopping:
            try:
                async with asyncio.timeout(within):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _round(self) -> None:
        chosen = self._passed_over
        self._passed_over = {}
        for session in self._dirty:
            if len(chosen) >= CHUNK:
                break
            chosen[session] = None
        chunk = list(chosen)[:CHUNK]
        # Redis still knows the connection before where this one was not announced yet when it is asked.
        known = {session: session.announced for session in chunk}
        arguments: list[Any] = [
            MOST_MESSAGES,
            MOST_BYTES,
            self._longest,
            LIST_LIFETIME if self._link.wait_replicas else 0,
        ]
        for session in chunk:
            sent = session.sent or ()
            self._dirty.pop(session, None)
            arguments += [
                self._keys.responses(session.charge_point_id),
                self._keys.session(session.charge_point_id),
                session.connection_id,
                len(sent),
                *sent,
            ]
        self._reading.update(chunk)
        try:
            began = time.monotonic()
            clock, replies = await _take(self._wire, [], arguments)
            if self._link.wait_replicas and any(type(reply) is list and reply[0] for reply in replies):
                await self._wire.replicated(self._link.wait_replicas)
            # Not earlier than it is at Redis: a command is rather given up than sent too late.
            self.clock = clock // 1000 + int((time.monotonic() - began) * 1000)
        except RedisError:
            self._dirty.update(dict.fromkeys(chunk))
            raise
        self._read_at = clock
        self._reading.difference_update(chunk)
        self._removing.difference_update(chunk)
        for (session, announced), reply in zip(known.items(), replies, strict=True):
            self._sent.pop(session, None)
            session.sent = None
            if reply == -2:
                self._dirty[session] = self._passed_over[session] = None
            elif session.closed:
                pass
            elif reply == -1:
                if announced:
                    self._on_lost(session)
            elif reply == 0:
                self._on_missing(session)
            elif reply[0] and self._deliver(session, self._usable(session, entries_of(reply[0]))):
                session.sent = reply[0]
                self._was_sent(session)
                if reply[1]:
                    self._dirty[session] = None

    async def _tidy(self) -> None:
        """Take what was sent out of the lists."""
        chunk = {session: session.sent for session in list(self._sent)[:CHUNK] if session.sent is not None}
        if len(self._sent) <= CHUNK:
            # What is sent from now on has its time, too, so that there is more for the next script.
            self._tidy_at = time.monotonic() + TIDY_AFTER
        arguments: list[Any] = [self._longest]
        for session, sent in chunk.items():
            arguments += [self._keys.responses(session.charge_point_id), len(sent), *sent]
        self._removing.update(chunk)
        try:
            await _remove(self._wire, [], arguments)
        except RedisError:
            # A read finds out what has become of them.
            self._dirty.update(dict.fromkeys(chunk))
            raise
        self._removing.difference_update(chunk)
        for session, sent in chunk.items():
            if session.sent is sent:
                session.sent = None
                self._sent.pop(session, None)

    def _usable(self, session: Session, entries: list[bytes | Oversized]) -> list[bytes]:
        """The entries without those that are too long, which are logged and leave the list with the others."""
        usable = []
        for entry in entries:
            if isinstance(entry, Oversized):
                logger.warning(
                    "invalid_response",
                    charge_point_id=session.charge_point_id,
                    error=f"it has {entry.size} bytes, longer than {self._longest}",
                    raw=shown(entry.head, limit=200),
                )
            else:
                usable.append(entry)
        return usable

    async def _sweep(self) -> int:
        live = [session for session in self._live() if session.announced and session.sent is None]
        for start in range(0, len(live), SWEEP_CHUNK):
            chunk = live[start : start + SWEEP_CHUNK]
            found = await _look(self._wire, [], [self._keys.responses(one.charge_point_id) for one in chunk])
            for number in found:
                self.wake(chunk[number - 1])
        return len(live)
