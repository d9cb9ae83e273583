"""OCPP 1.6 with its security extension."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.ocpp.version import (
    LARGEST_INTEGER,
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

ID_TAG = "TEST-TAG"


class Transaction:
    """StartTransaction, MeterValues, StopTransaction; the back end chooses the id (sections 4.8, 4.7 and 4.10)."""

    def __init__(self, *, connector: int, id_tag: str) -> None:
        self._connector = connector
        self._id_tag = id_tag
        self.id: TransactionId | None = None

    def start(self, meter: int, at: str) -> Call:
        """Begins it."""
        fields = {"connectorId": self._connector, "idTag": self._id_tag, "meterStart": meter, "timestamp": at}
        return Call("StartTransaction", fields)

    def started(self, answer: Mapping[str, Any]) -> bool:
        """Reads the id that the back end chose."""
        number = answer.get("transactionId")
        if type(number) is int:
            self.id = number
        return self.id is not None

    def meter_values(self, meter: int, at: str) -> Call:
        """Reports the energy register."""
        return Call(
            "MeterValues",
            {
                "connectorId": self._connector,
                "transactionId": self.id,
                "meterValue": [meter_value(meter, at)],
            },
        )

    def stop(self, meter: int, at: str) -> Call:
        """Ends it."""
        return Call(
            "StopTransaction",
            {
                "transactionId": self.id,
                "idTag": self._id_tag,
                "meterStop": meter,
                "timestamp": at,
                "reason": "Local",
            },
        )


class Phrases:
    """Messages of charge points in all versions."""

    @staticmethod
    def boot(vendor: str, model: str) -> Call:
        """BootNotification (section 4.2)."""
        return Call("BootNotification", {"chargePointVendor": vendor, "chargePointModel": model})

    @staticmethod
    def status(connector: int, status: str, error_code: str = "NoError") -> Call:
        """StatusNotification (section 4.9)."""
        return Call("StatusNotification", {"connectorId": connector, "errorCode": error_code, "status": status})

    @staticmethod
    def authorize(id_tag: str) -> Call:
        """Authorize (section 4.1)."""
        return Call("Authorize", {"idTag": id_tag})

    @staticmethod
    def meter_values(connector: int, meter: int, at: str) -> Call:
        """MeterValues (section 4.7)."""
        return Call("MeterValues", {"connectorId": connector, "meterValue": [meter_value(meter, at)]})

    @staticmethod
    def verdict(answer: Mapping[str, Any]) -> str | None:
        """The status in `idTagInfo`."""
        info = answer.get("idTagInfo")
        return info.get("status") if isinstance(info, dict) else None

    @staticmethod
    def transaction_id(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> TransactionId | None:  # noqa: ARG004
        """The id that the back end chose."""
        number = answer.get("transactionId")
        return number if type(number) is int else None


def meter_value(meter: int, at: str) -> Payload:
    """A reading of the energy register."""
    sample = {"value": str(meter), "measurand": "Energy.Active.Import.Register", "unit": "Wh"}
    return {"timestamp": at, "sampledValue": [sample]}


CORE: dict[str, Callable[[str], Payload]] = {
    "Authorize": lambda _: {"idTag": ID_TAG},
    "BootNotification": lambda _: {"chargePointVendor": "Acceptance", "chargePointModel": "Test"},
    "DataTransfer": lambda _: {"vendorId": "org.example.acceptance"},
    "DiagnosticsStatusNotification": lambda _: {"status": "Idle"},
    "FirmwareStatusNotification": lambda _: {"status": "Idle"},
    "Heartbeat": lambda _: {},
    "MeterValues": lambda now: {"connectorId": 1, "meterValue": [meter_value(1500, now)]},
    "StartTransaction": lambda now: Transaction(connector=1, id_tag=ID_TAG).start(1000, now).payload,
    "StatusNotification": lambda _: {"connectorId": 1, "errorCode": "NoError", "status": "Available"},
    # A transaction that no back end has given: by default none of anyone is stopped.
    "StopTransaction": lambda now: {"transactionId": LARGEST_INTEGER, "meterStop": 2000, "timestamp": now},
}
SECURITY: dict[str, Callable[[str], Payload]] = {
    "LogStatusNotification": lambda _: {"status": "Idle"},
    "SecurityEventNotification": lambda now: {"type": "SettingSystemTime", "timestamp": now},
    "SignCertificate": lambda _: {"csr": "-----BEGIN CERTIFICATE REQUEST-----"},
    "SignedFirmwareStatusNotification": lambda _: {"status": "Idle"},
}
SAMPLES = {**CORE, **SECURITY}


def asked_keys(fields: Mapping[str, Any]) -> list[str]:
    """The keys that a GetConfiguration asks for, whatever the type of its `key`; values that are not text are left
    out."""
    keys = fields.get("key")
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def _get_configuration(fields: Mapping[str, Any], settings: Settings) -> Payload:
    asked = asked_keys(fields) or list(settings)
    known = [
        {"key": key, "readonly": settings[key].readonly, "value": settings[key].value}
        for key in asked
        if key in settings
    ]
    unknown = [key for key in asked if key not in settings]
    return {"configurationKey": known, **({"unknownKey": unknown} if unknown else {})}


def _refuse_configuration(fields: Mapping[str, Any]) -> Payload:
    """GetConfiguration cannot be refused: all keys that were asked for are unknown then."""
    return {"configurationKey": [], "unknownKey": asked_keys(fields)}


def _echo_keys(fields: Mapping[str, Any], value: str) -> Payload:
    return {
        "configurationKey": [{"key": "MessageId", "readonly": True, "value": value}],
        "unknownKey": asked_keys(fields),
    }


def _change_configuration(fields: Mapping[str, Any], settings: Settings) -> Payload:
    setting = settings.get(str(fields.get("key")))
    if setting is None:
        return {"status": "NotSupported"}
    if setting.readonly:
        return {"status": "Rejected"}
    setting.value = str(fields.get("value"))
    return {"status": "Accepted"}


def _settings() -> Settings:
    return {
        "AuthorizeRemoteTxRequests": Setting("false"),
        "ClockAlignedDataInterval": Setting("0"),
        "ConnectionTimeOut": Setting("60"),
        "GetConfigurationMaxKeys": Setting("100", readonly=True),
        "HeartbeatInterval": Setting("300"),
        "LocalPreAuthorize": Setting("false"),
        "MeterValueSampleInterval": Setting("60"),
        "MeterValuesSampledData": Setting("Energy.Active.Import.Register"),
        "NumberOfConnectors": Setting("1", readonly=True),
        "SupportedFeatureProfiles": Setting("Core,RemoteTrigger", readonly=True),
        "WebSocketPingInterval": Setting("0"),
    }


def _command(rejected: str | None = "Rejected", accepted: str = "Accepted", **fields: Any) -> Command:
    refusal = None if rejected is None else {"status": rejected}
    return Command(fields=fields, accepted={"status": accepted}, rejected=refusal)


def _trigger(fields: Mapping[str, Any]) -> Call | None:
    """The messages that a TriggerMessage can ask for (section 5.17)."""
    action = str(fields.get("requestedMessage"))
    make = SAMPLES.get(action)
    if make is None:
        return None
    payload = make(rfc3339())
    if "connectorId" in fields and "connectorId" in payload:
        payload["connectorId"] = fields["connectorId"]
    return Call(action, payload)


def _start_requested(fields: Mapping[str, Any]) -> Call:
    """The transaction of a RemoteStartTransaction (section 5.11)."""
    started = {"connectorId": fields.get("connectorId", 1), "idTag": fields.get("idTag")}
    return Call("StartTransaction", SAMPLES["StartTransaction"](rfc3339()) | started)


def _stop_requested(fields: Mapping[str, Any]) -> Call:
    """The end of the transaction of a RemoteStopTransaction (section 5.12)."""
    stopped = {"transactionId": fields.get("transactionId"), "reason": "Remote"}
    return Call("StopTransaction", SAMPLES["StopTransaction"](rfc3339()) | stopped)


_YES: Payload = {"status": "Accepted"}
_NO: Payload = {"status": "Rejected"}
COMMANDS = {
    "CancelReservation": _command(reservationId=1),
    "ChangeAvailability": _command(connectorId=1, type="Inoperative"),
    "ChangeConfiguration": Command(
        fields={"key": "HeartbeatInterval", "value": "300"},
        rejected={"status": "Rejected"},
        respond=_change_configuration,
    ),
    "ClearCache": _command(),
    "ClearChargingProfile": _command("Unknown"),
    "DataTransfer": _command(vendorId="org.example.acceptance"),
    "GetCompositeSchedule": _command(connectorId=1, duration=60),
    "GetConfiguration": Command(
        fields={"key": ["HeartbeatInterval"]}, respond=_get_configuration, refuse=_refuse_configuration
    ),
    "GetDiagnostics": Command(fields={"location": "ftp://127.0.0.1/"}),
    "GetLocalListVersion": Command(accepted={"listVersion": 0}),
    "RemoteStartTransaction": Command(
        fields={"connectorId": 1, "idTag": "TAG-1"}, accepted=_YES, rejected=_NO, then=_start_requested
    ),
    "RemoteStopTransaction": Command(fields={"transactionId": 1}, accepted=_YES, rejected=_NO, then=_stop_requested),
    "ReserveNow": _command(connectorId=1, expiryDate="2099-01-01T00:00:00Z", idTag="TAG-1", reservationId=1),
    "Reset": Command(fields={"type": "Soft"}, accepted=_YES, rejected=_NO, restarts=True),
    "SendLocalList": _command("Failed", listVersion=1, updateType="Full"),
    "SetChargingProfile": _command(),
    "TriggerMessage": Command(fields={"requestedMessage": "Heartbeat"}, accepted=_YES, rejected=_NO, then=_trigger),
    "UnlockConnector": _command("UnlockFailed", "Unlocked", connectorId=1),
    "UpdateFirmware": Command(fields={"location": "ftp://127.0.0.1/", "retrieveDate": "2099-01-01T00:00:00Z"}),
}

VERSION = Version(
    name="1.6",
    subprotocol="ocpp1.6",
    schemas=OfficialSchemas("v16", request="{}.json"),
    samples=SAMPLES,
    core=tuple(CORE),
    commands=COMMANDS,
    question=Question(action="GetConfiguration", names=asked_keys, answer=_echo_keys),
    settings=_settings,
    codes=ErrorCodes(
        unreadable="FormationViolation",
        formation="FormationViolation",
        missing="OccurenceConstraintViolation",
        wrong_type="TypeConstraintViolation",
        wrong_value="PropertyConstraintViolation",
        unknown_action="NotImplemented",
        unsupported_action="NotSupported",
        # No code of 1.6: such a message is ignored; the contract's dead letters and log records have this one.
        message_type="MessageTypeNotSupported",
        others=("InternalError", "ProtocolError", "SecurityError", "GenericError"),
    ),
    phrases=Phrases(),
    transaction=Transaction,
    transaction_actions=("StartTransaction", "StopTransaction"),
    lowest={"": {"connectorId": 0}, "StartTransaction": {"connectorId": 1}},
    # The errata (4.0, on section 7.45) say that a frequency is in Hertz; the published schemas do not have the word.
    open_values={"unit": frozenset({"Hertz"})},
    sessions="v16_sessions",
)
