"""Reads the oldest entries of a list in a bounded number of bytes, whatever the size of the entries.

Redis returns the number of entries in a list, but not their sizes. So a script reads them one at a time and stops at
the limit: only the last one read may exceed it. An entry that is too long for its reader is read once. The script
replaces it by a *stub* with its size and its beginning: later reads, moves and commits of the entry handle some
kilobytes, and neither Redis nor the server carries it another time.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

HEAD_BYTES = 4096
"""Bytes of an oversized entry that its stub keeps: as many as a dead letter shows."""
MARK = b"\x00oversized "
"""First byte of a stub; no JSON document begins with it."""
_LONGEST_STUB = HEAD_BYTES + 64

TAIL = """
-- The oldest entries of a list, the oldest first, up to `most`; none is read once they have more than `limit` bytes.
-- Behind them their bytes, and how many bytes were read. An entry longer than `longest` becomes a stub.
local function oldest(list, most, limit, longest)
    local entries, count, size, read, look = {}, 0, 0, 0, redis.pcall
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
            entry, length = stub, #stub
        end
        size = size + length
        count = count + 1
        entries[count] = entry
    end
    return entries, size, read
end
-- The same, with their digest in the place of their bytes.
local function tail(list, most, limit, longest)
    local entries, size, read = oldest(list, most, limit, longest)
    return entries, size .. ' ' .. redis.sha1hex(table.concat(entries, '\\n')), read
end
-- The oldest `count` entries, if they still are those of `digest`; else nothing. Reads no more bytes than these have.
local function still(list, count, digest, longest)
    local entries, found = tail(list, count, tonumber(string.match(digest, '^%d+')) or 0, longest)
    return #entries == count and found == digest and entries
end
-- The oldest `count` entries, if they still are `text`, joined by newlines; else nothing. Reads no more bytes than
-- these have. To send the text costs less than a digest of it, which Redis would have to make twice.
local function unchanged(list, count, text, longest)
    local entries = oldest(list, count, #text, longest)
    return #entries == count and table.concat(entries, '\\n') == text and entries
end
"""
for _name, _value in (
    ("LONGEST_STUB", str(_LONGEST_STUB)),
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
    """Entries as the Lua function `tail` hands them out."""
    return [_entry_of(entry) if entry.startswith(MARK) else entry for entry in reply]


def _entry_of(entry: bytes) -> bytes | Oversized:
    stub = _STUB.match(entry)
    return entry if stub is None else Oversized(int(stub[1]), entry[stub.end() :])
