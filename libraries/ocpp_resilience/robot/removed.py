"""Keywords of earlier versions that are gone, by library, each with its successor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from robot.api import deco

from ocpp_resilience.errors import UsageError

REMOVED: Mapping[str, Mapping[str, str]] = {
    "ChargePointLibrary": {
        "All Should Be Answered": "All Calls Should Be Answered",
        "Charge Sessions Sent Again": "Charge Sessions With Repeated Messages",
        "Cut Off Charge Point": "Abort Charge Point Connection",
        "Get Made Charge Points": "Get Generated Charge Points",
        "Get Status Of A Connection": "Get Connection Status",
        "Let Charge Points Answer Sensibly": "Reset Charge Point Answers",
        "Received Frames": "Get Received Frames",
        "Send Again": "Repeat Last Call",
        "Send From All": "Send Call From All",
        "Sent Frames": "Get Sent Frames",
    },
    "CorrelationLibrary": {
        "Abandon Commands": "Disconnect Command Callers",
        "Command Traffic Should Reach Everybody": "Command Traffic Should Reach All Charge Points",
        "Noted Correlations Should Be": "Stored Correlations Should Be",
    },
    "EvidenceLibrary": {
        "Get Time To Accusation": "Get Time To Leak Verdict",
    },
    "FaultLibrary": {
        "Let No More Clients In": "Limit Redis Clients",
    },
    "LoadLibrary": {
        "Aim Load At": "Set Load Target",
        "Judge Load Ledger": "Load Ledger Should Be Clean",
        "Load Should Have Had The Machine": "Machine Should Not Have Been Busy",
    },
    "OcppServerLibrary": {
        "Get Transactions Not Kept As": "Get Transactions With Other Status",
        "Wait Until Server Is Well": "Wait Until Server Is Healthy",
    },
    "RedisQueueLibrary": {
        "Adopt Charge Points": "Add Charge Points To Test Data",
        "Get Answer Values": "Get Started Transactions",
        "Messages Go Through Gateway": "Queue Uses Gateway",
        "Skip Unless Messages Wait": "Skip Unless Queue Keeps Messages",
        "Skip Unless Queue Takes": "Skip Unless Queue Supports Format",
    },
    "RedisServiceLibrary": {
        "Skip Unless Redis Is Ours": "Skip If Redis Is External",
    },
    "StateStoreLibrary": {
        "Count Differing Fields": "Get Differing Fields",
        "Count Repeated Ids": "Get Repeated Ids",
        "Count Transactions Not": "Get Stored Transactions With Other Status",
        "Cut Stored Charge Point": "Truncate Stored Charge Point",
        "Get State Changes": "Get Key Changes",
        "Get Transactions Not Stored As": "Get Stored Transactions With Other Status",
        "Make Text": "Generate Text",
        "State Should Equal Snapshot": "Keys Should Equal Snapshot",
        "Take State Snapshot": "Take Key Snapshot",
    },
}
"""The keywords exist, so that a suite that uses one fails with the name of its successor; libdoc does not show them."""


def removed_keywords(library: str) -> object:
    """A component with the removed keywords of a library."""
    gone = REMOVED.get(library, {})
    return type("Removed", (), {f"removed_{number}": _removed(*names) for number, names in enumerate(gone.items())})()


def _removed(name: str, successor: str) -> Callable[..., Any]:
    def removed(_self: object, *_arguments: object, **_named: object) -> None:
        raise UsageError(f"`{name}` was removed; use `{successor}`.")

    removed.__doc__ = f"Removed; use `{successor}`."
    keyword: Callable[..., Any] = deco.keyword(name=name, tags=["robot:private"])(removed)
    return keyword
