"""The state that a charging back end keeps: records of charge points, connectors, transactions and configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocpp_resilience.robot.library import KeywordLibrary
from ocpp_resilience.robot.registry import Registry

try:
    from StateStoreLibrary.charge_points import ChargePoints
    from StateStoreLibrary.comparison import Comparison
    from StateStoreLibrary.concurrency import Concurrency
    from StateStoreLibrary.configuration import Configuration
    from StateStoreLibrary.connection import Connection
    from StateStoreLibrary.errors import Errors
    from StateStoreLibrary.keys import KeyKeywords
    from StateStoreLibrary.session import StateSession
    from StateStoreLibrary.side_by_side import SideBySide
    from StateStoreLibrary.transactions import Transactions
except ModuleNotFoundError as error:
    if error.name != "structlog":
        raise
    raise ImportError(
        "StateStoreLibrary needs the reference server: pip install 'robotframework-ocpp-resilience[server]'."
    ) from None

__all__ = ["StateStoreLibrary"]


if TYPE_CHECKING:

    class _Keywords(
        KeywordLibrary,
        ChargePoints,
        Comparison,
        Concurrency,
        Configuration,
        Connection,
        Errors,
        KeyKeywords,
        SideBySide,
        Transactions,
    ):
        """Attributes for editors and type checkers; the keywords are found at run time in the components."""

else:
    _Keywords = KeywordLibrary


class StateStoreLibrary(_Keywords):
    """Reads and writes the state of a back end as its own programs do, and inspects its keys in Redis.

    `Open State Store` connects to the Redis of a system under test; key names come from its target profile. Several
    stores have an `alias` each; the keywords use `state` by default. Records with fields are written and read, and
    compared field by field by `Records Should Be Equal`.

    A failure of the store begins with the name of its error: `StateNotFound: read ocpp:chargepoint:CP-1: there is no
    such record`. `State Error Should Be Raised` checks the kind.

    When the suite ends that opened a store, the charge points that were written through it are removed, with all that
    they have.

    ```robotframework
    *** Settings ***
    Library         RedisServiceLibrary
    Library         StateStoreLibrary
    Suite Setup     Open A Store

    *** Test Cases ***
    What Is Read Is What Was Written
        ${saved}    Save Charge Point    CP-1    vendor=V    model=M
        ${read}    Get Charge Point    CP-1
        Records Should Be Equal    ${read}    ${saved}

    *** Keywords ***
    Open A Store
        ${redis}    Start Redis
        Open State Store    ${redis}
    ```
    """

    def __init__(self) -> None:
        stores: Registry[StateSession] = Registry(
            "state store", starter="Open State Store", close=lambda session: session.close()
        )
        super().__init__(
            [
                Connection(stores),
                ChargePoints(stores),
                Transactions(stores),
                Configuration(stores),
                Comparison(stores),
                Concurrency(stores),
                SideBySide(stores),
                KeyKeywords(stores),
                Errors(stores),
            ]
        )
