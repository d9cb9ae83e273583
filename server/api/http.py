"""Shared parts of all endpoints: operations, request parsing and validation, responses in the contract's format."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import jsonschema_rs
import msgspec
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server.correlation.commands import Commands
from server.errors import InvalidMessage, shown
from server.ids import usable_charge_point_id
from server.metrics import Metrics
from server.ocpp.frames import read_json
from server.ocpp.schemas import complaint
from server.processor.processor import Processor
from server.processor.shards import ShardedProcessor
from server.redis.link import RedisLink
from server.store.errors import CorruptState, StateConflict, StateError, StateNotFound, StateTooLarge
from server.store.keys import Keys
from server.store.redis_store import RedisStateStore

T = TypeVar("T")
Schema = dict[str, Any]

MOST_BODY_BYTES = 64 * 1024
"""The longest request body that is read; the largest command is far below it."""
LONGEST_LENGTH = 18
"""Digits of a length that is looked at."""
MOST_NAMED = 3
"""Keys that cannot be read and are named in a message; `errors` has them all."""
LARGEST_INTEGER = 2**31 - 1

CHARGE_POINT_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 48, "pattern": r"^[^:\s]+$"}
CONNECTOR_ID: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_INTEGER}
TRANSACTION_ID: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_INTEGER}
OWN_TRANSACTION_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 36}
CONNECTOR_OF_EVSE: Schema = {"type": "string", "pattern": "^[0-9]{1,10}:[0-9]{1,10}$"}
PATH_SCHEMAS: dict[str, Schema] = {
    "id": CHARGE_POINT_ID,
    "n": {"anyOf": [CONNECTOR_ID, CONNECTOR_OF_EVSE]},
    "tx": {"anyOf": [TRANSACTION_ID, OWN_TRANSACTION_ID]},
}

_CONNECTOR_OF_EVSE = re.compile("[0-9]{1,10}:[0-9]{1,10}")
_OWN_TRANSACTION = re.compile(r"[^\x00-\x1f]{1,36}")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Parts(NamedTuple):
    """Dependencies of the endpoints.

    Attributes:
        link: for the state of the connection, and for errors that have no other place.
        keys: key names.
        processor: for queue depth and totals; `None` where this instance has none.
        metrics: for `/metrics`.
        store: charge points, connectors, transactions, configuration.
        commands: to charge points.
    """

    link: RedisLink
    keys: Keys
    processor: Processor | ShardedProcessor | None
    metrics: Metrics
    store: RedisStateStore
    commands: Commands


class Json(Response):
    """A JSON response."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return _encode(content)


class RecordList(NamedTuple):
    """A list of records, and the errors of stored records that cannot be read."""

    data: Any
    problems: list[CorruptState]


class Refused(HTTPException):
    """An HTTP error that says more than a sentence.

    Attributes:
        data: the value of `data`.
        problems: the value of `errors`, if there are any.
    """

    def __init__(
        self, status_code: int, detail: str, *, data: Any = None, problems: Sequence[CorruptState] = ()
    ) -> None:
        super().__init__(status_code, detail)
        self.data = data
        self.problems = problems


class RequestInput(NamedTuple):
    """The validated parts of a request.

    Attributes:
        request: the request.
        path: the path's parameters.
        query: the query's parameters, those that are given.
        body: the body's fields.
    """

    request: Request
    path: dict[str, Any]
    query: dict[str, Any]
    body: dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One method of one path: its parameters and its handler. The OpenAPI description is generated from it.

    Attributes:
        method: GET, PUT or POST.
        path: with the parameters of `PATH_SCHEMAS` in braces.
        summary: one line for the description.
        handle: takes the validated request; returns the `data` of the response, or a whole response.
        query: name to schema.
        body: schema that the body is checked with; no body is read without one.
        described: a more precise schema of the body, for the description.
        token: whether the API token is needed when one is set.
        statuses: possible statuses besides 200, and 400, 401 and 404 where they follow from the above.
        plain: answers with a form of its own, and takes any query.
    """

    method: str
    path: str
    summary: str
    handle: Callable[[RequestInput], Awaitable[Any]]
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    described: Schema | None = None
    token: bool = False
    statuses: tuple[int, ...] = ()
    plain: bool = False

    @cached_property
    def validator(self) -> jsonschema_rs.Validator:
        """The body's schema, compiled."""
        return jsonschema_rs.validator_for(self.body or {}, validate_formats=True, mask="the value")

    @cached_property
    def query_validators(self) -> dict[str, jsonschema_rs.Validator]:
        """The query parameters' schemas, compiled."""
        return {name: jsonschema_rs.validator_for(schema, mask="the value") for name, schema in self.query.items()}


async def answer(operation: Operation, request: Request, api_token: str) -> Response:
    """Handle one request."""
    if operation.token:
        _check_token(request, api_token)
    given = RequestInput(
        request,
        _path(request),
        {} if operation.plain else _query(operation, request),
        await _body(operation, request),
    )
    try:
        data = await operation.handle(given)
    except StateNotFound:
        raise HTTPException(404, _nothing(given.path)) from None
    except StateTooLarge as error:
        raise HTTPException(400, str(error)) from None
    except StateConflict as error:
        raise HTTPException(409, str(error)) from None
    except CorruptState as error:
        raise Refused(500, str(error), problems=[error]) from None
    except (StateError, RedisError) as error:
        raise HTTPException(503, f"Redis: {error}") from None
    if isinstance(data, Response):
        return data
    if isinstance(data, RecordList) and data.problems:
        return Json(_body_of(success=True, message=_unreadable(data.problems), data=data.data, problems=data.problems))
    return Json(_body_of(success=True, message="", data=data.data if isinstance(data, RecordList) else data))


def _body_of(*, success: bool, message: str, data: Any, problems: Sequence[CorruptState] = ()) -> dict[str, Any]:
    body = {"success": success, "message": message, "data": data}
    if problems:
        body["errors"] = [{"type": "corrupt", "key": each.key, "why": each.why} for each in problems]
    return body


def _unreadable(problems: Sequence[CorruptState]) -> str:
    keys = [each.key for each in problems]
    named = ", ".join(keys[:MOST_NAMED]) + (f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else "")
    return f"left out, since it cannot be read: {named}"


def need_redis(link: RedisLink) -> None:
    """Refuse immediately while Redis is away, instead of after a timeout."""
    if not link.healthy:
        raise HTTPException(503, "Redis is not available")


def _nothing(path: Mapping[str, Any]) -> str:
    names = {"id": "charge point", "n": "connector", "tx": "transaction"}
    return "there is no such " + ", ".join(f"{names[name]} ({shown(value)})" for name, value in path.items())


def _check_token(request: Request, api_token: str) -> None:
    given = request.headers.get("authorization", "")
    if api_token and not hmac.compare_digest(given.encode(), f"Bearer {api_token}".encode()):
        raise HTTPException(401, "the API token is missing or wrong", headers={"WWW-Authenticate": "Bearer"})


def _path(request: Request) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, raw in request.path_params.items():
        # A resource with an invalid name does not exist.
        try:
            text = unquote(raw, errors="strict")
        except UnicodeDecodeError:
            raise HTTPException(404, f"there is no {shown(raw)}") from None
        if name == "id":
            values[name] = text
            usable = usable_charge_point_id(text)
        else:
            number = text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= LARGEST_INTEGER
            values[name] = int(text) if number else text
            pattern = _CONNECTOR_OF_EVSE if name == "n" else _OWN_TRANSACTION
            usable = number or pattern.fullmatch(text) is not None
        if not usable:
            raise HTTPException(404, _nothing({name: text}))
    return values


def _query(operation: Operation, request: Request) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in request.query_params:
        if name not in operation.query:
            allowed = ", ".join(operation.query) or "none"
            raise HTTPException(400, f"{shown(name)}: there is no such parameter (allowed: {allowed})")
        texts = request.query_params.getlist(name)
        schema = operation.query[name]
        value: Any
        if schema["type"] == "array":
            value = [part for text in texts for part in text.split(",") if part]
        elif len(texts) > 1:
            raise HTTPException(400, f"{name}: given {len(texts)} times")
        else:
            value = texts[0] if schema["type"] == "string" else _number(texts[0])
        if what := complaint(operation.query_validators[name], value):
            raise HTTPException(400, f"{name}: {what}")
        values[name] = value
    return values


def _number(text: str) -> Any:
    """A number as JSON writes it; the text itself if it is not one, for the schema to refuse."""
    try:
        value = _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return text
    return value if type(value) in {int, float} else text


async def _body(operation: Operation, request: Request) -> dict[str, Any]:
    if operation.body is None:
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, f"content type {shown(kind)} cannot be read, allowed is application/json")
    too_long = HTTPException(413, f"the body is longer than {MOST_BODY_BYTES} bytes")
    announced = request.headers.get("content-length", "")
    if len(announced.lstrip("0")) > LONGEST_LENGTH or int(announced or 0) > MOST_BODY_BYTES:
        raise too_long
    raw = b""
    try:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MOST_BODY_BYTES:
                raise too_long
    except ClientDisconnect:
        raise HTTPException(400, "the body is not complete") from None
    try:
        value = read_json(raw)
    except InvalidMessage as invalid:
        raise HTTPException(400, f"the body cannot be used: {invalid.reason}") from None
    if what := complaint(operation.validator, value):
        raise HTTPException(400, what)
    return dict(_whole(value))


def _whole(value: Any) -> Any:
    """`value` with its whole numbers as integers: JSON knows one kind of number, and OCPP's integers have no point."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


async def while_listened_to(request: Request, work: Awaitable[T]) -> T:
    """Await `work` while the client is connected; it is cancelled when the client disconnects."""
    working = asyncio.ensure_future(work)
    listening = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HTTPException(499, "the client has disconnected")
        return working.result()
    finally:
        for task in (working, listening):
            if not task.done():
                task.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def failure(_request: Request, error: Exception) -> Response:
    """The response to a refused request."""
    if not isinstance(error, HTTPException):
        raise error
    data, problems = (error.data, error.problems) if isinstance(error, Refused) else (None, ())
    body = _body_of(success=False, message=error.detail, data=data, problems=problems)
    return Json(body, status_code=error.status_code, headers=error.headers)


async def crash(_request: Request, _error: Exception) -> Response:
    """The answer where this server has a defect."""
    return Json({"success": False, "message": "internal error", "data": None}, status_code=500)
