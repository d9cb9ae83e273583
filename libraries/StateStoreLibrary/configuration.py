"""Keywords for a charge point's configuration."""

from __future__ import annotations

from msgspec.structs import replace

from ocpp_resilience.robot.library import keyword
from server.store.models import ConfigurationKey
from StateStoreLibrary.base import StateComponent


class Configuration(StateComponent):
    """The configuration: save, get, update, delete, list; as a whole and by key."""

    @keyword(tags=("state", "configuration", "write"))
    def save_configuration(
        self, charge_point: str, values: dict[str, str], *, readonly: list[str] | None = None, alias: str = "state"
    ) -> dict[str, ConfigurationKey]:
        """Replaces the whole configuration of a charge point.

        Args:
            values: configuration key to its value.
            readonly: the keys that ChangeConfiguration may not change.

        Returns:
            Key to record, as written.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        &{values}    Create Dictionary    HeartbeatInterval=300    NumberOfConnectors=2
        ${saved}    Save Configuration    CP-1    ${values}    readonly=["NumberOfConnectors"]
        ```
        """
        session = self._stores.get(alias)
        fixed = set(readonly or ())
        record = {name: ConfigurationKey(value=value, readonly=name in fixed) for name, value in values.items()}
        session.points.add(charge_point)
        session.run(session.store.save_configuration, charge_point, record)
        return record

    @keyword(tags=("state", "configuration", "write"))
    def save_generated_configuration(
        self, charge_point: str, *, keys: int = 1000, alias: str = "state"
    ) -> dict[str, ConfigurationKey]:
        """Replaces the configuration of a charge point by one of this many keys, every third of them read-only.

        Args:
            keys: how many.

        Returns:
            Key to record, as written.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        ${saved}    Save Generated Configuration    CP-1    keys=1000
        ```
        """
        session = self._stores.get(alias)
        record = {
            f"Key{number:05d}": ConfigurationKey(value=f"wert-{number}-ü", readonly=number % 3 == 0)
            for number in range(keys)
        }
        session.points.add(charge_point)
        session.run(session.store.save_configuration, charge_point, record)
        return record

    @keyword(tags=("state", "configuration", "getter"))
    def get_configuration(self, charge_point: str, *, alias: str = "state") -> dict[str, ConfigurationKey]:
        """Returns the whole configuration of a charge point.

        Returns:
            Key to record; a record has `value` and `readonly`.

        Raises:
            StateFailure: there is none, or the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        &{configuration}    Get Configuration    CP-1
        Should Be Equal    ${configuration['HeartbeatInterval'].value}    300
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.get_configuration, charge_point)

    @keyword(tags=("state", "configuration", "getter"))
    def get_configuration_key(self, charge_point: str, key: str, *, alias: str = "state") -> ConfigurationKey:
        """Returns one configuration key of a charge point.

        Args:
            key: the configuration key.

        Raises:
            StateFailure: there is none, or the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        ${record}    Get Configuration Key    CP-1    HeartbeatInterval
        Should Be Equal    ${record.value}    300
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.get_configuration_key, charge_point, key)

    @keyword(tags=("state", "configuration", "write"))
    def update_configuration_key(
        self, charge_point: str, key: str, value: str, *, alias: str = "state"
    ) -> ConfigurationKey:
        """Changes the value of one configuration key; the other keys stay.

        Args:
            key: the configuration key.
            value: its new value.

        Returns:
            The record as it was written.

        Raises:
            StateFailure: there is no such key, or the store refused it; the message begins with the error's name.

        Example:
        ```robotframework
        Update Configuration Key    CP-1    HeartbeatInterval    60
        ```
        """
        session = self._stores.get(alias)
        return session.run(
            session.store.update_configuration_key, charge_point, key, lambda known: replace(known, value=value)
        )

    @keyword(tags=("state", "configuration", "write"))
    def delete_configuration_key(self, charge_point: str, key: str, *, alias: str = "state") -> bool:
        """Deletes one configuration key.

        Args:
            key: the configuration key.

        Returns:
            Whether there was anything to delete.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        Delete Configuration Key    CP-1    HeartbeatInterval
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.delete_configuration_key, charge_point, key)

    @keyword(tags=("state", "configuration", "write"))
    def delete_configuration(self, charge_point: str, *, alias: str = "state") -> bool:
        """Deletes the whole configuration of a charge point.

        Returns:
            Whether there was anything to delete.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        Delete Configuration    CP-1
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.delete_configuration, charge_point)

    @keyword(tags=("state", "configuration", "getter"))
    def list_configurations(self, *, alias: str = "state") -> list[str]:
        """Returns the ids of the charge points that have a configuration.

        Raises:
            StateFailure: the store refused it; the message begins with the name of the error.

        Example:
        ```robotframework
        @{charge points}    List Configurations
        ```
        """
        session = self._stores.get(alias)
        return session.run(session.store.list_configurations)
