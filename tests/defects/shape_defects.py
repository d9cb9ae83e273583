"""Test 13: valid messages of every shape that the schemas allow."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from catalogue import defect

from server.errors import ErrorCode, InvalidMessage
from server.ocpp import schemas
from server.ocpp.frames import Call

EVERY_SHAPE = "Valid Messages Of Every Shape Are Answered"


def refuse(recognise: Callable[[str, dict[str, Any]], bool]) -> None:
    """Refuse valid messages that are recognised by their action and payload."""
    sound = schemas.check

    def check(call: Call, spoken: Any) -> None:
        sound(call, spoken)
        if recognise(call.action, call.payload):
            raise InvalidMessage(
                ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
                "not allowed",
                charge_point_id=call.charge_point_id,
                message_id=call.message_id,
                answer_id=call.message_id,
            )

    schemas.check = check


@defect("R13.1", EVERY_SHAPE, says=r"valid but refused; .*PropertyConstraintViolation .*\(MeterValues\)")
def readings_of_the_whole_charge_point_are_refused() -> None:
    """Connector 0, which is the main meter (section 3.8), counts as no connector."""
    refuse(lambda action, payload: action == "MeterValues" and payload["connectorId"] == 0)


@defect("R13.1", EVERY_SHAPE, says=r"valid but refused; .*PropertyConstraintViolation .*\(FirmwareStatusNotification\)")
def a_status_of_firmware_is_unknown() -> None:
    """One of the seven values was forgotten."""
    refuse(lambda action, payload: action.startswith("Firmware") and payload["status"] == "InstallationFailed")


@defect("R13.1", EVERY_SHAPE, says=r"valid but refused; .*PropertyConstraintViolation .*\(BootNotification\)")
def text_at_its_limit_is_too_long() -> None:
    """A vendor name of 20 characters, the limit of the schema, is one too long."""
    refuse(lambda action, payload: len(payload.get("chargePointVendor", "")) == 20)


@defect("R13.1", EVERY_SHAPE, says=r"valid but refused; .*PropertyConstraintViolation .*\(StopTransaction\)")
def stops_with_readings_are_refused() -> None:
    """The optional transactionData is taken for an unknown field."""
    refuse(lambda action, payload: "transactionData" in payload)


@defect("R13.1", EVERY_SHAPE, says=r"valid but refused; .*PropertyConstraintViolation .*\((Start|Stop)Transaction\)")
def times_of_another_zone_are_refused() -> None:
    """Only times that end in Z are taken, not those with an offset."""
    refuse(lambda action, payload: "Transaction" in action and "+05:45" in json.dumps(payload))
