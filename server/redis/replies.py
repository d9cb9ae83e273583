"""Replies from a Redis connection in order, without streams and locks in between."""

from __future__ import annotations

import asyncio
import builtins
from collections import deque
from typing import Any

import hiredis
from redis.exceptions import ConnectionError, InvalidResponse, TimeoutError  # noqa: A004 - the client's own

CLOSED = "Connection closed by server."
ONE_MORE_LOOK = 0.001
"""Seconds after the deadline in which replies that have arrived are still read."""
_INCOMPLETE = object()


class Replies(asyncio.Protocol):
    """Takes the place of a connection's stream once it is set up, and hands out its replies one by one.

    A stream wakes a task, sets up a timeout and parses for each reply; here the bytes are parsed as they come, the task
    is woken with its reply in hand, and one timer, which looks at the deadline of the time, serves all replies.
    One task at a time sends and reads.

    Args:
        transport: of the connection, which has no reply outstanding.
        error_of: makes an exception of an error reply's text.

    Attributes:
        lost: why nothing comes any more; `None` while the connection lives.
        full: a future that ends when the write buffer has drained; `None` while there is room.
    """

    def __init__(self, transport: asyncio.Transport, error_of: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._parser = hiredis.Reader(protocolError=InvalidResponse, replyError=error_of, notEnoughData=_INCOMPLETE)
        self._arrived: deque[Any] = deque()
        self._waiting: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # A timer's own `when` is rounded.
        self._deadline = self._timer_at = 0.0
        self._overdue = False
        self.full: asyncio.Future[None] | None = None
        self.lost: Exception | None = None
        transport.set_protocol(self)

    # --- what the event loop calls ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; replies go to the waiting callers in order."""
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not _INCOMPLETE:
                waiting, self._waiting = self._waiting, None
                if waiting is None or waiting.done():  # done: it was cancelled in this turn of the loop
                    self._arrived.append(reply)
                else:
                    waiting.set_result(reply)
        except InvalidResponse as error:
            self._transport.abort()
            self._lose(error)

    def eof_received(self) -> bool:
        """The other end sends no more."""
        self._lose(ConnectionError(CLOSED))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        self._lose(ConnectionError(CLOSED if exc is None else f"the connection was lost: {exc}"))

    def pause_writing(self) -> None:
        """More was written than the other end takes."""
        self.full = self._loop.create_future()

    def resume_writing(self) -> None:
        """The other end has caught up."""
        full, self.full = self.full, None
        if full is not None and not full.done():
            full.set_result(None)

    # --- what the wire calls ------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether a command can be sent: a transport may be closing before it says that it is lost."""
        return self.lost is None and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send a command; `drained` has to follow where `full` is set.

        Raises:
            ConnectionError: the connection is lost.
        """
        if not self.usable:
            raise ConnectionError(f"the connection is closed: {self.lost or 'it was given up'}")
        try:
            self._transport.write(data)
        except RuntimeError as error:
            # uvloop's own for a transport that a reset has closed in this turn of the loop.
            raise ConnectionError(f"the connection is closed: {error}") from error

    async def drained(self, timeout: float) -> None:  # noqa: ASYNC109 - as the client's own
        """Wait until the write buffer has nearly drained.

        Raises:
            TimeoutError: it has not within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while self.full is not None:
                    await self.full
        except builtins.TimeoutError:
            raise TimeoutError(f"Redis has not taken a command within {timeout:g} s") from None

    async def next(self, timeout: float) -> Any:  # noqa: ASYNC109
        """The next reply, an exception where Redis refused the command.

        Raises:
            ConnectionError: the connection is lost.
            InvalidResponse: the bytes are not Redis' protocol.
            TimeoutError: nothing came for `timeout` seconds; a reply may still come.
        """
        if self._arrived:
            return self._arrived.popleft()
        if self.lost is not None:
            raise self.lost
        waiting = self._waiting = self._loop.create_future()
        self._deadline = self._loop.time() + timeout
        self._overdue = False
        if self._timer is None or self._timer_at > self._deadline:
            self._arm()
        try:
            return await waiting
        finally:
            self._waiting = None

    def give_up(self, why: Exception) -> None:
        """Give the connection up: pending replies fail with `why`."""
        self._lose(why)
        self._transport.abort()

    def close(self) -> None:
        """Abort the connection; outstanding replies fail."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.close()

    # ------------------------------------------------------------------------------------------------------------------

    def _lose(self, error: Exception) -> None:
        if self.lost is None:
            self.lost = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.resume_writing()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(self.lost)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._timer_at, self._expire)

    def _expire(self) -> None:
        self._timer = None
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        if self._loop.time() < self._deadline:
            self._arm()
        elif not self._overdue:
            # uvloop runs timers before it reads: a reply that came while this process stood still is there, unread.
            self._overdue = True
            self._timer = self._loop.call_later(ONE_MORE_LOOK, self._expire)
        else:
            self._waiting = None
            waiting.set_exception(TimeoutError("Timeout reading from Redis"))
