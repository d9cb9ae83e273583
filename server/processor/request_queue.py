"""The reliable queue: a Redis list that messages leave only together with their effects.

How nothing is lost and nothing done twice, when any process or connection dies:

- A message stays in the list while it is handled. One script (`commit`) checks that the batch still stands at the end
  of the list, writes everything that handling it came to, and removes it: all of that or nothing.
- One processor *owns* the queue at a time, which keeps the order per charge point. The owner's name, the number of
  its last commit and a fencing token stand in a hash; each claim and each commit sets a new token, and each commit has
  to show the one before it. A commit that arrives late, from an owner that was replaced or from a connection that was
  given up, shows an old one and is refused. The owner's liveness key, with a short lifetime, says when another
  processor may take over; it decides how soon that happens, never whether it is safe.
- A commit whose reply was lost has happened if, and only if, the hash names its number.

The list is the whole request queue, or one of its shards, each with its owner (server.processor.shards).

Rejected alternatives are in docs/decisions/0001-messages-leave-the-queue-in-the-commit.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from server.redis.link import LONGEST_WAIT, RedisWire
from server.redis.script import Script
from server.redis.tail import TAIL, Oversized, entries_of
from server.store.keys import Keys
from server.store.view import Operation

BATCH_MESSAGES = 256
BATCH_BYTES = 1024 * 1024
"""A batch ends with the message that reaches this size, so one batch never holds more than this and one message."""
DELIVERY_BYTES = 256 * 1024
"""Bytes of responses that a gateway is sent at once; it reads more than that in portions of its own."""
PEEK = (
    TAIL
    + """
-- A batch as it is handed out: the list's length and the batch's messages, oldest first.
local function peek(queue, most, most_bytes, longest)
    local depth = redis.call('LLEN', queue)
    if depth == 0 then return {depth, {}} end
    local batch = oldest(queue, most, most_bytes - 1, longest, depth)
    return {depth, batch}
end
"""
)

_CLAIM = """
-- KEYS: owner, own liveness, layout, processors of shards. ARGV: consumer, number of a first commit, liveness prefix,
-- lifetime in ms, queue, kind of the queue, prefix of shards, number of shards.
-- Returns whether the consumer owns the queue, the number of its last commit, the queue's length, and, if that is why
-- the queue is not to be had, the layout.
local owner = redis.call('HMGET', KEYS[1], 'consumer', 'commit')
local mine, kind, layout = owner[1] == ARGV[1], ARGV[6], redis.call('GET', KEYS[3])
if kind == 'whole' and layout then
    -- Messages that came before those on this queue may wait in a shard, or come into one.
    local count, used = tonumber(string.match(layout, '^%d+')), false
    if not count then return redis.error_reply('ERR GET ' .. KEYS[3] .. ': no number of shards stands there') end
    for number = 0, count - 1 do used = used or redis.call('LLEN', ARGV[7] .. number) > 0 end
    for _, other in ipairs(redis.call('HKEYS', KEYS[4])) do
        used = used or redis.call('EXISTS', ARGV[3] .. other) == 1
    end
    if used then return {0, '', redis.call('LLEN', ARGV[5]), layout} end
    for number = 0, count - 1 do redis.call('DEL', ARGV[7] .. number .. ':owner') end
    redis.call('DEL', KEYS[3], KEYS[4])
elseif kind == 'unsharded' and layout ~= ARGV[8] then
    if mine then redis.call('DEL', KEYS[1]) end
    return {0, '', redis.call('LLEN', ARGV[5]), ''}
elseif kind == 'shard' and not mine then
    return {0, '', redis.call('LLEN', ARGV[5]), ''}
end
if not mine and owner[1] and redis.call('EXISTS', ARGV[3] .. owner[1]) == 1 then
    redis.call('SET', KEYS[2], 'standby', 'PX', ARGV[4])
    return {0, '', redis.call('LLEN', ARGV[5]), ''}
end
redis.call('SET', KEYS[2], 'owner', 'PX', ARGV[4])
-- From here on whatever was sent before this claim is refused, whether or not the owner changes.
local commit = mine and tonumber(owner[2]) or 0
redis.call('HSET', KEYS[1], 'consumer', ARGV[1], 'commit', commit, 'fence', ARGV[2])
return {1, commit, redis.call('LLEN', ARGV[5]), ''}
"""

_TAKE = (
    PEEK
    + """
-- KEYS: queue. ARGV: most messages, most bytes, longest message.
return peek(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
"""
)

_COMMIT = (
    PEEK
    + """
-- Send a gateway what was put in its charge points' lists, with the length that each list has now, so that it can tell
-- whether something else stands before it. A gateway that does not listen for that, or would get too much, is only
-- woken; so it is for a charge point whose session is not that connection's.
local function deliver(delivery, operations, lengths, sessions)
    local all, size = {}, 0
    for i, charge_point in ipairs(delivery[3]) do
        local operation, length = operations[delivery[4][i]], lengths[delivery[4][i]]
        if length and redis.pcall('HGET', sessions .. charge_point, 'connection') == delivery[5][i] then
            for j = 3, #operation do size = size + #operation[j] end
            all[i] = {charge_point, length, {unpack(operation, 3)}}
        else
            all[i] = {charge_point, 0, {}}
        end
    end
    local heard = 0
    if size > 0 and size <= MOST then
        local time = redis.pcall('TIME')
        heard = redis.pcall('PUBLISH', delivery[1], cmsgpack.pack({time[1] * 1000000 + time[2], all}))
    end
    if heard == 0 or type(heard) == 'table' then
        redis.pcall('PUBLISH', delivery[2], cjson.encode(delivery[3]))
    end
end
-- KEYS: queue, owner, own liveness. ARGV: consumer, number of the commit before, number of this one, messages in the
-- batch, these, joined by newlines, MessagePack of {keys of conditions, their values, operations, deliveries, prefix
-- of sessions}, lifetime in ms (0: it is not renewed), and what peek() takes. A delivery is {channel of deliveries,
-- channel of wake-ups, charge points, per charge point the number of the operation that puts something in its list of
-- responses (0: the gateway has to read the list), per charge point the connection that all of that is for}.
local owner = redis.call('HMGET', KEYS[2], 'consumer', 'fence')
if owner[1] ~= ARGV[1] or owner[2] ~= ARGV[2] then return {'fenced'} end
local count, longest = tonumber(ARGV[4]), tonumber(ARGV[10])
if not unchanged(KEYS[1], count, ARGV[5], longest) then return {'moved'} end
local work = cmsgpack.unpack(ARGV[6])
local changed, wrong_type = {}, {}
local wanted, values = work[1], {}
for first = 1, #wanted, MANY do
    local some = redis.call('MGET', unpack(wanted, first, math.min(first + MANY - 1, #wanted)))
    for i = 1, #some do values[first + i - 1] = some[i] end
end
for i, key in ipairs(wanted) do
    local value = values[i]
    -- To MGET a value of another type is nothing.
    if not value then value = redis.pcall('GET', key) end
    if type(value) == 'table' then
        wrong_type[#wrong_type + 1] = key
    elseif value ~= work[2][i] then
        changed[#changed + 1] = key
    end
end
if #changed + #wrong_type > 0 then return {'conflict', changed, wrong_type} end
-- Whatever could refuse the whole (read-only, out of memory) refuses the first write, before anything is written.
-- A key of the wrong type must not stop the queue: that one operation is reported, the rest goes on.
local written, failed, foreign, lengths = false, {}, {}, {}
for number, operation in ipairs(work[3]) do
    if not foreign[operation[2]] then
        local reply = redis.pcall(unpack(operation))
        if type(reply) == 'table' and reply.err then
            local wrong_type = string.find(reply.err, 'WRONGTYPE', 1, true)
            if not written and not wrong_type then return redis.error_reply(reply.err) end
            foreign[operation[2]] = true
            failed[#failed + 1] = operation[1] .. ' ' .. tostring(operation[2]) .. ': ' .. reply.err
        else
            written, lengths[number] = true, reply
        end
    end
end
-- Last, so that a woken gateway finds everything; a lost wake-up costs the wait for its next sweep.
for _, delivery in ipairs(work[4]) do deliver(delivery, work[3], lengths, work[5]) end
redis.call('LTRIM', KEYS[1], 0, -count - 1)
redis.call('HSET', KEYS[2], 'commit', ARGV[3], 'fence', ARGV[3])
if ARGV[7] ~= '0' then redis.call('SET', KEYS[3], 'owner', 'PX', ARGV[7]) end
return {'committed', failed, peek(KEYS[1], tonumber(ARGV[8]), tonumber(ARGV[9]), longest)}
"""
)

for _name, _value in (("MANY", 1000), ("MOST", DELIVERY_BYTES)):
    _COMMIT = _COMMIT.replace(_name, str(_value))

_RELEASE = """
-- KEYS: owner, and own liveness where nothing else is owned. ARGV: consumer. The next processor need not wait for the
-- lifetime to pass.
if redis.call('HGET', KEYS[1], 'consumer') == ARGV[1] then redis.call('DEL', KEYS[1]) end
if KEYS[2] then redis.call('DEL', KEYS[2]) end
return 1
"""

_pack = msgspec.msgpack.Encoder().encode


class Batch(NamedTuple):
    """Messages at the end of the queue, oldest first, still in it.

    Attributes:
        messages: as they stand there; in the place of one that is longer than the limit, its size and beginning.
        text: the entries of the list, joined by newlines; by it the batch is recognised when it is committed.
    """

    messages: list[bytes | Oversized]
    text: bytes


class Kind(StrEnum):
    """Kinds of lists, which decide when a consumer may claim them (see docs/decisions/0013)."""

    WHOLE = "whole"
    """All messages there are: not while shards are in use."""
    UNSHARDED = "unsharded"
    """Messages that have to be moved to their shards: while there are as many shards as the consumer knows of."""
    SHARD = "shard"
    """One shard: only once it was given to the consumer."""


class Delivery(NamedTuple):
    """A gateway that is told of responses to its charge points.

    Attributes:
        channel: where it hears the responses themselves.
        wake: where it hears for whom there is something.
        charge_points: the charge points.
        operations: for each of them the number of the operation, the first one being 1, that puts responses in its
            list; 0 where the gateway has to read the list.
        connections: for each of them the connection that all these responses are for.
    """

    channel: str
    wake: str
    charge_points: list[str]
    operations: list[int]
    connections: list[str]


class Claim(NamedTuple):
    """The answer to a claim.

    Attributes:
        owned: whether the queue is ours.
        commit: if so, the number of our last commit that took effect.
        layout: how many shards there are, where that is why the queue is not to be had.
    """

    owned: bool
    commit: int
    layout: str = ""


class Committed(NamedTuple):
    """The commit took effect; `next` is the backlog, `failed` the operations that met a key of the wrong type."""

    next: Batch
    failed: list[str]


class Conflict(NamedTuple):
    """Nothing was written: the state under `changed` has changed since it was read, that under `wrong_type` is no
    string.

    Handle the batch again.
    """

    changed: list[str]
    wrong_type: list[str]


class Refused(NamedTuple):
    """Nothing was written: the queue is another's now, or the batch no longer stands at its end. Claim again."""

    why: str


_claim, _take, _commit, _release = Script(_CLAIM), Script(_TAKE), Script(_COMMIT), Script(_RELEASE)


class RequestQueue:
    """One consumer's view of the request queue.

    Every method raises `redis.exceptions.RedisError` when Redis does not do its part; nothing is lost by that.

    Args:
        wire: connection for the scripts.
        blocking: connection for `wait`.
        keys: key names.
        consumer: this consumer's name, unique among those that ever lived.
        lease: seconds that the queue stays ours after the last sign of life.
        longest_message: of messages above this many bytes only size and beginning are handed out.
        name: the list; the request queue itself when left out.
        kind: the kind of list.
        shards: how many shards there are.
        replicas: replicas that have to have a commit before it counts as one.

    Attributes:
        depth: messages in the queue when it was last looked at.
        largest_batch: messages in a batch at most.
    """

    largest_batch = BATCH_MESSAGES

    def __init__(
        self,
        wire: RedisWire,
        blocking: RedisWire,
        keys: Keys,
        *,
        consumer: str,
        lease: float,
        longest_message: int,
        name: str = "",
        kind: Kind = Kind.WHOLE,
        shards: int = 1,
        replicas: int = 0,
    ) -> None:
        self._wire = wire
        self._blocking = blocking
        self._keys = keys
        self._name = name or keys.requests
        self._owner = keys.owner_of(self._name)
        self._kind = kind
        self._shards = shards
        self._replicas = replicas
        self.consumer = consumer
        self._lease_ms = int(lease * 1000)
        # A busy queue need not renew with each commit.
        self._renew_every = lease / 10
        self._renewed = 0.0
        self._most_messages, self._most_bytes = self.largest_batch, BATCH_BYTES
        self._longest = longest_message
        self._number = 0
        self._fence = 0
        # The lease is renewed between two waits.
        self._wait = min(LONGEST_WAIT, lease / 3)
        self.depth: int | None = None

    @property
    def wires(self) -> tuple[RedisWire, RedisWire]:
        """The connections, to be dropped after an error."""
        return self._wire, self._blocking

    @property
    def _peek_limits(self) -> tuple[int, int, int]:
        return self._most_messages, self._most_bytes, self._longest

    def shrink(self) -> None:
        """Hand out batches of half the size, because the last one met a conflict or took too long."""
        self._most_messages = max(1, self._most_messages // 2)
        self._most_bytes = max(1, self._most_bytes // 2)

    def grow(self) -> None:
        """Hand out batches of twice the size, up to the usual one."""
        self._most_messages = min(self.largest_batch, self._most_messages * 2)
        self._most_bytes = min(BATCH_BYTES, self._most_bytes * 2)

    @property
    def attempt(self) -> int:
        """The number that the last commit carried, whether or not it took effect."""
        return self._number

    async def claim(self) -> Claim:
        """Claim the queue unless a living consumer owns it, and renew the sign of life."""
        self._number += 1
        keys = self._keys
        began = time.monotonic()
        owned, commit, self.depth, layout = await _claim(
            self._wire,
            [self._owner, keys.consumer(self.consumer), keys.shards, keys.processors],
            [
                self.consumer,
                self._number,
                keys.consumer(""),
                self._lease_ms,
                self._name,
                self._kind,
                keys.shard(""),
                self._shards,
            ],
        )
        self._fence = self._number
        self._renewed = began
        if owned:
            # It says which commit took effect: on the replicas as well, or it might be undone.
            await self._replicate()
        return Claim(bool(owned), int(commit or 0), layout.decode(errors="replace"))

    async def peek(self) -> Batch:
        """The oldest messages, up to a batch; none if the queue is empty."""
        return self._batch(await _take(self._wire, [self._name], self._peek_limits))

    async def wait(self) -> Batch:
        """Wait up to a second for a message; returns the oldest, up to a batch.

        The list is rotated onto itself: one command takes the oldest message and puts it back in its place, so that no
        failure of this connection can lose it. Redis does not send it, however long it is (CLIENT REPLY SKIP): the
        entries are read as in `peek`, in the same round trip.
        """
        key = self._name
        rotate = ("BLMOVE", key, key, "RIGHT", "RIGHT", self._wait)
        began = time.monotonic()
        batch = self._batch(await _take.behind(self._blocking, rotate, [key], self._peek_limits))
        if not batch.messages and time.monotonic() - began < self._wait / 2:
            # Redis may have refused to wait, and could not say so. On a list that is never there it can.
            absent = f"{key}:absent"
            await self._blocking.execute("BLMOVE", absent, absent, "RIGHT", "RIGHT", 0.01)
        return batch

    async def commit(
        self,
        batch: Batch,
        conditions: Sequence[tuple[str, str | bool]],
        operations: Sequence[Operation],
        deliveries: Sequence[Delivery] = (),
    ) -> Committed | Conflict | Refused:
        """Write `operations` and take `batch` off the queue, provided that every condition holds.

        Args:
            batch: as `peek`, `wait` or the commit before returned it.
            conditions: string keys and the values that they must still have, `False` for none.
            operations: Redis commands, each with its arguments (text, not bytes: Redis' MessagePack knows no other).
            deliveries: the gateways that are told of the responses among the operations.

        Returns:
            The result. After an exception, the next `claim` decides: the commit took effect if its number (`attempt`)
            is the one returned there.
        """
        self._number += 1
        number = self._number
        began = time.monotonic()
        renew = began - self._renewed >= self._renew_every
        reply = await _commit(
            self._wire,
            [self._name, self._owner, self._keys.consumer(self.consumer)],
            [
                self.consumer,
                self._fence,
                number,
                len(batch.messages),
                batch.text,
                _pack(
                    (
                        [key for key, _ in conditions],
                        [value for _, value in conditions],
                        operations,
                        deliveries,
                        self._keys.session(""),
                    )
                ),
                self._lease_ms if renew else 0,
                *self._peek_limits,
            ],
        )
        if reply[0] == b"committed":
            self._fence = number
            if renew:
                self._renewed = began
            await self._replicate()
            return Committed(self._batch(reply[2]), [entry.decode(errors="replace") for entry in reply[1]])
        if reply[0] == b"conflict":
            return Conflict(*([key.decode() for key in keys] for keys in reply[1:]))
        return Refused(reply[0].decode())

    async def _replicate(self) -> None:
        if self._replicas:
            await self._wire.replicated(self._replicas)

    async def release(self) -> None:
        """Release the queue, so that the next processor takes over immediately."""
        alive = [self._keys.consumer(self.consumer)] if self._kind is Kind.WHOLE else []
        await _release(self._wire, [self._owner, *alive], [self.consumer])

    def _batch(self, reply: list[Any]) -> Batch:
        self.depth = reply[0]
        return Batch(entries_of(reply[1]), b"\n".join(reply[1]))
