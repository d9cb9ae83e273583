"""Compares the stored state field by field with the results of a model of the protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from robot.api import logger

from ocpp_resilience.errors import ServiceError, WaitTimeout
from ocpp_resilience.http_client import Reply
from ocpp_resilience.ocpp.model import History, Model, Observed
from ocpp_resilience.profile import Capability, Target
from ocpp_resilience.redis.connection import AWAY, RedisClient, connect, shown_url
from ocpp_resilience.state.reading import Ids, Record, kept_fields, read, read_variables
from ocpp_resilience.text import counted, examples
from ocpp_resilience.waiting import wait_until

KINDS = ("charge_point", "connector", "transaction")
EXAMPLES_ROOM = 400


@dataclass(slots=True)
class StateComparison:
    """The compared records and the differences.

    Attributes:
        charge_points: how many charge points were compared.
        transactions: how many of their transactions were.
        answers: problems of answers, one each.
        differences: the fields, index entries and scores that differ, each with both values.
        unjudged: charge points whose state was not compared, each with the reason.
    """

    charge_points: int = 0
    transactions: int = 0
    answers: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    unjudged: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong."""
        return [*self.answers, *self.differences]

    @property
    def summary(self) -> str:
        """The result in one line, with the first problem."""
        text = (
            f"{counted(self.charge_points, 'charge point')} and {counted(self.transactions, 'transaction')} compared "
            f"with the model: {counted(len(self.answers), 'wrong answer')}, "
            f"{counted(len(self.differences), 'difference')} in the state"
        )
        return f"{text}; for example {examples(self.problems, room=EXAMPLES_ROOM)}" if self.problems else text

    def __str__(self) -> str:
        return self.summary


LOGGED_PROBLEMS = 20


def compare_in_time(
    histories: Sequence[History], look: Callable[[History], StateComparison], *, timeout: timedelta
) -> StateComparison:
    """Compare each history until it differs in nothing, or its time is up; log and return the whole.

    Args:
        histories: of the messages.
        look: compares one of them with the system, now.
        timeout: for each history.
    """
    whole = StateComparison()
    for history in histories:
        whole.answers += history.settle()
        seen = StateComparison()

        def equal(history: History = history) -> bool | None:
            nonlocal seen
            seen = look(history)
            return None if seen.differences else True

        with contextlib.suppress(WaitTimeout):
            wait_until(equal, timeout=timeout, failure=lambda: "")
        whole.charge_points += seen.charge_points
        whole.transactions += seen.transactions
        whole.differences += seen.differences
        whole.unjudged |= seen.unjudged
    logger.info("\n".join([f"{whole.summary}.", *whole.problems[:LOGGED_PROBLEMS]]))
    for point, why in list(whole.unjudged.items())[:LOGGED_PROBLEMS]:
        logger.info(f"State of {point} was not compared: {why}.")
    return whole


def compare(model: Model[Any], target: Target, *, redis_url: str, get: Callable[[str], Reply]) -> StateComparison:
    """Compare the stored state of a model's charge points with the states that the model allows.

    Args:
        model: has taken all messages.
        target: describes the place of the state.
        redis_url: where the system's Redis is.
        get: asks the system's HTTP API for a path.

    Raises:
        LacksCapability: the profile does not describe where any of it is.
        ExpectationFailed: a stored value is no record.
        ServiceError: Redis or the system cannot be reached.
    """
    points = model.charge_points
    report = StateComparison(charge_points=len(points), unjudged=dict(model.unjudged))
    for point, observed in observe(model, target, points, redis_url=redis_url, get=get).items():
        report.transactions += len(observed.transactions)
        report.differences += model.state_problems(point, observed)
    return report


def observe(
    model: Model[Any], target: Target, points: Sequence[str], *, redis_url: str, get: Callable[[str], Reply]
) -> dict[str, Observed]:
    """Read the stored state of charge points, as far as the profile describes it; see `compare`."""
    kinds = [kind for kind in KINDS if getattr(target.state, kind) is not None]
    fields = {kind: kept_fields(target, kind) for kind in kinds}
    found = {point: Observed(fields=fields) for point in points}
    if Capability.STATE_KEYS in target.capabilities:
        client = connect(redis_url, database=target.redis.databases.state)
        try:
            _read_indexes(client, target, model, found)
            if model.has_variables and target.state.variables is not None:
                for point, variables in zip(
                    points, read_variables(client, target, target.state.variables, points), strict=True
                ):
                    found[point].variables = variables
        except AWAY as error:
            raise ServiceError(f"Cannot read from Redis at {shown_url(redis_url)}: {error}") from None
        finally:
            client.close()

    def records(kind: str, ids: Sequence[Ids]) -> list[Record | None]:
        return read(target, kind, ids, redis_url=redis_url, get=get) if kind in kinds and ids else [None] * len(ids)

    for point, record in zip(
        points, records("charge_point", [{"charge_point_id": each} for each in points]), strict=True
    ):
        found[point].point = record
    connectors = [
        (point, number)
        for point in points
        for number in {*model.connectors(point), *(found[point].connectors_listed or ())}
    ]
    named: list[Ids] = [{"charge_point_id": point, "connector_id": number} for point, number in connectors]
    for (point, number), record in zip(connectors, records("connector", named), strict=True):
        if record is not None:
            found[point].connectors = {**found[point].connectors, number: record}
    transactions = [
        (point, number) for point in points for number in {*model.transaction_ids(point), *(found[point].listed or ())}
    ]
    named = [{"charge_point_id": point, "transaction_id": number} for point, number in transactions]
    for (point, number), record in zip(transactions, records("transaction", named), strict=True):
        if record is not None:
            found[point].transactions = {**found[point].transactions, number: record}
    return found


def _read_indexes(client: RedisClient, target: Target, model: Model[Any], found: dict[str, Observed]) -> None:
    transaction_id, connector_id = model.transaction_id_of, model.connector_id_of
    keys = target.redis.keys
    for point, observed in found.items():
        pipe = client.pipeline(transaction=False)
        wanted: list[tuple[str, Callable[[Any], Any]]] = []
        if keys.transactions is not None:
            pipe.zrange(target.key("transactions", charge_point_id=point), 0, -1, withscores=True)
            wanted.append(("listed", lambda reply: {transaction_id(member): float(score) for member, score in reply}))
        if keys.active_transactions is not None:
            pipe.smembers(target.key("active_transactions", charge_point_id=point))
            wanted.append(("active", lambda reply: {transaction_id(member) for member in reply}))
        if keys.connectors is not None:
            pipe.smembers(target.key("connectors", charge_point_id=point))
            wanted.append(("connectors_listed", lambda reply: {connector_id(member) for member in reply}))
        if keys.charge_points is not None:
            pipe.sismember(target.key("charge_points"), point)
            wanted.append(("known", bool))
        for (name, made), reply in zip(wanted, pipe.execute(), strict=True):
            setattr(observed, name, made(reply))
