"""Commands and answers against a small server with known defects, on a real Redis and real sockets."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from CorrelationLibrary import CorrelationLibrary
from ocpp_resilience import background
from ocpp_resilience.correlation import direct
from ocpp_resilience.correlation.commands import Command, Commands, pick
from ocpp_resilience.correlation.gateway_stand_in import (
    Answering,
    Order,
    ScriptedAnswer,
    Way,
    default_payload,
    read_command,
)
from ocpp_resilience.errors import ExpectationFailed, ServiceError, UsageError, WaitTimeout
from ocpp_resilience.ocpp import ocpp_version
from ocpp_resilience.profile import Target, fill_template
from ocpp_resilience.redis.services import AppendOnly, RedisService, ServiceKind, create_service
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.waiting import wait_until

PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""
PROFILE = str(Path(__file__).parents[1] / "fakes" / "fake_commands.yaml")


@pytest.fixture(scope="module")
def service() -> Iterator[RedisService]:
    made = create_service(ServiceKind.EMBEDDED, "Redis", append_only=AppendOnly.OFF, settings={})
    made.start(PATIENCE)
    yield made
    made.close()


@pytest.fixture
def keys(service: RedisService) -> Iterator[redis.Redis]:
    """The database that the profile names."""
    client = redis.Redis.from_url(service.url(), db=3, decode_responses=True)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture
def start(service: RedisService, keys: redis.Redis) -> Iterator[Callable[..., CorrelationLibrary]]:
    """Starts the server with a defect and opens commands to it."""
    opened: list[CorrelationLibrary | OcppServer] = []

    def start(mode: str = "right", *, token: str = "", sent_token: str | None = None) -> CorrelationLibrary:
        server = OcppServer("fake", Target.load(PROFILE))
        server.configure(service.url(), {"MODE": mode, "TOKEN": token or None})
        opened.append(server)
        server.start()
        library = CorrelationLibrary()
        opened.append(library)
        given = token if sent_token is None else sent_token
        library.open_commands(service.url(), server.url, target=PROFILE, token=given)
        return library

    yield start
    for each in reversed(opened):
        each.close_all() if isinstance(each, CorrelationLibrary) else each.close()


Start = Callable[..., CorrelationLibrary]


def test_a_charge_point_is_announced_and_taken_back_as_the_profile_says(start: Start, keys: redis.Redis) -> None:
    events = keys.pubsub(ignore_subscribe_messages=True)
    events.subscribe("came", "left")

    def told() -> dict[str, str]:
        """The next message; confirmations of subscriptions are skipped."""
        return wait_until(lambda: events.get_message(timeout=1), timeout=PATIENCE, failure=lambda: "no message")

    library = start()
    (point,) = library.announce_charge_points(1)
    session = keys.hgetall(f"who:{point}")
    assert session["id"] == point
    assert session["at"].startswith("stand-in-")
    assert session["since"].endswith("Z")
    assert keys.smembers("here") == {point}
    came = told()
    assert (came["channel"], json.loads(came["data"])) == ("came", {"what": "here", "who": point})
    library.disconnect_charge_points(point)
    left = told()
    assert (left["channel"], json.loads(left["data"])) == ("left", {"what": "gone", "who": point})
    assert keys.keys() == []
    events.close()


def test_nothing_is_left_behind(start: Start, keys: redis.Redis) -> None:
    library = start()
    library.announce_charge_points(3)
    library.start_commands(6, timeout=PATIENCE)
    library.wait_for_received_commands(count=6)
    keys.lpush(f"to:{library.announce_charge_points(1)[0]}", "{}")
    library.close_all()
    assert [key for key in keys.scan_iter() if not key.startswith("note:")] == []  # those are the server's own


def test_commands_of_many_callers_get_their_own_answers_in_any_order(start: Start) -> None:
    library = start()
    library.announce_charge_points(10)
    commands = library.start_commands(200, timeout=PATIENCE)
    library.pending_correlations_should_be(200, timeout=PATIENCE)
    assert commands.waiting == 200
    given = library.answer_commands(commands, order=Order.RANDOM, seed=1)
    assert [each.message_id for each in given] != sorted((each.message_id for each in given), key=lambda m: int(m[1:]))
    library.commands_should_be_answered(commands)
    assert (commands.own_answers, commands.mixed_up, commands.percent_answered) == (200, 0, 100)
    assert library.pending_correlations_should_be(0, timeout=PATIENCE) == 0


def test_an_answer_to_another_command_is_seen(start: Start) -> None:
    library = start("action")
    library.announce_charge_points(1)
    commands = library.start_commands(3, timeout=PATIENCE)
    library.answer_commands(commands, order=Order.REVERSED)
    with pytest.raises(ExpectationFailed, match="1 with their own answer, 2 mixed up"):
        library.commands_should_be_answered(commands)


def test_two_equal_commands_are_told_apart_by_their_answers(start: Start) -> None:
    library = start()
    library.announce_charge_points(1)
    first = library.start_commands(1, key="same", timeout=PATIENCE)
    library.wait_for_received_commands(first)
    second = library.start_commands(1, key="same", timeout=PATIENCE)
    answer = library.answer_commands(order=Order.REVERSED, most=1, count=2)
    library.commands_should_be_answered(second)
    library.command_should_have_answer(second, answer)
    assert first.waiting == 1
    other = library.answer_commands()
    library.commands_should_be_answered(first)
    library.command_should_have_answer(first, other)
    with pytest.raises(ExpectationFailed, match=r"Expected the answer .* for GetConfiguration to .* it received"):
        library.command_should_have_answer(first, answer)


def test_equal_commands_that_are_mixed_up_are_seen(start: Start) -> None:
    library = start("action")
    library.announce_charge_points(1)
    first = library.start_commands(1, key="same", timeout=PATIENCE)
    library.wait_for_received_commands(first)
    second = library.start_commands(1, key="same", timeout=PATIENCE)
    answer = library.answer_commands(order=Order.REVERSED, most=1, count=2)
    library.commands_should_be_answered(first)
    assert second.waiting == 1
    library.command_should_have_answer(first, answer)


def test_a_command_can_be_answered_when_it_arrives(start: Start) -> None:
    library = start()
    (point,) = library.announce_charge_points(1, answering=Answering.AT_ONCE)
    began = time.monotonic()
    reset = library.send_command("Reset", point, type="Soft", timeout=PATIENCE)
    assert (reset.status, reset.data) == (200, {"status": "Accepted"})
    assert reset.own_answer
    assert 0 < reset.seconds < time.monotonic() - began
    library.announce_charge_points([point], answering=Answering.HELD)
    assert library.send_command("Reset", point, type="Soft", timeout=0.1).status == 408


def test_a_command_without_an_answer_times_out(start: Start) -> None:
    library = start()
    library.announce_charge_points(1)
    began = time.monotonic()
    told = library.command_should_time_out(library.start_commands(5, timeout=0.3))
    assert 0.3 <= told.quickest <= told.slowest < time.monotonic() - began
    commands = library.start_commands(1, timeout=PATIENCE)
    library.answer_commands(commands)
    with pytest.raises(ExpectationFailed, match="Expected HTTP status 408 for each of 1 commands, 1 have a different"):
        library.command_should_time_out(commands)


def test_another_status_than_408_is_seen(start: Start) -> None:
    library = start("wrong status")
    library.announce_charge_points(1)
    with pytest.raises(ExpectationFailed, match=r"Expected HTTP status 408 .*: 500 time is up"):
        library.command_should_time_out(library.start_commands(1, timeout=0.1))


def test_answers_late_twice_unknown_and_with_an_error_are_counted(start: Start) -> None:
    library = start()
    library.announce_charge_points(1)
    mark = library.get_correlations()
    late = library.start_commands(2, timeout=0.1)
    library.command_should_time_out(late)
    library.answer_commands(late)
    twice = library.start_commands(3, timeout=PATIENCE)
    library.answer_commands(twice, way=Way.TWICE)
    library.commands_should_be_answered(twice)
    refused = library.start_commands(1, timeout=PATIENCE)
    library.answer_commands(refused, way=Way.UNKNOWN)
    library.answer_commands(refused, way=Way.ERROR)
    library.commands_should_have_status(502, refused)
    assert refused[0].reason == "GenericError"
    grown = library.correlation_totals_should_be(since=mark, resolved=3, failed=1, expired=2, duplicate=5, unknown=1)
    assert grown["registered"] == 6
    with pytest.raises(
        ExpectationFailed, match=r"Expected the counters to grow by unknown 2 .*; they grew by unknown 1"
    ):
        library.correlation_totals_should_be(since=mark, unknown=2, timeout=0.1)
    with pytest.raises(ExpectationFailed, match=r"Expected the counters to grow by unknown 0; they grew by unknown 1"):
        library.correlation_totals_should_be(since=mark, unknown=0)
    with pytest.raises(UsageError, match=r"The system has no counter lost \(it has: registered, "):
        library.correlation_totals_should_be(since=mark, lost=0)


def test_each_caller_is_told_the_error_of_its_own_command(start: Start) -> None:
    library = start()
    library.announce_charge_points(2)
    refused = library.start_commands(4, timeout=PATIENCE)
    given = library.answer_commands(refused, way=Way.ERROR)
    library.wait_for_commands(refused)
    with pytest.raises(ExpectationFailed, match=r"4 of 4 callers were not told .* expected GenericError: The charge"):
        # This server tells the code alone.
        library.commands_should_have_errors(refused, given)
    assert {each.command.message_id for each in given if each.command} == {each.message_id for each in given}
    for each, answer in zip(refused, sorted(given, key=lambda one: own(refused, one)), strict=True):
        each.reason = f"{answer.payload[0]}: {answer.payload[1]}"
    library.commands_should_have_errors(refused, given)
    refused[0].reason = refused[1].reason
    with pytest.raises(ExpectationFailed, match=r"1 of 4 callers were not told the error of their charge point"):
        library.commands_should_have_errors(refused, given)
    with pytest.raises(ExpectationFailed, match=r"4 of 4 .* which was not answered with an error"):
        library.commands_should_have_errors(refused, [])


def own(commands: Commands, answer: ScriptedAnswer) -> int:
    """The place of the command that an answer belongs to."""
    assert answer.command is not None
    return next(n for n, each in enumerate(commands) if each.mark and answer.command.carries(each.mark))


def test_counters_that_stand_still_are_seen(start: Start) -> None:
    library = start("blind")
    library.announce_charge_points(1, answering=Answering.AT_ONCE)
    mark = library.get_correlations()
    library.commands_should_be_answered(library.start_commands(1, timeout=PATIENCE))
    with pytest.raises(ExpectationFailed, match="Expected the counters to grow by resolved 1 within 200 ms"):
        library.correlation_totals_should_be(since=mark, resolved=1, timeout=0.2)


def test_remaining_pending_requests_are_noticed(start: Start) -> None:
    library = start("forgetful")
    library.announce_charge_points(1, answering=Answering.AT_ONCE)
    library.commands_should_be_answered(library.start_commands(4, timeout=PATIENCE))
    with pytest.raises(WaitTimeout, match="Expected 0 pending commands, the system has 4"):
        library.pending_correlations_should_be(0, timeout=0.2)
    assert library.get_pending_correlations() == 4


def test_commands_that_wait_elsewhere_do_not_count(start: Start) -> None:
    library = start()
    (silent,) = library.announce_charge_points(1)
    began = time.monotonic()
    slow = library.start_commands(1, charge_points=silent, timeout=PATIENCE)
    library.pending_correlations_should_be(1, timeout=PATIENCE)
    assert library.pending_correlations_should_be(0, besides=slow, timeout=PATIENCE) == 0
    (oldest,) = library.get_correlations().oldest
    assert oldest.charge_point == silent
    assert 0 <= oldest.age < time.monotonic() - began


def test_a_charge_point_that_is_not_there_is_told_at_once(start: Start) -> None:
    library = start()
    commands = library.start_commands(1, charge_points="nobody")
    library.commands_should_have_status(503, commands)
    assert commands[0].reason == "offline"


def test_the_token_is_sent(start: Start) -> None:
    library = start(token="secret")
    library.announce_charge_points(1, answering=Answering.AT_ONCE)
    library.commands_should_be_answered(library.start_commands(1, timeout=PATIENCE))
    library.pending_correlations_should_be(0, timeout=PATIENCE)
    other = start(token="secret", sent_token="wrong")
    other.commands_should_have_status(401, other.start_commands(1, charge_points="any"))
    with pytest.raises(ExpectationFailed, match="answered 401 instead of 200"):
        other.get_correlations()


def test_callers_of_a_server_that_dies_are_told_why(start: Start, service: RedisService) -> None:
    library = CorrelationLibrary()
    server = OcppServer("fake", Target.load(PROFILE))
    server.configure(service.url(), {})
    server.start()
    try:
        library.open_commands(service.url(), server.url, target=PROFILE)
        library.announce_charge_points(1)
        commands = library.start_commands(2, timeout=PATIENCE)
        library.wait_for_received_commands(commands)
        server.kill()
        library.wait_for_commands(commands, timeout=PATIENCE)
        assert all("no HTTP answer" in str(each.problem) for each in commands)
        with pytest.raises(ServiceError):
            library.get_correlations()
    finally:
        library.close_all()
        server.close()


def test_closing_cancels_waiting_commands(start: Start) -> None:
    library = start()
    library.announce_charge_points(1)
    commands = library.start_commands(2, timeout=60)
    library.wait_for_received_commands(commands)
    library.close_commands()
    assert commands.waiting == 0
    assert commands[0].problem == "the caller went away"
    with pytest.raises(UsageError, match="There is no connection for commands 'commands'"):
        library.start_commands(1, timeout=PATIENCE)


def test_the_stand_in_goes_on_when_its_connections_were_cut(start: Start, keys: redis.Redis) -> None:
    library = start()
    (point,) = library.announce_charge_points(1)
    keys.client_kill_filter(_type="normal", skipme=True)
    keys.lpush(f"to:{point}", '{"payload":[2,"after","Reset",{"type":"Soft"}]}')
    (received,) = library.wait_for_received_commands()
    assert received.message_id == "after"
    library.answer_commands()
    assert json.loads(keys.lrange("in", 0, 0)[0])["payload"] == [3, "after", {"status": "Accepted"}]


def test_unknown_names_are_refused(start: Start, service: RedisService) -> None:
    library = start()
    with pytest.raises(UsageError, match=r"has no command 'Fly' \(allowed: GetConfiguration, Reset; "):
        library.start_commands(1, action="Fly", charge_points="CP")
    with pytest.raises(UsageError, match="There are 1 commands for 0 charge points"):
        library.start_commands(1, timeout=PATIENCE)
    with pytest.raises(UsageError, match="charge_points is 0"):
        library.announce_charge_points(0)
    with pytest.raises(UsageError, match="Expected the result of `Start Commands` or `Send Command`, not 'x'"):
        library.wait_for_commands("x")
    with pytest.raises(WaitTimeout, match="Expected 1 unanswered commands at the charge points, found 0"):
        library.answer_commands(timeout=0.1)
    library.open_commands(service.url(), "http://127.0.0.1:1", target=str(Path(PROFILE).with_name("fake.yaml")))
    with pytest.raises(UsageError, match=r"The gateway of target .fake. cannot be simulated: nothing defines how"):
        library.announce_charge_points(1)
    with pytest.raises(UsageError, match="has no HTTP path for 'correlations'"):
        library.get_correlations()


def test_templates_keep_types_and_leave_out_missing_values() -> None:
    template = {"a": "{a}", "b": "{b}", "c": "<{a}>", "d": ["{b}", "{a}"], "e": {"f": "{b}"}, "n": 1}
    assert fill_template(template, {"a": 7}) == {"a": 7, "c": "<7>", "d": [7], "e": {}, "n": 1}
    assert fill_template("{a}", {"a": None}) is None
    assert fill_template(None, {}) is None


def test_requests_are_made_as_the_reference_profile_says() -> None:
    from ocpp_resilience.correlation.commands import CommandClient

    client = CommandClient("http://127.0.0.1:1", Target.load("reference"), run="run")
    got = client.make("GetConfiguration", "CP/1 ü", timeout=2.0)
    assert got.path == "/api/v1/chargepoints/CP%2F1%20%C3%BC/configuration/live"
    assert (got.method, got.query, got.body, got.mark) == ("GET", {"keys": "run-1", "timeout": "2"}, None, "run-1")
    reset = client.make("Reset", "CP", fields={"type": "Soft"}, timeout=0.5)
    assert (reset.method, reset.query, reset.body, reset.mark) == ("POST", {}, {"type": "Soft", "timeout": 0.5}, None)
    stop = client.make("RemoteStopTransaction", "CP", fields={"transactionId": 7})
    assert stop.body == {"chargePointId": "CP", "transactionId": 7}


def test_only_calls_are_commands() -> None:
    assert read_command("CP", b'{"payload":[3,"a",{}]}') is None
    assert read_command("CP", b"no json") is None
    assert read_command("CP", b'{"payload":[2,"a","Reset",[]]}') is None
    call = read_command("CP", b'{"payload":[2,"a","UnlockConnector",{"connectorId":1}]}')
    assert call is not None
    assert (call.message_id, call.action) == ("a", "UnlockConnector")
    assert default_payload(call, ocpp_version()) == {"status": "Unlocked"}


def test_an_own_answer_carries_the_mark_and_nothing_else() -> None:
    command = Command(
        charge_point="CP", action="A", mark="m", timeout=1, method="GET", path="/", echo="a.b", status=200
    )
    for echoed, own in ((["m"], True), ("m", True), (["m", "n"], False), ([], False), (None, False)):
        command.data = {"a": {"b": echoed}}
        assert command.own_answer is own
    assert pick([], "a") is None
    command.status = 202
    assert not command.own_answer
    assert Commands([]).percent_answered == 100


def test_the_loop_is_left_with_nothing_of_ours(start: Start) -> None:
    import asyncio

    library = start()
    library.announce_charge_points(1, answering=Answering.AT_ONCE)
    library.commands_should_be_answered(library.start_commands(3, timeout=PATIENCE))
    library.close_all()

    async def names() -> list[str]:
        return [str(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert not [name for name in background.run(names) if "_take_all" in name or "_send" in name]


def defective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Have the child process import a correlation manager with a defect."""
    import server

    source = Path(server.__file__).parent
    folder = tmp_path / "server"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    module = folder / "correlation" / "manager.py"
    text = module.read_text("utf-8")
    assert old in text
    module.write_text(text.replace(old, new), "utf-8")
    monkeypatch.chdir(tmp_path)  # `python -m` looks there first


def test_the_manager_alone_holds_many_and_keeps_none() -> None:
    report = direct.measure_memory(5000)
    assert report.pending == 5000
    assert report.ended == dict.fromkeys(("resolve", "fail", "cancel", "expire"), 1250)
    assert report.left_over == 0
    assert 100 < report.bytes_each < 5000
    assert report.percent_left < 10


def test_many_workers_get_their_own_answers() -> None:
    report = direct.run_workers(20, 200, seed=4)
    assert (report.lost, report.mixed_up, report.left_over, report.miscounted) == (0, 0, 0, 0)
    assert sum(report.outcomes.values()) == 4000
    assert report.totals["registered"] == 4000


def test_a_manager_that_keeps_ended_requests_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defective(
        tmp_path, monkeypatch, "        del self._pending[correlation.message_id]\n", "        kept.append([0] * 600)\n"
    )
    module = tmp_path / "server" / "correlation" / "manager.py"
    module.write_text(module.read_text("utf-8") + "\n\nkept: list[object] = []\n", "utf-8")
    report = direct.measure_memory(2000, end="resolve")
    assert report.left_over == 2000
    assert report.percent_left > 10


def test_a_manager_that_mixes_up_answers_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defective(
        tmp_path,
        monkeypatch,
        "        correlation = self._pending.get(message_id)\n        if correlation is None:\n            verdict",
        "        correlation = next(iter(self._pending.values()), None)\n"
        "        if correlation is not None:\n"
        "            message_id, charge_point_id = correlation.message_id, correlation.charge_point_id\n"
        "        if correlation is None:\n            verdict",
    )
    report = direct.run_workers(5, 100, seed=4)
    assert report.mixed_up > 0


def test_a_manager_that_loses_answers_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defective(
        tmp_path,
        monkeypatch,
        "        correlation._settle(outcome)  # noqa: SLF001 - the manager's own\n",
        "        if not message_id.endswith('9'):\n            correlation._settle(outcome)\n",
    )
    report = direct.run_workers(3, 20, seed=4)
    assert report.lost > 0


def test_a_manager_that_counts_wrongly_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defective(tmp_path, monkeypatch, "            self.totals.resolved += 1\n", "            pass\n")
    report = direct.run_workers(3, 50, seed=4)
    assert report.lost == 0
    assert report.miscounted > 0


def test_a_child_that_fails_or_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"end is 'bang' \(allowed: resolve, fail, cancel, expire, mixed\)"):
        direct.measure_memory(1, end="bang")
    with pytest.raises(UsageError, match="pending is 0"):
        direct.measure_memory(0)
    with pytest.raises(UsageError, match="workers is 0"):
        direct.run_workers(0, 1)
    with pytest.raises(ServiceError, match="did not finish within 10 ms"):
        direct.run_workers(1, 1, timeout=0.01)
    defective(
        tmp_path, monkeypatch, "class CorrelationManager:\n", "class CorrelationManager:\n    register = None\n    x"
    )
    with pytest.raises(ServiceError, match=r"ended with status 1\. (.|\n)*Error"):
        direct.run_workers(1, 1)
