"""Messages about a charge point and its connectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from server.ocpp.frames import Call
from server.ocpp.v201.actions import ACTIONS
from server.ocpp.version import Outcome
from server.store.keys import Keys
from server.store.view import StateView

HEARTBEAT_INTERVAL = 300
"""Seconds between heartbeats that a charge point is told at boot (use case B01)."""


def connector_id(evse: int, connector: int) -> str:
    """The id of a connector in key names and indexes."""
    return f"{evse}:{connector}"


def _connector(call: Call, keys: Keys) -> Iterable[str]:
    yield keys.connector(call.charge_point_id, connector_id(call.payload["evseId"], call.payload["connectorId"]))


@ACTIONS.handles("BootNotification")
def boot_notification(call: Call, view: StateView) -> Outcome:
    """Use case B01."""
    station = call.payload["chargingStation"]
    record = replace(
        view.charge_point(call.charge_point_id),
        vendor=station["vendorName"],
        model=station["model"],
        serial=station.get("serialNumber"),
        firmware=station.get("firmwareVersion"),
        boot_time=view.now,
    )
    answer = {"currentTime": view.now, "interval": HEARTBEAT_INTERVAL, "status": "Accepted"}
    return Outcome(answer, {view.keys.charge_point(call.charge_point_id): record})


@ACTIONS.handles("Heartbeat")
def heartbeat(_call: Call, view: StateView) -> Outcome:
    """Use case G02."""
    return Outcome({"currentTime": view.now})


@ACTIONS.handles("StatusNotification", reads=_connector)
def status_notification(call: Call, view: StateView) -> Outcome:
    """Use case G01. EVSE 0 is the charge point itself."""
    payload, charge_point_id = call.payload, call.charge_point_id
    if payload["evseId"] == 0:
        return _charge_point_field(call, view, "status", payload["connectorStatus"])
    number = connector_id(payload["evseId"], payload["connectorId"])
    connector = view.connector(charge_point_id, number)
    record = replace(
        connector,
        status=payload["connectorStatus"],
        updated_at=payload["timestamp"],
        version=connector.version + 1,
    )
    return Outcome({}, {view.keys.connector(charge_point_id, number): record})


@ACTIONS.handles("LogStatusNotification")
def log_status_notification(call: Call, view: StateView) -> Outcome:
    """Use case N01."""
    return _charge_point_field(call, view, "diagnostics_status", call.payload["status"])


@ACTIONS.handles("FirmwareStatusNotification")
def firmware_status_notification(call: Call, view: StateView) -> Outcome:
    """Use case L01."""
    return _charge_point_field(call, view, "firmware_status", call.payload["status"])


@ACTIONS.handles("DataTransfer")
def data_transfer(_call: Call, _view: StateView) -> Outcome:
    """Use case P02. No vendor's extension is known here."""
    return Outcome({"status": "UnknownVendorId"})


@ACTIONS.handles("SignCertificate")
def sign_certificate(_call: Call, _view: StateView) -> Outcome:
    """Use case A02. There is no certificate authority behind this server."""
    return Outcome({"status": "Rejected"})


@ACTIONS.handles("SecurityEventNotification")
@ACTIONS.handles("NotifyEvent")
@ACTIONS.handles("NotifyMonitoringReport")
@ACTIONS.handles("ReservationStatusUpdate")
@ACTIONS.handles("ClearedChargingLimit")
@ACTIONS.handles("NotifyChargingLimit")
@ACTIONS.handles("ReportChargingProfiles")
def acknowledge(_call: Call, _view: StateView) -> Outcome:
    """A notification that is acknowledged and not kept."""
    return Outcome({})


def _charge_point_field(call: Call, view: StateView, name: str, value: Any) -> Outcome:
    record = replace(view.charge_point(call.charge_point_id), **{name: value})
    return Outcome({}, {view.keys.charge_point(call.charge_point_id): record})
