"""Distribution of messages over the shards of the request queue.

A shard is a list beside the request queue. All messages of a charge point belong to one shard, so that the shards are
independent of each other. One rule keeps the order between the shards and the request queue itself, which stays valid:
while entries wait on the request queue, only the oldest of them may be put into a shard. Both scripts that write to
shards, the gateways' and the router's, keep it; see docs/decisions/0013-the-queue-has-shards.md.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

MOST_SHARDS = 64

SPREAD = """
-- Whether all shards that are to be written to can be: a list, or nothing yet. To be asked before the first write.
local function spreadable(prefix, shards)
    for _, shard in ipairs(shards) do
        local kind = redis.call('TYPE', prefix .. shard).ok
        if kind ~= 'list' and kind ~= 'none' then
            return redis.error_reply('WRONGTYPE ' .. prefix .. shard .. ' is a ' .. kind .. ', not a list')
        end
    end
end
-- Put message i, the oldest first, into shard number shards[i].
local function spread(prefix, shards, messages)
    local lists = {}
    for i, shard in ipairs(shards) do
        local list = lists[shard] or {}
        list[#list + 1] = messages[i]
        lists[shard] = list
    end
    for shard, list in pairs(lists) do redis.call('LPUSH', prefix .. shard, unpack(list)) end
end
"""
"""Lua functions for scripts that write to shards; a batch may be 4,000 messages long at most."""


class _Address(msgspec.Struct):
    """The fields of a message that name its charge point; see `server.ocpp.envelope.parse`."""

    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    charge_point_id: Any = msgspec.UNSET
    flat_id: Any = msgspec.field(default=msgspec.UNSET, name="chargePointId")


_read = msgspec.json.Decoder(_Address).decode


def address(raw: bytes) -> str:
    """The charge point that an entry of the request queue is from; empty if the entry does not say so.

    It need not be a valid message: `server.ocpp.envelope.parse` finds no other charge point in it.
    """
    try:
        found = _read(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
    is_envelope = found.payload is not msgspec.UNSET or found.charge_point_id is not msgspec.UNSET
    value = found.charge_point_id if is_envelope else found.flat_id
    return value if type(value) is str else ""


def shard_of(charge_point_id: str, shards: int) -> int:
    """The number of a charge point's shard, from 0: the same in every process and version."""
    return zlib.crc32(charge_point_id.encode("utf-8", "surrogatepass")) % shards
