"""The official OCPP schemas, compiled once, and their verdicts in OCPP's error codes.

The schemas come with the `ocpp` package. They state types, lengths and enumerations, but not the ranges that the
specifications give in prose, and some contradict the errata; each version corrects its own (`Version.correct`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, NoReturn

import jsonschema_rs

from server.errors import ErrorCode, InvalidMessage
from server.ocpp.frames import Call
from server.ocpp.version import Version

LARGEST_INTEGER = 2**31 - 1
LARGE_PAYLOAD = 1000
"""Values in a payload above which its first violation decides: to find all of 80,000 would take seconds."""

_KINDS = jsonschema_rs.ValidationErrorKind
_RANKS: tuple[type, ...] = (_KINDS.Required, _KINDS.Type, object)
"""The first of these that applies to any error of a payload decides its code; an unknown field comes last."""


def _folder(version: Version) -> Traversable:
    return files("ocpp") / version.schemas / "schemas"


@cache
def _published(version: Version) -> dict[str, str]:
    """Name to text of each schema of a version: `{action}` or `{action}Request`, and `{action}Response`."""
    return {
        path.name.removesuffix(".json").removesuffix("Request"): path.read_text(encoding="utf-8-sig")
        for path in _folder(version).iterdir()
        if path.name.endswith(".json")
    }


@cache
def known_actions(version: Version) -> frozenset[str]:
    """All actions of the version, in both directions."""
    return frozenset(name for name in _published(version) if not name.endswith("Response"))


@cache
def validator(version: Version, action: str, *, flat: bool) -> jsonschema_rs.Validator:
    """The compiled schema of `action`'s request; in the flat form its top-level fields may all be missing."""
    schema = request_schema(version, action)
    if flat:
        schema.pop("required", None)
    return jsonschema_rs.validator_for(schema, validate_formats=True, mask="the value")


@cache
def answer_validator(version: Version, action: str) -> jsonschema_rs.Validator:
    """The compiled schema of a charge point's answer to the command `action`."""
    schema = _schema(version, f"{action}Response")
    return jsonschema_rs.validator_for(schema, validate_formats=True, mask="the value")


def request_schema(version: Version, action: str) -> dict[str, Any]:
    """The schema of `action`'s request, with the rules that the specification states in prose."""
    schema = _schema(version, action)
    for subschema in walk(schema):
        # Integers are 32 bits wide in OCPP.
        if subschema.get("type") == "integer":
            subschema.setdefault("minimum", -LARGEST_INTEGER - 1)
            subschema.setdefault("maximum", LARGEST_INTEGER)
    return schema


def _schema(version: Version, name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(_published(version)[name])
    # The drafts that the published schemas name disagree on 1.0; an integer of OCPP is written as one in all versions.
    schema["$schema"] = "http://json-schema.org/draft-04/schema#"
    version.correct(name, schema)
    return schema


def without_references(schema: Any, definitions: dict[str, Any]) -> Any:
    """`schema` with each reference to one of `definitions` replaced by it; OCPP's do not refer to themselves."""
    if isinstance(schema, list):
        return [without_references(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return without_references(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: without_references(each, definitions) for name, each in schema.items()}


def walk(schema: Any) -> Iterator[dict[str, Any]]:
    """Each schema in `schema`, itself included."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from walk(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from walk(value)


def check(call: Call, version: Version) -> None:
    """Let `call` pass if this server handles its action and its payload keeps to the schema.

    Raises:
        InvalidMessage: it does not; the code is the contract's, and the reason names the field.
    """
    action = version.actions.get(call.action)
    if action is None:
        if call.action in known_actions(version):
            _refuse(call, ErrorCode.NOT_SUPPORTED, f"the action {call.action} is not supported by this server")
        _refuse(call, ErrorCode.NOT_IMPLEMENTED, f"{version.name} has no action '{call.action[:50]}'")
    if action.send is not call.send:
        came, comes = ("SEND", "CALL") if call.send else ("CALL", "SEND")
        _refuse(call, ErrorCode.NOT_SUPPORTED, f"the action {call.action} came in a {came}, it comes in a {comes}")
    compiled = validator(version, call.action, flat=call.flat)
    if not compiled.is_valid(call.payload):
        _refuse(call, *_verdict(version, compiled, call.payload))


def complaint(compiled: jsonschema_rs.Validator, value: Any) -> str | None:
    """The first schema violation of `value`, the field first; `None` if it is valid."""
    return None if compiled.is_valid(value) else _worst(compiled, value)[1]


def violation(version: Version, compiled: jsonschema_rs.Validator, value: Any) -> tuple[ErrorCode, str] | None:
    """The contract's error code and `complaint` for the first violation of `value`; `None` if it is valid."""
    return None if compiled.is_valid(value) else _verdict(version, compiled, value)


def _size(value: Any) -> int:
    """Values in `value`, itself included."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_size, below))


def _verdict(version: Version, compiled: jsonschema_rs.Validator, payload: Any) -> tuple[ErrorCode, str]:
    codes = version.codes
    rank, reason = _worst(compiled, payload)
    return (codes.missing, codes.wrong_type, codes.not_allowed, codes.wrong_shape)[rank], reason


def _worst(compiled: jsonschema_rs.Validator, payload: Any) -> tuple[int, str]:
    """The rank and the sentence of the violation that decides."""
    rank, error = min(((_rank(error), error) for error in _violations(compiled, payload)), key=lambda pair: pair[0])
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path).lstrip(".")
    message = error.message if len(error.message) <= 200 else f"{error.message[:200]}…"
    return rank, f"{where}: {message}" if where else message


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
        return len(_RANKS)
    return next(rank for rank, expected in enumerate(_RANKS) if issubclass(kind, expected))


def _refuse(call: Call, code: ErrorCode, reason: str) -> NoReturn:
    raise InvalidMessage(
        code,
        reason,
        charge_point_id=call.charge_point_id,
        message_id=call.message_id,
        answer_id=None if call.send else call.message_id,
        ws_server_id=call.ws_server_id,
        connection=call.connection,
        protocol=call.protocol,
    )
