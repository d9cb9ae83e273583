"""The names of the Redis keys that the queue engine uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ocpp_resilience.errors import UsageError
from ocpp_resilience.profile import Target

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
"""Names in a target profile: keys that a running system writes for itself, whoever uses it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueKeys:
    """Key names and patterns; `None` for what the system under test has not got.

    Attributes:
        requests: the list that messages are put on, at the left end.
        responses: the list with the answers to one charge point, oldest at the right end.
        dead_letters: the list of messages that were set aside, newest at the left end.
        charge_point: what the system keeps about a charge point.
        charge_points: the index of charge points.
        connector: what it keeps about one of its connectors.
        connectors: the index of a charge point's connectors.
        transaction: what it keeps about a transaction.
        transactions: the index of a charge point's transactions.
        active_transactions: the index of those that are not over.
        configuration: a charge point's configuration.
        connection: which connection was a charge point's newest.
        own: patterns of what the system keeps for itself, whoever sent what: counters, who is alive.
    """

    requests: str
    responses: str
    dead_letters: str | None = None
    charge_point: str | None = None
    charge_points: str | None = None
    connector: str | None = None
    connectors: str | None = None
    transaction: str | None = None
    transactions: str | None = None
    active_transactions: str | None = None
    configuration: str | None = None
    connection: str | None = None
    own: tuple[str, ...] = ()

    @classmethod
    def of(cls, target: Target) -> Self:
        """The keys that a target profile names."""
        keys = target.redis.keys
        return cls(
            requests=keys.requests,
            responses=keys.responses,
            dead_letters=keys.dead_letters,
            charge_point=keys.charge_point,
            charge_points=keys.charge_points,
            connector=keys.connector,
            connectors=keys.connectors,
            transaction=keys.transaction,
            transactions=keys.transactions,
            active_transactions=keys.active_transactions,
            configuration=keys.configuration,
            connection=keys.connection,
            own=tuple(target.key_glob(name) for name in SYSTEM_KEYS if getattr(keys, name) is not None),
        )

    def check(self) -> None:
        """Check that the answer lists of two charge points cannot be one.

        Raises:
            UsageError: the pattern lacks its placeholder.
        """
        if "{charge_point_id}" not in self.responses:
            raise UsageError(
                f"The key pattern of the answers is '{self.responses}'; it has to contain {{charge_point_id}}."
            )

    def answers_of(self, charge_point: str) -> str:
        """The list with the answers to `charge_point`."""
        return self.responses.replace("{charge_point_id}", charge_point)

    def transport_of(self, charge_point: str) -> list[str]:
        """The keys beside the state that exist once for a charge point."""
        patterns = (self.responses, self.connection)
        return [pattern.replace("{charge_point_id}", charge_point) for pattern in patterns if pattern is not None]

    def state_of(self, charge_point: str) -> list[str]:
        """The keys that exist once for a charge point, connectors and transactions not among them."""
        patterns = (
            self.charge_point,
            self.connectors,
            self.transactions,
            self.active_transactions,
            self.configuration,
        )
        return [pattern.replace("{charge_point_id}", charge_point) for pattern in patterns if pattern is not None]

    def connector_of(self, charge_point: str, connector: int) -> str | None:
        """What the system keeps about a connector."""
        if self.connector is None:
            return None
        return self.connector.replace("{charge_point_id}", charge_point).replace("{connector_id}", str(connector))

    def transaction_key(self, transaction: str) -> str | None:
        """What the system keeps about a transaction."""
        return None if self.transaction is None else self.transaction.replace("{transaction_id}", transaction)

    def transaction_indexes(self, charge_point: str) -> list[str]:
        """The keys that name the transactions of a charge point."""
        patterns = (self.transactions, self.active_transactions)
        return [pattern.replace("{charge_point_id}", charge_point) for pattern in patterns if pattern is not None]
