"""Keywords for concurrent writers."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from robot.api import logger

from ocpp_resilience import background
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.version import TransactionName
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.waiting import wait_until
from server.store.models import Transaction
from StateStoreLibrary.base import StateComponent
from StateStoreLibrary.session import StateSession
from StateStoreLibrary.writers import (
    WritersResult,
    Writing,
    WritingReport,
    complete_at_once,
    start_at_once,
    update_by_many,
)

END_SECONDS = 20.0


class Concurrency(StateComponent):
    """Concurrent starts, concurrent updates, writers in the background."""

    def __init__(self, stores: Registry[StateSession]) -> None:
        super().__init__(stores)
        self._writing: tuple[Writing, Future[None], StateSession] | None = None

    @keyword(tags=("state", "transaction", "concurrency"))
    def start_transactions_at_once(
        self, count: int, charge_points: list[str], *, alias: str = "state"
    ) -> list[Transaction]:
        """Starts this many transactions at the same time, and saves each with a new id.

        Args:
            count: how many.
            charge_points: the charge points, which take turns.

        Returns:
            The records as they were written.

        Raises:
            StateFailure: the store refused one; the message begins with the name of the error.

        Example:
        ```robotframework
        @{charge points}    Create List    CP-1    CP-2
        ${started}    Start Transactions At Once    5000    ${charge points}
        ```
        """
        if count < 1 or not charge_points:
            raise UsageError(f"{count} transactions of {len(charge_points)} charge points cannot be started.")
        session = self._stores.get(alias)
        session.points.update(charge_points)
        return session.run(start_at_once, session.store, count, charge_points)

    @keyword(tags=("state", "transaction", "concurrency"))
    def complete_transactions_at_once(self, records: list[Transaction], *, alias: str = "state") -> list[Transaction]:
        """Completes transactions, all at the same time.

        Args:
            records: the transactions.

        Returns:
            The records as they were written.

        Raises:
            StateFailure: the store refused one; the message begins with the name of the error.

        Example:
        ```robotframework
        ${completed}    Complete Transactions At Once    ${started}
        ```
        """
        session = self._stores.get(alias)
        return session.run(complete_at_once, session.store, records)

    @keyword(tags=("state", "transaction", "getter"))
    def get_repeated_ids(self, transactions: list[Transaction] | list[int] | list[TransactionName]) -> list[str]:
        """Returns the ids that occur more than once, each with its count, the most frequent first.

        Args:
            transactions: records, ids, or what `Get Started Transactions` of RedisQueueLibrary returned.

        Example:
        ```robotframework
        @{repeated}    Get Repeated Ids    ${started}
        Should Be Empty    ${repeated}
        ```
        """
        counts = Counter(_ids(transactions)).most_common()
        return [f"{number} ({count} times)" for number, count in counts if count > 1]

    @keyword(tags=("state", "transaction", "getter"))
    def get_stored_transactions_with_other_status(
        self, status: str, records: list[Transaction], *, alias: str = "state"
    ) -> list[str]:
        """Returns the transactions that are not stored with this status, in the record and in the indexes.

        Args:
            status: `active` or `completed`.
            records: the transactions.

        Returns:
            For each its id and its charge point, in words.

        Raises:
            StateFailure: the store refused to list them; the message begins with the name of the error.

        Example:
        ```robotframework
        @{wrong}    Get Stored Transactions With Other Status    active    ${started}
        Should Be Empty    ${wrong}
        ```
        """
        session = self._stores.get(alias)
        active = {each.id for each in session.run(session.store.list_transactions, active=True)}
        others = {each.id for each in session.run(session.store.list_transactions, active=False)}
        right = active - others if status == "active" else others - active
        return [f"{each.id} of {each.charge_point_id}" for each in records if each.id not in right]

    @keyword(tags=("state", "transaction", "concurrency"))
    def update_with_concurrent_writers(
        self,
        transaction: int,
        *,
        writers: int = 50,
        updates: int = 100,
        programs: int = 5,
        alias: str = "state",
    ) -> WritersResult:
        """Lets many concurrent writers change the same transaction, each adding 1 to its meter repeatedly.

        Args:
            transaction: its id.
            writers: how many write at the same time.
            updates: how many updates each of them makes.
            programs: how many stores, each with its own connections, the writers use; those of different stores do
                not coordinate, as in separate programs.

        Returns:
            `writers`, `acknowledged`, `visible` (updates that are in the record) and `seconds`.

        Raises:
            StateFailure: an update failed; the message begins with the name of the error.
            WaitTimeout: no update was acknowledged for 20 seconds. All of them together may take as long as they need.

        Example:
        ```robotframework
        ${result}    Update With Concurrent Writers    ${saved.id}    writers=50    updates=100
        Should Be Equal As Integers    ${result.visible}    5000
        ```
        """
        if min(writers, updates, programs) < 1:
            raise UsageError("Writers, updates and programs have to be at least 1.")
        session = self._stores.get(alias)
        result = session.run(
            update_by_many, session, transaction, writers=writers, updates=updates, programs=programs, limit=None
        )
        logger.info(f"{result}.")
        return result

    @keyword(tags=("state", "concurrency"))
    def start_writing_state(
        self,
        charge_points: list[str],
        *,
        at_least: int = 100,
        timeout: timedelta = timedelta(seconds=10),
        alias: str = "state",
    ) -> None:
        """Starts writers that continue in the background until `Stop Writing State`, also while Redis is away.

        Each writes to one charge point: it starts a transaction, completes it, replaces the whole configuration, and
        again.

        Args:
            charge_points: the charge points.
            at_least: the keyword returns when this many records were acknowledged.
            timeout: the longest wait for that.

        Raises:
            UsageError: writers are at work already.
            WaitTimeout: too few records were acknowledged in time.

        Example:
        ```robotframework
        @{charge points}    Create List    CP-1    CP-2
        Start Writing State    ${charge points}
        Restart Redis    kill
        ${report}    Stop Writing State
        Should Be Empty    ${report.lost}
        ```
        """
        if self._writing is not None:
            raise UsageError("Writers are running already; call `Stop Writing State` first.")
        session = self._stores.get(alias)
        session.points.update(charge_points)
        writing = Writing(session.store, charge_points)
        self._writing = (writing, background.start(writing.run), session)
        self.cleanup.add("the writers of state", self._end)
        try:
            self._wait_for(writing, at_least, timeout)
        except BaseException:
            self._end()
            raise

    @keyword(tags=("state", "concurrency"))
    def stop_writing_state(self, *, further: int = 100, timeout: timedelta = timedelta(seconds=10)) -> WritingReport:
        """Ends the writers that `Start Writing State` has started, reads everything back and compares.

        Args:
            further: before that, this many more records have to be acknowledged: Redis is back.
            timeout: the longest wait for that.

        Returns:
            `acknowledged` (a number), `failed` (operations by kind of error), `lost` and `changed` (a sentence each).

        Raises:
            UsageError: no writers are at work.
            WaitTimeout: too few records were acknowledged in time.

        Example:
        ```robotframework
        ${report}    Stop Writing State
        Should Be Empty    ${report.lost}
        ```
        """
        if self._writing is None:
            raise UsageError("No writers are running; call `Start Writing State` first.")
        writing, _, session = self._writing
        try:
            self._wait_for(writing, writing.acknowledged + further, timeout)
        finally:
            self._end()
        report = session.run(writing.report)
        logger.info(f"{report}.")
        return report

    @staticmethod
    def _wait_for(writing: Writing, count: int, timeout: timedelta) -> None:
        wait_until(
            lambda: True if writing.acknowledged >= count else None,
            timeout=timeout,
            failure=lambda: f"{count} records should be acknowledged, but {writing.acknowledged} are",
        )

    def _end(self) -> None:
        if self._writing is None:
            return
        writing, future, _ = self._writing
        self._writing = None
        self.cleanup.discard(self._end)
        writing.stop()
        try:
            future.result(END_SECONDS)
        finally:
            future.cancel()


def _ids(transactions: list[Transaction] | list[int] | list[TransactionName]) -> list[Any]:
    """The identity that must be unique: an id; an id that a charge point has chosen together with its charge point."""
    return [
        each.id
        if isinstance(each, Transaction) or (isinstance(each, TransactionName) and isinstance(each.id, int))
        else each
        for each in transactions
    ]
