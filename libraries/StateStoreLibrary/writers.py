"""Concurrent writers, and writers that continue during outages of Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

from msgspec.structs import replace

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.text import counted, examples
from server.store.errors import StateError
from server.store.models import ChargePoint, ConfigurationKey, Transaction, TransactionStatus
from server.store.redis_store import RedisStateStore
from StateStoreLibrary.comparison import differences
from StateStoreLibrary.failures import kind_of
from StateStoreLibrary.session import CONNECTIONS, StateSession

T = TypeVar("T")

PAUSE_AFTER_ERROR = 0.02
STALLED_AFTER = 20.0
"""Seconds without one acknowledged update, of 50 writers, after which these have come to a standstill."""
CONFIGURATION_KEYS = 50
STARTED = datetime(2026, 1, 15, 10, 30, tzinfo=UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class WritersResult:
    """The result of concurrent writers.

    Attributes:
        writers: how many wrote at the same time.
        acknowledged: updates that the store acknowledged.
        visible: updates that are in the record.
        seconds: how long it took.
    """

    writers: int
    acknowledged: int
    visible: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.writers} writers: {self.acknowledged} updates acknowledged, {self.visible} visible, "
            f"in {self.seconds:.2f} s"
        )


def transaction(number: int, point: str) -> Transaction:
    """A transaction that starts now."""
    return Transaction(
        id=number,
        charge_point_id=point,
        connector_id=1,
        id_tag="TEST-TAG",
        start_time=STARTED,
        meter_start=number,
        meter_current=number,
    )


def completed(record: Transaction) -> Transaction:
    """The same, stopped."""
    return replace(
        record,
        status=TransactionStatus.COMPLETED,
        stop_time=STARTED,
        meter_stop=record.meter_start + 10,
        meter_current=record.meter_start + 10,
        reason="Local",
    )


async def _open_connections(store: RedisStateStore) -> None:
    """Opens the connections in advance: with thousands at once, opening them could exceed its time limit."""
    await asyncio.gather(*(store.new_transaction_id() for _ in range(CONNECTIONS)))


async def save_at_once(store: RedisStateStore, points: list[str]) -> list[ChargePoint]:
    """Save these charge points concurrently."""

    async def save(point: str) -> ChargePoint:
        return await store.save_charge_point(ChargePoint(id=point, vendor=f"Vendor of {point}", model="Model"))

    await _open_connections(store)
    return list(await asyncio.gather(*(save(point) for point in points)))


async def start_at_once(store: RedisStateStore, count: int, points: list[str]) -> list[Transaction]:
    """Start this many transactions at the same time, the charge points taking turns."""

    async def start(index: int) -> Transaction:
        return await store.save_transaction(transaction(await store.new_transaction_id(), points[index % len(points)]))

    await _open_connections(store)
    return list(await asyncio.gather(*(start(index) for index in range(count))))


async def complete_at_once(store: RedisStateStore, records: list[Transaction]) -> list[Transaction]:
    """Stop all of these transactions at the same time."""
    return list(await asyncio.gather(*(store.update_transaction(each.id, completed) for each in records)))


async def while_it_progresses(work: Awaitable[T], count: Callable[[], int], *, stall: float, what: str) -> T:
    """The result of `work`; there is no time limit as long as it makes progress.

    The number of writes in a minute depends on the machine; that it is not zero depends on the store.

    Args:
        work: is cancelled when it is given up.
        count: how much of it is done.
        stall: seconds without any progress after which it is given up.
        what: the counted things, for the message.

    Raises:
        WaitTimeout: nothing was done for so long.
    """
    task = asyncio.ensure_future(work)
    try:
        while True:
            before = count()
            await asyncio.wait({task}, timeout=stall)
            if task.done():
                return task.result()
            if count() == before:
                message = f"No further {what} for {stall:g} seconds, after {before}."
                raise WaitTimeout(message, waited=stall, last_seen=str(before))
    finally:
        task.cancel()
        await asyncio.wait({task})


async def update_by_many(
    session: StateSession, number: int, *, writers: int, updates: int, programs: int
) -> WritersResult:
    """Have writers, spread over stores that do not know of each other, add 1 to a meter again and again."""
    stores = [session.another_store(connections=2) for _ in range(programs)]
    began, acknowledged = monotonic(), 0
    before = (await session.store.get_transaction(number)).meter_current

    async def write(store: RedisStateStore) -> None:
        nonlocal acknowledged
        for _ in range(updates):
            await store.update_transaction(number, lambda known: replace(known, meter_current=known.meter_current + 1))
            acknowledged += 1

    try:
        everybody = asyncio.gather(*(write(stores[index % programs]) for index in range(writers)))
        what = f"update of {writers * updates} was acknowledged"
        await while_it_progresses(everybody, lambda: acknowledged, stall=STALLED_AFTER, what=what)
    finally:
        for store in stores:
            await store.close()
    visible = (await session.store.get_transaction(number)).meter_current - before
    return WritersResult(writers=writers, acknowledged=acknowledged, visible=visible, seconds=monotonic() - began)


@dataclass(slots=True, kw_only=True)
class WritingReport:
    """The outcome of writes that continued through outages of Redis.

    Attributes:
        acknowledged: records whose writing was acknowledged.
        failed: operations that failed, by the kind of the error.
        lost: acknowledged records that are gone.
        changed: acknowledged records that read differently.
    """

    acknowledged: int
    failed: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        failures = ", ".join(f"{count} {kind}" for kind, count in self.failed.items()) or "none"
        return (
            f"{counted(self.acknowledged, 'record')} acknowledged, {self._some('lost', self.lost)}, "
            f"{self._some('changed', self.changed)}; failed operations: {failures}"
        )

    @staticmethod
    def _some(what: str, found: list[str]) -> str:
        return f"{len(found)} {what} ({examples(found, room=100)})" if found else f"0 {what}"


class Writing:
    """Background writers: each starts and stops transactions and replaces a configuration until it is stopped.

    Args:
        store: where to.
        points: the charge points to write to, one writer each.
    """

    def __init__(self, store: RedisStateStore, points: list[str]) -> None:
        self._store = store
        self._points = points
        self._stopping = False
        self._records: dict[int | str, Transaction] = {}
        self._pending: set[int | str] = set()
        self._generations: dict[str, int] = dict.fromkeys(points, 0)
        self._attempted: dict[str, int] = dict.fromkeys(points, 0)
        self._failed: Counter[str] = Counter()

    @property
    def acknowledged(self) -> int:
        """Records that were acknowledged so far."""
        return len(self._records)

    def stop(self) -> None:
        """Let the writers end."""
        self._stopping = True

    async def run(self) -> None:
        """Write until `stop`."""
        await asyncio.gather(*(self._write(point) for point in self._points))

    async def _write(self, point: str) -> None:
        while not self._stopping:
            try:
                await self._transaction(point)
                await self._configuration(point)
            except StateError as error:
                self._failed[kind_of(error)] += 1
                await asyncio.sleep(PAUSE_AFTER_ERROR)

    async def _transaction(self, point: str) -> None:
        saved = await self._store.save_transaction(transaction(await self._store.new_transaction_id(), point))
        self._records[saved.id] = saved
        self._pending.add(saved.id)
        self._records[saved.id] = await self._store.update_transaction(saved.id, completed)
        self._pending.discard(saved.id)

    async def _configuration(self, point: str) -> None:
        self._attempted[point] += 1
        generation = self._attempted[point]
        value = ConfigurationKey(value=str(generation))
        await self._store.save_configuration(point, {f"Key{each}": value for each in range(CONFIGURATION_KEYS)})
        self._generations[point] = generation

    async def report(self) -> WritingReport:
        """Read everything back and compare."""
        report = WritingReport(
            acknowledged=len(self._records) + sum(1 for each in self._generations.values() if each),
            failed=dict(self._failed),
        )
        for point in self._points:
            there = {each.id: each for each in await self._store.list_transactions(point)}
            for record in self._records.values():
                if record.charge_point_id == point:
                    self._compare(record, there.get(record.id), report)
            if self._generations[point]:
                await self._compare_configuration(point, report)
        return report

    def _compare(self, record: Transaction, found: Transaction | None, report: WritingReport) -> None:
        if found is None:
            report.lost.append(f"transaction {record.id}")
        # An update whose answer was lost may have been carried out.
        elif found != record and not (
            record.id in self._pending and found == replace(completed(record), version=record.version + 1)
        ):
            fields = "; ".join(differences(found, record, words=("read", "acknowledged")))
            report.changed.append(f"transaction {record.id}, {fields}")

    async def _compare_configuration(self, point: str, report: WritingReport) -> None:
        try:
            found: Any = await self._store.get_configuration(point)
        except StateError as error:
            report.lost.append(f"configuration of {point}: {error}")
            return
        values = {each.value for each in found.values()}
        allowed = range(self._generations[point], self._attempted[point] + 1)
        if len(found) != CONFIGURATION_KEYS or len(values) != 1 or int(values.pop() or 0) not in allowed:
            report.changed.append(f"configuration of {point}")
