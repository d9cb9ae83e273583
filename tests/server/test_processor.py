"""The processor with a real Redis: the ten actions end to end, and failures of state and Redis."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import structlog
from harness import (
    LEASE,
    NOW,
    QUEUE,
    SOON,
    Cut,
    Relay,
    answered_ids,
    answers,
    app,
    call,
    connect,
    dead_letters,
    drained,
    flat,
    is_commit,
    push,
    running,
    soon,
    start_transaction,
    state,
    stop_transaction,
)

from server.ocpp import envelope
from server.processor import processor as processor_module

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The log records, as passed to the encoder."""
    with structlog.testing.capture_logs() as captured:
        # Loggers of modules keep the configuration that they were first used with.
        for module in ("processor.queue_consumer", "processor.processor", "redis.link"):
            monkeypatch.setattr(f"server.{module}.logger", structlog.get_logger())
        yield captured


def of(records: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [record for record in records if record["event"] == event]


async def process(client: redis.Redis, url: str, messages: list[bytes], **settings: Any) -> None:
    """Queue messages and let a processor drain them."""
    push(client, messages)
    async with app(url, **settings) as made, running(made):
        await drained(client)


class TestActions:
    async def test_boot(self, client: redis.Redis, redis_url: str) -> None:
        boot = {"chargePointVendor": "V", "chargePointModel": "M", "firmwareVersion": "F", "chargeBoxSerialNumber": "S"}
        await process(client, redis_url, [call("CP", "b1", "BootNotification", boot)])
        (answer,) = answers(client, "CP")
        assert answer["charge_point_id"] == "CP"
        assert (answer["message_type"], answer["message_id"], answer["ws_server_id"]) == (3, "b1", "one")
        kind, message_id, payload = answer["payload"]
        assert (kind, message_id) == (3, "b1")
        assert payload == {"currentTime": answer["timestamp"], "interval": 300, "status": "Accepted"}
        record = state(client, "chargepoint:CP")
        assert (record["id"], record["vendor"], record["model"]) == ("CP", "V", "M")
        assert (record["firmware"], record["serial"], record["is_online"]) == ("F", "S", True)
        assert record["boot_time"] == record["last_seen"] == answer["timestamp"]
        assert record["version"] == 1
        assert 3590 <= client.ttl("ocpp:responses:CP") <= 3600

    async def test_a_transaction_from_start_to_stop(self, client: redis.Redis, redis_url: str) -> None:
        meter = {"connectorId": 1, "meterValue": [{"timestamp": NOW, "sampledValue": [{"value": "150"}]}]}
        async with app(redis_url) as made, running(made):
            push(client, [start_transaction("CP", "s", meter=100), call("CP", "m", "MeterValues", meter)])
            await drained(client)
            number = answers(client, "CP")[0]["payload"][2]["transactionId"]
            transaction = state(client, f"transaction:{number}")
            assert transaction == {
                "id": number,
                "charge_point_id": "CP",
                "connector_id": 1,
                "id_tag": "TAG",
                "start_time": NOW,
                "meter_start": 100,
                "stop_time": None,
                "meter_stop": None,
                "meter_current": 150,
                "status": "active",
                "reason": None,
                "version": 2,
                "meter_time": NOW,
                "meter_readings": ["Sample.Periodic Outlet"],
            }
            assert state(client, "connector:CP:1")["transaction_id"] == number
            assert client.smembers("ocpp:transactions:CP:active") == {b"%d" % number}
            assert client.zrange("ocpp:transactions:CP", 0, -1, withscores=True) == [(b"%d" % number, 1768473000.0)]
            push(client, [stop_transaction("CP", "t", number, meter=900)])
            await drained(client)
        transaction = state(client, f"transaction:{number}")
        assert (transaction["status"], transaction["meter_stop"], transaction["meter_current"]) == (
            "completed",
            900,
            900,
        )
        assert (transaction["stop_time"], transaction["version"]) == (NOW, 3)
        assert state(client, "connector:CP:1")["transaction_id"] is None
        assert not client.exists("ocpp:transactions:CP:active")
        assert client.zcard("ocpp:transactions:CP") == 1
        assert [answer["payload"][2] for answer in answers(client, "CP")][1:] == [{}, {}]
        assert int(client.get("ocpp:transaction-id")) == number

    async def test_the_other_actions(self, client: redis.Redis, redis_url: str) -> None:
        await process(
            client,
            redis_url,
            [
                call("CP", "1", "Authorize", {"idTag": "T"}),
                call("CP", "2", "Heartbeat"),
                call("CP", "3", "DataTransfer", {"vendorId": "V"}),
                call("CP", "4", "DiagnosticsStatusNotification", {"status": "Uploading"}),
                call("CP", "5", "FirmwareStatusNotification", {"status": "Downloaded"}),
                call("CP", "6", "StatusNotification", {"connectorId": 2, "errorCode": "NoError", "status": "Charging"}),
                call(
                    "CP", "7", "StatusNotification", {"connectorId": 0, "errorCode": "NoError", "status": "Available"}
                ),
            ],
        )
        frames = [answer["payload"] for answer in answers(client, "CP")]
        assert [frame[:2] for frame in frames] == [[3, str(number)] for number in range(1, 8)]
        assert frames[0][2] == {"idTagInfo": {"status": "Accepted"}}
        assert list(frames[1][2]) == ["currentTime"]
        assert frames[2][2] == {"status": "UnknownVendorId"}
        record = state(client, "chargepoint:CP")
        assert (record["diagnostics_status"], record["firmware_status"]) == ("Uploading", "Downloaded")
        assert record["status"] == "Available"
        connector = state(client, "connector:CP:2")
        assert (connector["status"], connector["error_code"]) == ("Charging", "NoError")

    async def test_the_example_of_the_requirements(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        await process(
            client,
            redis_url,
            [
                b'{"action": "BootNotification", "chargePointId": "CP-001"}',
                b'{"action": "Heartbeat", "chargePointId": "CP-001"}',
                b'{"invalid": "malformed_json"',
                b'{"action": "StatusNotification", "chargePointId": "CP-001"}',
            ],
        )
        assert [answer["message_type"] for answer in answers(client, "CP-001")] == [3, 3, 3]
        (letter,) = dead_letters(client)
        assert letter.keys() == {"received_at", "code", "reason", "charge_point_id", "message_id", "raw"}
        assert (letter["code"], letter["raw"]) == ("FormationViolation", '{"invalid": "malformed_json"')
        (record,) = of(records, "invalid_message")
        assert (record["log_level"], record["code"]) == ("warning", "FormationViolation")
        assert (record["charge_point_id"], record["message_id"]) == (None, None)
        assert record["reason"] == letter["reason"]

    async def test_only_documented_keys_are_left(self, client: redis.Redis, redis_url: str) -> None:
        await process(client, redis_url, [start_transaction("CP", "s"), b"{", call("CP", "h")])
        assert {key.decode(): client.type(key).decode() for key in client.keys("*")} == {
            "ocpp:chargepoint:CP": "string",
            "ocpp:connector:CP:1": "string",
            "ocpp:transaction:1": "string",
            "ocpp:transactions:CP": "zset",
            "ocpp:transactions:CP:active": "set",
            "ocpp:transaction-id": "string",
            "ocpp:chargepoints": "set",
            "ocpp:connectors:CP": "set",
            "ocpp:responses:CP": "list",
            "ocpp:dead-letters": "list",
        }

    async def test_prefix_and_queue_of_ones_own(self, client: redis.Redis, redis_url: str) -> None:
        push(client, [call("CP", "m"), b"{"], "inbox")
        async with app(redis_url, queue_name="inbox", key_prefix="tenant") as made, running(made):
            await soon(lambda: client.llen("inbox") == 0, "not drained")
        assert {key.decode() for key in client.keys("*")} == {
            "tenant:chargepoint:CP",
            "tenant:chargepoints",
            "tenant:responses:CP",
            "tenant:dead-letters",
        }

    async def test_an_accepted_boot_is_asked_for_where_it_is_set(self, client: redis.Redis, redis_url: str) -> None:
        boot = {"chargePointVendor": "V", "chargePointModel": "M"}
        messages = [call("CP", "1"), call("CP", "2", "BootNotification", boot), call("CP", "3"), call("CP-2", "4")]
        await process(client, redis_url, messages, require_boot=True)
        assert [answer["payload"][0] for answer in answers(client, "CP")] == [4, 3, 3]
        assert answers(client, "CP")[0]["payload"][2] == "SecurityError"
        assert answers(client, "CP-2")[0]["payload"][2] == "SecurityError"
        assert not client.exists("ocpp:chargepoint:CP-2")


class TestInvalid:
    async def test_a_callerror_where_it_can_be_addressed_and_one_record_each(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        cases: list[tuple[bytes, str, str | None]] = [
            (b"null", "FormationViolation", None),
            (b"[]", "FormationViolation", None),
            (b"{}", "OccurenceConstraintViolation", None),
            (b"0", "FormationViolation", None),
            (b'"x"', "FormationViolation", None),
            (b"\xff\x00", "FormationViolation", None),
            (call("CP", "a", "Nonsense"), "NotImplemented", "a"),
            (call("CP", "b", "Reset"), "NotSupported", "b"),
            (call("CP", "c", "Authorize"), "OccurenceConstraintViolation", "c"),
            (call("CP", "d", "Authorize", {"idTag": 7}), "TypeConstraintViolation", "d"),
            (call("CP", "e", "Authorize", {"idTag": "x" * 21}), "PropertyConstraintViolation", "e"),
            (call("CP", "f", "Heartbeat", {"x": 1}), "FormationViolation", "f"),
            (call("CP", "g" * 40), "FormationViolation", "g" * 36),
            (flat("CP", "Heartbeat", ""), "FormationViolation", "-1"),
            (b'{"charge_point_id":"CP","payload":[9,"h","x",{}]}', "MessageTypeNotSupported", None),
            (b'{"charge_point_id":"CP","payload":[3,"i",null]}', "TypeConstraintViolation", None),
        ]
        messages = []
        for number, (raw, _, _) in enumerate(cases):
            messages += [raw, call("CP", f"valid-{number}")]
        await process(client, redis_url, messages)
        assert [(letter["code"], letter["raw"]) for letter in dead_letters(client)] == [
            (code, raw.decode("utf-8", "backslashreplace")) for raw, code, _ in cases
        ]
        logged = of(records, "invalid_message")
        for record, letter in zip(logged, dead_letters(client), strict=True):
            for name in ("code", "reason", "charge_point_id", "message_id"):
                assert record[name] == letter[name]
        expected = []
        for number, (_, code, answer_id) in enumerate(cases):
            if answer_id is not None:
                expected.append([4, answer_id, code])
            expected.append([3, f"valid-{number}"])
        assert [
            answer["payload"][:3] if answer["payload"][0] == 4 else answer["payload"][:2]
            for answer in answers(client, "CP")
        ] == expected
        for answer in answers(client, "CP"):
            if answer["message_type"] == 4:
                assert len(answer["payload"]) == 5
                assert answer["payload"][4] == {}
                assert len(answer["payload"][3]) <= 255

    async def test_dead_letters_are_the_newest_thousand_cut_at_4_kib(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        messages = [b"{%d" % number for number in range(1500)] + [b"x" * 10_000]
        await process(client, redis_url, messages)
        letters = dead_letters(client)
        assert len(letters) == 1000
        assert [letter["raw"] for letter in letters[:-1]] == [f"{{{number}" for number in range(501, 1500)]
        assert letters[-1]["raw"] == "x" * 4096
        assert len(of(records, "invalid_message")) == 1501

    async def test_answers_of_charge_points_without_a_caller(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        await process(
            client,
            redis_url,
            [
                b'{"charge_point_id":"CP","payload":[3,"a",{}]}',
                b'{"charge_point_id":"CP","payload":[4,"b","GenericError","",{}]}',
                call("CP", "c"),
            ],
        )
        assert [(record["charge_point_id"], record["message_id"]) for record in of(records, "unknown_answer")] == [
            ("CP", "a"),
            ("CP", "b"),
        ]
        assert not of(records, "invalid_message")
        assert answered_ids(client, "CP") == ["c"]

    async def test_an_oversized_message_is_set_aside(self, client: redis.Redis, redis_url: str) -> None:
        await process(
            client, redis_url, [b'{"x":"' + b"y" * 5_000_000 + b'"}', call("CP", "a")], max_message_bytes=2048
        )
        (letter,) = dead_letters(client)
        assert "2048" in letter["reason"]
        assert len(letter["raw"]) <= 4096
        assert answered_ids(client, "CP") == ["a"]

    async def test_times_that_are_valid_but_odd_are_no_internal_error(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        odd = ["2016-12-31T23:59:60Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0000-01-01T00:00:00Z"]
        start = {"connectorId": 1, "idTag": "T", "meterStart": 0}
        await process(
            client,
            redis_url,
            [call("CP", str(n), "StartTransaction", start | {"timestamp": time}) for n, time in enumerate(odd)],
        )
        assert not of(records, "handler_failed")
        assert "InternalError" not in {
            answer["payload"][2] for answer in answers(client, "CP") if answer["message_type"] == 4
        }


class TestOrder:
    async def test_one_charge_point(self, client: redis.Redis, redis_url: str) -> None:
        await process(client, redis_url, [call("CP", str(number)) for number in range(2000)])
        assert answered_ids(client, "CP") == [str(number) for number in range(2000)]

    async def test_fifty_charge_points_among_invalid_ones(self, client: redis.Redis, redis_url: str) -> None:
        messages, expected = [], {f"CP-{number}": [] for number in range(50)}
        for number in range(3000):
            charge_point_id = f"CP-{number * 7 % 50}"
            if number % 10 == 3:
                messages.append(b"[" * (number % 17))
            action = "Nonsense" if number % 11 == 5 else "Heartbeat"
            messages.append(call(charge_point_id, str(number), action))
            expected[charge_point_id].append(str(number))
        await process(client, redis_url, messages)
        assert {charge_point_id: answered_ids(client, charge_point_id) for charge_point_id in expected} == expected

    async def test_transaction_ids_are_distinct_over_several_processors(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        async with app(redis_url, "one") as one, app(redis_url, "two") as two, running(two):
            async with running(one):
                push(client, [start_transaction(f"CP-{number}", "s") for number in range(700)])
                await drained(client)
            push(client, [start_transaction(f"CP-{number}", "s") for number in range(700, 1400)])
            await drained(client)
        ids = [answers(client, f"CP-{number}")[0]["payload"][2]["transactionId"] for number in range(1400)]
        assert len(set(ids)) == 1400
        assert max(ids) <= int(client.get("ocpp:transaction-id"))


class TestConflict:
    async def test_a_key_that_is_written_all_the_time_does_not_block_the_queue(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        """A full batch takes longer to handle than the writer waits; a small one does not."""
        stop = threading.Event()
        writes = 0

        def write() -> None:
            nonlocal writes
            with connect(redis_url) as writer:
                while not stop.wait(0.002):
                    writer.set("ocpp:chargepoint:CP-7", json.dumps({"id": "CP-7", "version": writes}))
                    writes += 1

        sampled = [{"value": str(number)} for number in range(80)]
        payload = {"connectorId": 1, "meterValue": [{"timestamp": NOW, "sampledValue": sampled}]}
        push(client, [call(f"CP-{number % 10}", str(number), "MeterValues", payload) for number in range(1000)])
        thread = threading.Thread(target=write)
        thread.start()
        try:
            async with app(redis_url) as made, running(made):
                await drained(client)
        finally:
            stop.set()
            thread.join()
        assert writes > 10
        assert sum(client.llen(f"ocpp:responses:CP-{number}") for number in range(10)) == 1000

    async def test_a_concurrent_writer_of_the_same_record_loses_nothing_and_neither_do_we(
        self, client: redis.Redis, redis_url: str
    ) -> None:
        """R15.4: the other side updates with WATCH, as any careful client would."""
        client.set("ocpp:chargepoint:CP", '{"id":"CP","version":0}')
        stop, theirs = threading.Event(), Counter[str]()

        def write() -> None:
            with connect(redis_url) as other:
                while not stop.is_set():
                    with other.pipeline() as pipeline:
                        try:
                            pipeline.watch("ocpp:chargepoint:CP")
                            record = json.loads(pipeline.get("ocpp:chargepoint:CP"))
                            record["version"] += 1
                            record["vendor"] = str(theirs["done"] + 1)
                            pipeline.multi()
                            pipeline.set("ocpp:chargepoint:CP", json.dumps(record))
                            pipeline.execute()
                            theirs["done"] += 1
                        except redis.WatchError:
                            theirs["lost"] += 1
                    stop.wait(0.003)

        writing = threading.Thread(target=write)
        writing.start()
        commits = 0
        try:
            async with app(redis_url) as made, running(made):
                for number in range(300):
                    push(client, [call("CP", str(number))])
                    await drained(client)
                    commits += 1
        finally:
            stop.set()
            writing.join()
        record = state(client, "chargepoint:CP")
        assert theirs["done"] > 20
        assert record["version"] == theirs["done"] + commits
        assert record["vendor"] == str(theirs["done"])
        assert answered_ids(client, "CP") == [str(number) for number in range(300)]

    async def test_a_writer_without_pause_does_not_stop_the_queue(self, client: redis.Redis, redis_url: str) -> None:
        """A batch that conflicts again and again must get through in the end: all charge points wait behind it."""
        push(client, [call(f"CP-{number % 50}", str(number)) for number in range(1000)])
        stop = threading.Event()

        def write() -> None:
            with connect(redis_url) as other:
                number = 0
                while not stop.is_set():
                    number += 1
                    other.set("ocpp:chargepoint:CP-7", f'{{"id":"CP-7","version":{number}}}')

        writing = threading.Thread(target=write)
        writing.start()
        try:
            async with app(redis_url) as made, running(made):
                await drained(client)
        finally:
            stop.set()
            writing.join()
        assert len(answered_ids(client, "CP-7")) == 20


class TestCorruptState:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda client, key: client.set(key, "{"),
            lambda client, key: client.set(key, "[]"),
            lambda client, key: client.set(key, b"\xff\xfe"),
            lambda client, key: client.set(key, '{"id":"CP","version":"x"}'),
            lambda client, key: client.lpush(key, "x"),
            lambda client, key: client.hset(key, "a", "b"),
        ],
        ids=["no JSON", "no object", "no UTF-8", "wrong field", "a list", "a hash"],
    )
    async def test_is_an_internal_error_and_the_queue_goes_on(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]], spoil: Callable[..., Any]
    ) -> None:
        async with app(redis_url) as made, running(made):
            spoil(client, "ocpp:chargepoint:CP")
            kept = client.dump("ocpp:chargepoint:CP")
            push(client, [call("CP", "a"), call("OTHER", "b"), call("CP", "c", "Authorize", {"idTag": "T"})])
            await drained(client)
            assert [answer["payload"][:3] for answer in answers(client, "CP")] == [
                [4, "a", "InternalError"],
                [4, "c", "InternalError"],
            ]
            assert answered_ids(client, "OTHER") == ["b"]
            assert [(letter["code"], letter["message_id"]) for letter in dead_letters(client)] == [
                ("InternalError", "a"),
                ("InternalError", "c"),
            ]
            await soon(lambda: len(of(records, "invalid_message")) == 2, "no records")
            assert [record["message_id"] for record in of(records, "invalid_message")] == ["a", "c"]
            assert client.dump("ocpp:chargepoint:CP") == kept
            for answer in answers(client, "CP"):
                assert "Traceback" not in answer["payload"][3]

            client.delete("ocpp:chargepoint:CP")
            client.set("ocpp:chargepoint:CP", '{"id":"CP","vendor":"mended","version":41}')
            push(client, [call("CP", "d")])
            await drained(client)
            assert answers(client, "CP")[-1]["payload"][:2] == [3, "d"]
            record = state(client, "chargepoint:CP")
            assert (record["vendor"], record["version"]) == ("mended", 42)

    async def test_spoilt_while_it_is_cached(self, client: redis.Redis, redis_url: str) -> None:
        async with app(redis_url) as made, running(made):
            push(client, [call("CP", "a")])
            await drained(client)
            client.delete("ocpp:chargepoint:CP")
            client.lpush("ocpp:chargepoint:CP", "x")
            push(client, [call("CP", "b"), call("OTHER", "c")])
            await drained(client)
        assert [answer["message_type"] for answer in answers(client, "CP")] == [3, 4]
        assert answered_ids(client, "OTHER") == ["c"]

    @pytest.mark.parametrize("key", ["connector:CP:1", "transaction:7"])
    async def test_of_connectors_and_transactions(self, client: redis.Redis, redis_url: str, key: str) -> None:
        client.set("ocpp:connector:CP:1", '{"transaction_id":7}')
        client.zadd("ocpp:transactions:CP", {"7": 1768473000.0})  # it began when the one to come begins
        client.set(f"ocpp:{key}", "spoilt")
        await process(client, redis_url, [start_transaction("CP", "a"), call("CP", "b")])
        assert [answer["payload"][0] for answer in answers(client, "CP")] == [4, 3]
        assert state(client, "chargepoint:CP")["version"] == 1

    @pytest.mark.parametrize("spoil", ["text", "list", "too large"])
    async def test_of_the_transaction_counter_leaves_the_other_messages_alone(
        self, client: redis.Redis, redis_url: str, spoil: str
    ) -> None:
        if spoil == "list":
            client.lpush("ocpp:transaction-id", "x")
        else:
            client.set("ocpp:transaction-id", "seven" if spoil == "text" else str(2**63 - 1))
        async with app(redis_url) as made, running(made):
            push(client, [call("CP", "a"), start_transaction("CP", "b"), call("OTHER", "c")])
            await drained(client)
        assert [answer["payload"][:3][-1] for answer in answers(client, "CP")][1] == "InternalError"
        assert answered_ids(client, "OTHER") == ["c"]

    async def test_a_response_list_of_the_wrong_type_stops_only_itself(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        client.set("ocpp:responses:CP", "foreign")
        await process(client, redis_url, [call("CP", "a"), call("OTHER", "b")])
        assert client.get("ocpp:responses:CP") == b"foreign"
        assert answered_ids(client, "OTHER") == ["b"]
        assert any("ocpp:responses:CP" in record["error"] for record in of(records, "operation_failed"))
        assert state(client, "chargepoint:CP")["version"] == 1

    async def test_dead_letters_of_the_wrong_type_stop_nothing(self, client: redis.Redis, redis_url: str) -> None:
        client.set("ocpp:dead-letters", "foreign")
        await process(client, redis_url, [b"{", call("CP", "a"), b"[", call("CP", "b")])
        assert answered_ids(client, "CP") == ["a", "b"]


async def test_everything_in_redis_is_gone_of_a_sudden(client: redis.Redis, redis_url: str) -> None:
    """As after a restart without persistence: nothing that is remembered may be taken for true."""
    async with app(redis_url) as made, running(made):
        push(client, [start_transaction("CP", "a"), call("CP", "b")])
        await drained(client)
        client.flushall()
        client.script_flush()
        push(client, [call("CP", "c"), start_transaction("CP", "d")])
        await drained(client)
    assert answered_ids(client, "CP") == ["c", "d"]
    assert state(client, "chargepoint:CP")["version"] == 1


class TestRefusedByRedis:
    async def test_out_of_memory_is_waited_out(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        async with app(redis_url) as made, running(made):
            push(client, [call("CP", "a"), b"{"])
            await drained(client)
            client.pipeline().lpush(QUEUE, call("CP", "b"), b"[").config_set("maxmemory", 1).execute()
            await soon(lambda: of(records, "redis_unavailable") or client.llen(QUEUE) == 0, "not noticed")
            if client.llen(QUEUE):  # unless it was quicker than the setting
                await soon(lambda: not made.link.healthy, "still healthy")
            client.config_set("maxmemory", 0)
            await drained(client)
        assert answered_ids(client, "CP") == ["a", "b"]
        assert len(dead_letters(client)) == len(of(records, "invalid_message")) == 2

    async def test_read_only_is_waited_out(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        # The connection that waits does not see that it is unblocked: it notices when its reply is late.
        async with app(redis_url, redis_timeout=2.0) as made, running(made):
            await soon(lambda: made.link.healthy, "never healthy")
            client.pipeline().lpush(QUEUE, call("CP", "a"), b"{").replicaof("127.0.0.1", 1).execute()
            await soon(lambda: not made.link.healthy or client.llen(QUEUE) == 0, "not noticed")
            client.replicaof("NO", "ONE")
            await drained(client)
        assert answered_ids(client, "CP") == ["a"]
        assert len(of(records, "invalid_message")) == 1
        assert len(of(records, "redis_unavailable")) <= 1


class TestLostReplies:
    @pytest.mark.parametrize("after", [True, False], ids=["after it ran", "before it got there"])
    async def test_each_message_has_one_answer_one_dead_letter_and_one_record(
        self,
        client: redis.Redis,
        shared_redis: Any,
        start_relay: Callable[[int], Relay],
        records: list[dict[str, Any]],
        after: bool,
    ) -> None:
        relay = start_relay(shared_redis.port)
        async with app(relay.url) as made, running(made):
            for number in range(20):
                push(client, [call("CP", f"{number}-first")])
                await drained(client)
                cut = relay.plan(Cut(is_commit, after=after))
                push(client, [b"{", call("CP", str(number)), call("CP", f"{number}-bad", "Nonsense")])
                await drained(client)
                await soon(cut.done.is_set, "not cut")
            await soon(lambda: len(of(records, "invalid_message")) == 40, lambda: str(made.processor.invalid))
            assert made.processor.processed == 40
            assert made.processor.invalid == {"FormationViolation": 20, "NotImplemented": 20}
        expected = [name for number in range(20) for name in (f"{number}-first", str(number), f"{number}-bad")]
        assert answered_ids(client, "CP") == expected
        assert len(dead_letters(client)) == 40
        assert len(of(records, "invalid_message")) == 40

    async def test_a_commit_that_arrives_late_is_recorded_once(
        self,
        client: redis.Redis,
        shared_redis: Any,
        start_relay: Callable[[int], Relay],
        records: list[dict[str, Any]],
    ) -> None:
        """The connection is given up with the request still on its way; it arrives when the owner is back at work."""
        relay = start_relay(shared_redis.port)
        async with app(relay.url) as made, running(made):
            push(client, [call("CP", "first"), b"{"])
            await drained(client)
            await soon(lambda: len(of(records, "invalid_message")) == 1, "no record")
            late = relay.plan(Cut(is_commit, after=False, hold=True))
            push(client, [b"{", call("CP", "a")])
            await soon(late.done.is_set, "no commit")
            # Let it in between the claim and the next commit of the owner that has come back.
            before_next = relay.plan(Cut(is_commit, after=False, hold=True))
            await soon(before_next.done.is_set, "no second commit")
            late.release.set()
            await soon(late.delivered.is_set, "not delivered")
            before_next.release.set()
            await soon(before_next.delivered.is_set, "not delivered")
            await drained(client)
            push(client, [call("CP", "last")])
            await drained(client)
            assert answered_ids(client, "CP") == ["first", "a", "last"]
            assert len(dead_letters(client)) == 2
            await soon(lambda: made.processor.processed == 3, lambda: f"processed: {made.processor.processed}")
        assert len(of(records, "invalid_message")) == 2


class TestTakeover:
    async def test_a_stop_hands_over_at_once(self, client: redis.Redis, redis_url: str) -> None:
        """The lease would last far longer: the takeover does not wait for it."""
        assert LEASE > SOON
        async with app(redis_url, "one") as one, app(redis_url, "two") as two, running(two):
            await soon(lambda: two.processor.owner, "nobody owns")
            async with running(one):
                await soon(lambda: one.link.healthy, "not standing by")
                two.processor.stop()
                await soon(lambda: one.processor.owner, "not taken over")
                push(client, [call("CP", "a")])
                await drained(client)
        assert [answer["ws_server_id"] for answer in answers(client, "CP")] == ["one"]
        assert not client.keys("ocpp:consumer:one*")
        assert not client.exists("ocpp:requests:owner")

    async def test_two_that_are_idle_do_not_take_turns(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        """The idle owner renews its lease, again and again, long before it is over."""
        settings = {"lease_seconds": 6.0}
        async with (
            app(redis_url, "one", **settings) as one,
            app(redis_url, "two", **settings) as two,
            running(one),
        ):
            await soon(lambda: one.processor.owner, "nobody owns")
            alive = f"ocpp:consumer:{one.processor.queue.consumer}"
            renewed, before = 0, client.pttl(alive)
            while renewed < 3:
                assert not (await two.processor.queue.claim()).owned
                renewed += (left := client.pttl(alive)) > before
                before = left
                await asyncio.sleep(0.001)
        assert not of(records, "queue_lost")

    async def test_a_foreign_consumer_does_not_fill_the_log(
        self, client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
    ) -> None:
        """A foreign client pops from the list, so that a batch has moved before its commit."""
        stop = threading.Event()

        def pop() -> None:
            with connect(redis_url) as other:
                while not stop.is_set():
                    other.rpop(QUEUE)
                    stop.wait(0.002)

        push(client, [call("CP", str(number)) for number in range(4000)])
        popping = threading.Thread(target=pop)
        popping.start()
        try:
            async with app(redis_url) as made, running(made):
                await drained(client)
        finally:
            stop.set()
            popping.join()
        assert len(of(records, "queue_owned")) <= 5


async def test_shutdown_under_traffic_commits_the_batch_at_hand_and_lets_go(
    client: redis.Redis, redis_url: str, records: list[dict[str, Any]]
) -> None:
    total = 5000
    push(client, [call(f"CP-{number % 10}", str(number)) if number % 100 else b"{" for number in range(total)])
    async with app(redis_url) as one:
        async with running(one):
            await soon(lambda: client.llen(QUEUE) < total - 500, "not started")
        left = client.llen(QUEUE)
        assert 0 < left < total
        assert one.processor.processed + sum(one.processor.invalid.values()) == total - left
    answered = sum(len(answered_ids(client, f"CP-{number}")) for number in range(10))
    assert answered + len(of(records, "invalid_message")) == total - left
    assert not client.exists("ocpp:requests:owner")


def test_the_limits_are_the_contracts() -> None:
    assert processor_module.RESPONSE_LIFETIME == 3600
    assert envelope.DEAD_LETTERS == 1000
    assert envelope.DEAD_LETTER_RAW == 4096
