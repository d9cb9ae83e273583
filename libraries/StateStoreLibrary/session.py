"""An open state store, and the ids of the records written through it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from robot.api import logger

from ocpp_resilience import background
from ocpp_resilience.errors import UsageError
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.connection import CA_VARIABLE, RedisClient, connect, is_local, shown_url
from ocpp_resilience.robot.variables import chosen_for_the_run
from server.redis.address import Address
from server.store.errors import StateError, StateUnavailable
from server.store.keys import Keys
from server.store.redis_store import Limits, RedisStateStore
from StateStoreLibrary.failures import StateFailure

T = TypeVar("T")

LONGEST = 60.0
"""Seconds that one keyword may take on the background loop."""


CONNECTIONS = 32
"""Redis writes to disk once for all commands that arrived together: many at once are quicker over many connections."""


class TargetKeys(Keys):
    """Key names of the state as a target profile gives them."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target
        self.transaction_id = target.key("transaction_id")
        self.charge_points = target.key("charge_points")
        for name in ("connector", "transaction"):
            if not str(getattr(target.redis.keys, name)).endswith(":{" + name + "_id}"):
                raise UsageError(f"Target '{target.name}': key '{name}' has to end with ':{{{name}_id}}'.")

    def charge_point(self, charge_point_id: str) -> str:
        return self._target.key("charge_point", charge_point_id=charge_point_id)

    def connectors(self, charge_point_id: str) -> str:
        return self._target.key("connectors", charge_point_id=charge_point_id)

    def configuration(self, charge_point_id: str) -> str:
        return self._target.key("configuration", charge_point_id=charge_point_id)

    def connector(self, charge_point_id: str, connector_id: int | str) -> str:
        return self._target.key("connector", charge_point_id=charge_point_id, connector_id=connector_id)

    def transaction(self, transaction_id: int | str, charge_point_id: str = "") -> str:
        if isinstance(transaction_id, str):
            transaction_id = f"{charge_point_id}:{transaction_id}"
        return self._target.key("transaction", transaction_id=transaction_id)

    def transactions(self, charge_point_id: str) -> str:
        return self._target.key("transactions", charge_point_id=charge_point_id)

    def active_transactions(self, charge_point_id: str) -> str:
        return self._target.key("active_transactions", charge_point_id=charge_point_id)


class StateSession:
    """A store for the keywords, a plain connection to look at keys, and the ids of the written records.

    Args:
        url: where Redis is.
        target: names the keys and databases.
        reply_timeout: seconds without an answer after which an operation counts as failed.
        limits: the limits of the store.
    """

    def __init__(self, url: str, target: Target, *, reply_timeout: float, limits: Limits) -> None:
        self.url = url
        self.target = target
        self.keys = TargetKeys(target)
        self._reply_timeout = reply_timeout
        self._limits = limits
        databases = target.redis.databases
        self.client: RedisClient = connect(url, database=databases.state)
        self.clients = [self.client]
        if databases.queue != databases.state:
            self.clients.append(connect(url, database=databases.queue))
        self.points: set[str] = set()
        self.last_failure: StateFailure | None = None
        self._authorities = chosen_for_the_run(CA_VARIABLE) or ""
        self.store = background.call(self.another_store)

    @property
    def address(self) -> str:
        """The address of Redis, without password."""
        return shown_url(self.url)

    def another_store(self, *, connections: int = CONNECTIONS) -> RedisStateStore:
        """A separate store, as another program would have; to be called on the background loop."""
        return RedisStateStore.open(
            Address.parse(self.url, self._authorities),
            self.keys,
            self._limits,
            reply_timeout=self._reply_timeout,
            connections=connections,
        )

    def run(
        self,
        operation: Callable[..., Coroutine[Any, Any, T]],
        *arguments: Any,
        limit: float | None = LONGEST,
        **named: Any,
    ) -> T:
        """Carry out an operation of the store.

        Args:
            operation: the coroutine function.
            *arguments: its arguments.
            limit: seconds that it may take; `None` if it looks after that itself.
            **named: its named arguments.

        Raises:
            StateFailure: the store refused it.
            UsageError: an argument cannot be used.
        """
        try:
            return background.run(operation, *arguments, timeout=limit, **named)
        except StateError as error:
            self.last_failure = StateFailure(error)
            raise self.last_failure from None
        except ValueError as error:
            raise UsageError(str(error)) from None

    def close(self) -> None:
        """Remove the records written through the store, and close its connections."""
        try:
            self._remove_data()
        finally:
            background.run(self.store.close)
            for client in self.clients:
                client.close()

    def _remove_data(self) -> None:
        async def remove() -> None:
            for point in sorted(self.points):
                await self.store.delete_charge_point(point)

        try:
            background.run(remove, timeout=LONGEST)
        except StateUnavailable as error:
            if not is_local(self.client):
                raise
            # A private Redis that has ended already took its data along.
            logger.info(f"No state was removed: {error}")
        else:
            if self.points:
                logger.info(f"Removed the state of {len(self.points)} charge points.")
            self.points.clear()
