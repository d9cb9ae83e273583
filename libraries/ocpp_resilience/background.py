"""The one event loop on which everything asynchronous of the libraries lives, in a separate thread.

Keywords are plain functions; the tasks that they start (WebSocket connections, HTTP requests by the hundred, answering
charge points) have to go on while Robot Framework runs other keywords. The loop is started on first use (anyio's
blocking portal, on uvloop where it is installed) and ended by `close` or when the interpreter exits.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from anyio import CancelScope
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.event_loop import HAS_UVLOOP
from ocpp_resilience.waiting import in_words, seconds

P = ParamSpec("P")
T = TypeVar("T")

THREAD_NAME = "resilience-background"
CLEAN_UP_SECONDS = 5.0
"""Grace period in seconds for a cancelled coroutine to clean up before its keyword ends anyway."""

_lock = threading.Lock()
_context: AbstractContextManager[BlockingPortal] | None = None
_portal: BlockingPortal | None = None


class BackgroundTimeout(ExpectationFailed):
    """A coroutine on the background loop did not end in time, and was cancelled.

    Attributes:
        waited: the limit in seconds.
    """

    def __init__(self, message: str, *, waited: float) -> None:
        super().__init__(message)
        self.waited = waited


def portal() -> BlockingPortal:
    """The portal to the loop, which is started if necessary."""
    global _context, _portal  # noqa: PLW0603 - one loop per process is the point
    with _lock:
        if _portal is None:
            _context = start_blocking_portal("asyncio", {"use_uvloop": HAS_UVLOOP}, name=THREAD_NAME)
            _portal = _context.__enter__()
            atexit.register(close)
        return _portal


def start(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Start a coroutine function on the loop and do not wait; cancelling the future cancels it.

    The caller owns the task: keep the future and end it when the suite ends.
    """
    return portal().start_task_soon(_bind(function, args, kwargs))


def run(
    function: Callable[..., Awaitable[T]], *args: Any, timeout: timedelta | float | None = None, **kwargs: Any
) -> T:
    """Run a coroutine function on the loop and wait for its result.

    However the wait ends (time up, Ctrl-C, Robot Framework's own timeout), the coroutine does not go on afterwards: it
    is cancelled, and its `finally` blocks get up to 5 seconds.

    Args:
        function: the coroutine function.
        *args: its arguments.
        timeout: the longest wait, in seconds or as a `timedelta`; `None` leaves it to the function.
        **kwargs: its named arguments.

    Raises:
        BackgroundTimeout: the time was up.
    """
    limit = None if timeout is None else seconds(timeout)
    ended = threading.Event()
    future = portal().start_task_soon(_bind(function, args, kwargs, ended))
    try:
        return future.result(limit)
    except concurrent.futures.TimeoutError:
        if future.done():
            raise  # the function's own
        name = getattr(function, "__name__", repr(function)).strip("_").replace("_", " ")
        raise BackgroundTimeout(f"'{name}' did not end within {in_words(limit or 0)}.", waited=limit or 0) from None
    finally:
        if not future.done():
            future.cancel()
            ended.wait(CLEAN_UP_SECONDS * 2)


def call(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a plain function on the loop and return its result, for objects that only the loop's thread may touch."""

    async def on_loop() -> T:
        return function(*args, **kwargs)

    return portal().start_task_soon(on_loop).result()


def close() -> None:
    """Cancel running tasks, and end the loop and its thread. The next use starts a new one."""
    global _context, _portal
    with _lock:
        context, _context, _portal = _context, None, None
    if context is not None:
        atexit.unregister(close)
        # With an exception given, the portal cancels its tasks instead of waiting for them.
        stopping = concurrent.futures.CancelledError()
        context.__exit__(type(stopping), stopping, None)


def _bind(
    function: Callable[..., Awaitable[T]], args: Any, kwargs: Any, ended: threading.Event | None = None
) -> Callable[[], Awaitable[T]]:
    async def bound() -> T:
        # In a task of its own: anyio cancels again at each await, which would break off the function's clean-up.
        task = asyncio.ensure_future(function(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([task], timeout=CLEAN_UP_SECONDS)
            raise
        finally:
            if ended is not None:
                ended.set()

    return bound
