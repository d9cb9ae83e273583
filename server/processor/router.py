"""Moves messages from the request queue to the shards, in order, while shards are in use."""

from __future__ import annotations

from typing import Any

import msgspec

from server.processor.queue_consumer import QueueConsumer
from server.processor.request_queue import BATCH_MESSAGES, PEEK, Batch, Committed, Conflict, Kind, Refused, RequestQueue
from server.processor.sharding import SPREAD, address, shard_of
from server.redis.link import RedisLink
from server.redis.script import Script
from server.redis.tail import Oversized

NAME = "router"
"""Name of this component in error reports to the link."""

_ROUTE = (
    PEEK
    + SPREAD
    + """
-- KEYS: request queue, owner, own liveness, layout. ARGV: consumer, number of the commit before, number of this one,
-- messages in the batch, these, joined by newlines, MessagePack of their shards, lifetime in ms, number of shards,
-- prefix of shards, and what peek() takes. Messages are moved within Redis.
local owner = redis.call('HMGET', KEYS[2], 'consumer', 'fence')
if owner[1] ~= ARGV[1] or owner[2] ~= ARGV[2] then return {'fenced'} end
if redis.call('GET', KEYS[4]) ~= ARGV[8] then return {'layout'} end
local count, longest = tonumber(ARGV[4]), tonumber(ARGV[12])
local batch = unchanged(KEYS[1], count, ARGV[5], longest)
if not batch then return {'moved'} end
local shards = cmsgpack.unpack(ARGV[6])
local problem = spreadable(ARGV[9], shards)
if problem then return problem end
spread(ARGV[9], shards, batch)
redis.call('LTRIM', KEYS[1], 0, -count - 1)
redis.call('HSET', KEYS[2], 'commit', ARGV[3], 'fence', ARGV[3])
redis.call('SET', KEYS[3], 'owner', 'PX', ARGV[7])
return {'committed', peek(KEYS[1], tonumber(ARGV[10]), tonumber(ARGV[11]), longest)}
"""
)

_route = Script(_ROUTE)
_pack = msgspec.msgpack.Encoder().encode


class UnshardedQueue(RequestQueue):
    """The request queue of a system with shards, as seen by the router."""

    # Messages to one shard of many should still make up whole batches there. Lua can unpack about 8,000 at once.
    largest_batch = 8 * BATCH_MESSAGES

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, kind=Kind.UNSHARDED, **options)

    async def route(self, batch: Batch) -> Committed | Refused:
        """Move a batch to its shards atomically; reports the result as `commit` does."""
        self._number += 1
        number = self._number
        keys = self._keys
        reply = await _route(
            self._wire,
            [self._name, self._owner, keys.consumer(self.consumer), keys.shards],
            [
                self.consumer,
                self._fence,
                number,
                len(batch.messages),
                batch.text,
                _pack([shard_of(_address(message), self._shards) for message in batch.messages]),
                self._lease_ms,
                self._shards,
                keys.shard(""),
                *self._peek_limits,
            ],
        )
        if reply[0] == b"committed":
            self._fence = number
            return Committed(self._batch(reply[1]), [])
        return Refused(reply[0].decode())


def _address(message: bytes | Oversized) -> str:
    """The charge point of a message; an oversized message has none, as for the processor."""
    return "" if isinstance(message, Oversized) else address(message)


class Router(QueueConsumer):
    """Keeps the request queue empty while it owns it; stands by while another does.

    Args:
        link: to report how Redis is.
        queue: the request queue.
    """

    queue: UnshardedQueue

    def __init__(self, link: RedisLink, queue: UnshardedQueue) -> None:
        super().__init__(link, queue, name=NAME, about={"shard": None})

    async def _process(self, batch: Batch) -> Committed | Conflict | Refused:
        result = await self.queue.route(batch)
        if isinstance(result, Committed):
            self._link.succeeded(self._name)
        return result
