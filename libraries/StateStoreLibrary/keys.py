"""Keywords that look at the keys themselves."""

from __future__ import annotations

from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed
from ocpp_resilience.redis.snapshot import KeySnapshot
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.state.keys import KeyReport, check_keys
from StateStoreLibrary.base import StateComponent
from StateStoreLibrary.integrity import find_partial_writes


class KeyKeywords(StateComponent):
    """Documented keys, partial writes. They walk over the key space: checks of the tests themselves."""

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
            raise ExpectationFailed(f"Keys are not as documented: {report}.")

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
