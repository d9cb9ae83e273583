"""Keywords that compare the results of a load with the state of the system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robot.api import logger

from LoadLibrary.workshop import LoadSetup, LoadTarget
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.ledger import LedgerReport, Verdict, check
from ocpp_resilience.load import LoadResult
from ocpp_resilience.load.state import StateReport, read_state, wait_until_gone
from ocpp_resilience.redis.connection import RedisClient, connect, database_in
from ocpp_resilience.report import series
from ocpp_resilience.robot.library import Component, keyword

SESSIONS_GONE_SECONDS = 5.0


class State(Component):
    """Transactions and the ledger."""

    def __init__(self, workshop: LoadSetup) -> None:
        self._shop = workshop

    @keyword(tags=("load", "state"))
    def compare_state_with_load(self, result: LoadResult, *, all_known: bool = False) -> StateReport:
        """Compares the stored transactions with those of the load's charge points.

        Owner, connector, id tag, start and stop of the meter, and the status must be equal; no transaction id is given
        twice; indexes and transactions match, no finished transaction is active, and no disconnected charge point has a
        session. The observed effects of each start and stop go to a ledger file beside the load's.

        Args:
            result: the result of `Run Load` or `Wait For Load`, of the profile `session` or `mix`.
            all_known: a transaction that no charge point knows is inconsistent too; for a `persistent` load, on charge
                points that had none before.

        Returns:
            An object with `transactions` (how many were compared), `inconsistent` and `orphans` (lists of texts),
            `effects` (the ledger file) and `summary`.

        Raises:
            UsageError: `Set Load Target` got no Redis, or the load kept no ledger.

        Example:
        ```robotframework
        ${sessions}    Load Profile    session    sessions=2
        ${load}    Run Load    profile=${sessions}
        ${state}    Compare State With Load    ${load}
        Should Be Empty    ${state.inconsistent}
        ```
        """
        if not result.ledgers:
            raise UsageError("The load kept no ledger.")
        aim = self._shop.aimed()
        databases = aim.target.redis.databases
        client, connections = self._connect(aim, databases.state), self._connect(aim, databases.queue)
        try:
            points = self._ids(result)
            if aim.target.redis.keys.session is not None:
                wait_until_gone(connections, aim.target, points, SESSIONS_GONE_SECONDS)
            effects = Path(result.ledgers[0]).with_suffix(".effects.jsonl")
            effects.unlink(missing_ok=True)
            report = read_state(
                client, aim.target, result.sessions, points, effects, connections=connections, all_known=all_known
            )
        finally:
            client.close()
            connections.close()
        logger.info("\n".join([report.summary, *report.details()]))
        return report

    @keyword(tags=("load", "ledger"))
    def load_ledger_should_be_clean(
        self, results: LoadResult | Sequence[LoadResult], *, fail: bool = True
    ) -> LedgerReport:
        """Judges the ledgers of loads: messages lost, answered twice, out of order, or applied although refused.

        The state is read first, so that starts and stops of transactions that were acknowledged must be found in it. If
        the target keeps transactions elsewhere, or its profile does not describe them, the ledger is judged alone.
        The files can be judged again: `python -m ocpp_resilience.ledger check FILE…`.

        Args:
            results: one or several results of `Run Load` or `Wait For Load`.
            fail: whether anything but a clean ledger is a failure.

        Returns:
            The report, with `summary`, the numbers `invoked`, `acknowledged`, `failed`, `undecided`, `recovered`, and
            the lists `lost`, `duplicated`, `reordered`, `unexpected`, `refused_and_applied`.

        Raises:
            ExpectationFailed: something was; shows the first few of each kind.
            UsageError: a load kept no ledger.

        Example:
        ```robotframework
        ${load}    Run Load    profile=mix    rate=100    duration=10s
        ${ledger}    Load Ledger Should Be Clean    ${load}
        Should Be Empty    ${ledger.lost}
        ```
        """
        files: list[str] = []
        for result in [results] if isinstance(results, LoadResult) else results:
            if not result.ledgers:
                raise UsageError("A load kept no ledger.")
            files += result.ledgers
            if self._transactions_are_in_redis():
                files.append(self.compare_state_with_load(result).effects)
        report = check(files)
        series.keep_judgement(files[0], report)
        text = "\n".join([f"{report.verdict}: {report.summary}", *report.details()])
        if fail and report.verdict is not Verdict.CLEAN:
            raise ExpectationFailed(f"The ledger of the load is {text}")
        logger.info(text)
        return report

    def _transactions_are_in_redis(self) -> bool:
        """True if the state of transactions can be read; the ledger is judged without it, too."""
        aim = self._shop.aimed()
        described = aim.target.state.transaction
        return aim.redis is not None and described is not None and described.path is None

    def _connect(self, aim: LoadTarget, database: int) -> RedisClient:
        """Connects to the database of the profile, or else to the one in the address."""
        if aim.redis is None:
            raise UsageError("To compare the state, `Set Load Target` needs redis=URL.")
        return connect(aim.redis, database=database or database_in(aim.redis) or 0)

    def _ids(self, result: LoadResult) -> list[str]:
        points = self._shop.data.charge_points
        return [points.id_pattern.format(points.first_number + number) for number in range(result.charge_points)]
