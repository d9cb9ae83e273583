"""The official OCPP 1.6 schemas, compiled once, and their verdicts in OCPP's error codes.

The schemas come with the `ocpp` package. They state types, lengths and enumerations, but not the ranges that the
specification gives in prose; those are added here, each with its section.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

from server.errors import ErrorCode, InvalidMessage
from server.ocpp.messages import Call

LARGEST_INTEGER = 2**31 - 1
LARGE_PAYLOAD = 1000
"""Values in a payload above which its first violation decides: to find all of 80,000 would take seconds."""

ACTIONS = frozenset(
    {
        "Authorize",
        "BootNotification",
        "DataTransfer",
        "DiagnosticsStatusNotification",
        "FirmwareStatusNotification",
        "Heartbeat",
        "MeterValues",
        "StartTransaction",
        "StatusNotification",
        "StopTransaction",
    }
)
"""The CALLs of a charge point that this server handles (OCPP 1.6 section 4)."""

COMMANDS = frozenset(
    {
        "ChangeAvailability",
        "ChangeConfiguration",
        "ClearCache",
        "GetConfiguration",
        "RemoteStartTransaction",
        "RemoteStopTransaction",
        "Reset",
        "TriggerMessage",
        "UnlockConnector",
    }
)
"""The CALLs that this server sends to charge points (OCPP 1.6 section 5)."""

# Where connector 0, the charge point itself, is not allowed (OCPP 1.6 sections 6.45, 6.33, 6.51 and 6.53).
_FROM_CONNECTOR_1 = frozenset({"StartTransaction", "RemoteStartTransaction", "TriggerMessage", "UnlockConnector"})

_KINDS = jsonschema_rs.ValidationErrorKind
# In the order of the contract's table: the first that applies to any error of a payload is its code.
_PRECEDENCE: tuple[tuple[type, ErrorCode], ...] = (
    (_KINDS.Required, ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION),
    (_KINDS.Type, ErrorCode.TYPE_CONSTRAINT_VIOLATION),
    (object, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
    (_KINDS.AdditionalProperties, ErrorCode.FORMATION_VIOLATION),
)


@cache
def known_actions() -> frozenset[str]:
    """Every action that OCPP 1.6 and its security extension know, whoever may send it."""
    names = (path.name for path in _folder().iterdir())
    return frozenset(
        name.removesuffix(".json") for name in names if name.endswith(".json") and not name.endswith("Response.json")
    )


def _folder() -> Any:
    return files("ocpp") / "v16" / "schemas"


@cache
def validator(action: str, *, flat: bool) -> jsonschema_rs.Validator:
    """The compiled schema of `action`'s request; in the flat form its top-level fields may all be missing."""
    schema = request_schema(action)
    if flat:
        schema.pop("required", None)
    return jsonschema_rs.validator_for(schema, validate_formats=True, mask="the value")


@cache
def answer_validator(action: str) -> jsonschema_rs.Validator:
    """The compiled schema of what a charge point answers to the command `action`."""
    schema = json.loads((_folder() / f"{action}Response.json").read_text(encoding="utf-8-sig"))
    return jsonschema_rs.validator_for(schema, validate_formats=True, mask="the value")


def request_schema(action: str) -> dict[str, Any]:
    """The schema of `action`'s request, with the ranges that the specification gives in prose."""
    schema: dict[str, Any] = json.loads((_folder() / f"{action}.json").read_text(encoding="utf-8-sig"))
    for subschema in _walk(schema):
        # Integers are 32 bits wide in OCPP; connector 0 is the charge point itself (section 3.8), and no transaction
        # starts there (section 6.45).
        if subschema.get("type") == "integer":
            subschema["minimum"], subschema["maximum"] = -LARGEST_INTEGER - 1, LARGEST_INTEGER
    if "connectorId" in schema["properties"]:
        schema["properties"]["connectorId"]["minimum"] = 1 if action in _FROM_CONNECTOR_1 else 0
    return schema


def _walk(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from _walk(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _walk(value)


def check(call: Call) -> None:
    """Let `call` pass if this server handles its action and its payload keeps to the schema.

    Raises:
        InvalidMessage: it does not; the code is the contract's, and the reason names the field.
    """
    if call.action not in ACTIONS:
        if call.action in known_actions():
            _refuse(call, ErrorCode.NOT_SUPPORTED, f"the action {call.action} is not supported by this server")
        _refuse(call, ErrorCode.NOT_IMPLEMENTED, f"OCPP 1.6 has no action '{call.action[:50]}'")
    compiled = validator(call.action, flat=call.flat)
    if not compiled.is_valid(call.payload):
        _refuse(call, *_verdict(compiled, call.payload))


def complaint(compiled: jsonschema_rs.Validator, value: Any) -> str | None:
    """What is wrong with `value`, the field first; `None` if it keeps to the schema."""
    found = violation(compiled, value)
    return None if found is None else found[1]


def violation(compiled: jsonschema_rs.Validator, value: Any) -> tuple[ErrorCode, str] | None:
    """The contract's code of what is wrong with `value`, and `complaint`; `None` if it keeps to the schema."""
    return None if compiled.is_valid(value) else _verdict(compiled, value)


def _size(value: Any) -> int:
    """Values in `value`, itself included."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_size, below))


def _verdict(compiled: jsonschema_rs.Validator, payload: Any) -> tuple[ErrorCode, str]:
    ranked = sorted(((_rank(error), error) for error in _violations(compiled, payload)), key=lambda pair: pair[0])
    rank, error = ranked[0]
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path).lstrip(".")
    message = error.message if len(error.message) <= 200 else f"{error.message[:200]}…"
    return _PRECEDENCE[rank][1], f"{where}: {message}" if where else message


def _violations(compiled: jsonschema_rs.Validator, payload: Any) -> Iterable[jsonschema_rs.ValidationError]:
    if _size(payload) <= LARGE_PAYLOAD:
        return compiled.iter_errors(payload)
    try:
        compiled.validate(payload)
    except jsonschema_rs.ValidationError as first:
        return [first]
    raise AssertionError("the payload is valid after all")


def _rank(error: jsonschema_rs.ValidationError) -> int:
    kind = type(error.kind)
    if kind is _KINDS.AdditionalProperties:
        return len(_PRECEDENCE) - 1
    return next(rank for rank, (expected, _) in enumerate(_PRECEDENCE) if issubclass(kind, expected))


def _refuse(call: Call, code: ErrorCode, reason: str) -> None:
    raise InvalidMessage(
        code,
        reason,
        charge_point_id=call.charge_point_id,
        message_id=call.message_id,
        answer_id=call.message_id,
        ws_server_id=call.ws_server_id,
        connection=call.connection,
    )
