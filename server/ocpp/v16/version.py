"""OCPP 1.6 as the server knows it."""

from __future__ import annotations

from typing import Any

from server.errors import ErrorCode
from server.ocpp.frames import Codes, Dialect
from server.ocpp.v16 import charge_point, security, transactions  # noqa: F401 - their handlers register
from server.ocpp.v16.actions import ACTIONS
from server.ocpp.version import Command, Version

COMMANDS = {
    "ChangeAvailability": Command(
        "POST", "/chargepoints/{id}/availability", "Change its, or a connector's, availability"
    ),
    "ChangeConfiguration": Command(
        "PUT", "/chargepoints/{id}/configuration/live", "Change one key of its configuration"
    ),
    "ClearCache": Command("POST", "/chargepoints/{id}/clear-cache", "Clear its authorization cache"),
    "GetConfiguration": Command("GET", "/chargepoints/{id}/configuration/live", "Ask it for its configuration"),
    "RemoteStartTransaction": Command("POST", "/transactions/remote-start", "Start a transaction"),
    "RemoteStopTransaction": Command("POST", "/transactions/remote-stop", "Stop a transaction"),
    "Reset": Command("POST", "/chargepoints/{id}/reset", "Reset it"),
    "TriggerMessage": Command("POST", "/chargepoints/{id}/trigger", "Ask it for a message"),
    "UnlockConnector": Command("POST", "/chargepoints/{id}/unlock", "Unlock a connector"),
}
"""The CALLs that are sent to charge points (section 5)."""

_FROM_CONNECTOR_1 = frozenset({"StartTransaction", "RemoteStartTransaction", "TriggerMessage", "UnlockConnector"})
"""Requests in which connector 0, the charge point itself, is not allowed (sections 6.45, 6.33, 6.51 and 6.53)."""


def _correct(action: str, schema: dict[str, Any]) -> None:
    """Add the smallest connector id, and the unit that StopTransaction lacks."""
    properties = schema.get("properties", {})
    if "connectorId" in properties:
        # Connector 0 is the charge point itself (section 3.8).
        properties["connectorId"]["minimum"] = 1 if action in _FROM_CONNECTOR_1 else 0
    if action == "StopTransaction":
        # MeterValues has it since the errata; the two have the same sampled values (sections 7.43 and 7.45).
        samples = properties["transactionData"]["items"]["properties"]["sampledValue"]["items"]
        if "Hertz" not in samples["properties"]["unit"]["enum"]:
            samples["properties"]["unit"]["enum"].append("Hertz")


V16 = Version(
    dialect=Dialect(
        protocol="ocpp1.6",
        codes=Codes(
            unreadable=ErrorCode.FORMATION_VIOLATION,
            wrong_shape=ErrorCode.FORMATION_VIOLATION,
            missing=ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION,
        ),
    ),
    name="OCPP 1.6",
    schemas="v16",
    actions=ACTIONS,
    commands=COMMANDS,
    correct=_correct,
)
