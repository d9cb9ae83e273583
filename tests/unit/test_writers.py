"""Many writers of the state store, and when they are given up."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from ocpp_resilience.errors import WaitTimeout
from StateStoreLibrary.writers import while_it_progresses


def test_progress_may_take_as_long_as_it_needs() -> None:
    async def run() -> str:
        enough = asyncio.Event()
        looks = itertools.count()

        async def work() -> str:
            await enough.wait()
            return "done"

        def done() -> int:
            seen = next(looks)
            if seen == 6:
                enough.set()
            return seen

        return await while_it_progresses(work(), done, stall=0.001, what="step was made")

    assert asyncio.run(run()) == "done"


def test_stalled_work_is_given_up_and_cancelled() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def run() -> None:
        await while_it_progresses(work(), lambda: 17, stall=0.001, what="update of 5000 was acknowledged")

    with pytest.raises(
        WaitTimeout, match=r"^No further update of 5000 was acknowledged for 0.001 seconds, after 17\.$"
    ):
        asyncio.run(run())
    assert ended == [True]


def test_failures_are_reported() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    async def run() -> None:
        await while_it_progresses(work(), lambda: 0, stall=60, what="update was acknowledged")

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())
