"""OCPP 2.0.1 as the server knows it."""

from __future__ import annotations

from typing import Any

from server.errors import ErrorCode
from server.ocpp.frames import Codes, Dialect
from server.ocpp.v201 import charge_point, device_model, transactions  # noqa: F401 - their handlers register
from server.ocpp.v201.actions import ACTIONS
from server.ocpp.version import Command, Version

CODES = Codes(
    unreadable=ErrorCode.RPC_FRAMEWORK_ERROR,
    wrong_shape=ErrorCode.FORMAT_VIOLATION,
    missing=ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
)

_POINT = "/chargepoints/{id}"
COMMANDS = {
    "CertificateSigned": Command("POST", f"{_POINT}/certificate-signed", "Give it a signed certificate"),
    "ChangeAvailability": Command("POST", f"{_POINT}/availability", "Change its, or a connector's, availability"),
    "ClearCache": Command("POST", f"{_POINT}/clear-cache", "Clear its authorization cache"),
    "DataTransfer": Command("POST", f"{_POINT}/data-transfer", "Send it a vendor's message"),
    "GetBaseReport": Command("POST", f"{_POINT}/base-report", "Ask it for a report of its device model"),
    "GetLog": Command("POST", f"{_POINT}/log", "Ask it to upload a log"),
    "GetTransactionStatus": Command("POST", f"{_POINT}/transaction-status", "Ask it for the status of a transaction"),
    "GetVariables": Command("POST", f"{_POINT}/variables/get", "Ask it for variables"),
    "RequestStartTransaction": Command("POST", "/transactions/request-start", "Start a transaction"),
    "RequestStopTransaction": Command("POST", "/transactions/request-stop", "Stop a transaction"),
    "Reset": Command("POST", f"{_POINT}/reset", "Reset it"),
    "SetChargingProfile": Command("POST", f"{_POINT}/charging-profile", "Set a charging profile"),
    "SetVariables": Command("POST", f"{_POINT}/variables/set", "Set variables"),
    "TriggerMessage": Command("POST", f"{_POINT}/trigger", "Ask it for a message"),
    "UnlockConnector": Command("POST", f"{_POINT}/unlock", "Unlock a connector"),
}
"""The CALLs that are sent to charge points."""


def correct(action: str, schema: dict[str, Any]) -> None:
    """Add the smallest numbers that the specification gives in prose."""
    properties = schema.get("properties", {})
    if action in {"StatusNotification", "MeterValues"}:
        for name in ("evseId", "connectorId"):
            if name in properties:
                properties[name]["minimum"] = 0
    if action == "TransactionEvent":
        properties["seqNo"]["minimum"] = 0
        evse = schema["definitions"]["EVSEType"]["properties"]
        evse["id"]["minimum"] = evse["connectorId"]["minimum"] = 0
        transaction = schema["definitions"]["TransactionType"]["properties"]
        transaction["transactionId"]["minLength"] = 1


V201 = Version(
    dialect=Dialect(protocol="ocpp2.0.1", codes=CODES, answers_unreadable=True),
    name="OCPP 2.0.1",
    schemas="v201",
    actions=ACTIONS,
    commands=COMMANDS,
    correct=correct,
)
