"""Keywords for transactions."""

from __future__ import annotations

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.robot.library import keyword
from server.store.models import Transaction
from StateStoreLibrary.base import FieldValue, StateComponent, record_of, with_changes


class Transactions(StateComponent):
    """Transactions: save, get, update, delete, list."""

    @keyword(tags=("state", "transaction", "getter"))
    def new_transaction_id(self, *, alias: str = "state") -> int:
        """Returns a transaction id that no other transaction has or will have.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        ${id}    New Transaction Id
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.new_transaction_id)

    @keyword(tags=("state", "transaction", "write"))
    def save_transaction(self, charge_point: str, *, alias: str = "state", **fields: FieldValue) -> Transaction:
        """Creates a transaction of a charge point, or replaces it.

        Args:
            **fields: its fields. `id` (a new one if not given), `connector_id` (1), `id_tag` (`TEST-TAG`), `start_time`
                (now), `meter_start` (0), `meter_current` (as `meter_start`), `stop_time`, `meter_stop`, `status`
                (`active` or `completed`), `reason`, and `version`, that of the record to replace.

        Returns:
            The record as it was written.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        ${saved}    Save Transaction    CP-1    connector_id=2    meter_start=1000
        ${read}    Get Transaction    ${saved.id}
        Records Should Be Equal    ${read}    ${saved}
        ```
        """
        session = self._stores.get(alias)
        number = fields.get("id")
        given: dict[str, FieldValue] = {
            "id": session.run(session.store.new_transaction_id) if number is None else number,
            "charge_point_id": charge_point,
            "connector_id": 1,
            "id_tag": "TEST-TAG",
            "start_time": rfc3339(),
            "meter_start": 0,
            **{name: value for name, value in fields.items() if name != "id"},
        }
        given.setdefault("meter_current", given["meter_start"])
        record = record_of(Transaction, given)
        session.points.add(charge_point)
        return session.run(session.store.save_transaction, record)

    @keyword(tags=("state", "transaction", "getter"))
    def get_transaction(self, transaction: int, *, alias: str = "state") -> Transaction:
        """Returns a transaction.

        Args:
            transaction: its id.

        Raises:
            StateFailure: there is none, or the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        ${record}    Get Transaction    ${saved.id}
        Should Be Equal    ${record.status.value}    active
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.get_transaction, transaction)

    @keyword(tags=("state", "transaction", "write"))
    def update_transaction(self, transaction: int, *, alias: str = "state", **fields: FieldValue) -> Transaction:
        """Changes fields of a transaction; other fields keep their values, also with concurrent writers.

        Args:
            transaction: its id.
            **fields: the fields to change, as at `Save Transaction`.

        Returns:
            The record as it was written.

        Raises:
            StateFailure: there is none, or the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        Update Transaction    ${saved.id}    status=completed    meter_stop=2500    reason=Local
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.update_transaction, transaction, lambda known: with_changes(known, fields))

    @keyword(tags=("state", "transaction", "write"))
    def delete_transaction(self, transaction: int, *, alias: str = "state") -> bool:
        """Deletes a transaction.

        Args:
            transaction: its id.

        Returns:
            Whether there was anything to delete.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        Delete Transaction    ${saved.id}
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.delete_transaction, transaction)

    @keyword(tags=("state", "transaction", "getter"))
    def list_transactions(
        self, *, charge_point: str | None = None, active: bool | None = None, alias: str = "state"
    ) -> list[Transaction]:
        """Returns transactions, the oldest first.

        Args:
            charge_point: whose transactions; those of all if not given.
            active: only those that run, or only those that do not; all if not given.

        Raises:
            StateFailure: one of them is corrupt, or the store refused it; the message begins with the error's name.

        Example:
        ```robotframework
        @{running}    List Transactions    charge_point=CP-1    active=True
        Length Should Be    ${running}    1
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.list_transactions, charge_point, active=active)
