"""The stored state of one charge point, in the names of `STATE_FIELDS` of the profile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Observed:
    """The values that were read; `None` for state that cannot be read.

    Attributes:
        fields: by kind of record (`charge_point`, `connector`, `transaction`) the fields that the system keeps; a kind
            that is not in it was not read.
        point: the record of the charge point, `None` where there is none.
        connectors: the records that there are, by number.
        transactions: the records that there are, by id.
        listed: the index of transactions: id to score.
        active: the index of active transactions.
        connectors_listed: the index of connectors.
        known: whether the charge point is in the index of charge points.
    """

    fields: Mapping[str, Collection[str]] = field(default_factory=dict)
    point: Record | None = None
    connectors: Mapping[int, Record] = field(default_factory=dict)
    transactions: Mapping[int, Record] = field(default_factory=dict)
    listed: Mapping[int, float] | None = None
    active: Collection[int] | None = None
    connectors_listed: Collection[int] | None = None
    known: bool | None = None
