"""The model of stored configuration: the allowed values of a charge point's keys after requests to store them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ocpp_resilience.ocpp.model.exchange import Outcome


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A configuration key with its value.

    Attributes:
        value: as text.
        readonly: whether the charge point refuses to change it.
    """

    value: str | None
    readonly: bool

    def __str__(self) -> str:
        return f"{self.value!r}{' (read-only)' if self.readonly else ''}"


class ConfigurationModel:
    """The keys that were stored, by charge point. After a request of unknown outcome a key is as before, or stored."""

    def __init__(self) -> None:
        self._allowed: defaultdict[str, dict[str, list[StoredKey | None]]] = defaultdict(dict)

    def __contains__(self, charge_point: str) -> bool:
        return charge_point in self._allowed

    def stored(self, charge_point: str, key: str, value: StoredKey, outcome: Outcome) -> None:
        """Take in a request to store one key.

        Args:
            charge_point: whose key.
            key: its name.
            value: what was to be stored.
            outcome: `REFUSED` for one that must have changed nothing.
        """
        before = self._allowed[charge_point].get(key, [None])
        after: Mapping[Outcome, list[StoredKey | None]] = {
            Outcome.ANSWERED: [value],
            Outcome.REFUSED: before,
            Outcome.UNKNOWN: [*before, value],
        }
        self._allowed[charge_point][key] = after[outcome]

    def forget(self) -> None:
        """Start from scratch."""
        self._allowed.clear()

    def problems(self, charge_point: str, kept: Mapping[str, Any]) -> list[str]:
        """The keys whose stored values are wrong.

        Args:
            charge_point: the charge point.
            kept: key to an object with `value` and `readonly`.
        """
        allowed = self._allowed.get(charge_point, {})
        found = []
        for key in sorted({*allowed, *kept}):
            record = kept.get(key)
            seen = _seen(record) if record is not None else None
            choices = allowed.get(key, [None])
            if seen not in choices:
                wanted = " or ".join("nothing" if each is None else str(each) for each in choices)
                found.append(f"{charge_point}: configuration key {key} is {seen or 'nothing'}, expected {wanted}")
        return found


def _seen(record: Any) -> StoredKey | str:
    if not isinstance(record, dict):
        return f"no object: {record!r}"
    return StoredKey(record.get("value"), bool(record.get("readonly", False)))
