"""Delivery of responses: many lists in one round trip; an entry leaves its list only after it was sent.

A message stays in its list until it is on its way to the charge point; the next read then removes it, identified by its
digest. A gateway that dies in between has lost nothing, and a lost reply costs only another read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
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
TIDY_AFTER = 0.002
"""Seconds after which sent responses leave their list, unless the next read removes them sooner."""

_TAKE = (
    TAIL
    + """
-- ARGV: most messages of a list, most bytes, longest message, lifetime in s of lists that something is taken from
-- (0: it stays), then per list five: list, session, connection, how many were sent, their digest. Returns Redis' time
-- in ms and per list: -1 if the session is another connection's, 0 if there is none, -2 if the list was not looked at,
-- or the digest of its oldest messages, these, the oldest first, and 1 if there are more.
local most, budget, longest, reply = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for i = 5, #ARGV, 5 do
    -- Who sent takes out what was sent, even if the session is another's by now: the digest says that it is that.
    local list, sent = ARGV[i], tonumber(ARGV[i + 3])
    if sent > 0 and still(list, sent, ARGV[i + 4], longest) then redis.call('LTRIM', list, 0, -sent - 1) end
    local owner = redis.pcall('HGET', ARGV[i + 1], 'connection')
    if owner ~= ARGV[i + 2] then
        reply[#reply + 1] = (owner and type(owner) ~= 'table') and -1 or 0
    elseif budget <= 0 then
        reply[#reply + 1] = -2
    else
        local batch, digest, bytes = tail(list, most, budget - 1, longest)
        budget = budget - bytes
        -- A write, so that WAIT on this connection tells when the replicas have what was taken.
        if ARGV[4] ~= '0' and #batch > 0 then redis.call('EXPIRE', list, ARGV[4]) end
        local more = #batch > 0 and redis.call('LLEN', list) > #batch and 1 or 0
        reply[#reply + 1] = {#batch > 0 and digest or '', batch, more}
    end
end
local time = redis.pcall('TIME')
return {time[1] * 1000 + math.floor(time[2] / 1000), reply}
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

_take, _look = Script(_TAKE), Script(_LOOK)


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
        deliver: Callable[[Session, list[bytes]], bool],
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
        self._wanted = asyncio.Event()
        self._stopping = False

    def wake(self, session: Session) -> None:
        """Something may wait for this session."""
        self._dirty[session] = None
        self._wanted.set()

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
                if self._dirty or (self._sent and not await self._woken(TIDY_AFTER)):
                    await self._round()
                if time.monotonic() >= due:
                    looked_at = await self._sweep()
                    due = time.monotonic() + max(SWEEP_EVERY, looked_at / SWEEP_RATE)
                self._link.succeeded(NAME)
            except RedisError as error:
                due = 0.0
                await self._link.recover(error, NAME, self._wire)
                continue
            if not self._dirty and not self._sent:
                await self._woken(max(0.0, due - time.monotonic()))
        try:
            if self._sent:
                await self._round()
        except RedisError as error:
            self._link.failed(error, NAME)

    async def _woken(self, within: float) -> bool:
        if not self._dirty:
            self._wanted.clear()
            if not self._stopping:
                try:
                    async with asyncio.timeout(within):
                        await self._wanted.wait()
                except TimeoutError:
                    return False
        return True

    async def _round(self) -> None:
        chosen = self._passed_over | self._sent
        self._passed_over = {}
        for session in self._dirty:
            if len(chosen) >= CHUNK:
                break
            chosen[session] = None
        chunk = list(chosen)[:CHUNK]
        # Redis still knows the connection before where this one was not announced yet when it is asked.
        known = {session: session.announced for session in chunk}
        arguments: list[Any] = [
            0 if self._stopping else MOST_MESSAGES,
            0 if self._stopping else MOST_BYTES,
            self._longest,
            LIST_LIFETIME if self._link.wait_replicas else 0,
        ]
        for session in chunk:
            count, digest = session.sent or (0, b"")
            self._dirty.pop(session, None)
            arguments += [
                self._keys.responses(session.charge_point_id),
                self._keys.session(session.charge_point_id),
                session.connection_id,
                count,
                digest,
            ]
        try:
            began = time.monotonic()
            clock, replies = await _take(self._wire, [], arguments)
            if self._link.wait_replicas and any(type(reply) is list and reply[1] for reply in replies):
                await self._wire.replicated(self._link.wait_replicas)
            # Not earlier than it is at Redis: a command is rather given up than sent too late.
            self.clock = clock + int((time.monotonic() - began) * 1000)
        except RedisError:
            self._dirty.update(dict.fromkeys(chunk))
            raise
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
            elif reply[1] and self._deliver(session, self._usable(session, entries_of(reply[1]))):
                session.sent = (len(reply[1]), reply[0])
                self._sent[session] = None
                if reply[2]:
                    self._dirty[session] = None

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
