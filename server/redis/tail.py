"""Reads the oldest entries of a list in a bounded number of bytes, whatever the size of the entries.

Redis returns the number of entries in a list, but not their sizes. So a script reads them one at a time and stops at
the limit: only the last one read may exceed it. A short list is read at once where Redis says that all of it is small
(MEMORY USAGE). An entry that is too long for its reader is read once. The script replaces it by a *stub* with its size
and its beginning: later reads, moves and commits of the entry handle some kilobytes, and neither Redis nor the server
carries it another time.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

HEAD_BYTES = 4096
"""Bytes of an oversized entry that its stub keeps: as many as a dead letter shows."""
MARK = b"\x00oversized "
"""First byte of a stub; no JSON document begins with it."""
_LONGEST_STUB = HEAD_BYTES + 64
_FEW = 2
"""Entries that are read one at a time in any case: to ask for the memory of their list would cost as much."""
_SHORT = 512
"""Entries in a list whose memory is asked for at most: Redis looks at each node of the list."""

TAIL = """
-- The oldest entries of a list, the oldest first, up to `most`, if all of the list is small; else nothing. `depth` is
-- the length of the list.
local function all_small(list, most, limit, longest, depth)
    if depth <= FEW or depth > SHORT or most <= FEW then return end
    -- Of a list, these are the bytes of its nodes: no less than those of its entries.
    local bytes = redis.pcall('MEMORY', 'USAGE', list, 'SAMPLES', '0')
    if type(bytes) ~= 'number' or bytes > limit or bytes > longest then return end
    local newest = redis.pcall('LRANGE', list, -most, -1)
    if newest.err then return end
    local entries, count = {}, #newest
    for i = count, 1, -1 do entries[count + 1 - i] = newest[i] end
    return entries
end
-- The oldest entries of a list, the oldest first, up to `most`; none is read once they have more than `limit` bytes.
-- Behind them how many bytes were read. An entry longer than `longest` becomes a stub. `depth` is the length of the
-- list, or nothing where few entries are wanted.
local function oldest(list, most, limit, longest, depth)
    local small = depth and all_small(list, most, limit, longest, depth)
    if small then return small, 0 end
    local entries, count, read, look = {}, 0, 0, redis.pcall
    while count < most and read <= limit do
        local entry = look('LINDEX', list, -1 - count)
        if type(entry) ~= 'string' then
            if type(entry) == 'table' and not string.find(entry.err, 'WRONGTYPE', 1, true) then
                redis.call('LINDEX', list, -1)
            end
            break
        end
        local length = #entry
        read = read + length
        if length > longest and (length > LONGEST_STUB or string.sub(entry, 1, #'MARK') ~= 'MARK') then
            local stub = 'MARK' .. length .. ' ' .. string.sub(entry, 1, HEAD_BYTES)
            -- Where Redis takes no writes the entry stays as it is, and is read again.
            redis.pcall('LSET', list, -1 - count, stub)
            entry = stub
        end
        count = count + 1
        entries[count] = entry
    end
    return entries, read
end
-- The same, with their digest.
local function tail(list, most, limit, longest)
    local entries = oldest(list, most, limit, longest)
    local text = table.concat(entries, '\\n')
    return entries, #text .. ' ' .. redis.sha1hex(text)
end
-- The oldest `count` entries, if they still are those of `digest`; else nothing. Reads no more bytes than these have.
local function still(list, count, digest, longest)
    local entries, found = tail(list, count, tonumber(string.match(digest, '^%d+')) or 0, longest)
    return #entries == count and found == digest and entries
end
-- The oldest `count` entries, if they still are `text`, joined by newlines; else nothing. Reads no more bytes than
-- these have, or than `longest`. To send the text costs less than a digest of it, which Redis would have to make twice.
local function unchanged(list, count, text, longest)
    local entries = count > FEW and all_small(list, count, longest, longest, redis.call('LLEN', list))
    entries = entries or oldest(list, count, #text, longest)
    return #entries == count and table.concat(entries, '\\n') == text and entries
end
-- Take the entries `first` to `last` of `sent` out of the list, the oldest first, if they still are its oldest ones;
-- somebody else may have taken out the first few.
local function take_out(list, sent, first, last, longest)
    local size, taken = 0, 0
    for i = first, last do size = size + #sent[i] end
    local entries = oldest(list, last - first + 1, size, longest)
    for i = first, last do
        if sent[i] == entries[taken + 1] then taken = taken + 1 end
    end
    if taken > 0 then redis.call('LTRIM', list, 0, -taken - 1) end
end
"""
for _name, _value in (
    ("LONGEST_STUB", str(_LONGEST_STUB)),
    ("FEW", str(_FEW)),
    ("SHORT", str(_SHORT)),
    ("HEAD_BYTES", str(HEAD_BYTES)),
    ("MARK", MARK.decode().replace("\x00", "\\0")),
):
    TAIL = TAIL.replace(_name, _value)

_STUB = re.compile(re.escape(MARK) + rb"(\d{1,12}) ")


class Oversized(NamedTuple):
    """An entry that is longer than its reader takes.

    Attributes:
        size: its length in bytes.
        head: its first bytes.
    """

    size: int
    head: bytes


def entries_of(reply: list[Any]) -> list[bytes | Oversized]:
    """Entries as the Lua function `oldest` hands them out."""
    return [_entry_of(entry) if entry.startswith(MARK) else entry for entry in reply]


def _entry_of(entry: bytes) -> bytes | Oversized:
    stub = _STUB.match(entry)
    return entry if stub is None else Oversized(int(stub[1]), entry[stub.end() :])
