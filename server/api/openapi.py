"""The OpenAPI 3.1 description, made of the operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from server.api.http import PATH_SCHEMAS, Operation

_MEANING = {
    200: "Done",
    400: "Something in the request is wrong; the message names the field",
    401: "The API token is missing or wrong",
    404: "There is no such thing",
    408: "The charge point did not answer in time, or the request did not come in full in time",
    409: "Somebody else changed it at the same time, or the version of the charge point lacks the command",
    413: "The body is too long",
    500: "What is stored cannot be read",
    502: "The charge point answered with an error, or with something that OCPP does not allow",
    503: "The charge point is offline, or Redis is not available",
}


def describe(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The description of these operations."""
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    answer = {
        "type": "object",
        "properties": {
            "success": {"type": "boolean"},
            "message": {"type": "string"},
            "data": {},
            "errors": {
                "type": "array",
                "description": "Only where a stored value cannot be read. A list has everything else, with status 200;"
                " with status 500 there is nothing else",
                "minItems": 1,
                "items": {"$ref": "#/components/schemas/Unreadable"},
            },
        },
        "required": ["success", "message", "data"],
        "additionalProperties": False,
    }
    unreadable = {
        "type": "object",
        "properties": {
            "type": {"const": "corrupt"},
            "key": {"type": "string", "description": "The Redis key of the value"},
            "why": {"type": "string", "description": "What is wrong with it"},
        },
        "required": ["type", "key", "why"],
        "additionalProperties": False,
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "OCPP reference server", "version": version},
        "paths": paths,
        "components": {
            "schemas": {"Answer": answer, "Unreadable": unreadable},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    path = re.findall(r"{(\w+)}", operation.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": PATH_SCHEMAS[name]} for name in path
    ]
    for name, schema in operation.query.items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "schema": schema}
        if schema["type"] == "array":
            parameter |= {"style": "form", "explode": False}
        parameters.append(parameter)
    statuses = {200, *operation.statuses}
    if path:
        statuses.add(404)
    if operation.token:
        statuses.add(401)
    if not operation.plain:
        statuses.add(400)
    if operation.body is not None:
        statuses |= {404, 413}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path}").strip("_"),
        "parameters": parameters,
        "responses": {str(status): _response(operation, status) for status in sorted(statuses)},
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": operation.described or operation.body}},
        }
    if operation.token:
        described["security"] = [{}, {"token": []}]
    return described


def _response(operation: Operation, status: int) -> dict[str, Any]:
    described: dict[str, Any] = {"description": _MEANING[status]}
    if operation.path == "/metrics":
        described["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif operation.plain:
        described["content"] = {"application/json": {"schema": {"type": "object"}}}
    else:
        described["content"] = {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}
    return described
