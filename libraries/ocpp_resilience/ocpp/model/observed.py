"""The stored state of one charge point, in the names of `STATE_FIELDS` of the profile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Record = Mapping[str, Any]


class VariableName(NamedTuple):
    """The identity of an attribute of a variable of the device model; a missing part is empty."""

    component: str
    component_instance: str
    evse: str
    connector: str
    variable: str
    variable_instance: str
    attribute: str

    def __str__(self) -> str:
        component = f"{self.component}{f'[{self.component_instance}]' if self.component_instance else ''}"
        place = ":".join(each for each in (self.evse, self.connector) if each)
        variable = f"{self.variable}{f'[{self.variable_instance}]' if self.variable_instance else ''}"
        return f"{component}{f'@{place}' if place else ''}.{variable} ({self.attribute})"


@dataclass(slots=True, kw_only=True)
class Observed:
    """The values that were read; `None` for state that cannot be read.

    Attributes:
        fields: by kind of record (`charge_point`, `connector`, `transaction`) the fields that the system keeps; a kind
            that is not in it was not read.
        point: the record of the charge point, `None` if there is none.
        connectors: the records that there are, by number, or by `EVSE:connector` in OCPP 2.0.1 and 2.1.
        transactions: the records that there are, by id.
        listed: the index of transactions: id to score.
        active: the index of active transactions.
        connectors_listed: the index of connectors.
        known: whether the charge point is in the index of charge points.
        variables: the attributes of the device model (OCPP 2.0.1 and 2.1) that there are.
    """

    fields: Mapping[str, Collection[str]] = field(default_factory=dict)
    point: Record | None = None
    connectors: Mapping[int | str, Record] = field(default_factory=dict)
    transactions: Mapping[int | str, Record] = field(default_factory=dict)
    listed: Mapping[int | str, float] | None = None
    active: Collection[int | str] | None = None
    connectors_listed: Collection[int | str] | None = None
    known: bool | None = None
    variables: Mapping[VariableName, Record] | None = None
