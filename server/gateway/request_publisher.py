"""Pushes messages to the request queue: one task for each instance, each entry exactly once.

A push whose reply was lost has happened if, and only if, the number of the instance's last push in Redis says so. So a
batch keeps its number until its fate is known: sent again under the same number it takes effect once, whichever of the
two comes first and however late the other one comes. The consequence for refusals: only what certainly was never sent
may be refused; what may have been pushed is held until it certainly has been.

However late a push comes, it does not bring a CALL of a charge point that has connected again since, here or elsewhere,
even if it has left again (docs/decisions/0018-redis-remembers-the-newest-connection.md).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError, ResponseError

from server.gateway.session import Entry
from server.ocpp.envelope import DEAD_LETTERS
from server.processor.request_queue import BATCH_BYTES, BATCH_MESSAGES
from server.processor.sharding import SPREAD, shard_of
from server.redis.link import RedisLink
from server.redis.script import Script
from server.store.keys import Keys

logger = structlog.get_logger()

NAME = "outbox"
"""Name of this component in error reports to the link."""
NUMBER_LIFETIME = 24 * 3600
"""Seconds that the number of the last push is kept: far longer than any push may be on its way."""
MOST_WAITING = 10_000
"""Entries that may wait; more are refused at once."""
MOST_BYTES_WAITING = 64 * 1024 * 1024
"""Bytes that may wait in them."""
LAST_PUSH_SECONDS = 1.0
"""Time limit in seconds for pushing the rest at shutdown."""

_PUSH = (
    SPREAD
    + """
-- KEYS: request queue, the instance's hash, dead letters, layout. ARGV: number of this push, lifetime in s, how many
-- dead letters are kept, number of dead letters, number of shards, their prefix, MessagePack of {the requests' shards,
-- per request the charge point's connection, or false, per request the charge point, prefix of the sessions, prefix of
-- the newest connections}, the dead letters, the requests. Returns the numbers of the requests that were left out, the
-- first one being 1, or 0 if this push had already happened.
local function current(sessions, newest, charge_point)
    local connection = redis.pcall('HGET', sessions .. charge_point, 'connection')
    if type(connection) == 'string' then return connection end
    -- Nobody is connected; but who was last may have been another one.
    connection = redis.pcall('GET', newest .. charge_point)
    return type(connection) == 'string' and string.match(connection, '^%S+')
end
local last = tonumber(redis.call('HGET', KEYS[2], 'number') or 0)
if not last then return redis.error_reply('ERR HGET ' .. KEYS[2] .. ' number: no number stands there') end
if last >= tonumber(ARGV[1]) then return 0 end
local letters, work = tonumber(ARGV[4]), cmsgpack.unpack(ARGV[7])
local requests, shards, left_out = {}, {}, {}
for i = 8 + letters, #ARGV do
    local number = i - 7 - letters
    local own = work[2][number]
    local connection = own and current(work[4], work[5], work[3][number])
    if connection and connection ~= own then
        -- The charge point has moved to another connection since: this must not be done behind what it sends there.
        left_out[#left_out + 1] = number
    else
        requests[#requests + 1], shards[#shards + 1] = ARGV[i], work[1][number]
    end
end
-- What can refuse the whole refuses the first write. What waits on the request queue came before; and where there are
-- not as many shards as we know of, all goes there.
if ARGV[5] ~= '1' and redis.call('GET', KEYS[4]) == ARGV[5] and redis.call('LLEN', KEYS[1]) == 0 then
    local problem = spreadable(ARGV[6], shards)
    if problem then return problem end
    spread(ARGV[6], shards, requests)
else
    for first = 1, #requests, MANY do
        redis.call('LPUSH', KEYS[1], unpack(requests, first, math.min(first + MANY - 1, #requests)))
    end
end
redis.call('HSET', KEYS[2], 'number', ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
for i = 8, 7 + letters do redis.pcall('LPUSH', KEYS[3], ARGV[i]) end
if letters > 0 then redis.pcall('LTRIM', KEYS[3], 0, ARGV[3] - 1) end
return left_out
"""
).replace("MANY", "1000")

_push = Script(_PUSH)
_pack = msgspec.msgpack.Encoder().encode


class RequestPublisher:
    """Pushes in the order of `put`, one batch at a time.

    Args:
        link: for the connection, and to report how Redis is.
        keys: key names.
        instance: the name of this process in this life.
        shards: how many shards the request queue has.
        on_refused: gets CALLs that were given up; they will never be pushed.
        patience: seconds after which an entry that was not sent is given up while Redis is away.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        *,
        instance: str,
        shards: int,
        on_refused: Callable[[list[Entry]], None],
        patience: float,
    ) -> None:
        self._link = link
        self._keys = keys
        self._wire = link.wire()
        self._instance = instance
        self._shards = shards
        self._on_refused = on_refused
        self._patience = patience
        self._waiting: deque[Entry] = deque()
        self._bytes = 0
        self._batch: list[Entry] = []
        self._uncertain = False
        self._doubted = False
        self._number = 0
        self._wanted = asyncio.Event()
        self._stopping = False
        self._deadline = float("inf")

    def __len__(self) -> int:
        return len(self._waiting) + len(self._batch)

    @property
    def full(self) -> bool:
        """Whether nothing more may be put in."""
        return len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_BYTES_WAITING

    def put(self, entry: Entry) -> None:
        """Push it, soon."""
        self._waiting.append(entry)
        self._bytes += len(entry.raw)
        self._wanted.set()

    def expire(self) -> None:
        """Give up entries that have waited too long for Redis to come back and were certainly not pushed."""
        limit = time.monotonic() - self._patience
        refused = []
        while self._waiting and self._waiting[0].since < limit:
            refused.append(self._waiting.popleft())
            self._bytes -= len(refused[-1].raw)
        if refused:
            logger.warning("messages_given_up", count=len(refused))
            self._on_refused([entry for entry in refused if entry.message_id is not None])

    def stop(self) -> None:
        """End `run` once everything is pushed, or after a second."""
        self._stopping = True
        self._deadline = time.monotonic() + LAST_PUSH_SECONDS
        self._wanted.set()

    async def run(self) -> None:
        """Work until `stop`. Redis being away is waited out."""
        self._link.expect(NAME)
        failing = True  # until the first push, which is an empty one: it shows that Redis takes writes
        while not self._stopping or (len(self) and time.monotonic() < self._deadline):
            if not (failing or len(self)):
                self._wanted.clear()
                await self._wanted.wait()
                continue
            try:
                await self._push()
                failing = False
                self._link.succeeded(NAME)
            except RedisError as error:
                failing = True
                await self._link.recover(error, NAME, self._wire)
        if not self._doubted:
            # No push is in progress any more: the number is not needed.
            try:
                await self._wire.execute("DEL", self._keys.gateway(self._instance))
            except RedisError as error:
                self._link.failed(error, NAME)
        if len(self):
            logger.error("messages_not_pushed", count=len(self), uncertain=len(self._batch))

    async def _push(self) -> None:
        if not self._uncertain:
            await self._wire.connect()
            self._batch = self._take()
            self._number += 1
        letters = [entry.raw for entry in self._batch if entry.session is None]
        requests = [(entry, entry.session) for entry in self._batch if entry.session is not None]
        shards: list[int] = []
        if self._shards > 1:
            shards = [shard_of(session.charge_point_id, self._shards) for _, session in requests]
        keys = self._keys
        # Answers belong to their callers, wherever the charge point is connected by now. A session that is not
        # published yet must still replace the earlier one.
        connections = [
            session.connection_id if entry.message_id is not None and session.announced else False
            for entry, session in requests
        ]
        charge_points = [session.charge_point_id for _, session in requests]
        work = (shards, connections, charge_points, keys.session(""), keys.connection(""))
        arguments: list[Any] = [self._number, NUMBER_LIFETIME, DEAD_LETTERS, len(letters)]
        arguments += [self._shards, keys.shard(""), _pack(work), *letters]
        arguments += [entry.raw for entry, _ in requests]
        uncertain, doubted = self._uncertain, self._doubted
        self._uncertain = self._doubted = True
        try:
            left_out = await _push(
                self._wire,
                [keys.requests, keys.gateway(self._instance), keys.dead_letters, keys.shards],
                arguments,
            )
        except ResponseError:
            # Redis refused this attempt as a whole. That says nothing of an earlier one.
            self._uncertain, self._doubted = uncertain, doubted
            if not uncertain:
                self._waiting.extendleft(reversed(self._batch))
                self._bytes += sum(len(entry.raw) for entry in self._batch)
                self._batch = []
            raise
        self._uncertain, self._doubted = False, doubted
        self._batch = []
        for number in left_out or ():
            entry, session = requests[number - 1]
            logger.info(
                "message_outlived_connection",
                charge_point_id=session.charge_point_id,
                message_id=entry.message_id,
            )

    def _take(self) -> list[Entry]:
        batch: list[Entry] = []
        size = 0
        while self._waiting and len(batch) < BATCH_MESSAGES and size < BATCH_BYTES:
            entry = self._waiting.popleft()
            size += len(entry.raw)
            batch.append(entry)
        self._bytes -= size
        return batch
