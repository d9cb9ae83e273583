"""Consumes a queue while this process owns it: claim, batch after batch, wait; survives failures of Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from redis.exceptions import RedisError, TimeoutError  # noqa: A004 - as redis-py calls it

from server.processor.request_queue import Batch, Claim, Committed, Conflict, Refused, RequestQueue
from server.redis.link import RedisLink

logger = structlog.get_logger()

STANDBY_SECONDS = 0.5
"""Seconds between attempts of a processor without ownership to claim the queue."""


class QueueConsumer:
    """Base of the queue's consumers; subclasses handle the batches.

    Args:
        link: to report how Redis is.
        queue: the queue.
        name: the component's name in reports to the link.
        stands_by: wait for the queue while another owns it; otherwise `run` ends as soon as it is not ours.
        about: goes into log records about the queue.

    Attributes:
        owner: whether the queue is ours.
        in_flight: messages of the batch that is being handled.
    """

    def __init__(
        self,
        link: RedisLink,
        queue: RequestQueue,
        *,
        name: str,
        stands_by: bool = True,
        about: dict[str, Any] | None = None,
    ) -> None:
        self._link = link
        self.queue = queue
        self._name = name
        self._stands_by = stands_by
        self._about = about or {}
        self._stopping = False
        self._known_owner = False
        self._known_layout = ""
        self._idle: asyncio.Task[Any] | None = None
        self._cut = False
        self.owner = False
        self.in_flight = 0

    def stop(self) -> None:
        """End `run` after the current batch; a waiting one stops immediately."""
        self._stopping = True
        if self._idle is not None and not self._cut:
            self._cut = True
            self._idle.cancel()

    async def run(self) -> None:
        """Work until `stop`. Redis being away is waited out; the queue is let go at the end.

        It may be run again.
        """
        self._link.expect(self._name)
        try:
            await self._work()
        finally:
            self._settle(None)
            if not self._stands_by:
                self._link.leaves(self._name)
                self._stopping = self._known_owner = False
                self._not_owner()
                # One of them may be in the middle of a wait.
                for wire in self.queue.wires:
                    await wire.close()

    async def _work(self) -> None:
        while not self._stopping:
            try:
                await self._claim()
                if self.owner:
                    await self._drain()
                    continue
                self._link.succeeded(self._name)
                if not self._stands_by:
                    return
                await self._interruptible(asyncio.sleep(STANDBY_SECONDS))
            except RedisError as error:
                if isinstance(error, TimeoutError):
                    # A slow link may carry a small batch where it does not carry a large one.
                    self.queue.shrink()
                self._not_owner()
                await self._interruptible(self._link.recover(error, self._name, *self.queue.wires))
        # A shard stays given to us until it is given back, whether or not we got as far as to claim it this time: where
        # giving it back failed, the next attempt begins with `stop`.
        if self.owner or not self._stands_by:
            try:
                await self._claim()  # settles a commit whose reply was lost
                if self.owner:
                    await self.queue.release()
            except RedisError as error:
                self._link.failed(error, self._name)

    def _not_owner(self) -> None:
        self.owner = False
        self.in_flight = 0

    async def _interruptible(self, waiting: Any) -> Any:
        """Await something that `stop` may cut short; `None` if it did.

        It is awaited in this task, which `stop` cancels: a task of its own would cost each message of an idle queue two
        more turns of the event loop.
        """
        if self._stopping:
            waiting.close()
            return None
        self._idle = asyncio.current_task()
        try:
            return await waiting
        except asyncio.CancelledError:
            # Ours, which `stop` has cancelled; unless this task was cancelled from outside, too.
            if not self._take_back():
                raise
            return None
        finally:
            self._take_back()
            self._idle = None

    def _take_back(self) -> bool:
        """Clear the cancellation requested by `stop`; returns whether there was no other one."""
        if not self._cut or self._idle is None:
            return False
        self._cut = False
        return self._idle.uncancel() == 0

    async def _claim(self) -> None:
        claim = await self.queue.claim()
        if claim.owned and not self._known_owner:
            logger.info("queue_owned", consumer=self.queue.consumer, **self._about)
        elif self._known_owner and not claim.owned:
            logger.warning("queue_lost", consumer=self.queue.consumer, **self._about)
            self._not_owner()
        self._known_owner = claim.owned
        self.owner = claim.owned
        self._explain(claim)
        self._settle(claim.commit if claim.owned else None)

    def _explain(self, claim: Claim) -> None:
        """Log once that the queue cannot be claimed although it has no owner."""
        if claim.layout and claim.layout != self._known_layout:
            logger.error(
                "queue_sharded",
                shards=claim.layout,
                hint="messages wait in the shards, or processors of shards live: set QUEUE_SHARDS, or drain them first",
            )
        self._known_layout = claim.layout

    def _settle(self, last_commit: int | None) -> None:
        """The number of the last commit that took effect is known, or (`None`) never will be."""

    async def _drain(self) -> None:
        batch = await self.queue.peek()
        while not self._stopping:
            if not batch.messages:
                self.in_flight = 0
                self._link.succeeded(self._name)
                waited = await self._interruptible(self.queue.wait())
                if waited is None:
                    return
                batch = waited
                if not batch.messages:
                    # Also renews the lease, once a second.
                    await self._claim()
                    if not self.owner:
                        return
                continue
            self.in_flight = len(batch.messages)
            result = await self._process(batch)
            match result:
                case Committed():
                    self.queue.grow()
                    batch = result.next
                case Conflict():
                    self._conflicted(result)
                    # A busy key must not hold up the messages that have nothing to do with it: a smaller batch is
                    # quicker than the writers of that key in the end. The lease is renewed meanwhile.
                    self.queue.shrink()
                    await self._claim()
                    if not self.owner:
                        return
                    batch = await self.queue.peek()
                case Refused():
                    self._not_owner()
                    return

    async def _process(self, batch: Batch) -> Committed | Conflict | Refused:
        """Handle a batch and commit the results."""
        raise NotImplementedError

    def _conflicted(self, conflict: Conflict) -> None:
        """The commit was refused since state had changed: drop the named values from the cache, and handle the batch
        again."""
