"""Commands to charge points; each answers with what the charge point said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException

from server.api.http import CHARGE_POINT_ID, Given, Operation, Parts, Refused, Schema, need_redis, while_listened_to
from server.correlation.commands import (
    ChargePointOffline,
    ChargePointUnknown,
    CommandsUnavailable,
    InvalidAnswer,
    InvalidCommand,
)
from server.correlation.manager import CallErrorReceived, ChargePointDisconnected, CorrelationClosed, CorrelationTimeout
from server.ocpp import schemas
from server.ocpp.versions import DEFAULT

TIMEOUT: Schema = {"type": "number", "minimum": 0.1, "maximum": 3600}
"""Seconds that the answer is waited for."""
STATUSES = (408, 502, 503)


def operations(parts: Parts) -> list[Operation]:
    """The operations of this module."""
    commands = parts.commands

    async def send(given: Given, charge_point_id: str, action: str, payload: dict[str, Any], wait: Any) -> Any:
        need_redis(parts.link)
        try:
            return await while_listened_to(given.request, commands.send(charge_point_id, action, payload, timeout=wait))
        except InvalidCommand as error:
            raise HTTPException(400, str(error)) from None
        except ChargePointUnknown as error:
            raise HTTPException(404, str(error)) from None
        except (ChargePointOffline, CommandsUnavailable, ChargePointDisconnected, CorrelationClosed) as error:
            raise HTTPException(503, str(error)) from None
        except CorrelationTimeout as error:
            raise HTTPException(408, str(error)) from None
        except CallErrorReceived as error:
            data = {"code": error.code, "description": error.description, "details": error.details}
            raise Refused(502, str(error), data=data) from None
        except InvalidAnswer as error:
            raise HTTPException(502, f"the charge point's answer breaks the OCPP schema: {error}") from None

    def handler(action: str) -> Callable[[Given], Awaitable[Any]]:
        async def handle(given: Given) -> Any:
            payload = dict(given.body)
            wait = payload.pop("timeout", None)
            charge_point_id = given.path.get("id") or payload.pop("chargePointId")
            return await send(given, charge_point_id, action, payload, wait)

        return handle

    def command(method: str, path: str, summary: str, action: str) -> Operation:
        body = _body_of(action, with_charge_point="{id}" not in path)
        return Operation(method, path, summary, handler(action), body=body, token=True, statuses=STATUSES)

    async def get_configuration(given: Given) -> Any:
        keys = given.query.get("keys")
        payload = {"key": keys} if keys else {}
        return await send(given, given.path["id"], "GetConfiguration", payload, given.query.get("timeout"))

    point = "/api/v1/chargepoints/{id}"
    live = f"{point}/configuration/live"
    # A comma parts two keys.
    keys = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 50, "pattern": "^[^,]+$"}}
    query = {"keys": keys, "timeout": TIMEOUT}
    start, stop = "/api/v1/transactions/remote-start", "/api/v1/transactions/remote-stop"
    return [
        Operation(
            "GET", live, "Ask it for its configuration", get_configuration, query=query, token=True, statuses=STATUSES
        ),
        command("PUT", live, "Change one key of its configuration", "ChangeConfiguration"),
        command("POST", f"{point}/trigger", "Ask it for a message", "TriggerMessage"),
        command("POST", f"{point}/availability", "Change its, or a connector's, availability", "ChangeAvailability"),
        command("POST", f"{point}/reset", "Reset it", "Reset"),
        command("POST", f"{point}/unlock", "Unlock a connector", "UnlockConnector"),
        command("POST", f"{point}/clear-cache", "Clear its authorization cache", "ClearCache"),
        command("POST", start, "Start a transaction", "RemoteStartTransaction"),
        command("POST", stop, "Stop a transaction", "RemoteStopTransaction"),
    ]


def _body_of(action: str, *, with_charge_point: bool) -> Schema:
    """The body of a command: the fields of the OCPP request, how long to wait, and whom it is for."""
    schema = schemas.request_schema(DEFAULT, action)
    properties = dict(schema["properties"])
    required = list(schema.get("required", ()))
    properties["timeout"] = TIMEOUT
    if with_charge_point:
        properties["chargePointId"] = CHARGE_POINT_ID
        required.append("chargePointId")
    body: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        body["required"] = required
    return body
