"""For any invalid message: no crash, one log record, one dead letter, and the next valid one is answered."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from typing import Any

import redis
from harness import QUEUE, StartServer, answered_ids, call, push, until, wait_drained
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from payloads import from_schema

from server.ocpp.v16.actions import ACTIONS

MESSAGES_AT_ONCE = 50
ROUNDS = 20
"""Together 1,000 generated messages."""


def _schema(action: str) -> dict[str, Any]:
    schema = json.loads((files("ocpp") / "v16" / "schemas" / f"{action}.json").read_text(encoding="utf-8-sig"))
    for name, field in schema["properties"].items():
        # The messages of the security extension have their enumerations apart.
        if reference := field.get("$ref"):
            schema["properties"][name] = schema["definitions"][reference.rpartition("/")[2]]
    return schema


SCHEMAS = {action: _schema(action) for action in sorted(ACTIONS) if _schema(action)["properties"]}


SPECIAL = {"date-time": st.just("2026-01-15T10:30:00Z")}
TYPES: dict[str, type] = {"string": str, "integer": int, "array": list, "object": dict}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def _has_type(value: Any, schema: dict[str, Any]) -> bool:
    return isinstance(value, TYPES[schema["type"]]) and not isinstance(value, bool)


@st.composite
def invalid_payloads(draw: st.DrawFn) -> tuple[str, Any]:
    """An action and a payload that the official schema forbids, by its rule for one field."""
    action = draw(st.sampled_from(sorted(SCHEMAS)))
    schema = SCHEMAS[action]
    payload = draw(from_schema(schema, SPECIAL))
    field = draw(st.sampled_from(sorted(schema["properties"])))
    match draw(st.sampled_from(["missing", "wrong", "unknown", "no object"])):
        case "missing" if schema.get("required"):
            payload.pop(draw(st.sampled_from(schema["required"])), None)
        case "unknown":
            payload["x" + field] = draw(st.integers() | st.text())
        case "no object":
            payload = draw(st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()))
        case _:
            payload[field] = draw(json_values.filter(lambda value: not _has_type(value, schema["properties"][field])))
    return action, payload


def _frame_is_valid(frame: Any) -> bool:
    return isinstance(frame, list) and bool(frame) and frame[0] in [2, 3, 4]


@st.composite
def invalid_messages(draw: st.DrawFn, charge_point_id: str = "CP-GENERATED") -> bytes:
    """Bytes that no rule of the contract lets pass."""
    match draw(st.sampled_from(["payload", "payload", "frame", "json", "text", "bytes"])):
        case "payload":
            action, payload = draw(invalid_payloads())
            return _bytes({"charge_point_id": charge_point_id, "payload": [2, "generated", action, payload]})
        case "frame":
            frame = draw(json_values.filter(lambda value: not _frame_is_valid(value)))
            return _bytes({"charge_point_id": charge_point_id, "payload": frame})
        case "json":
            return _bytes(draw(json_values.filter(lambda value: not isinstance(value, dict))))
        case "text":
            whole = call(charge_point_id, "generated")
            return whole[: draw(st.integers(1, len(whole) - 1))]
        case _:
            # No JSON text starts with such a byte.
            return b"\xff" + draw(st.binary(max_size=200))


def _bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=_escaped(value)).encode("utf-8", "surrogatepass")


def _escaped(value: Any) -> bool:
    """Escapes and plain characters both occur; which, follows from the value, so that an example can be repeated."""
    return len(repr(value)) % 2 == 0


def test_generated_invalid_messages_are_logged_once_each_and_stop_nothing(
    client: redis.Redis, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url)
    process = server.process.pid
    behind = 0

    @settings(
        max_examples=ROUNDS,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(invalid_messages(), min_size=MESSAGES_AT_ONCE, max_size=MESSAGES_AT_ONCE))
    def check(batch: list[bytes]) -> None:
        nonlocal behind
        client.delete("ocpp:dead-letters", "ocpp:responses:CP-BEHIND")
        logged_before = len(server.records("invalid_message"))
        valid = [f"behind-{behind + number}" for number in range(len(batch))]
        behind += len(batch)
        for broken, message_id in zip(batch, valid, strict=True):
            push(client, [broken, call("CP-BEHIND", message_id)])
        wait_drained(client)
        assert answered_ids(client, "CP-BEHIND") == valid
        letters = [json.loads(raw) for raw in client.lrange("ocpp:dead-letters", 0, -1)]
        assert len(letters) == len(batch), _difference(batch, letters)
        until(
            lambda: len(server.records("invalid_message")) - logged_before >= len(batch),
            lambda: f"{len(server.records('invalid_message')) - logged_before} records of {len(batch)}",
        )
        records = server.records("invalid_message")[logged_before:]
        assert Counter(record["code"] for record in records) == Counter(letter["code"] for letter in letters)
        assert all(record["reason"] for record in records)
        assert client.llen(QUEUE) == 0

    check()
    assert behind >= 1_000
    assert server.process.alive
    assert server.process.pid == process


def _difference(batch: list[bytes], letters: list[dict[str, Any]]) -> str:
    kept = Counter(letter["raw"] for letter in letters)
    accepted = [raw for raw in batch if kept[raw[:4096].decode("utf-8", "backslashreplace")] == 0]
    return f"not set aside: {accepted[:3]}"
