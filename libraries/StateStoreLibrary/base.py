"""Shared parts of the components."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ocpp_resilience.errors import UsageError
from ocpp_resilience.robot.library import Component
from ocpp_resilience.robot.registry import Registry
from server.store.models import ChargePoint, Connector, Transaction
from StateStoreLibrary.session import StateSession

FieldValue = str | int | bool | None
"""A field as a keyword gets it; text is converted to the field's type."""

R = TypeVar("R", ChargePoint, Connector, Transaction)


class StateComponent(Component):
    """A topic's keywords on the open stores."""

    def __init__(self, stores: Registry[StateSession]) -> None:
        self._stores = stores


def record_of(kind: type[R], fields: dict[str, Any]) -> R:
    """A record with these fields.

    Raises:
        UsageError: a field is unknown, missing or of the wrong type.
    """
    known = kind.__struct_fields__
    if unknown := sorted(fields.keys() - set(known)):
        raise UsageError(f"A {kind.__name__} has no field '{unknown[0]}' (allowed: {', '.join(known)}).")
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"A {kind.__name__} cannot be made of {fields}: {error}") from None


def with_changes(record: R, fields: dict[str, Any]) -> R:
    """The record with other values in some fields; raises as `record_of`."""
    return record_of(type(record), {**fields_given(record), **fields})


def fields_given(record: msgspec.Struct) -> dict[str, Any]:
    """The fields of a record by name, without those that it does not have."""
    return {name: value for name, value in msgspec.structs.asdict(record).items() if value is not msgspec.UNSET}
