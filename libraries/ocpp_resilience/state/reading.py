"""Reads the state of a system, from any place and in any naming, in our names.

Where a record is and how it has to be understood is in `state` of the target profile: in Redis under a key, as JSON
text or as a hash, or behind an HTTP path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import msgspec
import redis

from ocpp_resilience import http_client
from ocpp_resilience.errors import ExpectationFailed, LacksCapability, ServiceError
from ocpp_resilience.http_client import Reply
from ocpp_resilience.ocpp.model import VariableName
from ocpp_resilience.profile import KEY_PLACEHOLDERS, STATE_FIELDS, StateRecord, Target, Variables
from ocpp_resilience.profile.templates import PLACEHOLDER, fill
from ocpp_resilience.redis.connection import AWAY, RedisClient, connect, shown_url

BATCH = 1000
Record = dict[str, Any]
Ids = Mapping[str, str | int]


def description_of(target: Target, kind: str) -> StateRecord:
    """The profile's description of one kind of record.

    Args:
        target: the system.
        kind: `charge_point`, `connector` or `transaction`.

    Raises:
        LacksCapability: nothing.
    """
    described: StateRecord | None = getattr(target.state, kind)
    if described is None:
        what = kind.replace("_", " ")
        raise LacksCapability(
            f"Target '{target.name}' does not describe where a {what} is read (state in {target.source})."
        )
    return described


def kept_fields(target: Target, kind: str) -> tuple[str, ...]:
    """Our names of the stored fields of one kind of record."""
    return tuple(description_of(target, kind).fields) or STATE_FIELDS[kind]


def key_of(target: Target, kind: str, ids: Ids) -> str:
    """The Redis key of a record. Where charge points choose the ids of transactions, the key may need both.

    Raises:
        LacksCapability: the profile has no such key.
    """
    chosen = kind == "transaction" and isinstance(ids["transaction_id"], str)
    name = "own_transaction" if chosen and target.redis.keys.own_transaction is not None else kind
    return target.key(name, **{each: ids[each] for each in KEY_PLACEHOLDERS[name]})


def read(
    target: Target, kind: str, ids: Sequence[Ids], *, redis_url: str, get: Callable[[str], Reply]
) -> list[Record | None]:
    """Records, wherever the profile says that they are; `None` for one that is not there.

    Args:
        target: names keys, paths and fields.
        kind: `charge_point`, `connector` or `transaction`.
        ids: for each record the placeholders of its key or path.
        redis_url: where the system's Redis is.
        get: asks the system's HTTP API for a path.

    Raises:
        LacksCapability: the profile does not describe where such records are.
        ExpectationFailed: a stored value is no record.
        ServiceError: Redis or the system cannot be reached.
    """
    path = description_of(target, kind).path
    if path is not None:
        quoted = [{name: quote(str(value), safe="") for name, value in each.items()} for each in ids]
        return [read_over_http(get(fill(path, each)), target, kind) for each in quoted]
    client = connect(redis_url, database=target.redis.databases.state)
    try:
        return read_from_redis(client, target, kind, ids)
    except AWAY as error:
        raise ServiceError(f"Cannot read from Redis at {shown_url(redis_url)}: {error}") from None
    finally:
        client.close()


def read_from_redis(client: RedisClient, target: Target, kind: str, ids: Sequence[Ids]) -> list[Record | None]:
    """Records by their keys; `None` for one that is not there.

    Args:
        client: connected to the state's database.
        target: names keys and fields.
        kind: `charge_point`, `connector` or `transaction`.
        ids: for each record the placeholders of its key.

    Raises:
        LacksCapability: the profile does not describe where such records are, or they are read over HTTP.
        ExpectationFailed: a stored value is no record.
    """
    described = description_of(target, kind)
    if described.path is not None:
        raise LacksCapability(f"Target '{target.name}': a {kind.replace('_', ' ')} is read over HTTP, not from Redis.")
    keys = [key_of(target, kind, each) for each in ids]
    found: list[Record | None] = []
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        values = _run(client, "get", batch)
        hashes = [key for key, value in zip(batch, values, strict=True) if isinstance(value, redis.ResponseError)]
        fields = dict(zip(hashes, _run(client, "hgetall", hashes), strict=True))
        for key, value in zip(batch, values, strict=True):
            kept = _of_hash(fields[key]) if key in fields else _of_text(key, value)
            found.append(None if kept is None else in_our_words(kept, described, kind))
    return found


def read_over_http(reply: Reply, target: Target, kind: str) -> Record | None:
    """The record in an HTTP answer; `None` if it was a 404.

    Raises:
        ExpectationFailed: it is no answer with a record.
    """
    described = description_of(target, kind)
    if reply.status == 404:
        return None
    document = reply.json() if reply.status == 200 else None
    kept = document if described.data is None else http_client.pick(document, described.data)
    if not isinstance(kept, dict):
        where = f"no object in '{described.data}'" if described.data else "no object"
        body = http_client.shorten(reply.body)
        raise ExpectationFailed(f"GET {reply.url} answered {reply.status} with {where} (state.{kind}): {body}")
    return in_our_words(kept, described, kind)


def device_models(target: Target, charge_points: Sequence[str], *, redis_url: str) -> list[dict[VariableName, Record]]:
    """The device models of charge points, attribute by attribute.

    Args:
        target: says where a device model is (`state.variables`).
        charge_points: their ids.
        redis_url: where the system's Redis is.

    Raises:
        LacksCapability: the profile does not say where device models are.
        ExpectationFailed: what is there is no device model.
        ServiceError: Redis cannot be reached.
    """
    if target.state.variables is None:
        what = "does not describe where a device model is read"
        raise LacksCapability(f"Target '{target.name}' {what} (state.variables in {target.source}).")
    client = connect(redis_url, database=target.redis.databases.state)
    try:
        return read_variables(client, target, target.state.variables, charge_points)
    except AWAY as error:
        raise ServiceError(f"Cannot read from Redis at {shown_url(redis_url)}: {error}") from None
    finally:
        client.close()


def read_variables(
    client: RedisClient, target: Target, described: Variables, charge_points: Sequence[str]
) -> list[dict[VariableName, Record]]:
    """See `device_models`; `client` is connected to the state's database."""
    keys = [target.key("variables", charge_point_id=each) for each in charge_points]
    names = _as_expression(described.field)
    return [
        _variables_of(key, fields, described, names)
        for key, fields in zip(keys, _run(client, "hgetall", keys), strict=True)
    ]


def _as_expression(field: str) -> re.Pattern[str]:
    """Finds the parts in the name of a variable's field."""
    parts = PLACEHOLDER.split(field)
    return re.compile("".join(f"(?P<{part}>.*?)" if index % 2 else re.escape(part) for index, part in enumerate(parts)))


def _variables_of(key: str, fields: Any, described: Variables, names: re.Pattern[str]) -> dict[VariableName, Record]:
    if isinstance(fields, Exception):
        raise ExpectationFailed(f"Key {key} is no hash: {fields}")
    found = {}
    for name, value in fields.items():
        text = name.decode("utf-8", "backslashreplace")
        matched = names.fullmatch(text)
        if matched is None:
            raise ExpectationFailed(f"Field {text!r} of {key} does not match state.variables.field.")
        kept = _of_text(f"{key}, field {text!r},", value) or {}
        whole = {ours: http_client.pick(kept, theirs) for ours, theirs in _parts(described).items()}
        found[VariableName(**{part: unquote(word) for part, word in matched.groupdict().items()})] = whole
    return found


def _parts(described: Variables) -> dict[str, str]:
    return {"value": described.value, "mutability": described.mutability}


def in_our_words(kept: Record, described: StateRecord, kind: str) -> Record:
    """A record with our names and values; fields that the system does not store are left out."""
    names = described.fields or {name: name for name in STATE_FIELDS[kind]}
    record = {ours: value for ours, theirs in names.items() if (value := http_client.pick(kept, theirs)) is not None}
    for name, values in described.values.items():
        if name in record:
            record[name] = values.get(str(record[name]), record[name])
    return record


def _run(client: RedisClient, command: str, keys: Sequence[str]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        getattr(pipeline, command)(key)
    return list(pipeline.execute(raise_on_error=False))


def _of_text(key: str, value: Any) -> Record | None:
    if value is None:
        return None
    if isinstance(value, Exception):
        raise ExpectationFailed(f"Key {key} cannot be read: {value}")
    try:
        kept = msgspec.json.decode(value)
    except msgspec.DecodeError:
        kept = None
    if not isinstance(kept, dict):
        raise ExpectationFailed(f"Key {key} holds no JSON object: {http_client.shorten(value)}")
    return kept


def _of_hash(fields: Any) -> Record | None:
    """The fields of a hash, which are texts; numbers and truth values are made of those that are."""
    if isinstance(fields, Exception):
        raise ExpectationFailed(f"A record is neither a JSON text nor a hash: {fields}")
    return {name.decode(): _plain(value.decode("utf-8", "replace")) for name, value in fields.items()} or None


def _plain(text: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, (int, float, bool)) else text
