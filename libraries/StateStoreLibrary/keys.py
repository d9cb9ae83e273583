"""Keywords that look at the keys themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.redis.snapshot import KeySnapshot
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.state.keys import RULES, KeyReport, check_keys
from StateStoreLibrary.base import StateComponent
from StateStoreLibrary.integrity import find_partial_writes

STATE_KEYS = (
    "charge_point",
    "charge_points",
    "connector",
    "connectors",
    "transaction",
    "transactions",
    "active_transactions",
    "transaction_id",
    "configuration",
)
"""Keys in the database of the state; all others are in the database of the queue."""
GONE = -2
"""PTTL of a key that does not exist."""


class KeyKeywords(StateComponent):
    """Documented keys, partial writes. They walk over the key space: checks of the tests themselves."""

    @keyword(tags=("state", "getter", "keys"))
    def get_key_report(self, *, foreign: KeySnapshot | None = None, alias: str = "state") -> KeyReport:
        """Returns the keys that are not documented, or have another type or lifetime than documented.

        Args:
            foreign: the keys that were there before the system was started; they are not held against it.

        Returns:
            `count`, `undocumented`, `wrong_type` and `wrong_lifetime` (lists of text), and `names`, the documented
            names that were met.

        Example:
        ```robotframework
        ${report}    Get Key Report
        Should Be Empty    ${report.undocumented}
        ```
        """
        session = self._stores.get(alias)
        report = check_keys(session.clients, session.target)
        if foreign is not None:
            there = {name.partition("] ")[2] if name.startswith("[") else name for name in foreign.types}
            report.undocumented = [key for key in report.undocumented if key not in there]
        logger.info(f"{report}. {report.names}")
        return report

    @keyword(tags=("state", "assertion", "keys"))
    def keys_should_have_documented_types_and_lifetimes(
        self, *, foreign: KeySnapshot | None = None, alias: str = "state"
    ) -> None:
        """Fails when Redis holds a key that is not documented, or one with another type or lifetime than documented.

        Args:
            foreign: the keys that were there before the system was started; they are not held against it.

        Raises:
            ExpectationFailed: it does; names the keys.

        Example:
        ```robotframework
        Keys Should Have Documented Types And Lifetimes
        ```
        """
        report = self.get_key_report(foreign=foreign, alias=alias)
        if report.problems:
            raise ExpectationFailed(f"Keys are not as documented: {report}.")

    @keyword(tags=("state", "getter", "keys"))
    def get_key_lifetime(self, name: str, *, alias: str = "state", **values: str) -> float | None:
        """Returns the remaining lifetime of a key in seconds, `None` if it does not expire.

        Args:
            name: the key's name in the target profile, such as `responses`.
            values: what stands for its placeholders.

        Raises:
            ExpectationFailed: there is no such key.

        Example:
        ```robotframework
        ${seconds}    Get Key Lifetime    responses    charge_point_id=CP-1
        Should Be True    3590 < ${seconds} <= 3600
        ```
        """
        key, client = self._key(name, values, alias)
        left = client.pttl(key)
        if left == GONE:
            raise ExpectationFailed(f"There is no key '{key}'.")
        logger.info(f"{key} has {left} ms to live.")
        return None if left < 0 else left / 1000

    @keyword(tags=("state", "keys", "fault"))
    def set_key_lifetime(self, name: str, lifetime: timedelta, *, alias: str = "state", **values: str) -> None:
        """Changes the lifetime of a key, as if time had passed.

        Args:
            name: the key's name in the target profile.
            lifetime: how long it has to live from now on.
            values: what stands for its placeholders.

        Raises:
            ExpectationFailed: there is no such key.

        Example:
        ```robotframework
        Set Key Lifetime    responses    10 s    charge_point_id=CP-1
        ```
        """
        key, client = self._key(name, values, alias)
        if not client.pexpire(key, lifetime):
            raise ExpectationFailed(f"There is no key '{key}'.")

    @keyword(tags=("state", "keys", "fault"))
    def replace_key_by_another_type(self, name: str, *, alias: str = "state", **values: str) -> str:
        """Replaces a key by a value of a type that the system does not expect, as another program might.

        A string is replaced by a list, every other type by a string. `Delete Key` removes it.

        Args:
            name: the key's name in the target profile.
            values: what stands for its placeholders.

        Returns:
            The key.

        Example:
        ```robotframework
        Replace Key By Another Type    charge_point    charge_point_id=CP-1
        Send Heartbeat
        Delete Key    charge_point    charge_point_id=CP-1
        ```
        """
        key, client = self._key(name, values, alias)
        with client.pipeline(transaction=True) as pipeline:
            pipeline.delete(key)
            if RULES[name].type == "string":
                pipeline.rpush(key, "of another type")
            else:
                pipeline.set(key, "of another type")
            pipeline.execute()
        logger.info(f"{key} is of another type now.")
        return key

    @keyword(tags=("state", "keys", "fault"))
    def delete_key(self, name: str, *, alias: str = "state", **values: str) -> bool:
        """Deletes a key, and returns whether it existed.

        Args:
            name: the key's name in the target profile.
            values: what stands for its placeholders.

        Example:
        ```robotframework
        Delete Key    session    charge_point_id=CP-1
        ```
        """
        key, client = self._key(name, values, alias)
        return bool(client.delete(key))

    def _key(self, name: str, values: dict[str, str], alias: str) -> tuple[str, Any]:
        """A key by its name in the profile, and a connection to its database."""
        session = self._stores.get(alias)
        return session.target.key(name, **values), session.client if name in STATE_KEYS else session.clients[-1]

    @keyword(tags=("state", "getter", "keys"))
    def find_partial_writes(self, *, alias: str = "state") -> list[str]:
        """Returns incomplete entries: records without index entries, and index entries without a record.

        Returns:
            A sentence for each; empty if everything is whole.

        Example:
        ```robotframework
        @{partial}    Find Partial Writes
        Should Be Empty    ${partial}
        ```
        """
        found = find_partial_writes(self._stores.get(alias))
        for each in found[:20]:
            logger.info(each)
        return found
