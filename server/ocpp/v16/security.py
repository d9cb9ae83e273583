"""Messages of the security extension (OCPP 1.6 security whitepaper, edition 3)."""

from __future__ import annotations

from msgspec.structs import replace

from server.ocpp.frames import Call
from server.ocpp.v16.actions import ACTIONS
from server.ocpp.version import Outcome
from server.store.view import StateView


@ACTIONS.handles("SecurityEventNotification")
def security_event_notification(_call: Call, _view: StateView) -> Outcome:
    """Use case A04. The event is acknowledged and not kept."""
    return Outcome({})


@ACTIONS.handles("SignCertificate")
def sign_certificate(_call: Call, _view: StateView) -> Outcome:
    """Use case A02. There is no certificate authority behind this server."""
    return Outcome({"status": "Rejected"})


@ACTIONS.handles("LogStatusNotification")
def log_status_notification(call: Call, view: StateView) -> Outcome:
    """Use case N01; the log takes the place of the diagnostics of section 4.4."""
    if "status" not in call.payload:
        return Outcome({})
    record = replace(view.charge_point(call.charge_point_id), diagnostics_status=call.payload["status"])
    return Outcome({}, {view.keys.charge_point(call.charge_point_id): record})


@ACTIONS.handles("SignedFirmwareStatusNotification")
def signed_firmware_status_notification(call: Call, view: StateView) -> Outcome:
    """Use case L01."""
    if "status" not in call.payload:
        return Outcome({})
    record = replace(view.charge_point(call.charge_point_id), firmware_status=call.payload["status"])
    return Outcome({}, {view.keys.charge_point(call.charge_point_id): record})
