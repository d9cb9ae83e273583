"""The device model as a charge point reports it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from server.ocpp.frames import Call
from server.ocpp.v201.actions import ACTIONS
from server.ocpp.version import Outcome
from server.store.models import Variable
from server.store.view import Operation, StateView

FIELDS_AT_ONCE = 500
"""Fields that one Redis command writes; a script may give a command some thousands of arguments."""

_encode = msgspec.json.Encoder().encode


@ACTIONS.handles("NotifyReport")
def notify_report(call: Call, view: StateView) -> Outcome:
    """Use case B07. Each attribute is a field of the charge point's hash of variables."""
    values: list[str] = []
    for report in call.payload.get("reportData", ()):
        for attribute in report["variableAttribute"]:
            value = Variable(value=attribute.get("value"), mutability=attribute.get("mutability", "ReadWrite"))
            values += [field(report["component"], report["variable"], attribute), _encode(value).decode()]
    key = view.keys.variables(call.charge_point_id)
    starts = range(0, len(values), 2 * FIELDS_AT_ONCE)
    writes: list[Operation] = [["HSET", key, *values[start : start + 2 * FIELDS_AT_ONCE]] for start in starts]
    return Outcome({}, operations=writes)


def field(component: dict[str, Any], variable: dict[str, Any], attribute: dict[str, Any]) -> str:
    """The name of an attribute: component, instance, EVSE, connector, variable, instance, attribute type.

    The parts are percent-encoded and joined by `/`; one that is not given is empty.
    """
    evse = component.get("evse", {})
    parts = (
        component["name"],
        component.get("instance", ""),
        evse.get("id", ""),
        evse.get("connectorId", ""),
        variable["name"],
        variable.get("instance", ""),
        attribute.get("type", "Actual"),
    )
    return "/".join(quote(str(part), safe=" ") for part in parts)
