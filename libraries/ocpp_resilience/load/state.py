"""The state after a load: do the transactions add up, and is any record incomplete?"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocpp_resilience.errors import UsageError, WaitTimeout
from ocpp_resilience.ledger import Expect, KeptEvents, Ledger
from ocpp_resilience.load.scripts import Session
from ocpp_resilience.ocpp.version import TransactionId
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import RedisClient
from ocpp_resilience.state.reading import kept_fields, read_from_redis
from ocpp_resilience.text import counted, examples
from ocpp_resilience.waiting import wait_until

BATCH = 1000


@dataclass(slots=True, kw_only=True)
class StateReport:
    """The findings.

    Attributes:
        transactions: transactions that were compared with those of their charge point.
        inconsistent: inconsistencies, a line each.
        orphans: keys that nothing refers to, or that refer to nothing, a line each.
        effects: the ledger file with the observed effects of each start and stop.
    """

    transactions: int = 0
    inconsistent: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    effects: str = ""

    @property
    def summary(self) -> str:
        """The findings in one line, with the first few problems."""
        text = (
            f"{counted(self.transactions, 'transaction')} compared, {len(self.inconsistent)} do not add up, "
            f"{counted(len(self.orphans), 'key')} {'hangs' if len(self.orphans) == 1 else 'hang'} in the air"
        )
        found = [*self.inconsistent, *self.orphans]
        return f"{text}; for example {examples(found)}" if found else text

    def details(self, most: int = 10) -> list[str]:
        """The first of everything that is wrong, a line each."""
        return [*self.inconsistent[:most], *self.orphans[:most]]


def read_state(
    client: RedisClient,
    target: Target,
    sessions: Sequence[Session],
    charge_points: Iterable[str],
    effects: Path,
    *,
    connections: RedisClient | None = None,
    all_known: bool = False,
) -> StateReport:
    """Compare the transactions of the charge points with the stored ones.

    Args:
        client: the state's database.
        target: names its keys.
        sessions: the sessions of the charge points.
        charge_points: all of the load.
        effects: the ledger file for the observed effects.
        connections: the database with the sessions of charge points; that of the state if not given.
        all_known: each start was repeated until its charge point knew the transaction, so that an unknown one is
            surplus.

    Raises:
        LacksCapability: the target does not describe where in Redis its transactions are.
    """
    points = list(dict.fromkeys(charge_points))
    report = StateReport(effects=str(effects))
    own = target.version.chooses_ids
    by_id = {_name(session, own=own): session for session in sessions}
    if len(by_id) != len(sessions):
        report.inconsistent.append(f"{len(sessions) - len(by_id)} transaction ids were given more than once")
    kept = kept_fields(target, "transaction")
    wanted = [
        {"transaction_id": session.transaction_id or 0, "charge_point_id": session.cp} for session in by_id.values()
    ]
    stored = read_from_redis(client, target, "transaction", wanted)
    with Ledger(effects, observes=Expect.EFFECT, observes_via="websocket") as ledger:
        for session, record in zip(by_id.values(), stored, strict=True):
            number = session.transaction_id
            report.transactions += 1
            if record is None:
                report.inconsistent.append(f"transaction {number} of {session.cp} is not kept")
                continue
            ledger.effect(session.cp, session.start_id, f"transaction {number}")
            if record.get("status") == "completed" and session.stop_id:
                ledger.effect(session.cp, session.stop_id, f"end of transaction {number}")
            if own and "seq_no" in kept and isinstance(record.get("seq_no"), int):
                events = KeptEvents(str(number), record["seq_no"], record.get("missing") or [], record.get("offline"))
                ledger.kept(session.cp, events)
            report.inconsistent += [
                f"transaction {number} of {session.cp}: {each}" for each in _differences(record, session, kept)
            ]
        ledger.end()
    _indexes(client, target, points, sessions, report, all_known=all_known)
    if target.redis.keys.session is not None:
        _sessions(connections or client, target, points, report)
    return report


def _name(session: Session, *, own: bool) -> tuple[str, TransactionId | None]:
    """The identity of a transaction: its id alone if the server gives ids, else with that of its charge point."""
    return (session.cp if own else "", session.transaction_id)


def _differences(record: dict[str, Any], session: Session, kept: Collection[str]) -> list[str]:
    expected: dict[str, Any] = {
        "charge_point_id": session.cp,
        "connector_id": session.connector,
        "id_tag": session.id_tag,
        "meter_start": session.meter_start,
    }
    if session.stopped:
        expected |= {"status": "completed", "meter_stop": session.meter_stop, "meter_current": session.meter_stop}
    elif session.meter_stop is None:
        expected |= {"status": "active"}
    return [
        f"{name} is {record.get(name)!r}, the charge point knows {value!r}"
        for name, value in expected.items()
        if name in kept and record.get(name) != value
    ]


def _indexes(
    client: RedisClient,
    target: Target,
    points: list[str],
    sessions: Sequence[Session],
    report: StateReport,
    *,
    all_known: bool,
) -> None:
    """Check that each index entry has its key, each transaction its index entry, and no finished transaction is
    active."""
    keys = target.redis.keys
    if keys.transactions is None or keys.active_transactions is None:
        return
    own: dict[str, list[Session]] = {}
    for session in sessions:
        own.setdefault(session.cp, []).append(session)
    for start in range(0, len(points), BATCH):
        batch = points[start : start + BATCH]
        pipe = client.pipeline(transaction=False)
        for cp in batch:
            pipe.zrange(target.key("transactions", charge_point_id=cp), 0, -1)
            pipe.smembers(target.key("active_transactions", charge_point_id=cp))
        found = pipe.execute()
        for number, cp in enumerate(batch):
            indexed = {each.decode() for each in found[2 * number]}
            active = {each.decode() for each in found[2 * number + 1]}
            known = {str(each.transaction_id) for each in own.get(cp, ())}
            ended = {str(each.transaction_id) for each in own.get(cp, ()) if each.stopped}
            report.orphans += [f"transaction {each} of {cp} is in no index" for each in sorted(known - indexed)]
            report.orphans += [
                f"transaction {each} of {cp} is over and still active" for each in sorted(active & ended)
            ]
            report.orphans += [
                f"transaction {each} of {cp} is active and not indexed" for each in sorted(active - indexed)
            ]
            if all_known:
                report.inconsistent += [
                    f"transaction {each} of {cp} is kept, and the charge point knows nothing of it"
                    for each in sorted(indexed - known)
                ]


def _sessions(client: RedisClient, target: Target, points: list[str], report: StateReport) -> None:
    """Check that disconnected charge points have no session."""
    for start in range(0, len(points), BATCH):
        batch = points[start : start + BATCH]
        pipe = client.pipeline(transaction=False)
        for cp in batch:
            pipe.exists(target.key("session", charge_point_id=cp))
        found = zip(batch, pipe.execute(), strict=True)
        report.orphans += [f"{cp} has a session and is not connected" for cp, there in found if there]


def wait_until_gone(client: RedisClient, target: Target, charge_points: Iterable[str], timeout: float) -> int:
    """Wait until the sessions of disconnected charge points are gone; returns how many are left after `timeout` s.

    Raises:
        UsageError: the target has no sessions.
    """
    if target.redis.keys.session is None:
        raise UsageError(f"Target '{target.name}' has no sessions.")
    names = [target.key("session", charge_point_id=cp) for cp in charge_points]
    left = 0

    def look() -> bool | None:
        nonlocal left
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.exists(name)
        left = int(sum(pipe.execute()))
        return None if left else True

    with contextlib.suppress(WaitTimeout):
        wait_until(look, timeout=timeout, failure=lambda: "")
    return left
