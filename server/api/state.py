"""Stored state: connected charge points, charge points, connectors, transactions, configuration."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.exceptions import RedisError, ResponseError

from server.api.http import CHARGE_POINT_ID, Operation, Parts, RecordList, RequestInput, need_redis
from server.ids import usable_charge_point_id
from server.store.errors import CorruptState, StateNotFound
from server.store.models import ChargePoint, ConfigurationKey
from server.store.redis_store import run

SESSIONS_AT_ONCE = 500

STORED_KEY = {
    "type": "object",
    "properties": {
        "key": {"type": "string", "minLength": 1, "maxLength": 50},
        "value": {"type": ["string", "null"], "maxLength": 500},
        "readonly": {"type": "boolean"},
    },
    "required": ["key", "value"],
    "additionalProperties": False,
}
"""A configuration key as OCPP 1.6 section 7.29 has it."""


def operations(parts: Parts) -> list[Operation]:
    """The operations of this module."""
    store, link, keys = parts.store, parts.link, parts.keys

    async def clients(_given: RequestInput) -> Any:
        need_redis(link)
        operation, found = "list clients", []
        problems: list[CorruptState] = []
        members: Any = await run(operation, keys.connected, link.client.smembers(keys.connected))
        ids = sorted(member.decode(errors="replace") for member in members)
        for start in range(0, len(ids), SESSIONS_AT_ONCE):
            async with link.client.pipeline(transaction=False) as pipeline:
                for each in ids[start : start + SESSIONS_AT_ONCE]:
                    pipeline.hmget(keys.session(each), ["remote_addr", "ws_server_id", "connected_at", "last_activity"])
                sessions = await pipeline.execute(raise_on_error=False)
            for each, values in zip(ids[start : start + SESSIONS_AT_ONCE], sessions, strict=True):
                # Without a session it is no longer connected, and the set has not heard of it yet.
                if isinstance(values, ResponseError):
                    problems.append(CorruptState(keys.session(each), str(values), operation))
                elif isinstance(values, RedisError):
                    raise values
                elif any(values):
                    names = ("remote_addr", "ws_server_id", "connected_at", "last_activity")
                    texts = (value.decode(errors="replace") if value is not None else None for value in values)
                    found.append({"charge_point_id": each, **dict(zip(names, texts, strict=True))})
        return RecordList(found, problems)

    async def charge_points(_given: RequestInput) -> Any:
        need_redis(link)
        problems: list[CorruptState] = []
        found = await store.list_charge_points(problems=problems)
        return RecordList([_shown(each) for each in found], problems)

    async def charge_point(given: RequestInput) -> Any:
        need_redis(link)
        return _shown(await store.get_charge_point(given.path["id"]))

    async def connectors(given: RequestInput) -> Any:
        need_redis(link)
        problems: list[CorruptState] = []
        found = await store.list_connectors(given.path["id"], problems=problems)
        if not found and not problems:
            await store.get_charge_point(given.path["id"])
        return RecordList([{"id": number, **msgspec.to_builtins(each)} for number, each in found.items()], problems)

    async def connector(given: RequestInput) -> Any:
        need_redis(link)
        found = await store.get_connector(given.path["id"], given.path["n"])
        return {"id": given.path["n"], **msgspec.to_builtins(found)}

    async def transactions(given: RequestInput) -> Any:
        need_redis(link)
        status, charge_point_id = given.query.get("status"), given.query.get("chargePointId")
        if charge_point_id is not None and not usable_charge_point_id(charge_point_id):
            return []  # not a valid charge point id
        problems: list[CorruptState] = []
        active = None if status is None else status == "active"
        return RecordList(await store.list_transactions(charge_point_id, active=active, problems=problems), problems)

    async def transaction(given: RequestInput) -> Any:
        need_redis(link)
        charge_point_id, transaction_id = given.query.get("chargePointId"), given.path["tx"]
        if charge_point_id is not None:
            try:
                return await store.get_transaction(str(transaction_id), charge_point_id)
            except StateNotFound:
                pass
        if isinstance(transaction_id, int):
            found = await store.get_transaction(transaction_id)
            if charge_point_id in {None, found.charge_point_id}:
                return found
        raise StateNotFound(keys.transaction(transaction_id, charge_point_id or ""))

    async def variables(given: RequestInput) -> Any:
        need_redis(link)
        problems: list[CorruptState] = []
        try:
            found = await store.get_variables(given.path["id"], problems=problems)
        except StateNotFound:
            await store.get_charge_point(given.path["id"])
            return {}
        return RecordList(found, problems)

    async def configuration(given: RequestInput) -> Any:
        need_redis(link)
        problems: list[CorruptState] = []
        try:
            found = await store.get_configuration(given.path["id"], problems=problems)
        except StateNotFound:
            await store.get_charge_point(given.path["id"])
            return {}
        return RecordList(found, problems)

    async def set_configuration(given: RequestInput) -> Any:
        need_redis(link)
        charge_point_id, body = given.path["id"], given.body
        await store.get_charge_point(charge_point_id)
        readonly = body.get("readonly")
        if readonly is None:
            try:
                readonly = (await store.get_configuration_key(charge_point_id, body["key"])).readonly
            except StateNotFound:
                readonly = False
        record = ConfigurationKey(value=body["value"], readonly=readonly)
        await store.save_configuration_key(charge_point_id, body["key"], record)
        return {"key": body["key"], **msgspec.to_builtins(record)}

    base = "/api/v1/chargepoints"
    filters = {"chargePointId": CHARGE_POINT_ID, "status": {"type": "string", "enum": ["active", "completed"]}}
    reading = (500, 503)
    return [
        Operation("GET", "/clients", "The connected charge points", clients, statuses=(500, 503)),
        Operation("GET", base, "Every charge point", charge_points, statuses=reading),
        Operation("GET", f"{base}/{{id}}", "A charge point", charge_point, statuses=reading),
        Operation("GET", f"{base}/{{id}}/connectors", "Its connectors", connectors, statuses=reading),
        Operation("GET", f"{base}/{{id}}/connectors/{{n}}", "One of them", connector, statuses=reading),
        Operation("GET", f"{base}/{{id}}/variables", "Its device model", variables, statuses=reading),
        Operation("GET", f"{base}/{{id}}/configuration", "Its stored configuration", configuration, statuses=reading),
        Operation(
            "PUT",
            f"{base}/{{id}}/configuration",
            "Store one configuration key",
            set_configuration,
            body=STORED_KEY,
            token=True,
            statuses=(409, *reading),
        ),
        Operation(
            "GET", "/api/v1/transactions", "Transactions, oldest first", transactions, query=filters, statuses=reading
        ),
        Operation(
            "GET",
            "/api/v1/transactions/{tx}",
            "A transaction; one whose id a charge point has chosen (OCPP 2.0.1 and 2.1) needs its charge point",
            transaction,
            query={"chargePointId": CHARGE_POINT_ID},
            statuses=reading,
        ),
    ]


def _shown(record: ChargePoint) -> ChargePoint:
    """The record without the memory of its last CALL, which is internal."""
    return msgspec.structs.replace(record, last_call=msgspec.UNSET)
