"""Test 13: a queue with shards."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from catalogue import defect
from queue_defects import replaced

from server.processor import request_queue, router, shards
from server.processor.processor import Processor
from server.processor.request_queue import Batch, RequestQueue
from server.processor.router import Router
from server.processor.shards import ShardedProcessor, ShardOwnership
from server.redis.script import Script

SHARED = "Processors That Share Eight Shards Keep The Order Of Each Charge Point"
DEAD = "A Processor Of Shards That Dies Is Replaced And The Order Is Kept"
LATE = "A Processor Of Shards That Wakes Up Too Late Changes Nothing"


@defect("R13.4", SHARED, says=r"owned [08] shards instead of 4")
def the_first_processor_keeps_all_shards() -> None:
    """A later processor gets no shard: the processors do not share the work."""
    text = replaced(shards._LOOK, "local share = math.floor(count / alive)", "local share = count")
    shards._look = Script(replaced(text, "held[me] - least >= 2 then give = 1", "held[me] - least >= 2 then give = 0"))


@defect("R13.4", SHARED, says=r"owned 4 shards instead of 8")
def shards_are_not_given_back_at_sigterm() -> None:
    """A processor that ends in order does not free its shards: they wait until its lease has passed."""
    sound_release, sound_stop = RequestQueue.release, ShardedProcessor.stop
    ending: list[bool] = []

    def stop(self: ShardedProcessor) -> None:
        ending.append(True)
        sound_stop(self)

    async def release(self: RequestQueue) -> None:
        if not ending:
            await sound_release(self)

    async def leave(_: ShardOwnership) -> None:
        """The sign of life stays."""

    ShardedProcessor.stop, RequestQueue.release, ShardOwnership.leave = stop, release, leave


@defect("R13.4", SHARED, says=r"[1-9]\d* out of order")
def messages_go_to_the_shards_in_turn() -> None:
    """Messages are spread over the shards one by one, and not by charge point."""
    turn = itertools.count()
    router.shard_of = lambda _charge_point_id, count: next(turn) % count


@defect("R13.4", SHARED, says=r"5000 messages: 0 answered, .* 5000 still on the queue")
def the_queue_itself_is_ignored_beside_shards() -> None:
    """Messages are not moved from the unsharded key to the shards."""

    async def run(self: Router) -> None:
        while not self._stopping:  # noqa: ASYNC110 - the router has no event
            await asyncio.sleep(0.1)

    Router.run = run


@defect("R13.4", DEAD, says=r"owned 4 shards instead of 8")
def shards_of_the_dead_are_never_taken_over() -> None:
    """A lease on a shard lasts a day, whether or not its owner lives."""
    sound = ShardOwnership.look
    day = 24 * 3600

    async def look(self: ShardOwnership) -> Any:
        self.lease, lease = day, self.lease
        try:
            return await sound(self)
        finally:
            self.lease = lease

    commit = RequestQueue.__init__

    def init(self: RequestQueue, *arguments: Any, **options: Any) -> None:
        commit(self, *arguments, **options)
        self._lease_ms = day * 1000

    ShardOwnership.look, RequestQueue.__init__ = look, init


@defect("R13.4", LATE, says=r"[1-9]\d* answered twice")
def a_shard_has_two_owners() -> None:
    """A commit does not check whether its processor still owns the shard: a late processor handles messages again."""
    text = replaced(request_queue._COMMIT, "if owner[1] ~= ARGV[1] or owner[2] ~= ARGV[2]", "if false")
    # Neither that the messages are still there, nor that what it read of the state is.
    text = replaced(text, "if not unchanged(KEYS[1], count, ARGV[5], longest) then", "if false then")
    request_queue._commit = Script(replaced(text, "if #changed + #wrong_type > 0 then", "if false then"))
    sound = Processor._handle

    async def handle(self: Processor, batch: Batch) -> Any:
        effects = await sound(self, batch)
        # Something is in hand whenever the process is held still.
        await asyncio.sleep(0.05)
        return effects

    Processor._handle = handle
