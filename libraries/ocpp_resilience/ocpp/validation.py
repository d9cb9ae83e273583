"""Answers against the official response schemas, compiled once.

The schemas come with the `ocpp` package. They state types, lengths, enumerations and formats, but not the width of
integers, which is added here (OCPP 1.6 section 3.13, OCPP 2.0.1 part 2 section 2.1.3).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

from ocpp_resilience.errors import UsageError

FOLDERS = {"ocpp1.6": "v16", "ocpp2.0.1": "v201", "ocpp2.1": "v21"}
"""Where the `ocpp` package has the schemas of a version, by its subprotocol."""

LARGEST_INTEGER = 2**31 - 1
SHOWN_PROBLEMS = 5
SHOWN_CHARACTERS = 200


def validate_answer(version: str, action: str, payload: object) -> list[str]:
    """What is wrong with the payload of a CALLRESULT, a problem a line; empty where it keeps to the response schema.

    A valid payload takes less than a microsecond, so that each answer of a load can be checked.

    Args:
        version: the subprotocol, such as `ocpp1.6`.
        action: the action of the CALL that was answered.
        payload: the payload of the CALLRESULT.

    Raises:
        UsageError: the version is unknown, or has no such action.
    """
    validator = response_validator(version, action)
    if validator.is_valid(payload):
        return []
    problems = []
    for error in validator.iter_errors(payload):
        where = ".".join(str(step) for step in error.instance_path)
        problems.append(f"{where}: {error.message}" if where else str(error.message))
        if len(problems) == SHOWN_PROBLEMS:
            break
    return [each if len(each) <= SHOWN_CHARACTERS else f"{each[:SHOWN_CHARACTERS]}…" for each in problems]


@cache
def response_validator(version: str, action: str) -> jsonschema_rs.Validator:
    """The compiled response schema of an action.

    Raises:
        UsageError: the version is unknown, or has no such action.
    """
    if version not in FOLDERS:
        raise UsageError(f"Unknown OCPP version '{version}' (allowed: {', '.join(FOLDERS)}).")
    name = f"{action}Response.json"
    try:
        text = (files("ocpp") / FOLDERS[version] / "schemas" / name).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{version} has no answer to '{action}'.") from None
    schema: dict[str, Any] = json.loads(text)
    for part in _parts(schema):
        if part.get("type") == "integer":
            part["minimum"] = max(part.get("minimum", -LARGEST_INTEGER - 1), -LARGEST_INTEGER - 1)
            part["maximum"] = min(part.get("maximum", LARGEST_INTEGER), LARGEST_INTEGER)
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from _parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _parts(value)
