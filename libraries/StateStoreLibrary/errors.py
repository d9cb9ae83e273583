"""Keywords about failures of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace
from robot.api import logger
from robot.libraries.BuiltIn import BuiltIn

from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.robot.library import keyword
from server.store.errors import StateError
from server.store.models import ChargePoint, ConfigurationKey, Connector
from server.store.redis_store import RedisStateStore
from StateStoreLibrary.base import StateComponent
from StateStoreLibrary.failures import StateErrorKind, StateFailure, kind_of
from StateStoreLibrary.writers import transaction

MANY = 1000


@dataclass(slots=True)
class AttemptReport:
    """The results of one write of each kind.

    Attributes:
        errors: operation to the kind of its error; those that worked are not in it.
        worked: operations that worked.
        unnamed: errors that do not name operation and key.
    """

    errors: dict[str, StateErrorKind] = field(default_factory=dict)
    worked: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The kind of error that every one of them met; else all that was met, in words."""
        kinds = {kind.value for kind in self.errors.values()}
        if len(kinds) == 1 and not self.worked:
            return kinds.pop()
        return f"{len(self.worked)} worked, {len(self.errors)} failed ({', '.join(sorted(kinds))})"


async def _attempt(store: RedisStateStore, point: str, new_point: str, number: int) -> AttemptReport:
    many = {f"Key{each}": ConfigurationKey(value="1") for each in range(MANY)}
    operations: dict[str, Awaitable[Any]] = {
        "save charge point": store.save_charge_point(ChargePoint(id=new_point)),
        "update charge point": store.update_charge_point(point, lambda known: replace(known, vendor="changed")),
        "save connector": store.save_connector(new_point, 1, Connector(status="Available")),
        "save transaction": store.save_transaction(transaction(number, new_point)),
        "save configuration": store.save_configuration(new_point, many),
    }
    report = AttemptReport()
    results = await asyncio.gather(*operations.values(), return_exceptions=True)
    for operation, result in zip(operations, results, strict=True):
        if isinstance(result, StateError):
            report.errors[operation] = kind_of(result)
            if result.operation != operation or not result.key or result.key not in str(result):
                report.unnamed.append(f"{operation}: {result}")
        elif isinstance(result, BaseException):
            raise result
        else:
            report.worked.append(operation)
    return report


class Errors(StateComponent):
    """Typed errors."""

    @keyword(tags=("state", "assertion", "error"))
    def state_error_should_be_raised(self, kind: StateErrorKind, name: str, *arguments: object) -> StateFailure:
        """Runs a keyword of this library, and fails unless it fails with this kind of error.

        Args:
            kind: `unavailable`, `timeout`, `read_only`, `out_of_memory`, `conflict`, `too_large`, `not_found` or
                `corrupt`.
            name: the keyword.
            arguments: its arguments.

        Returns:
            The error: `kind`, `key`, `operation`.

        Raises:
            ExpectationFailed: it did not fail, or with an error of another kind.

        Example:
        ```robotframework
        ${error}    State Error Should Be Raised    not_found    Get Charge Point    nobody
        Should Be Equal    ${error.operation}    read
        ```
        """
        sessions = [self._stores.get(alias) for alias in self._stores.aliases()]
        for session in sessions:
            session.last_failure = None
        try:
            BuiltIn().run_keyword(name, *arguments)
        except Exception:
            # Robot Framework passes on the text of the keyword's exception, not the exception itself.
            failure = next((each.last_failure for each in sessions if each.last_failure is not None), None)
            if failure is None:
                raise
        else:
            raise ExpectationFailed(f"'{name}' should fail with '{kind}', but it worked.")
        if failure.kind is not kind:
            raise ExpectationFailed(f"'{name}' should fail with '{kind}', but failed with '{failure.kind}': {failure}.")
        logger.info(str(failure))
        return failure

    @keyword(tags=("state", "error"))
    def attempt_state_writes(
        self, charge_point: str, new_charge_point: str, *, transaction: int = 2**40, alias: str = "state"
    ) -> AttemptReport:
        """Tries one write of each kind at the same time, several of them to more than one key, and returns their
        errors.

        Args:
            charge_point: a charge point that is there.
            new_charge_point: one that is not.
            transaction: the id of a transaction that is not there.

        Returns:
            `errors` (operation to kind), `worked` (operations that did), `unnamed` (errors that do not name operation
            and key), and `kind`, the kind of error that all of them met.

        Example:
        ```robotframework
        Kill Redis
        ${attempt}    Attempt State Writes    CP-1    CP-2
        Should Be Equal    ${attempt.kind}    unavailable
        ```
        """
        session = self._stores.get(alias)
        session.points.update((charge_point, new_charge_point))
        report = session.run(_attempt, session.store, charge_point, new_charge_point, transaction)
        logger.info(f"{report.kind}. {report.errors}")
        return report

    @keyword(tags=("state", "charge point", "fault"))
    def truncate_stored_charge_point(self, charge_point: str, *, alias: str = "state") -> str:
        """Truncates the stored record of a charge point, as a program that crashed while writing might.

        Args:
            charge_point: its id.

        Returns:
            The key.

        Raises:
            UsageError: there is no such record.

        Example:
        ```robotframework
        Save Charge Point    CP-1
        Truncate Stored Charge Point    CP-1
        State Error Should Be Raised    corrupt    Get Charge Point    CP-1
        ```
        """
        session = self._stores.get(alias)
        key = session.keys.charge_point(charge_point)
        client: Any = session.client
        value = client.get(key)
        if value is None:
            raise UsageError(f"There is no record of charge point '{charge_point}' to cut.")
        client.set(key, value[: len(value) // 2])
        logger.info(f"{key} was {value!r}, and is cut to {len(value) // 2} bytes.")
        return key
