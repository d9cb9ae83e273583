"""Test 16: Redis has a replica, or loses its data."""

from __future__ import annotations

import asyncio
from typing import Any

from catalogue import defect

from server.redis import script
from server.redis.address import Sentinels
from server.redis.link import RedisLink
from server.store import transaction_ids
from server.store.transaction_ids import TransactionIds

FAILOVER = "The Server Follows The Primary Through Failovers Of Every Kind"
AMNESIA = "A Charge Point Is Served Again When Redis Has Lost What It Kept"
UNANSWERED = r"No answer to Heartbeat|Not every message was answered|Still connected"


@defect("R16.10", FAILOVER, says=UNANSWERED, longest_wait=30.0, timing=True)
def the_sentinels_are_asked_once() -> None:
    """The server keeps the primary that the sentinels named first, and connects to nothing else."""
    sound = Sentinels.primary

    async def primary(self: Sentinels) -> tuple[str, int]:
        return self._found if self._found is not None else await sound(self)

    Sentinels.primary = primary


@defect("R16.10", FAILOVER, says=UNANSWERED, longest_wait=30.0, timing=True)
def an_old_primary_that_still_answers_is_kept() -> None:
    """The server does not compare its connections with the primary that the sentinels name."""

    async def watch(self: RedisLink, stop: asyncio.Event) -> None:
        await stop.wait()

    RedisLink.watch = watch


@defect("R16.13", AMNESIA, says=r"ids_given_again: required == 0 transactions.*measured 1")
def transaction_ids_begin_again_when_the_counter_is_gone() -> None:
    """The server does not remember how far the counter was."""

    async def reserve(self: TransactionIds, count: int) -> range:
        self.highest = 0
        return await sound(self, count)

    sound = TransactionIds.reserve
    TransactionIds.reserve = reserve


@defect("R16.13", AMNESIA, says=r"ids_given_again: required == 0 transactions.*measured 1")
def a_counter_that_fell_behind_is_put_back_to_one() -> None:
    """A counter that is lower than before is restarted from 1, as in a new system."""
    transaction_ids._reserve = script.Script(
        transaction_ids._RESERVE.replace("number = highest + ARGV[3]", "number = 0")
    )


@defect("R16.13", AMNESIA, says=r"(StartTransaction|Heartbeat) of .* was not answered within")
def scripts_are_sent_once() -> None:
    """A script that Redis has forgotten is not sent again."""
    known: set[str] = set()
    sound = script.Script.run

    async def run(self: script.Script, execute: Any, keys: Any, arguments: Any) -> Any:
        if self._digest in known:
            return await execute("EVALSHA", self._digest, len(keys), *keys, *arguments)
        reply = await sound(self, execute, keys, arguments)
        known.add(self._digest)
        return reply

    script.Script.run = run
