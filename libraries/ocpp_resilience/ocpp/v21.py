"""OCPP 2.1: OCPP 2.0.1 with further messages, SEND and CALLRESULTERROR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ocpp_resilience.ocpp import v201
from ocpp_resilience.ocpp.version import Command, OfficialSchemas, Payload

SENDS: dict[str, Callable[[str], Payload]] = {
    "NotifyPeriodicEventStream": lambda now: {"id": 1, "pending": 0, "basetime": now, "data": [{"t": 0, "v": "230"}]},
}
"""Messages of charge points that come in a SEND (use case N12)."""

_TARIFF: Payload = {"tariffId": "TARIFF-1", "currency": "EUR"}
FURTHER: dict[str, Callable[[str], Payload]] = {
    "BatterySwap": lambda _: {
        "eventType": "BatteryIn",
        "requestId": 1,
        "idToken": v201.id_token(v201.ID_TOKEN),
        "batteryData": [{"evseId": 1, "serialNumber": "17", "soC": 80, "soH": 90}],
    },
    "GetCertificateChainStatus": lambda _: {
        "certificateStatusRequests": [
            {"source": "OCSP", "urls": ["http://127.0.0.1/ocsp"], "certificateHashData": v201.CERTIFICATE}
        ]
    },
    "NotifyDERAlarm": lambda now: {"controlType": "FreqDroop", "timestamp": now},
    "NotifyDERStartStop": lambda now: {"controlId": "1", "started": True, "timestamp": now},
    "NotifyPriorityCharging": lambda _: {"transactionId": "1", "activated": True},
    "NotifySettlement": lambda now: {
        "pspRef": "1",
        "status": "Settled",
        "settlementAmount": 1.5,
        "settlementTime": now,
    },
    "PullDynamicScheduleUpdate": lambda _: {"chargingProfileId": 1},
    "ReportDERControl": lambda _: {"requestId": 1},
    "VatNumberValidation": lambda _: {"vatNumber": "NL000000000B01"},
}
SAMPLES = {**v201.SAMPLES, **FURTHER}
COMMANDS = {
    **v201.commands(SAMPLES),
    "AFRRSignal": v201.command(timestamp="2026-01-15T10:30:00Z", signal=1),
    "AdjustPeriodicEventStream": v201.command(id=1, params={"interval": 60}),
    "ChangeTransactionTariff": v201.command(transactionId="1", tariff=_TARIFF),
    "ClearDERControl": v201.command(isDefault=True),
    "ClearTariffs": Command(accepted={"clearTariffsResult": [{"status": "Accepted"}]}),
    "ClosePeriodicEventStream": Command(fields={"id": 1}),
    "GetDERControl": v201.command(requestId=1),
    "GetPeriodicEventStream": Command(),
    "GetTariffs": v201.command("NoTariff", evseId=1),
    "NotifyAllowedEnergyTransfer": v201.command(transactionId="1", allowedEnergyTransfer=["DC"]),
    "NotifyWebPaymentStarted": Command(fields={"evseId": 1, "timeout": 60}),
    "OpenPeriodicEventStream": v201.command(
        constantStreamData={"id": 1, "variableMonitoringId": 1, "params": {"interval": 60}}
    ),
    "RequestBatterySwap": v201.command(requestId=1, idToken=v201.id_token("TAG-1")),
    "SetDERControl": v201.command(isDefault=True, controlId="1", controlType="FreqDroop"),
    "SetDefaultTariff": v201.command(evseId=1, tariff=_TARIFF),
    "UpdateDynamicSchedule": v201.command(chargingProfileId=1, scheduleUpdate={}),
    "UsePriorityCharging": v201.command(transactionId="1", activate=True),
}

VERSION = replace(
    v201.VERSION,
    name="2.1",
    subprotocol="ocpp2.1",
    schemas=OfficialSchemas(
        "v21", request="{}Request.json", sends=("NotifyPeriodicEventStream",), correct=v201.correct
    ),
    samples=SAMPLES,
    commands=COMMANDS,
    message_types=(2, 3, 4, 5, 6),
    sends=SENDS,
)
