"""Keeps the charge points that are connected to this gateway in Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError

from server.gateway.session import Session
from server.redis.clock import RedisClock
from server.redis.link import RedisLink, now
from server.redis.script import Script
from server.store.keys import Keys

logger = structlog.get_logger()

NAME = "sessions"
"""Name of this component in error reports to the link."""
LIFETIME = 30.0
"""Seconds that a session stands in Redis after the last sign of life of its gateway."""
REMEMBERED = 3600
"""Seconds that Redis knows which connection was a charge point's newest: longer than a gateway can hold up a CALL."""
RENEW_EVERY = 8.0
"""Seconds between two renewals, and between two looks for charge points that are in the set and have no session."""
CHUNK = 250
"""Sessions in one script call: few enough not to delay other clients of Redis noticeably."""
LAST_WORDS_SECONDS = 1.0
"""Time limit in seconds for removing the sessions at shutdown."""

_encode = msgspec.json.Encoder().encode

_MARK = """
-- Say in the record of a charge point whether it is online; a charge point without a record gets none. The record is
-- changed as text: Lua's JSON would make an empty list an object. A quote in a value has a backslash before it, so that
-- what is looked for is the field itself.
local function mark(key, online)
    local record = redis.pcall('GET', key)
    if type(record) ~= 'string' then return end
    local from, to = string.find(record, ',"is_online":' .. tostring(not online) .. ',', 1, true)
    if not from then return end
    local rest, found = string.gsub(string.sub(record, to), ',"version":(%d+)', function(version)
        return ',"version":' .. string.format('%d', version + 1)
    end, 1)
    if found == 0 then return end
    redis.call('SET', key, string.sub(record, 1, from) .. '"is_online":' .. tostring(online) .. rest)
end
"""

_ANNOUNCE = (
    _MARK
    + """
-- Connects and disconnects in their order. KEYS: set of the active, channel of connects, channel of disconnects.
-- ARGV: lifetime in ms, lifetime of the key of the newest connection in s, server id, prefix of the wake-up channels,
-- by how many ms a time of connecting may be wrong, prefix of the records of charge points, then per event ten: kind,
-- session key, charge point id, connection, remote address, time of connecting, the same in ms by Redis' clock, the
-- event for the channel, key of the newest connection, version of OCPP.
-- Returns per event 1 if it took effect, 0 if the session is, or lately was, a newer connection's. Redis' clock tells
-- which one is newer; where that is too close to tell, it is the one that comes last.
local time = redis.pcall('TIME')
local clock, slack = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[5])
local function newer(other, began, connection, since)
    began = tonumber(began)
    -- A beginning in the future is by the clock of a Redis that was primary before.
    return other and other ~= connection and began and began > since + slack and began <= clock + slack
end
local reply = {}
for i = 7, #ARGV, 10 do
    local key, id, connection, since = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], tonumber(ARGV[i + 6])
    local old = redis.pcall('HMGET', key, 'connection', 'ws_server_id', 'since')
    if old.err then redis.call('DEL', key); old = {false, false, false} end
    local newest = redis.pcall('GET', ARGV[i + 8])
    local other, began = string.match(type(newest) == 'string' and newest or '', '^(%S+) (%S+)$')
    local taken = 0
    if ARGV[i] == 'connect' then
        if old[1] == connection then
            redis.call('PEXPIRE', key, ARGV[1])
            taken = 1
        elseif not (newer(old[1], old[3], connection, since) or newer(other, began, connection, since)) then
            redis.call('DEL', key)
            redis.call('SET', ARGV[i + 8], connection .. ' ' .. ARGV[i + 6], 'EX', ARGV[2])
            redis.call('HSET', key, 'charge_point_id', id, 'remote_addr', ARGV[i + 4], 'ws_server_id', ARGV[3],
                'connected_at', ARGV[i + 5], 'last_activity', ARGV[i + 5], 'connection', connection,
                'protocol', ARGV[i + 9], 'since', ARGV[i + 6])
            redis.call('PEXPIRE', key, ARGV[1])
            redis.pcall('SADD', KEYS[1], id)
            mark(ARGV[6] .. id, true)
            redis.call('PUBLISH', KEYS[2], ARGV[i + 7])
            -- The gateway that holds the connection before this one finds out that it lost the session, and closes it.
            if old[1] and old[2] then redis.call('PUBLISH', ARGV[4] .. old[2], cjson.encode({id})) end
            taken = 1
        end
    elseif old[1] == connection then
        redis.call('DEL', key)
        redis.pcall('SREM', KEYS[1], id)
        mark(ARGV[6] .. id, false)
        redis.call('PUBLISH', KEYS[3], ARGV[i + 7])
        taken = 1
    end
    reply[#reply + 1] = taken
end
return reply
"""
)

_RENEW = """
-- KEYS: set of the active. ARGV: lifetime in ms, then per session four: key, charge point id, connection, last
-- activity. Returns per session 1 if it lives on, 0 if there is none, -1 if it is another connection's.
local reply, ids = {}, {}
for i = 2, #ARGV, 4 do
    local owner = redis.pcall('HGET', ARGV[i], 'connection')
    if owner == ARGV[i + 2] then
        redis.call('HSET', ARGV[i], 'last_activity', ARGV[i + 3])
        redis.call('PEXPIRE', ARGV[i], ARGV[1])
        ids[#ids + 1] = ARGV[i + 1]
        reply[#reply + 1] = 1
    elseif owner and type(owner) ~= 'table' then
        reply[#reply + 1] = -1
    else
        reply[#reply + 1] = 0
    end
end
if #ids > 0 then redis.pcall('SADD', KEYS[1], unpack(ids)) end
return reply
"""

_MEND = (
    _MARK
    + """
-- KEYS: set of the active, channel of disconnects. ARGV: cursor, how many, prefix of session keys, time, prefix of the
-- records of charge points.
-- Takes out who has no session any more: a gateway that was killed could not. Returns the next cursor and who it was.
local scanned = redis.pcall('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
if scanned.err then return {'0', {}} end
local gone = {}
for _, id in ipairs(scanned[2]) do
    if redis.call('EXISTS', ARGV[3] .. id) == 0 then
        redis.call('SREM', KEYS[1], id)
        mark(ARGV[5] .. id, false)
        redis.call('PUBLISH', KEYS[2], cjson.encode({event = 'disconnect', charge_point_id = id, ws_server_id = '',
            remote_addr = '', timestamp = ARGV[4]}))
        gone[#gone + 1] = id
    end
end
return {scanned[1], gone}
"""
)

_announce, _renew, _mend = Script(_ANNOUNCE), Script(_RENEW), Script(_MEND)


class SessionRegistry:
    """Publishes the connected charge points to Redis: a hash with a lifetime, a set and an event for each.

    Connects and disconnects are published in their order, many in one round trip, and repeated until Redis accepts
    them. Outdated ones are left out.

    Args:
        link: for the connection, and to report how Redis is.
        keys: key names.
        server_id: the name of this gateway.
        live: the sessions that are connected now.
        on_announced: called for a session that Redis knows of from now on.
        on_lost: called for a session whose charge point has connected elsewhere since.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        *,
        server_id: str,
        live: Callable[[], Iterable[Session]],
        on_announced: Callable[[Session], None],
        on_lost: Callable[[Session], None],
    ) -> None:
        self._link = link
        self._keys = keys
        self._wire = link.wire()
        self._server_id = server_id
        self._live = live
        self._on_announced = on_announced
        self._on_lost = on_lost
        self._events: dict[tuple[str, Session], None] = {}
        self._due = 0.0
        self._wanted = asyncio.Event()
        self._clock = RedisClock()
        self._cursor: bytes | int = 0
        self._stopping = False
        self._deadline = float("inf")

    def connected(self, session: Session) -> None:
        """Tell Redis, soon."""
        if not session.closed:
            self._events[("connect", session)] = None
            self._wanted.set()

    def disconnected(self, session: Session) -> None:
        """Tell Redis, soon, unless it never heard of the session."""
        if session.tried:
            self._events[("disconnect", session)] = None
            self._wanted.set()
        else:
            self._events.pop(("connect", session), None)

    def check(self) -> None:
        """See soon whether Redis still knows of every session: it was away."""
        self._due = 0.0
        self._wanted.set()

    def stop(self) -> None:
        """End `run` when all changes are written, or after a second."""
        self._stopping = True
        self._deadline = time.monotonic() + LAST_WORDS_SECONDS
        self._wanted.set()

    async def run(self) -> None:
        """Work until `stop`. Redis being away is waited out."""
        self._link.expect(NAME)
        while not self._stopping or (self._events and time.monotonic() < self._deadline):
            try:
                while self._events:
                    await self._announce()
                if time.monotonic() >= self._due and not self._stopping:
                    self._due = time.monotonic() + RENEW_EVERY
                    await self._clock.compare(self._wire)
                    await self._renew()
                    await self._mend()
                    self._link.succeeded(NAME)
            except RedisError as error:
                self._due = 0.0
                self._clock.forget()
                await self._link.recover(error, NAME, self._wire)
                continue
            self._wanted.clear()
            if not self._events and not self._stopping and self._due > time.monotonic():
                try:
                    async with asyncio.timeout(self._due - time.monotonic()):
                        await self._wanted.wait()
                except TimeoutError:
                    pass

    async def _announce(self) -> None:
        chunk: list[tuple[str, Session]] = []
        if not self._clock.known:
            await self._clock.compare(self._wire)
        arguments: list[Any] = [
            int(LIFETIME * 1000),
            REMEMBERED,
            self._server_id,
            self._keys.wake(""),
            int(self._clock.slack * 1000),
            self._keys.charge_point(""),
        ]
        for kind, session in self._events:
            if len(chunk) == CHUNK:
                break
            chunk.append((kind, session))
            arguments += [
                kind,
                self._keys.session(session.charge_point_id),
                session.charge_point_id,
                session.connection_id,
                session.remote_addr,
                session.connected_at,
                self._clock.milliseconds(session.since),
                self._event(kind, session),
                self._keys.connection(session.charge_point_id),
                session.version.protocol,
            ]
        for _, session in chunk:
            session.tried = True
        keys = self._keys
        taken = await _announce(self._wire, [keys.connected, keys.control_connect, keys.control_disconnect], arguments)
        for (kind, session), took in zip(chunk, taken, strict=True):
            self._events.pop((kind, session), None)
            if kind == "connect":
                if took:
                    session.announced = True
                    self._on_announced(session)
                elif not session.closed:
                    self._on_lost(session)
        self._link.succeeded(NAME)

    def _event(self, kind: str, session: Session) -> bytes:
        return _encode(
            {
                "event": kind,
                "charge_point_id": session.charge_point_id,
                "ws_server_id": self._server_id,
                "remote_addr": session.remote_addr,
                "timestamp": session.connected_at if kind == "connect" else now(),
            }
        )

    async def _renew(self) -> None:
        live = [session for session in self._live() if session.announced]
        for start in range(0, len(live), CHUNK):
            chunk = live[start : start + CHUNK]
            clock, wall = time.monotonic(), time.time()
            arguments: list[Any] = [int(LIFETIME * 1000)]
            for session in chunk:
                heard = datetime.fromtimestamp(wall - (clock - session.connection.heard), UTC)
                arguments += [
                    self._keys.session(session.charge_point_id),
                    session.charge_point_id,
                    session.connection_id,
                    heard.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                ]
            verdicts = await _renew(self._wire, [self._keys.connected], arguments)
            for session, verdict in zip(chunk, verdicts, strict=True):
                if session.closed:
                    continue
                if verdict == 0:
                    self.connected(session)
                elif verdict < 0:
                    self._on_lost(session)

    async def _mend(self) -> None:
        keys = self._keys
        while True:
            self._cursor, gone = await _mend(
                self._wire,
                [keys.connected, keys.control_disconnect],
                [self._cursor, CHUNK, keys.session(""), now(), keys.charge_point("")],
            )
            if gone:
                logger.info("sessions_expired", count=len(gone))
            if int(self._cursor) == 0:
                return
