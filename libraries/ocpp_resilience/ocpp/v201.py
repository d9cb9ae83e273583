"""OCPP 2.0.1. Use cases are those of part 2 of its specification; OCPP 2.1 is built on this module."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.ocpp.version import (
    Call,
    Command,
    ErrorCodes,
    OfficialSchemas,
    Payload,
    Question,
    Setting,
    Settings,
    TransactionId,
    Version,
)

ID_TOKEN = "TEST-TAG"  # noqa: S105 - who charges, no password
CONNECTED = frozenset({"Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing"})
"""Statuses of a connector in OCPP 1.6 that are `Occupied` in 2.0.1; its charging states are the transaction's."""


def id_token(id_tag: str) -> Payload:
    """The driver, as an idToken."""
    return {"idToken": id_tag, "type": "ISO14443"}


def evse_of(connector: int) -> Payload:
    """The EVSE that takes the place of connector `connector` of OCPP 1.6: each EVSE has one connector."""
    return {"id": connector, "connectorId": 1}


def meter_value(meter: float, at: str, context: str | None = None) -> Payload:
    """A reading of the energy register."""
    sample: Payload = {"value": meter, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": {"unit": "Wh"}}
    if context is not None:
        sample["context"] = context
    return {"timestamp": at, "sampledValue": [sample]}


class Transaction:
    """TransactionEvents (use cases E01 to E15): the charge point chooses the id, and counts the events from 0.

    Attributes:
        id: the transaction's id.
        seq_no: the number of the next event.
        offline: whether the charge point has no connection: what happens now is sent later (use case E04).
    """

    def __init__(self, *, connector: int, id_tag: str, id: TransactionId | None = None) -> None:  # noqa: A002
        self._connector = connector
        self._id_tag = id_tag
        self.id: TransactionId | None = secrets.token_hex(12) if id is None else id
        self.seq_no = 0
        self.offline = False

    def event(self, kind: str, trigger: str, at: str, **fields: Any) -> Call:
        """The next event.

        Args:
            kind: `Started`, `Updated` or `Ended`.
            trigger: the trigger reason.
            at: when it happened, RFC 3339.
            fields: further fields of the payload; those of `transactionInfo` are added to the id.
        """
        info = {"transactionId": self.id, **fields.pop("transactionInfo", {})}
        payload: Payload = {
            "eventType": kind,
            "timestamp": at,
            "triggerReason": trigger,
            "seqNo": self.seq_no,
            "transactionInfo": info,
            **fields,
        }
        if self.offline:
            payload["offline"] = True
        self.seq_no += 1
        return Call("TransactionEvent", payload)

    def start(self, meter: int, at: str) -> Call:
        """Begins it (use cases E01 and E02)."""
        return self.event(
            "Started",
            "Authorized",
            at,
            transactionInfo={"chargingState": "Charging"},
            evse=evse_of(self._connector),
            idToken=id_token(self._id_tag),
            meterValue=[meter_value(meter, at, "Transaction.Begin")],
        )

    def started(self, answer: Mapping[str, Any]) -> bool:  # noqa: ARG002 - the id is the charge point's choice
        """Whether the transaction has an id: always."""
        return self.id is not None

    def meter_values(self, meter: int, at: str) -> Call:
        """Reports the energy register (use case J02)."""
        return self.event("Updated", "MeterValuePeriodic", at, meterValue=[meter_value(meter, at)])

    def stop(self, meter: int, at: str) -> Call:
        """Ends it (use case E06)."""
        return self.event(
            "Ended",
            "StopAuthorized",
            at,
            transactionInfo={"stoppedReason": "Local"},
            idToken=id_token(self._id_tag),
            meterValue=[meter_value(meter, at, "Transaction.End")],
        )


class Phrases:
    """Messages of charge points in all versions."""

    @staticmethod
    def boot(vendor: str, model: str) -> Call:
        """BootNotification (use case B01)."""
        station = {"vendorName": vendor, "model": model}
        return Call("BootNotification", {"reason": "PowerUp", "chargingStation": station})

    @staticmethod
    def status(connector: int, status: str, error_code: str = "NoError") -> Call:
        """StatusNotification (use case G01); it has no error code and fewer states than 1.6."""
        told = "Faulted" if error_code != "NoError" else "Occupied" if status in CONNECTED else status
        place = {"evseId": connector, "connectorId": 1 if connector else 0}
        return Call("StatusNotification", {"timestamp": rfc3339(), "connectorStatus": told, **place})

    @staticmethod
    def authorize(id_tag: str) -> Call:
        """Authorize (use case C01)."""
        return Call("Authorize", {"idToken": id_token(id_tag)})

    @staticmethod
    def meter_values(connector: int, meter: int, at: str) -> Call:
        """MeterValues (use case J01)."""
        return Call("MeterValues", {"evseId": connector, "meterValue": [meter_value(meter, at)]})

    @staticmethod
    def verdict(answer: Mapping[str, Any]) -> str | None:
        """The status in `idTokenInfo`."""
        info = answer.get("idTokenInfo")
        return info.get("status") if isinstance(info, dict) else None

    @staticmethod
    def transaction_id(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> TransactionId | None:  # noqa: ARG004
        """The id that the charge point chose."""
        info = payload.get("transactionInfo")
        return info.get("transactionId") if isinstance(info, dict) else None


_VARIABLE: Payload = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}
_SCHEDULE: Payload = {
    "id": 1,
    "chargingRateUnit": "A",
    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16}],
}
_PROFILE: Payload = {
    "id": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": [_SCHEDULE],
}
CERTIFICATE: Payload = {
    "hashAlgorithm": "SHA256",
    "issuerNameHash": "0" * 64,
    "issuerKeyHash": "1" * 64,
    "serialNumber": "17",
}


def _report(now: str) -> Payload:
    report = {**_VARIABLE, "variableAttribute": [{"value": "300", "mutability": "ReadWrite"}]}
    return {"requestId": 1, "generatedAt": now, "seqNo": 0, "reportData": [report]}


def _event(now: str) -> Payload:
    event = {
        **_VARIABLE,
        "eventId": 1,
        "timestamp": now,
        "trigger": "Alerting",
        "actualValue": "300",
        "eventNotificationType": "CustomMonitor",
    }
    return {"generatedAt": now, "seqNo": 0, "eventData": [event]}


CORE: dict[str, Callable[[str], Payload]] = {
    "Authorize": lambda _: Phrases.authorize(ID_TOKEN).payload,
    "BootNotification": lambda _: Phrases.boot("Acceptance", "Test").payload,
    "DataTransfer": lambda _: {"vendorId": "org.example.acceptance"},
    "FirmwareStatusNotification": lambda _: {"status": "Idle"},
    "Heartbeat": lambda _: {},
    "LogStatusNotification": lambda _: {"status": "Idle"},
    "MeterValues": lambda now: Phrases.meter_values(1, 1500, now).payload,
    "NotifyEvent": _event,
    "NotifyReport": _report,
    "SecurityEventNotification": lambda now: {"type": "SettingSystemTime", "timestamp": now},
    "StatusNotification": lambda _: Phrases.status(1, "Available").payload,
    "TransactionEvent": lambda now: Transaction(connector=1, id_tag=ID_TOKEN).start(1000, now).payload,
}
FURTHER: dict[str, Callable[[str], Payload]] = {
    "ClearedChargingLimit": lambda _: {"chargingLimitSource": "EMS"},
    "Get15118EVCertificate": lambda _: {
        "iso15118SchemaVersion": "urn:iso:15118:2:2013:MsgDef",
        "action": "Install",
        "exiRequest": "AAAA",
    },
    "GetCertificateStatus": lambda _: {
        "ocspRequestData": CERTIFICATE | {"responderURL": "http://127.0.0.1/ocsp"},
    },
    "NotifyChargingLimit": lambda _: {"chargingLimit": {"chargingLimitSource": "EMS"}},
    "NotifyCustomerInformation": lambda now: {"data": "", "seqNo": 0, "generatedAt": now, "requestId": 1},
    "NotifyDisplayMessages": lambda _: {"requestId": 1},
    "NotifyEVChargingNeeds": lambda _: {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "DC"}},
    "NotifyEVChargingSchedule": lambda now: {
        "timeBase": now,
        "evseId": 1,
        "chargingSchedule": copy.deepcopy(_SCHEDULE),
    },
    "NotifyMonitoringReport": lambda now: {"requestId": 1, "generatedAt": now, "seqNo": 0},
    "PublishFirmwareStatusNotification": lambda _: {"status": "Idle"},
    "ReportChargingProfiles": lambda _: {
        "requestId": 1,
        "chargingLimitSource": "CSO",
        "evseId": 1,
        "chargingProfile": [copy.deepcopy(_PROFILE)],
    },
    "ReservationStatusUpdate": lambda _: {"reservationId": 1, "reservationUpdateStatus": "Expired"},
    "SignCertificate": lambda _: {"csr": "-----BEGIN CERTIFICATE REQUEST-----"},
}
SAMPLES = {**CORE, **FURTHER}


def settings() -> Settings:
    """The variables that a charge point starts with, as `component/variable`."""
    return {
        "AuthCtrlr/AuthorizeRemoteStart": Setting("false"),
        "ChargingStation/Available": Setting("true", readonly=True),
        "OCPPCommCtrlr/HeartbeatInterval": Setting("300"),
        "OCPPCommCtrlr/WebSocketPingInterval": Setting("0"),
        "SampledDataCtrlr/TxUpdatedInterval": Setting("60"),
        "SampledDataCtrlr/TxUpdatedMeasurands": Setting("Energy.Active.Import.Register"),
        "TxCtrlr/EVConnectionTimeOut": Setting("60"),
    }


def asked_variables(fields: Mapping[str, Any], name: str = "getVariableData") -> list[Payload]:
    """The variables of a GetVariables or SetVariables; invalid ones are left out."""
    asked = fields.get(name)
    return [
        each
        for each in (asked if isinstance(asked, list) else [])
        if isinstance(each, dict) and isinstance(each.get("component"), dict) and isinstance(each.get("variable"), dict)
    ]


def variable_name(asked: Mapping[str, Any]) -> str:
    """`component/variable` of a variable."""
    return f"{asked['component'].get('name')}/{asked['variable'].get('name')}"


def _result(asked: Mapping[str, Any], status: str, **more: Any) -> Payload:
    return {"attributeStatus": status, "component": asked["component"], "variable": asked["variable"], **more}


def _get_variables(fields: Mapping[str, Any], settings: Settings) -> Payload:
    found = []
    for asked in asked_variables(fields):
        setting = settings.get(variable_name(asked))
        if setting is None:
            component = any(name.startswith(f"{asked['component'].get('name')}/") for name in settings)
            found.append(_result(asked, "UnknownVariable" if component else "UnknownComponent"))
        else:
            found.append(_result(asked, "Accepted", attributeValue=setting.value))
    return {"getVariableResult": found}


def _asked_names(fields: Mapping[str, Any]) -> list[str]:
    names = (asked["variable"].get("name") for asked in asked_variables(fields))
    return [name for name in names if isinstance(name, str)]


def _echo_variables(fields: Mapping[str, Any], value: str) -> Payload:
    known: Payload = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "MessageId"}}
    unknown = [_result(asked, "UnknownVariable") for asked in asked_variables(fields)]
    return {"getVariableResult": [*unknown, _result(known, "Accepted", attributeValue=value)]}


def _set_variables(fields: Mapping[str, Any], settings: Settings) -> Payload:
    done = []
    for asked in asked_variables(fields, "setVariableData"):
        setting = settings.get(variable_name(asked))
        if setting is None:
            done.append(_result(asked, "UnknownVariable"))
        elif setting.readonly:
            done.append(_result(asked, "Rejected"))
        else:
            setting.value = str(asked.get("attributeValue"))
            done.append(_result(asked, "Accepted"))
    return {"setVariableResult": done}


def _refuse_variables(asked: str, told: str) -> Callable[[Mapping[str, Any]], Payload]:
    return lambda fields: {told: [_result(each, "Rejected") for each in asked_variables(fields, asked)]}


def command(rejected: str | None = "Rejected", accepted: str = "Accepted", **fields: Any) -> Command:
    """A command with a status as answer."""
    refusal = None if rejected is None else {"status": rejected}
    return Command(fields=fields, accepted={"status": accepted}, rejected=refusal)


def _trigger(samples: Mapping[str, Callable[[str], Payload]]) -> Callable[[Mapping[str, Any]], Call | None]:
    """The messages that a TriggerMessage can ask for (use case F06)."""

    def then(fields: Mapping[str, Any]) -> Call | None:
        action = str(fields.get("requestedMessage"))
        if action not in samples:
            return None
        payload, evse = samples[action](rfc3339()), fields.get("evse")
        if isinstance(evse, dict) and isinstance(number := evse.get("id"), int):
            if action == "TransactionEvent":
                payload["evse"] = evse_of(number)
            elif "evseId" in payload:
                payload["evseId"] = number
        return Call(action, payload)

    return then


def _start_requested(fields: Mapping[str, Any]) -> Call:
    """The transaction of a RequestStartTransaction (use case F01)."""
    transaction = Transaction(connector=int(fields.get("evseId") or 1), id_tag=ID_TOKEN)
    start = transaction.start(1000, rfc3339())
    start.payload["triggerReason"] = "RemoteStart"
    start.payload["transactionInfo"]["remoteStartId"] = fields.get("remoteStartId")
    start.payload["idToken"] = fields.get("idToken", id_token(ID_TOKEN))
    return start


def _stop_requested(fields: Mapping[str, Any]) -> Call:
    """The end of the transaction of a RequestStopTransaction (use case F03)."""
    transaction = Transaction(connector=1, id_tag=ID_TOKEN, id=fields.get("transactionId"))
    transaction.seq_no = 1
    stop = transaction.stop(2000, rfc3339())
    stop.payload["triggerReason"] = "RemoteStop"
    stop.payload["transactionInfo"]["stoppedReason"] = "Remote"
    return stop


def _reported(fields: Mapping[str, Any]) -> Call:
    """The report that a GetBaseReport asks for (use case B07)."""
    return Call("NotifyReport", _report(rfc3339()) | {"requestId": fields.get("requestId", 1)})


def _monitors_cleared(fields: Mapping[str, Any], _settings: Settings) -> Payload:
    ids = fields.get("id")
    numbers = [each for each in ids if isinstance(each, int)] if isinstance(ids, list) else []
    return {"clearMonitoringResult": [{"id": each, "status": "Accepted"} for each in numbers]}


def _monitors_set(fields: Mapping[str, Any], _settings: Settings) -> Payload:
    return {
        "setMonitoringResult": [
            {"status": "Accepted", "component": each["component"], "variable": each["variable"]}
            | {name: each.get(name) for name in ("type", "severity")}
            for each in asked_variables(fields, "setMonitoringData")
        ]
    }


def commands(samples: Mapping[str, Callable[[str], Payload]]) -> dict[str, Command]:
    """The commands of OCPP 2.0.1, to a charge point with these messages."""
    message = {"format": "UTF8", "content": "Welcome"}
    connection = {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": "ws://127.0.0.1/",
        "messageTimeout": 30,
        "securityProfile": 1,
        "ocppInterface": "Wired0",
    }
    return {
        "CancelReservation": command(reservationId=1),
        "CertificateSigned": command(certificateChain="-----BEGIN CERTIFICATE-----"),
        "ChangeAvailability": command(operationalStatus="Inoperative"),
        "ClearCache": command(),
        "ClearChargingProfile": command("Unknown"),
        "ClearDisplayMessage": command("Unknown", id=1),
        "ClearVariableMonitoring": Command(fields={"id": [1]}, respond=_monitors_cleared),
        "CostUpdated": Command(fields={"totalCost": 1.5, "transactionId": "1"}),
        "CustomerInformation": command(requestId=1, report=True, clear=False),
        "DataTransfer": command(vendorId="org.example.acceptance"),
        "DeleteCertificate": command("Failed", certificateHashData=CERTIFICATE),
        "GetBaseReport": Command(
            fields={"requestId": 1, "reportBase": "SummaryInventory"},
            accepted={"status": "Accepted"},
            rejected={"status": "Rejected"},
            then=_reported,
        ),
        "GetChargingProfiles": command("NoProfiles", requestId=1, chargingProfile={}),
        "GetCompositeSchedule": command(duration=60, evseId=1),
        "GetDisplayMessages": command("Unknown", requestId=1),
        "GetInstalledCertificateIds": command("NotFound"),
        "GetLocalListVersion": Command(accepted={"versionNumber": 0}),
        "GetLog": command(logType="DiagnosticsLog", requestId=1, log={"remoteLocation": "ftp://127.0.0.1/"}),
        "GetMonitoringReport": command(requestId=1),
        "GetReport": command(requestId=1),
        "GetTransactionStatus": Command(accepted={"messagesInQueue": False}),
        "GetVariables": Command(
            fields={"getVariableData": [_VARIABLE]},
            respond=_get_variables,
            refuse=_refuse_variables("getVariableData", "getVariableResult"),
        ),
        "InstallCertificate": command(certificateType="CSMSRootCertificate", certificate="-----BEGIN CERTIFICATE-----"),
        "PublishFirmware": command(location="ftp://127.0.0.1/", checksum="0" * 32, requestId=1),
        "RequestStartTransaction": Command(
            fields={"remoteStartId": 1, "idToken": id_token("TAG-1")},
            accepted={"status": "Accepted"},
            rejected={"status": "Rejected"},
            then=_start_requested,
        ),
        "RequestStopTransaction": Command(
            fields={"transactionId": "1"},
            accepted={"status": "Accepted"},
            rejected={"status": "Rejected"},
            then=_stop_requested,
        ),
        "ReserveNow": command(id=1, expiryDateTime="2099-01-01T00:00:00Z", idToken=id_token("TAG-1")),
        "Reset": Command(
            fields={"type": "OnIdle"},
            accepted={"status": "Accepted"},
            rejected={"status": "Rejected"},
            restarts=True,
        ),
        "SendLocalList": command("Failed", versionNumber=1, updateType="Full"),
        "SetChargingProfile": command(evseId=1, chargingProfile=_PROFILE),
        "SetDisplayMessage": command(message={"id": 1, "priority": "NormalCycle", "message": message}),
        "SetMonitoringBase": command(monitoringBase="All"),
        "SetMonitoringLevel": command(severity=5),
        "SetNetworkProfile": command(configurationSlot=1, connectionData=connection),
        "SetVariableMonitoring": Command(
            fields={"setMonitoringData": [_VARIABLE | {"value": 1, "type": "Delta", "severity": 5}]},
            respond=_monitors_set,
        ),
        "SetVariables": Command(
            fields={"setVariableData": [_VARIABLE | {"attributeValue": "300"}]},
            respond=_set_variables,
            refuse=_refuse_variables("setVariableData", "setVariableResult"),
        ),
        "TriggerMessage": Command(
            fields={"requestedMessage": "Heartbeat"},
            accepted={"status": "Accepted"},
            rejected={"status": "Rejected"},
            then=_trigger(samples),
        ),
        "UnlockConnector": command("UnlockFailed", "Unlocked", evseId=1, connectorId=1),
        "UnpublishFirmware": command("NoFirmware", "Unpublished", checksum="0" * 32),
        "UpdateFirmware": command(
            requestId=1, firmware={"location": "ftp://127.0.0.1/", "retrieveDateTime": "2099-01-01T00:00:00Z"}
        ),
    }


def correct(action: str, schema: Payload) -> None:
    """Add the smallest numbers, and the shortest id, that the specification gives in prose."""
    properties = schema["properties"]
    if action in {"StatusNotification", "MeterValues"}:
        for name in {"evseId", "connectorId"} & properties.keys():
            properties[name]["minimum"] = 0
    if action == "TransactionEvent":
        properties["seqNo"]["minimum"] = 0
        for part in schema["definitions"]["EVSEType"]["properties"].values():
            if part.get("type") == "integer":
                part["minimum"] = 0
        schema["definitions"]["TransactionType"]["properties"]["transactionId"]["minLength"] = 1


CODES = ErrorCodes(
    unreadable="RpcFrameworkError",
    formation="FormatViolation",
    missing="OccurrenceConstraintViolation",
    wrong_type="TypeConstraintViolation",
    wrong_value="PropertyConstraintViolation",
    unknown_action="NotImplemented",
    unsupported_action="NotSupported",
    message_type="MessageTypeNotSupported",
    others=("InternalError", "ProtocolError", "SecurityError", "GenericError"),
)
NAMES = {
    "ChangeConfiguration": "SetVariables",
    "DiagnosticsStatusNotification": "LogStatusNotification",
    "GetConfiguration": "GetVariables",
    "GetDiagnostics": "GetLog",
    "RemoteStartTransaction": "RequestStartTransaction",
    "RemoteStopTransaction": "RequestStopTransaction",
    "SignedFirmwareStatusNotification": "FirmwareStatusNotification",
    "StartTransaction": "TransactionEvent",
    "StopTransaction": "TransactionEvent",
}
"""Replacements for actions with other names in OCPP 1.6."""

VERSION = Version(
    name="2.0.1",
    subprotocol="ocpp2.0.1",
    schemas=OfficialSchemas("v201", request="{}Request.json", correct=correct),
    samples=SAMPLES,
    core=tuple(CORE),
    commands=commands(SAMPLES),
    question=Question(action="GetVariables", names=_asked_names, answer=_echo_variables),
    settings=settings,
    codes=CODES,
    phrases=Phrases(),
    transaction=Transaction,
    transaction_actions=("TransactionEvent",),
    names=NAMES,
    sessions="v201_sessions",
    cases="_2",
    answers_unreadable=True,
)
