"""Ids of transactions that are given once, also when Redis forgets how far it had counted."""

from __future__ import annotations

from redis.asyncio import Redis

from server.redis.script import Script
from server.store.keys import Keys

SKIPPED = 1_000_000
"""Ids that are left out where the counter has fallen behind: more than other processes can have been given since this
one last saw it, and few enough for 2,000 such losses within the 31 bits that charge points may have for an id."""

_RESERVE = """
-- KEYS: counter. ARGV: how many, the highest number that the counter is known to have had, how many ids are skipped
-- where it has less. Returns the last id, or what the counter has where none is wanted.
local count, highest = tonumber(ARGV[1]), tonumber(ARGV[2])
local stands = redis.call('GET', KEYS[1])
local number = tonumber(stands or 0)
if number and number < highest then
    number = highest + ARGV[3]
    redis.call('SET', KEYS[1], string.format('%.0f', number))
end
if count == 0 then return number or 0 end
return redis.call('INCRBY', KEYS[1], count)
"""

_reserve = Script(_RESERVE)


class TransactionIds:
    """Takes ids from the counter, and remembers the highest that it has seen.

    After FLUSHALL, a restart without its file, or the promotion of an older replica, the counter stands lower than
    before. The first process that remembers puts it above every id that was given, with room for those that other
    processes got in between.

    Args:
        client: for the commands.
        keys: key names.

    Attributes:
        highest: the highest number that the counter was seen to have.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.transaction_id
        self.highest = 0

    async def reserve(self, count: int) -> range:
        """Take the next `count` ids.

        Raises:
            RedisError: Redis does not do its part, or the counter is none.
        """
        last = int(await _reserve.run(self._client.execute_command, [self._key], [count, self.highest, SKIPPED]))
        self.highest = max(self.highest, last)
        return range(last - count + 1, last + 1)

    async def keep(self) -> None:
        """See how far the counter is, and put it right if it has fallen behind; raises as `reserve`."""
        await self.reserve(0)
