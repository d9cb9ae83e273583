"""Ownership of the shards of the request queue; runs a processor for each owned shard.

A *lease* on a shard is its owner's name in the hash beside it, together with the owner's liveness key, whose short
lifetime its owner renews: when that key has expired, the lease has ended and another process may take the shard. Safety
does not depend on the lifetime but on the fencing token in the same hash, which each commit has to present
(server.processor.request_queue).

The shards are spread evenly: every processor reads twice a second, in one script, which processors live and which
shards each owns. It takes shards without a living owner, up to its share, and gives up shards beyond it. See
docs/decisions/0013-the-queue-has-shards.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from redis.exceptions import RedisError

from server.processor.processor import Processor
from server.processor.router import Router
from server.redis.link import RedisLink, RedisWire
from server.redis.script import Script
from server.store.keys import Keys

NAME = "shards"
"""Name of this component in error reports to the link."""
LOOK_SECONDS = 0.5
"""Time between two looks."""

_LOOK = """
-- KEYS: layout, processors, own liveness, request queue, its owner. ARGV: consumer, wanted number of shards, lifetime
-- in ms, liveness prefix, prefix of shards. Returns the own shards, how many of them to let go of, and the messages
-- that wait in all shards and on the request queue.
local me, wanted = ARGV[1], ARGV[2]
redis.call('SET', KEYS[3], 'owner', 'PX', ARGV[3])
redis.call('HSET', KEYS[2], me, wanted)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local held, wishes = {}, {}
local members = redis.call('HGETALL', KEYS[2])
for i = 1, #members, 2 do
    if redis.call('EXISTS', ARGV[4] .. members[i]) == 1 then
        held[members[i]] = 0
        wishes[members[i + 1]] = true
    else
        redis.call('HDEL', KEYS[2], members[i])
    end
end

local layout = redis.call('GET', KEYS[1])
if not layout then
    -- A processor that knows of no shards has to let go of the queue: its next commit is refused.
    redis.call('DEL', KEYS[5])
    layout = wanted
    redis.call('SET', KEYS[1], layout)
end
local count = tonumber(string.match(layout, '^%d+'))
if not count then return redis.error_reply('ERR GET ' .. KEYS[1] .. ': no number of shards stands there') end
local waiting = redis.call('LLEN', KEYS[4])
for number = 0, count - 1 do waiting = waiting + redis.call('LLEN', ARGV[5] .. number) end
if layout ~= wanted then
    local as_it_is, left = layout, waiting - redis.call('LLEN', KEYS[4])
    if wishes[tostring(count)] then
        layout = tostring(count)
    elseif left > 0 then
        -- Nobody alive wants this number any more: nothing new goes into the shards until they are empty.
        layout = count .. '>'
    else
        for number = 0, count - 1 do redis.call('DEL', ARGV[5] .. number .. ':owner') end
        layout, count = wanted, tonumber(wanted)
    end
    if layout ~= as_it_is then redis.call('SET', KEYS[1], layout) end
end

local free, mine = {}, {}
for number = count - 1, 0, -1 do
    local owner = redis.call('HGET', ARGV[5] .. number .. ':owner', 'consumer')
    if owner and held[owner] then
        held[owner] = held[owner] + 1
        if owner == me then mine[#mine + 1] = number end
    else
        free[#free + 1] = number
    end
end
local alive, least = 0, count
for other, shards in pairs(held) do
    alive = alive + 1
    if other ~= me and shards < least then least = shards end
end
local share = math.floor(count / alive)
local most = share * alive == count and share or share + 1
while #free > 0 and (held[me] < share or (held[me] < most and held[me] <= least)) do
    local number = table.remove(free)
    -- No commit ever showed this token: what its owner before has sent is refused from here on.
    redis.call('HSET', ARGV[5] .. number .. ':owner', 'consumer', me, 'commit', 0, 'fence', 'given')
    held[me] = held[me] + 1
    mine[#mine + 1] = number
end
-- One more is given where another has less than its share although nobody has more than `most`.
local give = math.max(0, held[me] - most)
if give == 0 and #free == 0 and held[me] - least >= 2 then give = 1 end
return {mine, give, waiting}
"""

_LEAVE = """
-- KEYS: processors, own liveness. ARGV: consumer.
redis.call('HDEL', KEYS[1], ARGV[1])
return redis.call('DEL', KEYS[2])
"""

_look, _leave = Script(_LOOK), Script(_LEAVE)


class ShardCheck(NamedTuple):
    """The result of a check of the shards.

    Attributes:
        mine: numbers of the shards that are ours.
        give: how many of them to let go of.
        waiting: messages in all shards and on the request queue.
    """

    mine: list[int]
    give: int
    waiting: int


class ShardOwnership:
    """Our place among the processors, as Redis has it; every method raises `RedisError`.

    Args:
        wire: connection for the scripts.
        keys: key names.
        consumer: our name.
        shards: how many shards there shall be.
        lease: seconds that our shards stay ours after the last sign of life.
    """

    def __init__(self, wire: RedisWire, keys: Keys, *, consumer: str, shards: int, lease: float) -> None:
        self.wire = wire
        self._keys = keys
        self.consumer = consumer
        self.shards = shards
        self.lease = lease

    async def look(self) -> ShardCheck:
        """Renew the sign of life, and claim free shards."""
        keys = self._keys
        mine, give, waiting = await _look(
            self.wire,
            [keys.shards, keys.processors, keys.consumer(self.consumer), keys.requests, keys.owner],
            [self.consumer, self.shards, int(self.lease * 1000), keys.consumer(""), keys.shard("")],
        )
        return ShardCheck(sorted(mine), give, waiting)

    async def leave(self) -> None:
        """Remove the liveness key at shutdown, so that other processes take over immediately."""
        await _leave(self.wire, [self._keys.processors, self._keys.consumer(self.consumer)], [self.consumer])


class ShardedProcessor:
    """Processes our share of the shards, and routes to them while that is ours to do.

    Args:
        link: to report how Redis is.
        share: our place among the processors.
        router: for the request queue itself.
        make: makes the processor of a shard.

    Attributes:
        depth: messages that waited in all shards and on the request queue at the last look.
    """

    def __init__(
        self, link: RedisLink, share: ShardOwnership, router: Router, make: Callable[[int], Processor]
    ) -> None:
        self._link = link
        self._share = share
        self.router = router
        self._make = make
        self._processors: dict[int, Processor] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[int] = set()
        self._stopping = asyncio.Event()
        self.depth: int | None = None

    @property
    def consumer(self) -> str:
        """The name under which shards are owned."""
        return self._share.consumer

    @property
    def count(self) -> int:
        """The configured number of shards."""
        return self._share.shards

    @property
    def owned(self) -> list[int]:
        """The numbers of the shards that are ours."""
        return sorted(number for number, one in self._processors.items() if one.owner)

    def owns(self, number: int) -> bool:
        """Whether this shard is ours."""
        return number in self._processors and self._processors[number].owner

    @property
    def owner(self) -> bool:
        """Whether any shard is ours."""
        return bool(self.owned)

    @property
    def in_flight(self) -> int:
        """Messages of the batches that are being handled."""
        return sum(one.in_flight for one in self._processors.values())

    @property
    def processed(self) -> int:
        """Messages processed since the start."""
        return sum(one.processed for one in self._processors.values())

    @property
    def invalid(self) -> Counter[str]:
        """Messages set aside since the start, by code."""
        return sum((one.invalid for one in self._processors.values()), Counter())

    def stop(self) -> None:
        """End `run` after the batches at hand."""
        self._stopping.set()
        self.router.stop()
        for number in self._running:
            self._processors[number].stop()

    async def run(self) -> None:
        """Work until `stop`. Redis being away is waited out; the shards are let go at the end."""
        self._link.expect(NAME)
        async with asyncio.TaskGroup() as tasks:
            routing: asyncio.Task[None] | None = None
            while not self._stopping.is_set():
                try:
                    look = await self._share.look()
                except RedisError as error:
                    await self._link.recover(error, NAME, self._share.wire)
                    continue
                self._link.succeeded(NAME)
                self.depth = look.waiting
                if not self._stopping.is_set():
                    routing = routing or tasks.create_task(self.router.run(), name="router")
                    self._follow(look, tasks)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), min(LOOK_SECONDS, self._share.lease / 3))
        try:
            await self._share.leave()
        except RedisError as error:
            self._link.failed(error, NAME)

    def _follow(self, look: ShardCheck, tasks: asyncio.TaskGroup) -> None:
        """Start and stop processors after a check of the shards. The processor of a lost shard notices the loss and
        ends."""
        self._running = {number: task for number, task in self._running.items() if not task.done()}
        self._leaving &= self._running.keys()
        for number in look.mine:
            if number not in self._running:
                if number not in self._processors:
                    self._processors[number] = self._make(number)
                work = self._processors[number].run()
                self._running[number] = tasks.create_task(work, name=f"processor of shard {number}")
        staying = [number for number in look.mine if number not in self._leaving]
        for number in staying[len(staying) - max(0, look.give - len(self._leaving)) :]:
            self._leaving.add(number)
            self._processors[number].stop()
