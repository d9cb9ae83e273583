"""Requests and answers against the official schemas, compiled once.

The schemas state types, lengths, enumerations and formats, but not the width of integers, which is added here (OCPP 1.6
section 3.13, OCPP 2.0.1 part 2 section 2.1.3).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp.numbers import with_integers
from ocpp_resilience.ocpp.version import LARGEST_INTEGER, ocpp_version

SHOWN_PROBLEMS = 5
SHOWN_CHARACTERS = 200


def validate_answer(version: str, action: str, payload: object) -> list[str]:
    """Schema violations of the payload of a CALLRESULT, one in each line; empty if it is valid.

    A valid payload takes less than a microsecond, so that each answer of a load can be checked.

    Args:
        version: the subprotocol, such as `ocpp1.6`.
        action: the action of the CALL that was answered.
        payload: the payload of the CALLRESULT.

    Raises:
        UsageError: the version is unknown, or has no such action.
    """
    return _problems(compiled(version, action, is_response=True), payload)


def validate_request(version: str, action: str, payload: object) -> list[str]:
    """Schema violations of the payload of a CALL; see `validate_answer`."""
    return _problems(compiled(version, action, is_response=False), payload)


def _problems(validator: jsonschema_rs.Validator, payload: object) -> list[str]:
    # Whole numbers may be written with a fraction.
    if validator.is_valid(payload) or validator.is_valid(payload := with_integers(payload)):
        return []
    problems = []
    for error in validator.iter_errors(payload):
        where = ".".join(str(step) for step in error.instance_path)
        problems.append(f"{where}: {error.message}" if where else str(error.message))
        if len(problems) == SHOWN_PROBLEMS:
            break
    return [each if len(each) <= SHOWN_CHARACTERS else f"{each[:SHOWN_CHARACTERS]}…" for each in problems]


@cache
def compiled(version: str, action: str, *, is_response: bool) -> jsonschema_rs.Validator:
    """The compiled schema of a request or of its answer; made once.

    Raises:
        UsageError: the version is unknown, or has no such action.
    """
    schemas = ocpp_version(version).schemas
    if action not in schemas.actions:
        raise UsageError(f"{version} has no action '{action}'.")
    schema = copy.deepcopy(schemas.response(action) if is_response else schemas.request(action))
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
