"""The background loop: results, errors, time limits, cancellation and its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from ocpp_resilience import background
from ocpp_resilience.background import BackgroundTimeout


@pytest.fixture(autouse=True)
def end_the_loop() -> Iterator[None]:
    yield
    background.close()
    assert all(thread.name != background.THREAD_NAME for thread in threading.enumerate())


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return value * 2


def test_a_result_comes_back_from_the_loops_own_thread() -> None:
    async def where() -> str:
        return threading.current_thread().name

    assert background.run(double, 21) == 42
    assert background.run(where) == background.THREAD_NAME
    assert background.call(threading.current_thread).name == background.THREAD_NAME


def test_an_error_comes_back_as_it_is() -> None:
    async def fail() -> None:
        raise LookupError("no such charge point")

    with pytest.raises(LookupError, match="no such charge point"):
        background.run(fail)


def test_a_timeout_of_the_function_itself_is_not_taken_for_ours() -> None:
    async def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        background.run(fail, timeout=5)


def test_a_coroutine_that_takes_too_long_is_cancelled_and_cleaned_up_when_the_keyword_fails() -> None:
    cleaned = []

    async def wait_for_answer() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(True)

    with pytest.raises(BackgroundTimeout, match=r"^'wait for answer' did not end within 50 ms\.$"):
        background.run(wait_for_answer, timeout=0.05)
    assert cleaned == [True]


def test_a_started_coroutine_goes_on_until_it_is_cancelled() -> None:
    ended = threading.Event()
    begun = threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    future = background.start(forever)
    assert begun.wait(5)
    assert background.run(double, 1) == 2
    assert not future.done()
    future.cancel()
    assert ended.wait(5)


def test_closing_cancels_running_tasks_and_a_later_use_starts_anew() -> None:
    ended = threading.Event()
    begun = threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    background.start(forever)
    assert begun.wait(5)
    background.close()
    assert ended.wait(5)
    assert background.run(double, 2) == 4
