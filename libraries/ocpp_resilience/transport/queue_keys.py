"""The names of the Redis keys that the queue engine uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from ocpp_resilience.profile import Target
from ocpp_resilience.profile.sections import QueueKind
from ocpp_resilience.transport.messages import Message

SYSTEM_KEYS = (
    "owner",
    "consumer",
    "shard_owner",
    "shards",
    "shard_processors",
    "transaction_id",
    "connection",
    "gateway",
    "answers",
)
"""Names in a target profile: keys that a running system writes for itself."""


def as_expression(pattern: str) -> re.Pattern[str]:
    """A pattern of `redis.other`: `{charge_point_id}` is a group, other placeholders and `*` are any text."""
    made, seen = [], False
    for part in re.split(r"(\{[a-z_]+\}|\*)", pattern):
        if part == "{charge_point_id}":
            made.append("(?P=charge_point_id)" if seen else "(?P<charge_point_id>.+?)")
            seen = True
        else:
            made.append(".*" if part == "*" or part.startswith("{") else re.escape(part))
    return re.compile("".join(made), re.DOTALL)


def as_glob(pattern: str) -> str:
    """A pattern of `redis.other` for SCAN."""
    return "*".join(re.sub(r"([?\[\]\\])", r"\\\1", part) for part in re.split(r"\{[a-z_]+\}|\*", pattern))


class Names:
    """The lists, streams or channels of requests: one, or one for each charge point that has sent something.

    Args:
        pattern: the name; may hold `{charge_point_id}`.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._used = dict.fromkeys([pattern] if "{charge_point_id}" not in pattern else [])

    def of(self, message: Message) -> str:
        """The one that a message goes to."""
        name = self._pattern.replace("{charge_point_id}", message.charge_point or "unknown")
        self._used[name] = None
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._used))


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueKeys:
    """Key names and patterns; `None` for keys that the system under test does not have.

    Attributes:
        requests: the list that messages are put on, at the left end.
        responses: the list with the answers to one charge point, oldest at the right end.
        dead_letters: the list of messages that were set aside, newest at the left end.
        charge_point: the stored record of a charge point.
        charge_points: the index of charge points.
        connector: the stored record of one of its connectors.
        connectors: the index of a charge point's connectors.
        transaction: the stored record of a transaction.
        own_transaction: the same where charge points choose the ids.
        transactions: the index of a charge point's transactions.
        active_transactions: the index of those that are not over.
        configuration: a charge point's configuration.
        variables: its device model.
        connection: which connection was a charge point's newest.
        own: patterns of keys that the system keeps for itself: counters, signs of life.
        others: patterns of further keys of a charge point, by the number of their database.
    """

    requests: str = ""
    responses: str = ""
    dead_letters: str | None = None
    charge_point: str | None = None
    charge_points: str | None = None
    connector: str | None = None
    connectors: str | None = None
    transaction: str | None = None
    own_transaction: str | None = None
    transactions: str | None = None
    active_transactions: str | None = None
    configuration: str | None = None
    variables: str | None = None
    connection: str | None = None
    own: tuple[str, ...] = ()
    others: dict[int, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, target: Target) -> Self:
        """The keys that a target profile names."""
        keys = target.redis.keys
        others: dict[int, list[str]] = {}
        own = [target.key_glob(name) for name in SYSTEM_KEYS if getattr(keys, name) is not None]
        if target.queue.kind is QueueKind.STREAM and keys.requests is not None:
            # An empty stream stays, with its groups.
            own.append(as_glob(keys.requests))
        for part in target.redis.other:
            for pattern in part.keys:
                if "{charge_point_id}" in pattern:
                    others.setdefault(part.database, []).append(pattern)
                else:
                    own.append(as_glob(pattern))
        return cls(
            requests=keys.requests or "",
            responses=keys.responses or "",
            others=others,
            dead_letters=keys.dead_letters,
            charge_point=keys.charge_point,
            charge_points=keys.charge_points,
            connector=keys.connector,
            connectors=keys.connectors,
            transaction=keys.transaction,
            own_transaction=keys.own_transaction,
            transactions=keys.transactions,
            active_transactions=keys.active_transactions,
            configuration=keys.configuration,
            variables=keys.variables,
            connection=keys.connection,
            own=tuple(own),
        )

    def answers_of(self, charge_point: str) -> str:
        """The list with the answers to `charge_point`."""
        return self.responses.replace("{charge_point_id}", charge_point)

    def transport_of(self, charge_point: str) -> list[str]:
        """The keys beside state and answers that exist once for a charge point."""
        return [
            pattern.replace("{charge_point_id}", charge_point) for pattern in (self.connection,) if pattern is not None
        ]

    def state_of(self, charge_point: str) -> list[str]:
        """The keys that exist once for a charge point, connectors and transactions not among them."""
        patterns = (
            self.charge_point,
            self.connectors,
            self.transactions,
            self.active_transactions,
            self.configuration,
            self.variables,
        )
        return [pattern.replace("{charge_point_id}", charge_point) for pattern in patterns if pattern is not None]

    def connectors_of(self, charge_point: str) -> str | None:
        """The index of a charge point's connectors."""
        return None if self.connectors is None else self.connectors.replace("{charge_point_id}", charge_point)

    def connector_of(self, charge_point: str, connector: int | str) -> str | None:
        """The key of a connector."""
        if self.connector is None:
            return None
        return self.connector.replace("{charge_point_id}", charge_point).replace("{connector_id}", str(connector))

    def transaction_keys(self, charge_point: str, transaction: str) -> list[str]:
        """The possible keys of a transaction."""
        return [
            pattern.replace("{charge_point_id}", charge_point).replace("{transaction_id}", transaction)
            for pattern in (self.transaction, self.own_transaction)
            if pattern is not None
        ]

    def transaction_indexes(self, charge_point: str) -> list[str]:
        """The keys that name the transactions of a charge point."""
        patterns = (self.transactions, self.active_transactions)
        return [pattern.replace("{charge_point_id}", charge_point) for pattern in patterns if pattern is not None]
