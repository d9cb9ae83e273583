"""Messages about a charge point and its connectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from server.ocpp.frames import Call
from server.ocpp.v16.actions import ACTIONS
from server.ocpp.version import Outcome
from server.store.keys import Keys
from server.store.view import StateView

HEARTBEAT_INTERVAL = 300
"""Seconds between heartbeats that a charge point is told at boot (section 4.2)."""


def _connector(call: Call, keys: Keys) -> Iterable[str]:
    yield keys.connector(call.charge_point_id, call.payload.get("connectorId", 0))


@ACTIONS.handles("BootNotification")
def boot_notification(call: Call, view: StateView) -> Outcome:
    """Section 4.2."""
    payload = call.payload
    record = replace(
        view.charge_point(call.charge_point_id),
        vendor=payload.get("chargePointVendor"),
        model=payload.get("chargePointModel"),
        serial=payload.get("chargePointSerialNumber") or payload.get("chargeBoxSerialNumber"),
        firmware=payload.get("firmwareVersion"),
        boot_time=view.now,
    )
    answer = {"currentTime": view.now, "interval": HEARTBEAT_INTERVAL, "status": "Accepted"}
    return Outcome(answer, {view.keys.charge_point(call.charge_point_id): record})


@ACTIONS.handles("DataTransfer")
def data_transfer(_call: Call, _view: StateView) -> Outcome:
    """Section 4.3. No vendor's extension is known here."""
    return Outcome({"status": "UnknownVendorId"})


@ACTIONS.handles("DiagnosticsStatusNotification")
def diagnostics_status_notification(call: Call, view: StateView) -> Outcome:
    """Section 4.4."""
    return _charge_point_field(call, view, "diagnostics_status", call.payload.get("status"))


@ACTIONS.handles("FirmwareStatusNotification")
def firmware_status_notification(call: Call, view: StateView) -> Outcome:
    """Section 4.5."""
    return _charge_point_field(call, view, "firmware_status", call.payload.get("status"))


@ACTIONS.handles("Heartbeat")
def heartbeat(_call: Call, view: StateView) -> Outcome:
    """Section 4.6."""
    return Outcome({"currentTime": view.now})


@ACTIONS.handles("StatusNotification", reads=_connector)
def status_notification(call: Call, view: StateView) -> Outcome:
    """Section 4.9. Connector 0 is the charge point itself."""
    payload, charge_point_id = call.payload, call.charge_point_id
    if "status" not in payload:
        return Outcome({})
    connector_id = payload.get("connectorId", 0)
    if connector_id == 0:
        return _charge_point_field(call, view, "status", payload["status"])
    connector = view.connector(charge_point_id, connector_id)
    record = replace(
        connector,
        status=payload["status"],
        error_code=payload.get("errorCode"),
        updated_at=payload.get("timestamp", view.now),
        version=connector.version + 1,
    )
    return Outcome({}, {view.keys.connector(charge_point_id, connector_id): record})


def _charge_point_field(call: Call, view: StateView, name: str, value: Any) -> Outcome:
    if value is None:
        return Outcome({})
    record = replace(view.charge_point(call.charge_point_id), **{name: value})
    return Outcome({}, {view.keys.charge_point(call.charge_point_id): record})
