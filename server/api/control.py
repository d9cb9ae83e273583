"""Commands to charge points; the HTTP response carries the charge point's answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException

from server.api.http import (
    CHARGE_POINT_ID,
    Operation,
    Parts,
    Refused,
    RequestInput,
    Schema,
    need_redis,
    while_listened_to,
)
from server.correlation.commands import (
    ChargePointOffline,
    ChargePointUnknown,
    CommandNotInVersion,
    CommandsUnavailable,
    InvalidAnswer,
    InvalidCommand,
)
from server.correlation.manager import CallErrorReceived, ChargePointDisconnected, CorrelationClosed, CorrelationTimeout
from server.ocpp import schemas
from server.ocpp.version import Version
from server.ocpp.versions import VERSIONS

TIMEOUT: Schema = {"type": "number", "minimum": 0.1, "maximum": 3600}
"""Seconds that the answer is waited for."""
STATUSES = (408, 409, 502, 503)


def operations(parts: Parts) -> list[Operation]:
    """The operations of this module."""
    commands = parts.commands

    async def send(given: RequestInput, charge_point_id: str, action: str, payload: dict[str, Any], wait: Any) -> Any:
        need_redis(parts.link)
        try:
            return await while_listened_to(given.request, commands.send(charge_point_id, action, payload, timeout=wait))
        except InvalidCommand as error:
            raise HTTPException(400, str(error)) from None
        except CommandNotInVersion as error:
            raise HTTPException(409, str(error)) from None
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

    def handler(actions: Mapping[str, str]) -> Callable[[RequestInput], Awaitable[Any]]:
        async def handle(given: RequestInput) -> Any:
            payload = dict(given.body)
            wait = payload.pop("timeout", None)
            charge_point_id = given.path.get("id") or payload.pop("chargePointId")
            # The path stands for one action, in any version.
            return await send(given, charge_point_id, next(iter(actions.values())), payload, wait)

        return handle

    async def get_configuration(given: RequestInput) -> Any:
        keys = given.query.get("keys")
        payload = {"key": keys} if keys else {}
        return await send(given, given.path["id"], "GetConfiguration", payload, given.query.get("timeout"))

    # A comma parts two keys.
    keys = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 50, "pattern": "^[^,]+$"}}
    query = {"keys": keys, "timeout": TIMEOUT}
    made = []
    for (method, path, summary), actions in _routes().items():
        if method == "GET":
            operation = Operation(method, path, summary, get_configuration, query=query, token=True, statuses=STATUSES)
        else:
            body, described = _body_of(actions, with_charge_point="{id}" not in path)
            operation = Operation(
                method, path, summary, handler(actions), body=body, described=described, token=True, statuses=STATUSES
            )
        made.append(operation)
    return made


def _routes() -> dict[tuple[str, str, str], dict[str, str]]:
    """Method, path and summary of each command to its action in each version that has it."""
    routes: dict[tuple[str, str, str], dict[str, str]] = {}
    for version in reversed(VERSIONS.values()):
        for action, (method, path, summary) in version.commands.items():
            routes.setdefault((method, f"/api/v1{path}", summary), {})[version.protocol] = action
    return routes


def _body_of(actions: Mapping[str, str], *, with_charge_point: bool) -> tuple[Schema, Schema]:
    """The schema that a body is checked with before the version is known, and the one that describes it in full.

    A command of one version is checked in full at once; of several, the version of the charge point decides.
    """
    bodies = [_body_in(VERSIONS[protocol], action, with_charge_point) for protocol, action in actions.items()]
    if len(bodies) == 1:
        return bodies[0], bodies[0]
    common = bodies[0]["properties"]
    ours = {name: common[name] for name in ("timeout", "chargePointId") if name in common}
    any_version: Schema = {"type": "object", "properties": ours}
    if with_charge_point:
        any_version["required"] = ["chargePointId"]
    return any_version, {"anyOf": bodies}


def _body_in(version: Version, action: str, with_charge_point: bool) -> Schema:
    """The body of a command: the fields of the OCPP request, how long to wait, and the charge point."""
    schema = schemas.request_schema(version, action)
    properties = dict(schema["properties"])
    required = list(schema.get("required", ()))
    properties["timeout"] = TIMEOUT
    if with_charge_point:
        properties["chargePointId"] = CHARGE_POINT_ID
        required.append("chargePointId")
    body: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        body["required"] = required
    if "definitions" in schema:
        body = schemas.without_references(body, schema["definitions"])
    return body
