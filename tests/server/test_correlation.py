"""The correlation manager on its own: the caller of each answer, and the outcomes of the others."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.correlation.manager import (
    EXPIRIES_PER_TURN,
    CallErrorReceived,
    ChargePointDisconnected,
    Correlation,
    CorrelationCancelled,
    CorrelationClosed,
    CorrelationError,
    CorrelationManager,
    CorrelationTimeout,
    DuplicateMessageId,
    Verdict,
)

pytestmark = pytest.mark.anyio


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def counts(manager: CorrelationManager) -> dict[str, int]:
    """The totals that are not zero."""
    return {name: count for name, count in manager.totals.as_dict().items() if count}


async def outcome(correlation: Correlation) -> Any:
    try:
        return await correlation
    except CorrelationError as error:
        return error


async def test_an_answer_reaches_its_caller_and_no_other() -> None:
    manager = CorrelationManager()
    first = manager.register("m-1", "CP-1", "Reset", timeout=5)
    second = manager.register("m-2", "CP-1", "Reset", timeout=5)
    waiting = [asyncio.create_task(outcome(one)) for one in (first, second)]
    await asyncio.sleep(0)
    assert manager.resolve("m-2", "CP-1", {"status": "Rejected"}) is Verdict.DELIVERED
    assert manager.waits("m-1")
    assert manager.resolve("m-1", "CP-1", {"status": "Accepted"}) is Verdict.DELIVERED
    assert await asyncio.gather(*waiting) == [{"status": "Accepted"}, {"status": "Rejected"}]
    assert counts(manager) == {"registered": 2, "resolved": 2}
    assert len(manager) == 0


async def test_an_answer_may_be_there_before_it_is_awaited_and_awaited_again() -> None:
    manager = CorrelationManager()
    correlation = manager.register("m", "CP", "Reset", timeout=5)
    manager.resolve("m", "CP", {"n": 1})
    assert [await correlation, await correlation] == [{"n": 1}, {"n": 1}]


async def test_another_charge_point_cannot_answer() -> None:
    manager = CorrelationManager()
    correlation = manager.register("m", "CP-1", "Reset", timeout=5)
    assert manager.resolve("m", "CP-2", {}) is Verdict.UNKNOWN
    assert manager.fail("m", "CP-2", "InternalError") is Verdict.UNKNOWN
    assert correlation.pending
    manager.close()


async def test_a_callerror_reaches_its_caller() -> None:
    manager = CorrelationManager()
    correlation = manager.register("m", "CP", "Reset", timeout=5)
    assert manager.fail("m", "CP", "NotSupported", "never", {"x": 1}) is Verdict.DELIVERED
    with pytest.raises(CallErrorReceived, match=r"Reset 'm' to 'CP': CALLERROR NotSupported: never") as caught:
        await correlation
    assert (caught.value.code, caught.value.description, caught.value.details) == ("NotSupported", "never", {"x": 1})
    assert counts(manager) == {"registered": 1, "failed": 1}


async def test_late_duplicate_and_unknown_answers_are_told_apart() -> None:
    manager = CorrelationManager()
    correlation = manager.register("late", "CP", "Reset", timeout=0.02)
    with pytest.raises(CorrelationTimeout, match=r"no answer within 0\.02 s"):
        await correlation
    assert manager.resolve("late", "CP", {}) is Verdict.LATE
    assert manager.resolve("late", "CP", {}) is Verdict.DUPLICATE
    manager.register("twice", "CP", "Reset", timeout=5)
    assert manager.resolve("twice", "CP", {}) is Verdict.DELIVERED
    assert manager.fail("twice", "CP", "InternalError") is Verdict.DUPLICATE
    assert manager.resolve("never", "CP", {}) is Verdict.UNKNOWN
    assert counts(manager) == {
        "registered": 2,
        "resolved": 1,
        "expired": 1,
        "late": 1,
        "duplicate": 2,
        "unknown": 1,
    }


async def test_ended_ids_are_forgotten_at_last() -> None:
    manager = CorrelationManager(remembered=10)
    for number in range(100):
        manager.register(str(number), "CP", "Reset", timeout=5)
        manager.resolve(str(number), "CP", {})
    verdicts = [manager.resolve(str(number), "CP", {}) for number in range(100)]
    assert verdicts[:80] == [Verdict.UNKNOWN] * 80
    assert verdicts[90:] == [Verdict.DUPLICATE] * 10


async def test_an_earlier_deadline_ends_first_in_any_order_of_registration() -> None:
    manager = CorrelationManager()
    ended: list[str] = []

    async def wait(name: str, seconds: float) -> None:
        with pytest.raises(CorrelationTimeout):
            await manager.register(name, "CP", "Reset", timeout=seconds)
        ended.append(name)

    await asyncio.gather(wait("long", 0.06), wait("short", 0.02), wait("middle", 0.04))
    assert ended == ["short", "middle", "long"]


async def test_a_later_command_with_less_time_does_not_wait_for_an_earlier_one() -> None:
    manager = CorrelationManager()
    manager.register("long", "CP", "Reset", timeout=60)
    async with asyncio.timeout(5):
        with pytest.raises(CorrelationTimeout):
            await manager.register("short", "CP", "Reset", timeout=0.02)
    assert manager.close() == 1


async def test_cancelling_the_waiting_task_cancels_the_correlation() -> None:
    manager = CorrelationManager()
    task = asyncio.create_task(outcome(manager.register("m", "CP", "Reset", timeout=5)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(manager) == 0
    assert manager.resolve("m", "CP", {}) is Verdict.LATE
    assert counts(manager) == {"registered": 1, "cancelled": 1, "late": 1}


async def test_cancel_disconnect_and_close_fail_waiting_callers() -> None:
    manager = CorrelationManager()
    names = ["a", "b", "c", "d"]
    waiting = [
        asyncio.create_task(outcome(manager.register(name, charge_point, "Reset", timeout=5)))
        for name, charge_point in zip(names, ["CP-1", "CP-2", "CP-2", "CP-3"], strict=True)
    ]
    await asyncio.sleep(0)
    assert [manager.cancel("a"), manager.cancel("a"), manager.cancel("z")] == [True, False, False]
    assert [manager.disconnect("CP-2"), manager.disconnect("CP-2")] == [2, 0]
    assert [manager.close(), manager.close()] == [1, 0]
    errors = await asyncio.gather(*waiting)
    assert [type(error) for error in errors] == [
        CorrelationCancelled,
        ChargePointDisconnected,
        ChargePointDisconnected,
        CorrelationClosed,
    ]
    with pytest.raises(CorrelationClosed):
        manager.register("e", "CP-1", "Reset", timeout=5)
    assert counts(manager) == {"registered": 4, "cancelled": 4}


async def test_an_id_in_use_and_a_bad_timeout_are_refused() -> None:
    manager = CorrelationManager()
    manager.register("m", "CP", "Reset", timeout=5)
    with pytest.raises(DuplicateMessageId):
        manager.register("m", "CP-2", "Reset", timeout=5)
    manager.cancel("m")
    with pytest.raises(DuplicateMessageId):
        manager.register("m", "CP", "Reset", timeout=5)
    for timeout in [0, -1, float("nan"), float("inf")]:
        with pytest.raises(ValueError, match="seconds above 0"):
            manager.register("n", "CP", "Reset", timeout=timeout)


async def test_inspection_shows_the_oldest_first() -> None:
    clock = Clock()
    manager = CorrelationManager(clock=clock)
    for number in range(150):
        manager.register(f"m-{number}", "CP", "Reset", timeout=1000 - number)
        clock.now += 1
    manager.resolve("m-0", "CP", {})
    oldest = manager.oldest()
    assert len(oldest) == 100
    assert oldest[0]._asdict() == {
        "message_id": "m-1",
        "charge_point_id": "CP",
        "action": "Reset",
        "age": 149,
        "timeout": 999,
    }
    assert [one.message_id for one in manager.oldest(2)] == ["m-1", "m-2"]
    manager.close()


async def test_a_mass_expiry_leaves_the_loop_free_and_the_next_command_is_answered() -> None:
    clock = Clock()
    manager = CorrelationManager(clock=clock)
    for number in range(20_000):
        manager.register(str(number), f"CP-{number % 50}", "Reset", timeout=0.05)
    clock.now += 0.05
    most = 0
    while left := len(manager):
        await asyncio.sleep(0)
        most = max(most, left - len(manager))
    assert most <= EXPIRIES_PER_TURN, f"{most} expired before others had a turn"
    assert manager.totals.expired == 20_000
    correlation = manager.register("next", "CP-1", "Reset", timeout=5)
    manager.resolve("next", "CP-1", {"status": "Accepted"})
    assert await correlation == {"status": "Accepted"}


async def test_one_turn_expires_a_bounded_number() -> None:
    clock = Clock()
    manager = CorrelationManager(clock=clock)
    for number in range(EXPIRIES_PER_TURN * 2 + 1):
        manager.register(str(number), "CP", "Reset", timeout=60)
    clock.now += 60
    assert [manager.expire() for _ in range(4)] == [EXPIRIES_PER_TURN, EXPIRIES_PER_TURN, 1, 0]


@pytest.mark.parametrize("end", ["resolve", "expire"])
async def test_100_000_pending_are_small_and_their_memory_comes_back(end: str) -> None:
    clock = Clock()
    manager = CorrelationManager(clock=clock, remembered=1000)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100_000):
            manager.register(f"{number:036}", f"CP-{number}", "Reset", timeout=60)
        full, _ = tracemalloc.get_traced_memory()
        order = list(range(100_000))
        if end == "resolve":
            random.Random(1).shuffle(order)
            for number in order:
                assert manager.resolve(f"{number:036}", f"CP-{number}", {}) is Verdict.DELIVERED
        else:
            clock.now += 60
            while manager.expire(10_000):
                pass
        del order
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(manager) == 0
    assert (full - before) / 100_000 < 1024, (full - before) / 100_000
    assert after - before < (full - before) * 0.1


steps = st.lists(
    st.tuples(
        st.sampled_from(["register", "resolve", "fail", "cancel", "disconnect", "wait"]),
        st.integers(0, 7),
        st.integers(0, 2),
    ),
    max_size=60,
)


def step(manager: CorrelationManager, clock: Clock, name: str, number: int, charge_point: int) -> Any:
    """Apply one step to the manager; returns its result."""
    message_id, charge_point_id = f"m-{number}", f"CP-{charge_point}"
    actions: dict[str, Callable[[], Any]] = {
        "resolve": lambda: manager.resolve(message_id, charge_point_id, {}),
        "fail": lambda: manager.fail(message_id, charge_point_id, "InternalError"),
        "cancel": lambda: manager.cancel(message_id),
        "disconnect": lambda: manager.disconnect(charge_point_id),
    }
    if name == "wait":
        clock.now += number
        return manager.expire()
    if name in actions:
        return actions[name]()
    try:
        return manager.register(message_id, charge_point_id, "Reset", timeout=0.7 + 0.7 * number).deadline
    except DuplicateMessageId:
        return None


@given(steps)
@settings(max_examples=200)
def test_the_manager_behaves_like_a_plain_model(todo: list[tuple[str, int, int]]) -> None:
    """Model: pending ids with charge point and deadline, and the outcome of each ended id."""

    async def run() -> None:
        clock = Clock()
        manager = CorrelationManager(clock=clock)
        pending: dict[str, tuple[str, float]] = {}
        ended: dict[str, str] = {}
        for name, number, charge_point in todo:
            said = step(manager, clock, name, number, charge_point)
            message_id, charge_point_id = f"m-{number}", f"CP-{charge_point}"
            gone: list[str] = []
            if name == "register":
                fresh = message_id not in pending and message_id not in ended
                assert (said is not None) == fresh
                if fresh:
                    pending[message_id] = (charge_point_id, said)
            elif name in {"resolve", "fail"}:
                if message_id in pending:
                    right = pending[message_id][0] == charge_point_id
                    assert said == ("delivered" if right else "unknown")
                    if right:
                        del pending[message_id]
                        ended[message_id] = "duplicate"
                else:
                    assert said == ended.get(message_id, "unknown")
                    if said == "late":
                        ended[message_id] = "duplicate"
            else:
                match name:
                    case "cancel":
                        gone = [message_id] if message_id in pending else []
                    case "disconnect":
                        gone = [one for one, (whose, _) in pending.items() if whose == charge_point_id]
                    case "wait":
                        gone = [one for one, (_, deadline) in pending.items() if deadline <= clock.now]
                assert said == len(gone)
                for one in gone:
                    del pending[one]
                    ended[one] = "late"
            assert len(manager) == len(pending)
            assert [one.message_id for one in manager.oldest()] == list(pending)
        totals = manager.totals
        ends = totals.resolved + totals.failed + totals.expired + totals.cancelled
        assert totals.registered == ends + len(pending)
        assert manager.close() == len(pending)

    asyncio.run(run())
