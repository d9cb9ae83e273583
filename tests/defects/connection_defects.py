"""Test 16: Redis goes away, comes back, and the server is killed."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from catalogue import defect
from queue_defects import OUTAGE, replaced, take_at_most_once
from redis.exceptions import RedisError

from server import queue, redis_link
from server.processor import Processor
from server.queue import Committed, RequestQueue
from server.redis_link import RedisLink
from server.script import Script

LOST_CONNECTION = "A Connection That Is Lost In Operation Is Made Again"
KILLED = "The Server Is Killed Under Traffic And Loses Nothing"


@defect("R16.3", OUTAGE)
def exits_when_redis_goes() -> None:
    """The first error of Redis ends the process."""
    sound = RedisLink.failed

    def failed(self: RedisLink, error: RedisError, by: str) -> None:
        sound(self, error, by)
        if self._was_connected:
            os._exit(1)

    RedisLink.failed = failed


@defect("R16.3", OUTAGE)
def never_reconnects() -> None:
    """After an error the processor waits for ever."""

    async def recover(self: RedisLink, error: RedisError, by: str, *wires: Any) -> None:
        self.failed(error, by)
        await asyncio.Event().wait()

    RedisLink.recover = recover


@defect("R16.3", LOST_CONNECTION, longest_wait=60)
def takes_45_seconds_to_reconnect() -> None:
    """The pause between two attempts is 45 seconds at least."""
    redis_link.FIRST_PAUSE = redis_link.LONGEST_PAUSE = 90.0


@defect("R16.6", OUTAGE)
def health_says_healthy_without_redis() -> None:
    """Health does not notice that Redis is away."""
    RedisLink.healthy = property(lambda self: True, lambda self, value: None)


@defect("R16.8", KILLED)
def lost_at_kill_9() -> None:
    """Messages leave the list when they are taken, and die with the process that handles them."""
    take_at_most_once()


@defect("R16.9", "A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice")
def applied_twice_after_a_lost_commit_reply() -> None:
    """Answers are written first, and the messages are taken off the list by a second command."""
    queue._commit = Script(replaced(queue._COMMIT, "redis.call('LTRIM', KEYS[1], 0, -count - 1)\n", ""))
    sound = RequestQueue.commit

    async def commit(self: RequestQueue, batch: Any, conditions: Any, operations: Any) -> Any:
        result = await sound(self, batch, conditions, operations)
        if isinstance(result, Committed):
            await self._wire.execute("LTRIM", self._keys.requests, 0, -len(batch.messages) - 1)
            return Committed(await self.peek(), result.failed)
        return result

    RequestQueue.commit = commit


@defect("R16.8", "The Server Is Stopped Under Traffic And Loses Nothing")
def sigterm_loses() -> None:
    """SIGTERM ends the process in the middle of a batch that is off the list already."""
    take_at_most_once()
    Processor.stop = lambda self: os._exit(0)
