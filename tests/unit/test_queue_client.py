"""The queue client on a real Redis: acknowledged messages, answers, removed data."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import redis

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import ExpectationFailed, LacksCapability, UsageError, WaitTimeout
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp import ocpp_version
from ocpp_resilience.profile import Target
from ocpp_resilience.profile.sections import Timeouts
from ocpp_resilience.redis.connection import QueueUnavailable, database_in, shown_url
from ocpp_resilience.redis.services import AppendOnly, RedisService, ServiceKind, create_service
from ocpp_resilience.redis.snapshot import compare
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.answers import AnswerKind
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.dead_letters import DeadLetterFilter, read_dead_letter
from ocpp_resilience.transport.messages import Delivery, MessageFormat, SentMessage, SentMessages, build, raw
from ocpp_resilience.transport.queue_keys import QueueKeys
from ocpp_resilience.waiting import wait_until

REQUESTS, DEAD_LETTERS = "ocpp:requests", "ocpp:dead-letters"
PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""


def started(**settings: str) -> RedisService:
    service = create_service(ServiceKind.EMBEDDED, "Redis", append_only=AppendOnly.ALWAYS, settings=settings)
    service.start(PATIENCE)
    return service


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisService]:
    service = started()
    yield service
    service.close()


@pytest.fixture
def service(shared: RedisService) -> RedisService:
    shared.command("FLUSHALL", timeout=PATIENCE)
    return shared


@pytest.fixture
def own_service() -> Iterator[RedisService]:
    service = started()
    yield service
    service.close()


def opened(service: RedisService, **arguments: Any) -> QueueClient:
    keys = QueueKeys.of(Target.load("reference"))
    return QueueClient(service.url(), keys, **({"ids": Ids(), "socket_timeout": PATIENCE} | arguments)).open()


@pytest.fixture
def client(service: RedisService) -> Iterator[QueueClient]:
    client = opened(service)
    yield client
    client.close()


@pytest.fixture
def server(service: RedisService) -> Iterator[redis.Redis]:
    """The actions of the system under test are done here by hand."""
    with redis.Redis.from_url(service.url(), decode_responses=True) as connection:
        yield connection


def message(client: QueueClient, action: str = "Heartbeat", point: str | None = None, **changes: Any) -> SentMessage:
    return build(
        action,
        ocpp_version().sample(action),
        charge_point=point or client.ids.charge_point(),
        message_id=changes.get("message_id") or client.ids.message(),
        message_format=MessageFormat.ENVELOPE,
    )


def send(client: QueueClient, count: int = 1, *, point: str | None = None) -> SentMessages:
    owner = point or client.ids.charge_point()
    return client.send([message(client, point=owner) for _ in range(count)])


def answer(server: redis.Redis, *messages: SentMessage, code: str | None = None) -> None:
    for each in messages:
        frame = (
            [3, each.message_id, {"currentTime": rfc3339()}] if code is None else [4, each.message_id, code, "no", {}]
        )
        server.lpush(f"ocpp:responses:{each.charge_point}", json.dumps({"payload": frame}))


# Sending


def test_messages_stand_on_the_queue_in_their_order(client: QueueClient, server: redis.Redis) -> None:
    sent = send(client, 1_203)
    assert sent.acknowledged == 1_203
    assert [entry.encode() for entry in reversed(server.lrange(REQUESTS, 0, -1))] == [each.data for each in sent]
    assert [each.number for each in sent] == list(range(1, 1_204))
    assert client.length() == 1_203
    assert [each.message_id for each in client.oldest(2)] == [sent[0].message_id, sent[1].message_id]
    assert client.oldest(0) == []


def test_bytes_arrive_as_they_are(client: QueueClient, service: RedisService) -> None:
    data = [b"", b"\x00\xff\r\n", b"{" * 2_000_000]
    client.send([raw(each) for each in data])
    with redis.Redis.from_url(service.url()) as connection:
        assert connection.lrange(REQUESTS, 0, -1) == data[::-1]


def test_messages_refused_by_redis_are_known_exactly() -> None:
    service = started(maxmemory="8mb", **{"maxmemory-policy": "noeviction"})
    client = opened(service)
    try:
        messages = [raw(json.dumps({"chargePointId": "CP-1", "action": "x" * 60_000}).encode()) for _ in range(200)]
        with pytest.raises(QueueUnavailable, match=r"Of 200 messages for queue 'ocpp:requests' .* OOM|used memory"):
            client.send(messages)
        sent = SentMessages(messages)
        assert 0 < sent.acknowledged < 200
        assert (sent.acknowledged + sent.failed, sent.unknown) == (200, 0)
        assert client.length() == sent.acknowledged
    finally:
        client.close()
        service.close()


def test_messages_without_a_reply_are_unknown_and_never_sent_again(own_service: RedisService) -> None:
    client = opened(own_service)
    point = client.ids.charge_point()
    send(client, point=point)
    # Impatient from here on only: nothing is to be unknown because the machine was busy before.
    connection = client._redis.connection_pool.get_connection()
    connection._sock.settimeout(0.3)
    client._redis.connection_pool.release(connection)
    own_service.pause()
    messages = [message(client, point=point) for _ in range(700)]
    sent = client.send(messages, partial=True)
    own_service.resume(PATIENCE)
    assert (sent.acknowledged, sent.unknown, sent.failed) == (0, 500, 200)
    queued = client.oldest(1_000)
    assert 1 <= len(queued) <= 501
    assert [each.message_id for each in queued[1:]] == [each.message_id for each in sent[: len(queued) - 1]]
    client.close()


def test_nothing_is_queued_while_redis_is_away(own_service: RedisService) -> None:
    client = opened(own_service)
    point = client.ids.charge_point()
    send(client, point=point)
    own_service.kill()
    messages = [message(client, point=point) for _ in range(3)]
    # The charge point is known, so that the first thing that fails is the sending itself.
    with pytest.raises(QueueUnavailable, match=r"acknowledged 0; 0 may be queued, 3 are not: .*refused"):
        client.send(messages)
    assert {each.delivery for each in messages} == {Delivery.FAILED}
    with pytest.raises(QueueUnavailable, match="Queueing 1 message failed: Redis at redis://127"):
        send(client)
    own_service.start(PATIENCE)
    assert client.length() == 1
    assert client.report([*messages]).violations()["lost"] == []
    client.close()


def test_a_queue_cannot_be_opened_without_redis(own_service: RedisService) -> None:
    own_service.stop(PATIENCE)
    with pytest.raises(QueueUnavailable, match="Opening the queue failed"):
        opened(own_service)


# Reading answers


def test_answers_are_read_and_stay_where_they_are(client: QueueClient, server: redis.Redis) -> None:
    began = time.monotonic()
    sent = send(client, 3)
    answer(server, *sent)
    found = waits.wait_for_answer(client, sent[1], PATIENCE)
    assert (found.message_id, found.kind, found.charge_point) == (
        sent[1].message_id,
        AnswerKind.RESULT,
        sent[1].charge_point,
    )
    assert found.seconds is not None
    assert 0 < found.seconds < time.monotonic() - began
    assert server.llen(f"ocpp:responses:{sent[0].charge_point}") == 3


def test_only_new_entries_are_fetched(client: QueueClient, server: redis.Redis) -> None:
    sent = send(client, 300)
    point = sent.charge_points
    answer(server, *sent[:200])
    assert client.answers.grown(point) == 200
    assert len(client.answers.refresh(point)) == 200
    before = server.info("stats")["total_net_output_bytes"]
    assert client.answers.refresh(point) == []
    answer(server, *sent[200:203])
    assert [each.message_id for each in client.answers.refresh(point)] == [each.message_id for each in sent[200:203]]
    assert server.info("stats")["total_net_output_bytes"] - before < 12_000
    assert len(client.answers_of(point[0])) == 203


def test_earlier_entries_do_not_count(client: QueueClient, server: redis.Redis) -> None:
    old = message(client, message_id="old")
    answer(server, old)
    sent = send(client, point=old.charge_point)
    assert client.answers_of(str(old.charge_point)) == []
    answer(server, *sent)
    client.refresh(sent.charge_points)
    assert [each.message_id for each in client.answers_of(str(old.charge_point))] == [sent[0].message_id]


def test_a_charge_point_that_nothing_was_sent_for_has_all_its_answers(client: QueueClient, server: redis.Redis) -> None:
    answer(server, message(client, point="CP-9", message_id="a"), message(client, point="CP-9", message_id="b"))
    client.refresh(["CP-9"])
    assert [each.message_id for each in client.answers_of("CP-9")] == ["a", "b"]


@pytest.mark.parametrize("cut", ["RPOP", "LPOP", "DEL"])
def test_a_list_that_lost_entries_is_read_again(client: QueueClient, server: redis.Redis, cut: str) -> None:
    sent = send(client, 6)
    key = f"ocpp:responses:{sent[0].charge_point}"
    answer(server, *sent[:4])
    client.refresh(sent.charge_points)
    server.execute_command(cut, key)
    answer(server, *sent[4:])
    client.refresh(sent.charge_points)
    assert [each.message_id for each in client.answers_of(str(sent[0].charge_point))] == [
        each.message_id for each in sent
    ]
    assert client.answers.changed[str(sent[0].charge_point)] == 1
    answer(server, sent[5])
    client.refresh(sent.charge_points)
    assert len(client.report(sent).answered_twice) == 1


def test_waiting_goes_on_while_redis_is_away(own_service: RedisService) -> None:
    client = opened(own_service)
    sent = send(client, 2)
    own_service.kill()

    def comes_back() -> None:
        own_service.start(PATIENCE)
        with redis.Redis.from_url(own_service.url()) as connection:
            answer(connection, *sent)

    back = threading.Timer(0.3, comes_back)
    back.start()
    try:
        drain = waits.wait_for_all(client, sent, timeout=PATIENCE, settle=0.05)
    finally:
        back.join()
    assert drain.report.summary.startswith("2 messages: 2 answered, 0 lost")
    client.close()


def test_a_failure_says_that_redis_was_away(own_service: RedisService) -> None:
    client = opened(own_service)
    sent = send(client)
    own_service.kill()
    with pytest.raises(WaitTimeout, match=r"Redis at redis://127.* was not reachable at the end: .*refused"):
        waits.wait_for_answer(client, sent[0], 0.2)
    with pytest.raises(WaitTimeout, match=r"1 lost.*\n?.*was not reachable at the end: (.|\n)*lost: Heartbeat of CP-"):
        waits.wait_for_all(client, sent, timeout=0.2, settle=0)
    with pytest.raises(WaitTimeout, match="still had an unknown number of messages; Redis at"):
        waits.wait_until_empty(client, 0.2)
    assert client.local_and_refused
    client.close()


# Judging


def test_the_drain_is_measured(client: QueueClient, server: redis.Redis) -> None:
    began = time.monotonic()
    sent = client.send([message(client, point=f"CP-{number % 5}-{client.ids.token}") for number in range(100)])
    answers = threading.Timer(0.2, answer, [server, *sent])
    answers.start()
    drain = waits.wait_for_all(client, sent, timeout=PATIENCE, settle=0)
    answers.join()
    assert drain.messages == 100
    assert 0.15 < drain.seconds < time.monotonic() - began
    assert drain.seconds_after_last <= drain.seconds
    assert drain.rate == pytest.approx(100 / drain.seconds)
    assert drain.summary.startswith("100 messages: 100 answered")


def test_looking_for_many_answers_is_cheap(client: QueueClient, server: redis.Redis) -> None:
    points = [client.ids.charge_point() for _ in range(50)]
    sent = client.send([message(client, point=points[number % 50]) for number in range(5_000)])
    answer(server, *sent[:4_000])
    server.delete(client.keys.requests)
    before, began = server.info("stats")["total_net_output_bytes"], time.monotonic()
    with pytest.raises(WaitTimeout, match="4000 answered, 1000 lost"):
        waits.wait_for_all(client, sent, timeout=0.5, settle=0)
    # The 4,000 answers once, at about 80 bytes, and nothing but lengths after that, as long as it takes.
    lengths = 200_000 * (time.monotonic() - began)
    assert server.info("stats")["total_net_output_bytes"] - before < 4_000 * 100 + lengths


def test_messages_that_wait_on_the_queue_are_not_lost(client: QueueClient, server: redis.Redis) -> None:
    sent = client.send([message(client) for _ in range(3)])
    server.rpop(client.keys.requests)
    drain = waits.watch_answers(client, sent, timeout=0.1, settle=0)
    assert (len(drain.report.lost), len(drain.report.waiting)) == (1, 2)
    assert not drain.report.complete
    assert drain.report.answered_percent == 0
    with pytest.raises(WaitTimeout, match=r"0 answered, 1 lost, .* 2 still on the queue"):
        waits.wait_for_all(client, sent, timeout=0.1, settle=0)


def test_what_is_answered_between_two_looks_is_not_lost(
    client: QueueClient, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had no answer at the first look, and was not on the queue any more at the second one."""
    sent = send(client, 2)
    look = client.requests.waiting

    def waiting(ours: Callable[[bytes], bool]) -> int:
        answer(server, sent[0])
        server.lrem(client.keys.requests, 1, sent[0].data)
        return look(ours)

    monkeypatch.setattr(client.requests, "waiting", waiting)
    report = client.final_report(sent)
    assert (len(report.answered), report.lost, report.waiting) == (1, [], [sent[1]])


def test_a_wait_ends_with_the_system(client: QueueClient) -> None:
    sent = client.send([message(client)])
    began = time.monotonic()
    client.ended = lambda seen: f"Server 'server' exited with status 2. {seen}"
    with pytest.raises(
        ExpectationFailed, match=r"Server 'server' exited with status 2\. Not every message was answered"
    ):
        waits.wait_for_all(client, sent, timeout=30, settle=0)
    assert waits.watch_answers(client, sent, timeout=30, settle=0).report.answered == []
    assert time.monotonic() - began < 5


def test_what_a_system_did_before_it_ended_counts(client: QueueClient, server: redis.Redis) -> None:
    sent = client.send([message(client)])
    answer(server, *sent)
    client.ended = lambda seen: f"It ended. {seen}"
    assert waits.wait_for_all(client, sent, timeout=30, settle=0).report.complete


def test_discarded_messages_are_those_of_this_run(client: QueueClient, server: redis.Redis) -> None:
    server.lpush(client.keys.requests, "somebody else's")
    client.send([message(client), message(client)])
    assert client.discard_queued() == 2
    assert server.lrange(client.keys.requests, 0, -1) == ["somebody else's"]


def too_late(client: QueueClient, monkeypatch: pytest.MonkeyPatch, look: int, late: Callable[[], None]) -> None:
    """Have something come just after a certain look, and the machine hold up everything until the time is over."""
    refresh, looks = client.refresh, itertools.count(1)

    def refreshed(points: Sequence[str]) -> None:
        refresh(points)
        if next(looks) == look:
            late()
            with contextlib.suppress(WaitTimeout):
                wait_until(lambda: None, timeout=0.3, failure=lambda: "")

    monkeypatch.setattr(client, "refresh", refreshed)


def test_an_answer_too_many_is_found_while_settling(
    client: QueueClient, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send(client, 2)
    answer(server, *sent)
    too_late(client, monkeypatch, 2, lambda: answer(server, sent[0]))  # the second look is the first while it settles
    drain = waits.wait_for_all(client, sent, timeout=PATIENCE, settle=0.2)
    assert len(drain.report.answered_twice) == 1


def test_an_answer_that_comes_late_is_seen(
    client: QueueClient, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send(client)
    too_late(client, monkeypatch, 1, lambda: answer(server, *sent))
    with pytest.raises(ExpectationFailed, match=r"Expected no answer to Heartbeat of CP-"):
        waits.no_answer_should_arrive(client, sent[0], 0.2)


def test_accepted_and_refused(client: QueueClient, server: redis.Redis) -> None:
    good, bad = send(client, 2)
    answer(server, good)
    answer(server, bad, code="NotSupported")
    assert waits.should_be_answered(client, good, PATIENCE).kind is AnswerKind.RESULT
    assert waits.should_be_refused(client, bad, None, PATIENCE).code == "NotSupported"
    assert waits.should_be_refused(client, bad, "NotSupported", PATIENCE).description == "no"
    with pytest.raises(ExpectationFailed, match=r"to be accepted, but it was refused: NotSupported \(no\)\."):
        waits.should_be_answered(client, bad, PATIENCE)
    with pytest.raises(ExpectationFailed, match=r"to be refused with InternalError, but .* with NotSupported \(no\)\."):
        waits.should_be_refused(client, bad, "InternalError", PATIENCE)
    with pytest.raises(ExpectationFailed, match=r"to be refused, but it was accepted: {.currentTime.: .*}\."):
        waits.should_be_refused(client, good, None, PATIENCE)


def test_no_answer(client: QueueClient, server: redis.Redis) -> None:
    sent, other = send(client), send(client)
    waits.no_answer_should_arrive(client, sent[0], 0.05)
    broken = client.send([raw(b"null")])[0]
    answer(server, *other)
    waits.no_answer_should_arrive(client, broken, 0)
    with pytest.raises(UsageError, match="No answer to the message 'null' is possible"):
        waits.wait_for_answer(client, broken, 0)
    answer(server, *sent)
    with pytest.raises(ExpectationFailed, match=r"Expected no answer to Heartbeat of CP-.*CALLRESULT to message"):
        waits.no_answer_should_arrive(client, sent[0], 0)
    waits.no_answer_should_arrive(client, broken, 0)
    answer(server, message(client, point=sent.charge_points[0], message_id="-1"))
    with pytest.raises(
        ExpectationFailed, match=r"Expected no answer to the message 'null', but there is CALLRESULT to .* -1"
    ):
        waits.no_answer_should_arrive(client, broken, 0)


def test_the_number_of_answers(client: QueueClient, server: redis.Redis) -> None:
    sent = send(client, 3)
    point = sent.charge_points[0]
    answer(server, *sent[:2])
    assert len(waits.should_have_answers(client, point, 2, 0)) == 2
    with pytest.raises(
        WaitTimeout, match=r"Expected 3 answers to CP-.*; the charge point has 2 answers, the newest to"
    ):
        waits.should_have_answers(client, point, 3, 0)
    with pytest.raises(ExpectationFailed, match=r"Expected 1 answer to CP-.*, but there are 2: CALLRESULT"):
        waits.should_have_answers(client, point, 1, 0)


def test_an_empty_queue(client: QueueClient, server: redis.Redis) -> None:
    began = time.monotonic()
    assert waits.wait_until_empty(client, 0) <= time.monotonic() - began
    sent = send(client, 3)
    oldest = re.escape(str(sent[0]))
    with pytest.raises(
        WaitTimeout, match=rf"^Queue 'ocpp:requests' still had 3 messages \(oldest: {oldest}\) \(waited"
    ):
        waits.wait_until_empty(client, 0)
    server.delete(REQUESTS)
    waits.wait_until_empty(client, 0)


# Dead letters


def letter(number: int, raw_text: str = "null", **fields: Any) -> str:
    known = {"received_at": f"2026-01-15T10:30:{number:02}Z", "code": "FormationViolation", "reason": "why"}
    return json.dumps(known | {"charge_point_id": None, "message_id": None, "raw": raw_text} | fields)


def test_the_age_of_a_dead_letter_is_known_where_it_has_a_time_with_a_zone() -> None:
    ages = [
        read_dead_letter(letter(1, received_at=text).encode()).age
        for text in (rfc3339(time.time() - 60), "2026-01-15T10:30:00", "yesterday", None)
    ]
    assert ages == [pytest.approx(60, abs=1), None, None, None]


def test_dead_letters_are_found(client: QueueClient, server: redis.Redis) -> None:
    server.lpush(DEAD_LETTERS, letter(1), letter(2, "[]", charge_point_id="CP-1", code="NotSupported"))
    mark = client.mark_dead_letters()
    assert client.dead_letters(mark) == []
    server.lpush(DEAD_LETTERS, letter(3, "\ufffd{"))
    assert [each.raw for each in client.dead_letters()] == ["\ufffd{", "[]", "null"]
    assert [each.raw for each in client.dead_letters(mark)] == ["\ufffd{"]
    for wanted in (
        DeadLetterFilter(charge_point="CP-1"),
        DeadLetterFilter(code="NotSupported"),
        DeadLetterFilter(raw_contains="["),
        DeadLetterFilter(message=raw(b"[]")),
    ):
        assert [each.raw for each in wanted.select(client.dead_letters())] == ["[]"]
        assert waits.dead_letter_should_exist(client, wanted, None, 0).raw == "[]"
    assert waits.dead_letter_should_exist(client, DeadLetterFilter(message=raw(b"\xff{")), mark, 0).raw == "\ufffd{"
    with pytest.raises(WaitTimeout, match="No dead letter of CP-2 among 3; the newest is FormationViolation: why"):
        waits.dead_letter_should_exist(client, DeadLetterFilter(charge_point="CP-2"), None, 0)
    with pytest.raises(WaitTimeout, match="No dead letter with code NotSupported among 1 after the mark; "):
        waits.dead_letter_should_exist(client, DeadLetterFilter(code="NotSupported"), mark, 0)


def test_a_dead_letter_that_keeps_little_of_a_message_is_recognised(client: QueueClient, server: redis.Redis) -> None:
    body = f'{{"message_id":"m-1","action":"DataTransfer","data":"{"x" * 3000}"}}'
    server.lpush(DEAD_LETTERS, letter(1, body[:400]), letter(2, body.replace("m-1", "m-2")[:400]))
    [found] = DeadLetterFilter(message=raw(body.encode())).select(client.dead_letters())
    assert found.raw == body[:400]


def test_a_mark_in_an_empty_list(client: QueueClient, server: redis.Redis) -> None:
    mark = client.mark_dead_letters()
    server.lpush(DEAD_LETTERS, letter(1), letter(2))
    assert len(client.dead_letters(mark)) == 2


def test_an_unreadable_dead_letter_is_shown_as_it_is(client: QueueClient, server: redis.Redis) -> None:
    server.lpush(DEAD_LETTERS, "no JSON", "[]", '{"code": 5}')
    assert [(each.code, each.raw) for each in client.dead_letters()] == [(None, ""), (None, "[]"), (None, "no JSON")]


def test_a_target_without_dead_letters(service: RedisService) -> None:
    client = QueueClient(service.url(), QueueKeys(requests="q", responses="a:{charge_point_id}"), ids=Ids()).open()
    with pytest.raises(UsageError, match="This target has no list of dead letters"):
        client.dead_letters()
    client.send([message(client)])
    assert client.remove_data(timeout=0).messages == 1
    client.close()


def test_a_target_that_lacks_actions(service: RedisService) -> None:
    target = msgspec.structs.replace(Target.load("reference"), name="small", actions=["Heartbeat"])
    client = QueueClient(service.url(), QueueKeys.of(target), ids=Ids(), target=target)
    assert client.actions == ("Heartbeat",)
    assert client.supported_mix({"Heartbeat": 2, "Authorize": 3}) == {"Heartbeat": 2}
    client.need_actions("Heartbeat", "MakeCoffee")
    for lacking in (lambda: client.need_actions("MeterValues"), lambda: client.supported_mix({"MeterValues": 1})):
        with pytest.raises(
            LacksCapability, match=r"^Target 'small' does not support the action MeterValues \(actions in"
        ):
            lacking()
    # What nobody supports can be sent: it has to be refused.
    assert [client.supports(each) for each in ("Heartbeat", "Authorize", "MakeCoffee", None)] == [
        True,
        False,
        True,
        True,
    ]
    client.close()


def test_the_wait_for_an_answer_is_that_of_the_profile_unless_another_is_asked_for(service: RedisService) -> None:
    target = msgspec.structs.replace(Target.load("reference"), timeouts=Timeouts(answer=8))
    client = QueueClient(service.url(), QueueKeys.of(target), ids=Ids(), target=target)
    assert (client.within(None), client.within(timedelta(seconds=1))) == (8, 1)
    client.close()


def test_an_address_with_another_database_than_the_profile_is_a_mistake() -> None:
    keys = QueueKeys(requests="q", responses="a:{charge_point_id}")
    with pytest.raises(UsageError, match=r"names database 0, but the queue of the target is in database 1 "):
        QueueClient("redis://127.0.0.1:6379/0", keys, ids=Ids(), queue_database=1)
    QueueClient("redis://127.0.0.1:6379/1", keys, ids=Ids(), queue_database=1).close()


# What is left behind


def keep_state(server: redis.Redis, point: str, transaction: int) -> None:
    """Write a system's record of a charge point."""
    server.set(f"ocpp:chargepoint:{point}", "{}")
    server.set(f"ocpp:connector:{point}:1", "{}")
    server.set(f"ocpp:connector:{point}:7", "{}")
    server.set(f"ocpp:transaction:{transaction}", "{}")
    server.zadd(f"ocpp:transactions:{point}", {str(transaction): 1})
    server.sadd(f"ocpp:transactions:{point}:active", str(transaction))
    server.hset(f"ocpp:config:{point}", "key", "value")


def test_everything_that_was_written_is_removed_and_nothing_else(client: QueueClient, server: redis.Redis) -> None:
    keep_state(server, "FOREIGN", 1)
    answer(server, message(client, point="FOREIGN"), message(client, point="SHARED", message_id="foreign"))
    keep_state(server, "SHARED", 2)
    server.lpush(REQUESTS, "foreign message")
    server.lpush(DEAD_LETTERS, letter(1, "null"), letter(2, "{}", charge_point_id="FOREIGN"))
    client.close()
    client = opened_again = QueueClient(client.address, client.keys, ids=client.ids).open()
    before = client.snapshot(values=True)

    own, shared = send(client, 2), send(client, 2, point="SHARED")
    point = own.charge_points[0]
    seven = message(client, "StatusNotification", point)
    seven.connector = 7
    client.send([seven, raw(b"null"), raw(b"\xff")])
    server.lrem(REQUESTS, 1, own[0].text)
    answer(server, own[0], shared[1])
    keep_state(server, point, 3)
    server.lpush(DEAD_LETTERS, letter(3, "null"), letter(4, "\ufffd"), letter(5, "cut", charge_point_id=point))
    server.lpush(DEAD_LETTERS, letter(6, "null", charge_point_id="FOREIGN", message_id="not ours, but the same text"))
    assert compare(before, client.snapshot(values=True))

    removed = client.remove_data(timeout=0.1)
    assert (removed.messages, removed.answers, removed.keys, removed.left) == (6, 1, 8, ["SHARED"])
    assert removed.dead_letters == 4
    assert not compare(before, client.snapshot(values=True))
    assert server.lrange(REQUESTS, 0, -1) == ["foreign message"]
    assert not client.wrote_something
    assert str(client.remove_data(timeout=0)).startswith("0 keys")
    opened_again.close()


def test_messages_that_are_being_processed_are_waited_for(client: QueueClient, server: redis.Redis) -> None:
    sent = send(client, 20)

    def process() -> None:
        for each in sent:
            server.rpop(REQUESTS)
            answer(server, each)
            time.sleep(0.02)

    worker = threading.Thread(target=process)
    worker.start()
    removed = client.remove_data(timeout=PATIENCE)
    worker.join()
    assert (removed.messages, removed.keys) == (0, 1)
    assert server.dbsize() == 0


def test_a_charge_point_can_be_used_again_after_removal(client: QueueClient, server: redis.Redis) -> None:
    for _ in range(2):
        sent = send(client, 2, point="CP-1")
        answer(server, *sent)
        waits.wait_for_all(client, sent, timeout=PATIENCE, settle=0)
        server.delete(REQUESTS)
        assert client.remove_data(timeout=0).keys == 1
        assert server.dbsize() == 0


def test_answers_that_were_only_read_are_not_removed(client: QueueClient, server: redis.Redis) -> None:
    answer(server, message(client, point="CP-9", message_id="foreign"))
    client.refresh(["CP-9"])
    assert len(client.answers_of("CP-9")) == 1
    sent = send(client, point="CP-9")
    answer(server, *sent)
    client.refresh(["CP-9"])
    assert [each.message_id for each in client.answers_of("CP-9")] == [sent[0].message_id]
    removed = client.remove_data(timeout=0)
    assert (removed.answers, removed.left) == (1, ["CP-9"])
    assert server.llen("ocpp:responses:CP-9") == 1


def test_messages_can_be_judged_after_removal(client: QueueClient, server: redis.Redis) -> None:
    sent = send(client, 2)
    client.remove_data(timeout=0)
    with pytest.raises(WaitTimeout, match="2 messages: 0 answered, 2 lost"):
        waits.wait_for_all(client, sent, timeout=0, settle=0)


def test_state_in_another_database_is_removed(service: RedisService) -> None:
    client = opened(service, state_database=3)
    sent = send(client)
    with redis.Redis.from_url(service.url(3), decode_responses=True) as state:
        keep_state(state, sent.charge_points[0], 1)
        assert client.snapshot(values=False).count == 1 + 7
        assert any(name.startswith("[3] ") for name in client.snapshot(values=False).types)
        state.delete(f"ocpp:connector:{sent.charge_points[0]}:7")
        client.remove_data(timeout=0)
        assert state.dbsize() == 0
    client.close()


@pytest.mark.parametrize("kind", ["zset", "set", "list"])
def test_transactions_are_removed_by_any_index(client: QueueClient, server: redis.Redis, kind: str) -> None:
    point = send(client).charge_points[0]
    server.set("ocpp:transaction:3", "{}")
    index = f"ocpp:transactions:{point}"
    {"zset": lambda: server.zadd(index, {"3": 1}), "set": lambda: server.sadd(index, "3")}.get(
        kind, lambda: server.rpush(index, "3")
    )()
    client.remove_data(timeout=0)
    assert server.keys() == []


def test_nothing_is_removed_while_redis_is_away(own_service: RedisService) -> None:
    client = opened(own_service)
    send(client)
    own_service.kill()
    with pytest.raises(QueueUnavailable, match="Removing the data of this run failed: Redis at"):
        client.remove_data(timeout=0)
    own_service.start(PATIENCE)
    assert client.remove_data(timeout=0).messages == 1
    client.close()


def test_snapshots_are_compared(client: QueueClient, server: redis.Redis) -> None:
    server.set("kept", "1")
    server.set("gone", "1")
    server.set("changed", "1")
    server.rpush("list", "a", "b")
    names, values = client.snapshot(values=False), client.snapshot(values=True)
    server.delete("gone", "changed")
    server.sadd("changed", "1")
    server.set("new", "1")
    server.set("ignored:1", "1")
    server.lset("list", 0, "c")
    difference = compare(names, client.snapshot(values=False), ignore=["ignored:*"])
    assert (difference.added, difference.removed, difference.changed) == (["new"], ["gone"], ["changed"])
    assert str(difference) == "1 added (new), 1 removed (gone), 1 changed (changed)"
    assert compare(values, client.snapshot(values=True), ignore=["new", "ignored:*"]).changed == ["changed", "list"]
    with pytest.raises(WaitTimeout, match=r"The keys differ from the snapshot: 2 added \(ignored:1, new\), 1 removed"):
        waits.keys_should_equal(client, names, ignore=[], timeout=0)
    server.flushall()
    server.mset({"kept": "1", "gone": "1", "changed": "1"})
    server.rpush("list", "a", "b")
    waits.keys_should_equal(client, values, ignore=[], timeout=0)


# Addresses


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://host:1/5", 5),
        ("redis://host:1/", None),
        ("redis://host:1", None),
        ("redis://host:1/?db=7", 7),
        ("unix:///run/redis.sock", None),
        ("unix:///run/redis.sock?db=2", 2),
    ],
)
def test_the_database_in_a_url(url: str, database: int | None) -> None:
    assert database_in(url) == database


def test_a_password_is_never_shown() -> None:
    assert shown_url("redis://me:secret@host:1/0") == "redis://host:1/0"
    with pytest.raises(UsageError, match=r"^The Redis URL 'http://host' cannot be used"):
        QueueClient("http://me:secret@host", QueueKeys.of(Target.load("reference")), ids=Ids())
