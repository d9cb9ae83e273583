"""Keywords for charge points and connectors."""

from __future__ import annotations

from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import examples
from server.store.models import ChargePoint, Connector
from StateStoreLibrary.base import FieldValue, StateComponent, record_of, with_changes
from StateStoreLibrary.writers import save_at_once


class ChargePoints(StateComponent):
    """Charge points and their connectors: save, get, update, delete, list."""

    @keyword(tags=("state", "charge point", "write"))
    def save_charge_point(self, charge_point: str, *, alias: str = "state", **fields: FieldValue) -> ChargePoint:
        """Creates a charge point, or replaces it.

        Args:
            charge_point: its id.
            **fields: its fields: `vendor`, `model`, `serial`, `firmware`, `status`, `last_seen`, `is_online`,
                `boot_time`, `firmware_status`, `diagnostics_status`, and `version`, that of the record to replace.

        Returns:
            The record as it was written, its version one higher.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.
            UsageError: a field is unknown or of the wrong type.

        Example:
        ```robotframework
        ${saved}    Save Charge Point    CP-1    vendor=V    model=M    is_online=true
        ${read}    Get Charge Point    CP-1
        Records Should Be Equal    ${read}    ${saved}
        ```
        """
        session = self._stores.get(alias)
        record = record_of(ChargePoint, {"id": charge_point, **fields})
        session.points.add(charge_point)
        return session.run(session.store.save_charge_point, record)

    @keyword(tags=("state", "charge point", "getter"))
    def get_charge_point(self, charge_point: str, *, alias: str = "state") -> ChargePoint:
        """Returns a charge point.

        Args:
            charge_point: its id.

        Returns:
            The record, with the fields named at `Save Charge Point`.

        Raises:
            StateFailure: there is none, or the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        ${record}    Get Charge Point    CP-1
        Should Be Equal    ${record.vendor}    V
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.get_charge_point, charge_point)

    @keyword(tags=("state", "charge point", "write"))
    def update_charge_point(self, charge_point: str, *, alias: str = "state", **fields: FieldValue) -> ChargePoint:
        """Changes fields of a charge point; other fields stay, also when others write at the same time.

        Args:
            charge_point: its id.
            **fields: the fields to change, as at `Save Charge Point`.

        Returns:
            The record as it was written.

        Raises:
            StateFailure: there is none, or the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        ${record}    Update Charge Point    CP-1    firmware=2.0
        Should Be Equal As Integers    ${record.version}    2
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.update_charge_point, charge_point, lambda known: with_changes(known, fields))

    @keyword(tags=("state", "charge point", "write"))
    def delete_charge_point(self, charge_point: str, *, alias: str = "state") -> bool:
        """Deletes a charge point with its connectors, transactions and configuration.

        Args:
            charge_point: its id.

        Returns:
            Whether there was anything to delete.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        ${there}    Delete Charge Point    CP-1
        Should Be True    ${there}
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.delete_charge_point, charge_point)

    @keyword(tags=("state", "charge point", "write"))
    def save_charge_points_at_once(self, charge_points: list[str], *, alias: str = "state") -> list[ChargePoint]:
        """Creates or replaces the records of many charge points, all at the same time.

        Args:
            charge_points: their ids.

        Returns:
            The records as they were written.

        Raises:
            UsageError: there are none.
            StateFailure: the store refused one; the message begins with the name of the error.

        Example:
        ```robotframework
        @{charge points}    Create List    CP-1    CP-2
        ${saved}    Save Charge Points At Once    ${charge points}
        ```
        """
        if not charge_points:
            raise UsageError("There are no charge points to save; at least one is required.")
        session = self._stores.get(alias)
        session.points.update(charge_points)
        return session.run(save_at_once, session.store, charge_points)

    @keyword(tags=("state", "charge point", "assertion"))
    def charge_points_should_be_listed(self, records: list[ChargePoint], *, alias: str = "state") -> None:
        """Fails unless each of these charge points is listed once, as it was written. Others may be listed, too.

        Args:
            records: the charge points.

        Raises:
            ExpectationFailed: some are missing, listed twice or other than written; the message says how many, and
                names some.
            StateFailure: one of them is corrupt, or the store refused it; the message begins with the error's name.

        Example:
        ```robotframework
        ${saved}    Save Charge Points At Once    ${charge points}
        Charge Points Should Be Listed    ${saved}
        ```
        """
        listed: dict[str, list[ChargePoint]] = {}
        for record in self.list_charge_points(alias=alias):
            listed.setdefault(record.id, []).append(record)
        missing = [each.id for each in records if each.id not in listed]
        twice = [each.id for each in records if len(listed.get(each.id, ())) > 1]
        other = [each.id for each in records if each.id in listed and listed[each.id][0] != each]
        wrong = [
            f"{len(ids)} {what} (for example {examples(ids)})"
            for what, ids in (("not listed", missing), ("listed twice", twice), ("other than written", other))
            if ids
        ]
        if wrong:
            raise ExpectationFailed(f"Of {len(records)} charge points: {'; '.join(wrong)}.")

    @keyword(tags=("state", "charge point", "getter"))
    def list_charge_points(self, *, alias: str = "state") -> list[ChargePoint]:
        """Returns all charge points, by id.

        Raises:
            StateFailure: one of them is corrupt, or the store refused it; the message begins with the error's name.

        Example:
        ```robotframework
        @{records}    List Charge Points
        Log    ${records[0].id}
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.list_charge_points)

    @keyword(tags=("state", "connector", "write"))
    def save_connector(
        self, charge_point: str, connector: int, *, alias: str = "state", **fields: FieldValue
    ) -> Connector:
        """Creates a connector of a charge point, or replaces it.

        Args:
            connector: the connector's number.
            **fields: its fields: `status`, `error_code`, `transaction_id` (a number in OCPP 1.6), `updated_at`, and
                `version`, that of the record to replace.

        Returns:
            The record as it was written.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        Save Connector    CP-1    1    status=Available    error_code=NoError
        ```
        """
        session = self._stores.get(alias)
        record = record_of(Connector, dict(fields))
        session.points.add(charge_point)
        return session.run(session.store.save_connector, charge_point, connector, record)

    @keyword(tags=("state", "connector", "getter"))
    def get_connector(self, charge_point: str, connector: int, *, alias: str = "state") -> Connector:
        """Returns a connector of a charge point.

        Args:
            connector: the connector's number.

        Raises:
            StateFailure: there is none, or the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        ${record}    Get Connector    CP-1    1
        Should Be Equal    ${record.status}    Available
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.get_connector, charge_point, connector)

    @keyword(tags=("state", "connector", "write"))
    def update_connector(
        self, charge_point: str, connector: int, *, alias: str = "state", **fields: FieldValue
    ) -> Connector:
        """Changes fields of a connector; the others stay.

        Args:
            connector: the connector's number.
            **fields: the fields to change, as at `Save Connector`.

        Returns:
            The record as it was written.

        Raises:
            StateFailure: there is none, or the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        Update Connector    CP-1    1    status=Charging
        ```
        """
        session = self._stores.get(alias)
        return session.run(
            session.store.update_connector, charge_point, connector, lambda known: with_changes(known, fields)
        )

    @keyword(tags=("state", "connector", "write"))
    def delete_connector(self, charge_point: str, connector: int, *, alias: str = "state") -> bool:
        """Deletes a connector.

        Args:
            connector: the connector's number.

        Returns:
            Whether there was anything to delete.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        Delete Connector    CP-1    1
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.delete_connector, charge_point, connector)

    @keyword(tags=("state", "connector", "getter"))
    def list_connectors(self, charge_point: str, *, alias: str = "state") -> dict[int | str, Connector]:
        """Returns the connectors of a charge point.

        Returns:
            Number to record, by number.

        Raises:
            StateFailure: one of them is corrupt, or the store refused it; the message begins with the error's name.

        Example:
        ```robotframework
        &{connectors}    List Connectors    CP-1
        Log    ${connectors}[${1}]
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.list_connectors, charge_point)
