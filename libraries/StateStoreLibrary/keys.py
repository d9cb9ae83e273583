"""Keywords that look at the keys themselves."""

from __future__ import annotations

from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.redis.snapshot import KeyDifference, KeySnapshot, compare, take_snapshot
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.state.keys import KeyReport, check_keys
from ocpp_resilience.transport.queue_keys import SYSTEM_KEYS
from ocpp_resilience.waiting import wait_until
from StateStoreLibrary.base import StateComponent
from StateStoreLibrary.integrity import find_partial_writes
from StateStoreLibrary.session import StateSession

LIVELY = (*SYSTEM_KEYS, "session", "requests", "shard")
"""Keys that a running system writes for itself: signs of life and counters."""


def changes_since(session: StateSession, before: KeySnapshot) -> KeyDifference:
    """The differences; keys that a running system writes for itself do not count."""
    target = session.target
    ignore = [target.key_glob(name) for name in LIVELY if getattr(target.redis.keys, name) is not None]
    return compare(before, take_snapshot(session.clients, values=bool(before.values)), ignore=ignore)


class KeyKeywords(StateComponent):
    """Snapshots, documented keys, partial writes. They walk over the key space: checks of the tests themselves."""

    @keyword(tags=("state", "getter", "keys"))
    def take_state_snapshot(self, *, values: bool = True, alias: str = "state") -> KeySnapshot:
        """Returns the names, types and values of all keys, to be compared with later.

        Args:
            values: whether to remember the values too, so that a changed one is noticed.
            alias: which store.

        Example:
        ```robotframework
        ${before}    Take State Snapshot
        ```
        """
        snapshot = take_snapshot(self._stores.get(alias).clients, values=values)
        logger.info(f"{snapshot.count} keys.")
        return snapshot

    @keyword(tags=("state", "getter", "keys"))
    def get_state_changes(self, snapshot: KeySnapshot, *, alias: str = "state") -> KeyDifference:
        """Returns how the keys have changed since a snapshot.

        Keys that a running system keeps for itself, such as its counters, never count.

        Args:
            snapshot: the result of `Take State Snapshot`.
            alias: which store.

        Returns:
            `added`, `removed` and `changed`, each a list of keys.

        Example:
        ```robotframework
        ${before}    Take State Snapshot
        Save Charge Point    CP-1
        ${changes}    Get State Changes    ${before}
        Length Should Be    ${changes.added}    2
        ```
        """
        difference = changes_since(self._stores.get(alias), snapshot)
        logger.info(f"{difference}.")
        return difference

    @keyword(tags=("state", "assertion", "keys"))
    def state_should_equal_snapshot(
        self, snapshot: KeySnapshot, *, timeout: timedelta = timedelta(0), alias: str = "state"
    ) -> None:
        """Fails when a key was added, removed or changed since a snapshot.

        Args:
            snapshot: the result of `Take State Snapshot`.
            timeout: how long keys with a lifetime may take to vanish.
            alias: which store.

        Raises:
            WaitTimeout: they differ; names the keys.

        Example:
        ```robotframework
        ${before}    Take State Snapshot
        Save Charge Point    CP-1
        Delete Charge Point    CP-1
        State Should Equal Snapshot    ${before}
        ```
        """
        session = self._stores.get(alias)
        wait_until(
            lambda: None if changes_since(session, snapshot) else True,
            timeout=timeout,
            failure=lambda: f"The state should be as in the snapshot, but there is: {changes_since(session, snapshot)}",
        )

    @keyword(tags=("state", "getter", "keys"))
    def get_key_report(self, *, foreign: KeySnapshot | None = None, alias: str = "state") -> KeyReport:
        """Returns which keys are not documented, or have another type or lifetime than documented.

        Args:
            foreign: the keys that were there before the system was started; they are not held against it.
            alias: which store.

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
            alias: which store.

        Raises:
            ExpectationFailed: it does; names the keys.

        Example:
        ```robotframework
        Keys Should Have Documented Types And Lifetimes
        ```
        """
        report = self.get_key_report(foreign=foreign, alias=alias)
        if report.problems:
            raise ExpectationFailed(f"Some keys are not as documented, of {report}.")

    @keyword(tags=("state", "getter", "keys"))
    def find_partial_writes(self, *, alias: str = "state") -> list[str]:
        """Returns incomplete entries: records without index entries, and index entries without a record.

        Args:
            alias: which store.

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
