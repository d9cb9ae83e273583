"""The load engine is honest: it counts sent messages, from their due times, and reports when it was the limit
itself."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import pytest
from robot.api import SkipExecution

from LoadLibrary import LoadLibrary
from ocpp_resilience.errors import ExpectationFailed, ServiceError, UsageError
from ocpp_resilience.evidence.measure import contention
from ocpp_resilience.evidence.measure.contention import Contention
from ocpp_resilience.evidence.measure.memory import Bound
from ocpp_resilience.evidence.measure.sampling import Sampler
from ocpp_resilience.ledger import Verdict, check
from ocpp_resilience.load import LoadResult, LoadRun, Model, Plan, Profile, Stage
from ocpp_resilience.load.plan import Arrivals
from ocpp_resilience.load.result import LoadTotals, Part, Times, cause_of_slip, spread_of, together
from ocpp_resilience.waiting import wait_until

SERVER = Path(__file__).with_name("load_server.py")
MOST_SAMPLES = 6
HELD_UP = 0.15
"""Seconds that the machine may have held up generator or server in a sample that says something about the two."""


@pytest.fixture
def started() -> list[subprocess.Popen[str]]:
    """The small servers that run."""
    return []


@pytest.fixture
def end_servers(started: list[subprocess.Popen[str]]) -> Callable[[], None]:
    """Ends the servers now, so that they write their observations."""

    def end() -> None:
        for process in started:
            process.terminate()
            process.wait(30)

    return end


@pytest.fixture
def server(started: list[subprocess.Popen[str]], end_servers: Callable[[], None]) -> Iterator[Callable[..., str]]:
    """Start the small server and give its URL."""

    def start(**options: Any) -> str:
        process = subprocess.Popen(
            [sys.executable, str(SERVER), json.dumps(options)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return f"ws://127.0.0.1:{int(process.stdout.readline())}/ocpp/{{charge_point_id}}"

    yield start
    end_servers()
    for process in started:
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., LoadResult]]:
    """Run a load to its end, with a ledger that is judged."""
    runs: list[LoadRun] = []

    def run(url: str, *, processes: int = 1, seconds_to_wait: float = 60, **plan: Any) -> LoadResult:
        ledger = str(tmp_path / f"ledger-{len(runs)}.jsonl")
        runs.append(LoadRun("Load 'load'", Plan(url=url, ledger=ledger, **plan), processes=processes))
        runs[-1].start()
        return runs[-1].wait(seconds_to_wait)

    yield run
    for each in runs:
        each.close()


@pytest.fixture
def sound(server: Callable[..., str], end_servers: Callable[[], None], tmp_path: Path) -> Callable[..., LoadResult]:
    """The result of a load without disturbances of the machine.

    Where time is what is measured, a machine that stops the server or the generator for a while measures itself. Both
    say so: the server by a clock of its own, the generator by its lag. Such a sample is thrown away by what they say,
    never by the figures that the test is about, and another one is taken, a bounded number of times.
    """

    def measure(run: Callable[[str], LoadResult], *, generator_held: bool = False, **options: Any) -> LoadResult:
        why = []
        for number in range(MOST_SAMPLES):
            stood = tmp_path / f"stood-{number}.json"
            result = run(server(stood=str(stood), **options))
            end_servers()
            began = result.ended - result.duration
            meanwhile = [late for at, late in json.loads(stood.read_text()) if began < at < result.ended + late]
            held = {"server": max(meanwhile, default=0.0)}
            if not generator_held:
                held["generator"] = result.lag.max / 1000
            if max(held.values()) <= HELD_UP:
                return result
            why.append(", ".join(f"{who} {seconds:.2f} s" for who, seconds in held.items()))
        pytest.fail(f"The machine held up somebody in each of {MOST_SAMPLES} samples: {'; '.join(why)}")

    return measure


def test_closed_loop_obeys_littles_law(server: Callable[..., str], load: Callable[..., LoadResult]) -> None:
    """For a time rather than a number of messages, so that all charge points send to the end."""
    for pause in (0.0, 0.01):
        result = load(server(), seconds=3, pause=pause)
        assert result.little == pytest.approx(1, abs=0.05)
        assert result.answered == result.due > 1000
        assert result.problems == "none"
        assert check(result.ledgers).verdict is Verdict.CLEAN


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only 127.0.0.1 belongs to the machine by itself")
def test_connections_come_from_several_addresses(
    server: Callable[..., str], load: Callable[..., LoadResult], end_servers: Callable[[], None], tmp_path: Path
) -> None:
    """One address has ports for some 28,000 connections only."""
    seen = tmp_path / "addresses.json"
    addresses = ["127.0.0.2", "127.0.0.3"]
    result = load(server(addresses=str(seen)), charge_points=5, messages=2, local_addresses=addresses)
    assert result.answered == 10
    end_servers()
    assert json.loads(seen.read_text()) == {"127.0.0.2": 3, "127.0.0.3": 2}


def test_more_charge_points_than_files_may_be_open_are_refused(server: Callable[..., str]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this process may open any number of files")
    run = LoadRun("Load 'load'", Plan(url=server(), charge_points=hard, messages=1))
    try:
        with pytest.raises(ServiceError, match=rf"{hard} charge points in one process need {hard + 200} open files, "):
            run.start()
    finally:
        run.close()


@pytest.mark.parametrize("charge_points", [50, 500])
def test_a_stall_counts_from_when_messages_were_due(
    server: Callable[..., str],
    load: Callable[..., LoadResult],
    end_servers: Callable[[], None],
    tmp_path: Path,
    charge_points: int,
) -> None:
    """The server stands still for 1 s of 15 at 500 msg/s: 1 of 15 messages waits, half a second on average.

    50 charge points cannot even send what falls due meanwhile; of 500 nobody waits for a message of their own before.
    What the engine reports is compared with what the server itself saw in the same run, message by message of the
    schedule: however busy the machine was with other things, both were there.
    """
    times = tmp_path / "times.json"
    result = load(
        server(stall_at=7, stall=1, times=str(times)),
        model=Model.OPEN,
        stages=[Stage(15, 500)],
        charge_points=charge_points,
    )
    assert result.due == result.answered == 7500
    end_servers()
    answered = sorted(json.loads(times.read_text()))
    behind = [at - number / 500 for number, at in enumerate(answered)]
    # The schedule began when the message that waited least was due, not when the first one got its answer.
    seen = sorted(1000 * (each - min(behind)) for each in behind)
    truth = {
        "mean": statistics.fmean(seen),
        "p95": seen[int(0.95 * len(seen))],
        "p99": seen[int(0.99 * len(seen))],
        "max": seen[-1],
    }
    arithmetic = {"mean": 1000 * 0.5 / 15, "p95": 250, "p99": 850, "max": 1000}
    assert all(truth[name] >= 0.95 * least for name, least in arithmetic.items()), "the server did not stand still"
    reported = {name: getattr(result.latency, name) for name in arithmetic}
    # Beside the server's own time is the way to it and back, as long as in most of the seconds without a stall.
    way = statistics.median(second.p99 for second in [*result.seconds[:6], *result.seconds[9:15]])
    assert all(0.95 * truth[name] <= reported[name] <= 1.05 * truth[name] + way for name in truth), (
        reported,
        truth,
        way,
    )
    # What stood still later is not in the first seconds; what the machine held up there, the server has seen, too.
    begun = 1000 * (max(behind[: 6 * 500]) - min(behind))
    assert max(second.max for second in result.seconds[:6]) <= 1.05 * begun + max(way, 50)


def test_waiting_for_ones_turn_is_told_from_the_answer_time(
    load: Callable[..., LoadResult], sound: Callable[..., LoadResult]
) -> None:
    """5 charge points have one message on the wire while 250 fall due; all wait as long as they would have alone.

    A generator that is held up while the server stands still has nothing on the wire.
    """
    result = sound(
        lambda url: load(url, model=Model.OPEN, stages=[Stage(3, 500)], charge_points=5), stall_at=1, stall=0.5
    )
    assert result.due == result.answered == 1500
    assert result.latency.max >= 0.9 * 500
    assert sum(second.answered for second in result.seconds) == 1500
    # 250 of 1500 waited, and only 5 of them on the wire.
    assert result.service.p90 < 50 < result.queueing.p90
    assert result.service.max >= 0.9 * 500


def test_several_processes_add_up_and_share_one_schedule(
    server: Callable[..., str], load: Callable[..., LoadResult]
) -> None:
    result = load(server(), processes=2, model=Model.OPEN, stages=[Stage(2, 200)], charge_points=11)
    assert result.due == result.answered == result.latency.samples == 400
    assert result.processes == 2
    assert result.connected_at_start == 11
    assert sum(second.answered for second in result.seconds) == 400
    report = check(result.ledgers)
    assert (len(result.ledgers), report.verdict, report.acknowledged) == (2, Verdict.CLEAN, 400)


def test_errors_are_counted_by_kind_and_written_down(
    server: Callable[..., str], load: Callable[..., LoadResult]
) -> None:
    # Longer than the machine holds anybody up; an answer that is late all the same is one more that is not in time.
    result = load(server(refuse=10, silent=25, drop=33), messages=10, charge_points=20, timeout=4)
    lost = result.failures["unanswered: connection lost"]
    silent = result.failures["unanswered: timeout"]
    assert (result.sent, lost, silent) == (200, 6, 4 + result.late)
    assert set(result.refused) == {"InternalError"}
    assert result.unanswered == lost + silent
    assert result.answered + result.refusals + result.unanswered == 200
    report = check(result.ledgers)
    assert (report.verdict, report.failed, report.undecided) == (Verdict.CLEAN, result.refusals, result.unanswered)


BOOTED = '{"currentTime":"2026-01-15T10:30:00Z","interval":300,"status":"Accepted"}'
INVALID = [
    ('[3,"ID"]', "CALLRESULT of the wrong length", True),
    ('[4,"ID"]', "CALLERROR of the wrong length", True),
    ('[3,"ID","x"]', "Heartbeat answer that its schema forbids", True),
    ('[3,"ID",null]', "Heartbeat answer that its schema forbids", True),
    ('[3,"ID",{"currentTime":"now"}]', "Heartbeat answer that its schema forbids", True),
    ('[3,"ID",{},{}]', "CALLRESULT of the wrong length", True),
    ('[4,"ID",7,"",{}]', "CALLERROR whose code is not a text", True),
    ('[3,["ID"],{}]', "CALLRESULT whose message id is not a text", False),
    ('[4,{"a":1},"InternalError","",{}]', "CALLERROR whose message id is not a text", False),
    ("[3]", "CALLRESULT whose message id is not a text", False),
    ("[]", "no OCPP-J message", False),
    ("{}", "no OCPP-J message", False),
    ("null", "no OCPP-J message", False),
    ("[true,1]", "no OCPP-J message", False),
    ('[[3],"ID",{}]', "no OCPP-J message", False),
    ('[99,"ID",{}]', "no OCPP-J message", False),
    ('[3,"ID",{}', "no JSON", False),
    ("[" * 100_000, "no JSON", False),
    ("binary:5b335d", "binary message", False),
    ('[2,["c"],"Reset",{"type":"Soft"}]', "command whose message id is not a text", False),
    ('[2,"c"]', "command that is no CALL", False),
    ('[2,"c",["Reset"],{}]', "command that is no CALL", False),
    ('[2,"c","Reset",null]', "command that is no CALL", False),
    ('[2,"c","GetConfiguration",{"key":null}]', "GetConfiguration command that its schema forbids", False),
    ('[2,"c","GetConfiguration",{"key":[7,["a"]]}]', "GetConfiguration command that its schema forbids", False),
]
"""A server's message in place of an answer, its kind, and whether it ends the message."""


@pytest.mark.parametrize("model", list(Model))
def test_no_answer_ends_the_load(server: Callable[..., str], load: Callable[..., LoadResult], model: Model) -> None:
    """Messages that no server may send are counted by kind; the load goes on."""
    url = server(instead=[text for text, _, _ in INVALID])
    how: dict[str, Any] = {"stages": [Stage(2, 50)]} if model is Model.OPEN else {"messages": 4}
    # One message of each charge point, so that each gets one of the invalid answers first.
    result = load(url, model=model, charge_points=len(INVALID), timeout=1, commands=True, **how)
    assert result.invalid == dict(Counter(kind for _, kind, _ in INVALID))
    ended = sum(ends for _, _, ends in INVALID)
    assert result.answered_invalid == ended
    assert result.unanswered == result.failures["unanswered: timeout"] == len(INVALID) - ended
    assert result.answered == result.sent - len(INVALID)
    assert result.answered > 0
    assert "1 invalid: binary message" in result.problems
    with pytest.raises(ExpectationFailed, match="2 invalid: CALLERROR"):
        LoadLibrary().load_should_be_answered(
            msgspec.structs.replace(result, invalid={"CALLERROR": 2}, failures={}, answered=result.due)
        )
    report = check(result.ledgers)
    assert report.verdict is Verdict.VIOLATED
    assert len(report.invalid) == len(report.violations) == len(INVALID)
    assert f"{len(INVALID)} invalid" in report.summary


@pytest.mark.parametrize("transaction", ['"17"', "null", "1.5", "[]", None])
def test_a_transaction_without_a_number_is_said(
    server: Callable[..., str], load: Callable[..., LoadResult], transaction: str | None
) -> None:
    field = "" if transaction is None else f'"transactionId":{transaction},'
    accepted = '[3,"ID",{"idTagInfo":{"status":"Accepted"}}]'
    start = f'[3,"ID",{{{field}"idTagInfo":{{"status":"Accepted"}}}}]'
    url = server(instead=[f'[3,"ID",{BOOTED}]', accepted, start])
    result = load(url, profile=Profile.SESSION, sessions=2, charge_points=1)
    assert result.invalid == {"StartTransaction answer that its schema forbids": 1}
    assert len(result.sessions) == 1, "the first session came to nothing, the second is whole"
    assert "transactionId" in result.summary


def test_answers_are_compared_by_their_meaning(server: Callable[..., str], load: Callable[..., LoadResult]) -> None:
    """White space, the order of members and the form of numbers say nothing."""
    instead = [
        '[ 3 , "ID" , { "status":"Accepted", "interval" : 3e2, "currentTime":"2026-01-15T10:30:00.000+01:00" } ]',
        '[3.0,"ID",{"idTagInfo":{"status":"Accepted"}}]',
        '[3,"ID",{"idTagInfo":{"status":"Accepted"},"transactionId":17.0}]',
    ]
    result = load(server(instead=instead), profile=Profile.SESSION, sessions=1, charge_points=1)
    assert result.problems == "none"
    assert [session.transaction_id for session in result.sessions] == [17]


def test_sessions_are_whole_and_wait_for_each_other(
    server: Callable[..., str], load: Callable[..., LoadResult]
) -> None:
    result = load(server(), profile=Profile.SESSION, sessions=1, together=True, charge_points=30, meter_values=3)
    assert result.most_charging == 30
    assert len({session.transaction_id for session in result.sessions}) == 30
    assert all(session.stopped and session.meter_values == 3 for session in result.sessions)
    assert all((session.meter_stop or 0) > session.meter_start for session in result.sessions)


def test_starts_and_stops_are_sent_until_they_are_answered(
    server: Callable[..., str],
    load: Callable[..., LoadResult],
    end_servers: Callable[[], None],
    tmp_path: Path,
) -> None:
    """The same start again after an unknown outcome, a new start after a refusal."""
    record = tmp_path / "record.json"
    url = server(drop=5, refuse=7, record=str(record))
    result = load(url, profile=Profile.SESSION, sessions=8, charge_points=3, meter_values=0, persistent=True)
    end_servers()
    assert result.failures["unanswered: connection lost"]
    assert result.refusals
    assert len(result.sessions) == 24
    assert all(session.stopped for session in result.sessions)
    sent = [message for message in json.loads(record.read_text()) if message[0] == 2]
    assert len(sent) == result.sent
    starts = [message[3]["meterStart"] for message in sent if message[2] == "StartTransaction"]
    known = [session.meter_start for session in result.sessions]
    assert set(known) < set(starts), "none was refused"
    assert len(starts) > len(set(starts)), "none was repeated"
    assert {session.start_id for session in result.sessions} < {message[1] for message in sent}


def test_without_persistence_nothing_is_sent_twice(
    server: Callable[..., str], load: Callable[..., LoadResult], end_servers: Callable[[], None], tmp_path: Path
) -> None:
    record = tmp_path / "record.json"
    load(server(drop=5, record=str(record)), profile=Profile.SESSION, sessions=8, charge_points=3, meter_values=0)
    end_servers()
    sent = [message[3] for message in json.loads(record.read_text()) if message[2] == "StartTransaction"]
    assert len({(each["meterStart"], each["timestamp"]) for each in sent}) == len(sent) == 24


def test_commands_are_carried_out_and_written_down(
    server: Callable[..., str],
    load: Callable[..., LoadResult],
    end_servers: Callable[[], None],
    tmp_path: Path,
) -> None:
    record = tmp_path / "record.json"
    result = load(server(ask=10, record=str(record)), messages=10, charge_points=5, commands=True)
    end_servers()
    assert result.commands == 5
    answers = [message for message in json.loads(record.read_text()) if message[0] != 2]
    assert sorted((kind, name, payload["unknownKey"]) for kind, name, payload in answers) == [
        (3, f"ask-{number}", [f"key-{number}"]) for number in (10, 20, 30, 40, 50)
    ]
    report = check(result.ledgers)
    assert sorted(each.about[:38] for each in report.unexpected) == [
        f"effect carried out for message 'key-{number}'"[:38] for number in (10, 20, 30, 40, 50)
    ]


def test_without_being_told_charge_points_carry_out_nothing(
    server: Callable[..., str],
    load: Callable[..., LoadResult],
    end_servers: Callable[[], None],
    tmp_path: Path,
) -> None:
    record = tmp_path / "record.json"
    result = load(server(ask=10, record=str(record)), messages=10, charge_points=5)
    end_servers()
    assert result.commands == 5
    codes = [message[2] for message in json.loads(record.read_text()) if message[0] == 4]
    assert codes == ["NotImplemented"] * 5
    assert check(result.ledgers).verdict is Verdict.CLEAN


def test_a_load_that_is_stopped_ends_its_sessions(server: Callable[..., str], tmp_path: Path) -> None:
    # Long sessions: of those that come and go within a tenth of a second, progress sees none for a while.
    plan = Plan(url=server(delay=0.01), profile=Profile.SESSION, meter_values=100, seconds=300)
    run = LoadRun("Load 'load'", plan)
    try:
        run.start()
        wait_until(lambda: run.progress().charging or None, timeout=30, failure=lambda: "nobody charges")
        result = run.stop(40)
        assert result.sessions
        assert all(session.stopped for session in result.sessions)
        assert result.duration < plan.seconds
    finally:
        run.close()


def test_all_charge_points_are_back_after_a_blackout(
    server: Callable[..., str], load: Callable[..., LoadResult]
) -> None:
    # Longer than the machine stands still: a schedule that is over is not blacked out.
    result = load(server(), model=Model.OPEN, stages=[Stage(5, 80)], blackout_at=0.5)
    assert result.recovered_after is not None
    assert 0 < result.recovered_after < result.duration - 0.5
    assert (result.connections, result.fewest_connected, result.reconnecting.samples) == (100, 0, 50)
    assert result.connected_at_end == 50
    assert result.answered + result.unanswered == 400


def test_a_charge_point_that_stays_away_after_a_blackout_is_waited_for_and_noticed(
    server: Callable[..., str], load: Callable[..., LoadResult]
) -> None:
    result = load(
        server(room=13), model=Model.OPEN, stages=[Stage(5, 20)], blackout_at=0.5, charge_points=10, timeout=1
    )
    assert (result.connected_at_start, result.fewest_connected, result.connected_at_end) == (10, 0, 3)
    assert result.recovered_after is None
    assert result.failures["not sent"] > 0
    assert result.duration >= 6


def test_a_connection_that_is_cut_as_soon_as_it_is_open_is_opened_again(
    server: Callable[..., str], load: Callable[..., LoadResult]
) -> None:
    """As by a server that is killed just then. No charge point connects twice at the same time."""
    result = load(server(slam=2, drop=7), messages=50, charge_points=10)
    assert result.answered + result.unanswered == 500
    assert result.connections > 100
    assert result.most_connected <= 10


def test_missing_actions_are_left_out(
    server: Callable[..., str], load: Callable[..., LoadResult], end_servers: Callable[[], None], tmp_path: Path
) -> None:
    lacking = ["Authorize", "DataTransfer", "MeterValues"]
    for profile in (Profile.SESSION, Profile.MIX):
        record = tmp_path / f"{profile}.json"
        url = server(record=str(record))
        sessions = 2 if profile is Profile.SESSION else None
        messages = None if sessions else 200
        result = load(url, profile=profile, sessions=sessions, messages=messages, charge_points=4, lacking=lacking)
        end_servers()
        seen = {message[2] for message in json.loads(record.read_text()) if message[0] == 2}
        assert not seen & set(lacking)
        assert seen >= {"BootNotification", "StatusNotification", "StartTransaction", "StopTransaction"}
        assert result.problems == "none"


def test_churn_connects_again_and_again(server: Callable[..., str], load: Callable[..., LoadResult]) -> None:
    result = load(server(), profile=Profile.CHURN, per_connection=3, messages=12, charge_points=10)
    assert result.answered == 120
    assert result.connections >= 40
    assert result.problems == "none"


def test_the_schedule_slips_where_the_server_is_too_slow(
    load: Callable[..., LoadResult], sound: Callable[..., LoadResult]
) -> None:
    """10 charge points with 20 ms a message can have 500 messages answered a second."""
    stages = [Stage(1, 250), Stage(1, 1000), Stage(10, 2000)]
    result = sound(
        lambda url: load(url, model=Model.OPEN, stages=stages, slip=0.3, charge_points=10),
        delay=0.02,
    )
    assert result.slipped_at is not None
    assert 1 <= result.slipped_at < 2.5
    assert result.slip_rate is not None
    assert 200 < result.slip_rate <= 501
    assert result.failures["not sent"] > 0
    assert result.due < 1250 + 10 * 2000
    assert result.capacity_unknown == ""


def test_the_capacity_is_the_rate_of_answers_at_the_limit(
    server: Callable[..., str], end_servers: Callable[[], None], tmp_path: Path
) -> None:
    """50 charge points with 100 ms a message can have 500 messages answered a second, and a little less.

    What is found is compared with what the server itself counted in the same seconds: how busy the machine was with
    other things is in both.
    """
    times = tmp_path / "times.json"
    found = []
    with LoadLibrary() as library:
        library.set_load_target(server(delay=0.1, times=str(times)).partition("/ocpp/")[0])
        for _ in range(3):
            result = library.find_capacity(charge_points=50, start=300, factor=3, slip=timedelta(milliseconds=300))
            assert result.slipped_at is not None
            assert 0 <= result.capacity_spread < math.inf
            found.append(result)
    end_servers()
    answered = json.loads(times.read_text())
    for result in found:
        length = len(result.at_the_limit)
        # The last second at the limit is not whole, and is not counted.
        end = result.ended - 0.5
        truth = sum(end - length < at <= end for at in answered) / length
        assert result.capacity == pytest.approx(truth, rel=0.05)
        assert result.capacity <= 505


@pytest.mark.parametrize(
    ("samples", "spread"),
    [([100, 100, 100], 0), ([90, 100, 110, 100, 100], 2.775 * 7.07 / 5**0.5), ([100], math.inf), ([0, 0], math.inf)],
)
def test_the_spread_is_half_of_a_confidence_interval(samples: list[float], spread: float) -> None:
    assert spread_of(samples) == pytest.approx(spread, rel=0.001)


def test_the_first_process_to_end_is_the_end_of_the_search_for_all(server: Callable[..., str]) -> None:
    plan = Plan(url=server(), model=Model.OPEN, stages=[Stage(300, 20)], slip=5, charge_points=2, drain=False)
    run = LoadRun("Load 'load'", plan, processes=2)
    try:
        run.start()
        run._generators[1].process.stop(30)
        result = run.wait(60)
    finally:
        run.close()
    assert result.processes == 2
    assert result.capacity_unknown == "all that was offered was answered in time"


@pytest.mark.parametrize(
    ("own_lag", "trip", "cpu", "cause"),
    [
        (0.002, 0.080, 0.2, None),
        (0.019, 0.080, 0.2, None),
        (0.021, 0.080, 0.2, "the generator was late by 21 ms (mean) when the schedule slipped, which is too much for "),
        (0.002, 0.080, 0.97, "a generating process used 97 % of its core when the schedule slipped"),
    ],
)
def test_the_cause_of_a_slip_is_found_in_the_parts_of_the_round_trips(
    own_lag: float, trip: float, cpu: float, cause: str | None
) -> None:
    """Only the last second counts: earlier totals must not."""
    before = LoadTotals(at=10.0, answered=500, lag=5.0, lags=50, service=0.5, services=500, cpu=3.0)
    after = LoadTotals(
        at=11.0,
        answered=1500,
        lag=5.0 + 1000 * own_lag,
        lags=1050,
        service=0.5 + 1000 * trip,
        services=1500,
        cpu=3.0 + cpu,
    )
    seen = cause_of_slip(before, after)
    assert seen is None if cause is None else str(seen).startswith(cause)


def test_a_generator_that_stood_still_has_found_no_capacity(sound: Callable[..., LoadResult]) -> None:
    """The server is quick, and the generator is stopped for longer than a message may be overdue."""

    def held_still(url: str) -> LoadResult:
        run = LoadRun("Load 'load'", Plan(url=url, model=Model.OPEN, stages=[Stage(60, 200)], slip=0.3, drain=False))
        try:
            run.start()
            _until_answered(run, 1)
            _stand_still(run, 0.9)
            return run.wait(120)
        finally:
            run.close()

    result = sound(held_still, generator_held=True)
    assert result.slipped_at is not None
    assert result.capacity_unknown.startswith("the generator was late by")


def test_messages_handed_out_after_the_end_were_not_offered_in_time(
    server: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator is stopped before it learns when to begin, and goes on when the time for all of it is over."""
    run = LoadRun("Load 'load'", Plan(url=server(), model=Model.OPEN, stages=[Stage(0.6, 200)]))
    generator = run._generators[0]
    go = generator.go

    def stop_it_before(at: float) -> None:
        generator.process.pause()
        go(at)

    monkeypatch.setattr(generator, "go", stop_it_before)
    try:
        run.start()
        _pass(0.1 + 0.6 + 0.2)
        generator.process.resume()
        result = run.wait(60)
    finally:
        run.close()
    assert result.due == result.answered == 120
    assert (result.due_in_time, result.offered_on_schedule) == (0, 0)


def _until_answered(run: LoadRun, more: int) -> None:
    """Until so many more messages were answered than now."""
    before = run.progress().answered
    wait_until(
        lambda: run.progress().answered >= before + more or None,
        timeout=30,
        failure=lambda: f"nothing is answered: {run.progress()}",
    )


def _stand_still(run: LoadRun, length: float) -> None:
    """Stop the generator for so many seconds."""
    generator = run._generators[0].process
    generator.pause()
    _pass(length)
    generator.resume()


def _pass(length: float) -> None:
    """Let so much time pass."""
    with pytest.raises(AssertionError):
        wait_until(lambda: None, timeout=length, failure=lambda: "it is over")


def test_a_generator_that_is_late_says_so(server: Callable[..., str]) -> None:
    run = LoadRun("Load 'load'", Plan(url=server(), model=Model.OPEN, stages=[Stage(60, 200)]))
    try:
        run.start()
        _until_answered(run, 1)
        _stand_still(run, 0.5)
        _until_answered(run, 101)  # what was late is among them
        result = run.stop(40)
    finally:
        run.close()
    assert not result.conclusive
    assert result.summary.endswith(result.saturated[0])
    assert "INCONCLUSIVE: the generator was late by" in result.summary
    library = LoadLibrary()
    with pytest.raises(ExpectationFailed, match="Inconclusive: the generator was late by"):
        library.load_should_be_conclusive(result)
    with pytest.raises(SkipExecution, match="Inconclusive: the generator was late by"):
        library.load_should_be_conclusive(result, skip=True)


def test_nothing_is_left_running(server: Callable[..., str]) -> None:
    run = LoadRun("Load 'load'", Plan(url=server(), seconds=60))
    run.start()
    generator = psutil.Process(run._generators[0].process.pid)
    run.close()
    assert not generator.is_running()
    assert not any(thread.name.startswith("Load 'load'") for thread in threading.enumerate())


def test_a_generator_ends_when_its_starter_is_gone(server: Callable[..., str]) -> None:
    starter = (
        "import sys\n"
        "from ocpp_resilience.load.generator import Generator\n"
        "from ocpp_resilience.load import Plan\n"
        "generator = Generator('The generating process')\n"
        f"generator.start(Plan(url={server()!r}, seconds=60))\n"
        "print(generator.process.pid, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        generator = psutil.Process(int(process.stdout.readline()))
        process.kill()
        wait_until(
            lambda: True if not generator.is_running() or generator.status() == psutil.STATUS_ZOMBIE else None,
            timeout=30,
            failure=lambda: f"process {generator.pid} still runs",
        )


def test_without_a_server_the_load_says_why(load: Callable[..., LoadResult]) -> None:
    result = load(
        "ws://127.0.0.1:1/{charge_point_id}", model=Model.OPEN, stages=[Stage(1, 20)], connect_timeout=0.2, timeout=0.3
    )
    assert (result.connected_at_start, result.sent) == (0, 0)
    assert result.failures["not sent"] == 20
    assert result.failures["connection refused: ConnectionRefusedError"] > 0


def test_a_plan_that_cannot_be_run_is_refused() -> None:
    with pytest.raises(UsageError, match="starts with ws://"):
        LoadRun("Load", Plan(url="http://x/{charge_point_id}"))
    with pytest.raises(UsageError, match="needs a limit"):
        LoadRun("Load", Plan(url="ws://x/{charge_point_id}"))
    with pytest.raises(UsageError, match="needs one place for the number"):
        LoadRun("Load", Plan(url="ws://x/{charge_point_id}", messages=1, id_pattern="CP"))


def test_a_process_that_breaks_off_is_an_error(server: Callable[..., str]) -> None:
    run = LoadRun("Load 'load'", Plan(url=server(), seconds=60))
    try:
        run.start()
        run._generators[0].kill()
        with pytest.raises(ServiceError, match="aborted with status -9"):
            run.wait(30)
    finally:
        run.close()


def test_schedules_have_the_messages_that_their_rates_say() -> None:
    def times(**plan: Any) -> list[float]:
        return list(Plan(url="ws://x", model=Model.OPEN, **plan).schedule())

    assert times(stages=[Stage(1, 4)]) == [0, 0.25, 0.5, 0.75]
    ramp = times(stages=[Stage(10, 0, 100)])
    assert len(ramp) == 500
    assert sum(each < 5 for each in ramp) == 125
    spike = times(stages=[Stage(1, 10), Stage(1, 100), Stage(1, 10)])
    assert [sum(int(each) == second for each in spike) for second in range(3)] == [10, 100, 10]
    chance = times(stages=[Stage(100, 50)], arrivals=Arrivals.POISSON, seed=7)
    assert chance == times(stages=[Stage(100, 50)], arrivals=Arrivals.POISSON, seed=7)
    assert len(chance) == pytest.approx(5000, rel=0.06)
    gaps = [after - before for before, after in itertools.pairwise(chance)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.1), "exponential gaps deviate by their mean"


def test_percentiles_are_taken_of_the_merged_histograms() -> None:
    """The p99 of two processes is not the mean of their p99s."""

    def part(slow: int) -> Part:
        times = Times()
        for number in range(1000):
            times.add(1.0 if number < slow else 0.001)
        return Part(
            charge_points=1, answered=1000, due=1000, ended=1.0, times={"latency": (times.encode(), times.total)}
        )

    result = together([part(0), part(100)], profile="heartbeat", model="open")
    assert result.latency.samples == 2000
    assert result.latency.p99 == pytest.approx(1000, rel=0.001)
    assert result.latency.p90 == pytest.approx(1, rel=0.001)
    assert result.latency.mean == pytest.approx(50.95, rel=0.001)


def test_all_charge_points_are_back_only_when_those_of_all_processes_are() -> None:
    back = Part(charge_points=1, ended=3.0, recovered_after=0.5)
    assert together([back, back], profile="heartbeat", model="open").recovered_after == 0.5
    assert together([back, Part(charge_points=1, ended=3.0)], profile="heartbeat", model="open").recovered_after is None


def test_a_leak_of_a_kilobyte_a_message_is_found_under_load(server: Callable[..., str]) -> None:
    """Within seconds; where the machine holds the server up, it leaks in steps, and that is found later."""
    plan = Plan(url=server(leak=1024), model=Model.OPEN, stages=[Stage(120, 500)])
    with _watched(plan) as (run, sampler):
        wait_until(
            lambda: _bound(sampler) is Bound.BEYOND or None,
            timeout=110,
            failure=lambda: sampler.growth("server", warm_up=3, required_seconds=120).summary,
        )
        run.stop(40)


def test_the_same_server_without_the_leak_is_not_accused_under_load(server: Callable[..., str]) -> None:
    with _watched(Plan(url=server(), model=Model.OPEN, stages=[Stage(12, 500)])) as (run, sampler):
        assert run.wait(120).answered == 6000
        assert _bound(sampler) in {Bound.WITHIN, Bound.OPEN}


@contextlib.contextmanager
def _watched(plan: Plan) -> Iterator[tuple[LoadRun, Sampler]]:
    """A load that has begun, and samples of the memory of its server."""
    run = LoadRun("Load 'load'", plan)
    try:
        run.start()
        sampler = Sampler({"server": _listening_process(plan.url)}, every=0.1)
        try:
            yield run, sampler
        finally:
            sampler.stop()
    finally:
        run.close()


def _bound(sampler: Sampler) -> Bound | None:
    """The current verdict on memory."""
    try:
        growth = sampler.growth("server", warm_up=3, required_seconds=120)
    except UsageError:  # too few samples so far
        return None
    return growth.bound(most_mb=100, most_percent=10)


def _listening_process(url: str) -> int:
    """The child of this process that listens there."""
    port = urlsplit(url).port
    return next(
        child.pid
        for child in psutil.Process().children()
        if any(each.laddr.port == port and each.status == psutil.CONN_LISTEN for each in child.net_connections())
    )


ORPHAN = """
import os, socket, time
if os.fork(): os._exit(0)
os.setsid()
door = socket.create_server(("127.0.0.1", 0))
print(door.getsockname()[1], flush=True)
os.close(1)
door.settimeout(60)
guest, _ = door.accept()
while guest.recv(1):
    end = time.process_time() + 0.5
    while time.process_time() < end: pass
    guest.send(b"!")
"""
"""A process outside the test. It works on command, and ends with the connection."""


def test_a_system_started_elsewhere_belongs_to_the_test_when_its_process_is_found() -> None:
    told = subprocess.run([sys.executable, "-c", ORPHAN], check=True, stdout=subprocess.PIPE).stdout
    port = int(told)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as orphan:
        url = f"ws://127.0.0.1:{port}/path"
        whole = Contention(url)
        found, process = contention.listening(url)
        assert found
        assert process is not None
        before = whole.own_seconds()
        orphan.sendall(b"!")
        assert orphan.recv(1) == b"!"
        assert whole.own_seconds() - before >= 0.4
        assert whole.cores() is not None
    # What it has used is not known any more once it has ended.
    wait_until(lambda: True if whole.cores() is None else None, timeout=60, failure=lambda: "it still lives")
    assert Contention("ws://127.0.0.1:1").cores() is None
    assert Contention("ws://192.0.2.1:80").cores() is None


def test_other_programs_are_told_from_those_of_the_test(
    server: Callable[..., str], load: Callable[..., LoadResult]
) -> None:
    burn = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    before = contention.own_seconds()
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert contention.own_seconds() - before >= 0.5, "what has ended counts, too"
    others, began = Contention(), time.monotonic()
    # Its parent ends at once, so that it is nobody's of ours.
    subprocess.run(
        [sys.executable, "-c", f"import os\nif os.fork(): os._exit(0)\nos.setsid()\n{burn}\nprint('over', flush=True)"],
        check=True,
        stdout=subprocess.PIPE,
    )
    used = others.cores()
    assert used is not None
    assert used * (time.monotonic() - began) >= 0.45
    result = load(server(), model=Model.OPEN, stages=[Stage(1, 100)])
    assert result.others is not None
    library = LoadLibrary()
    cores = psutil.cpu_count()
    busy = msgspec.structs.replace(result, others=0.26 * cores)
    with pytest.raises(SkipExecution, match=r"Inconclusive: other programs have used .* of the \d+ processor cores"):
        library.machine_should_not_have_been_busy(msgspec.structs.replace(result, others=0.0), busy, skip=True)
    with pytest.raises(ExpectationFailed, match="Inconclusive"):
        library.machine_should_not_have_been_busy(busy)
    library.machine_should_not_have_been_busy(msgspec.structs.replace(result, others=0.24 * cores))
