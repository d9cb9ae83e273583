"""Keywords of earlier versions that are gone, by library, each with its successor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from robot.api import deco

from ocpp_resilience.errors import UsageError

REMOVED: Mapping[str, Mapping[str, str]] = {
    "RedisQueueLibrary": {"Get Answer Values": "Get Started Transactions"},
    "StateStoreLibrary": {
        "Count Differing Fields": "Get Differing Fields",
        "Count Repeated Ids": "Get Repeated Ids",
        "Count Transactions Not": "Get Transactions Not Stored As",
        "Take State Snapshot": "Take Key Snapshot",
        "Get State Changes": "Get Key Changes",
        "State Should Equal Snapshot": "Keys Should Equal Snapshot",
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
