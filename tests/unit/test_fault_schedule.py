"""Schedules of faults, and the journal that says whether they took effect."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path

import pytest

from ocpp_resilience.errors import ResilienceError, ServiceError, UsageError, WaitTimeout
from ocpp_resilience.faults import schedule
from ocpp_resilience.faults.injection import Fault, Injector
from ocpp_resilience.faults.journal import FaultJournal
from ocpp_resilience.faults.schedule import Row, Run, by_chance, read
from ocpp_resilience.waiting import wait_until


class Switch:
    """Something that faults turn off and on, and a log of it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def fault(self, name: str, *, effective: bool = True, end_fails: bool = False) -> Fault:
        """A fault of that name."""

        def end() -> None:
            self.log.append(f"-{name}")
            if end_fails:
                raise ServiceError("stuck")

        return Fault(name, "switch", lambda: self.log.append(f"+{name}"), lambda: (effective, "looked"), end)


class Clock(threading.Event):
    """A clock that only the schedule's own waits move, which take no time: nothing depends on the machine."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(schedule, "time", made)
    return made


@pytest.fixture
def injector(tmp_path: Path) -> Injector:
    return Injector(FaultJournal(tmp_path / "faults.jsonl"))


def test_a_table_is_read_in_the_order_of_its_times() -> None:
    faults = {"latency": None, "kill redis": None}
    cells = ["at 5 s", "latency  100 ms for 2s", "At 500ms", "Kill Redis", "at 6 s", "start redis"]
    assert read(cells, faults) == [  # type: ignore[arg-type]
        Row(0.5, "kill redis"),
        Row(5.0, "latency", "100 ms", 2.0),
        Row(6.0, "start redis"),
    ]


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([], "pairs"),
        (["at 1 s"], "pairs"),
        (["1 s", "kill redis"], "no time"),
        (["at noon", "kill redis"], "noon"),
        (["at 1 s", "hurt redis"], "no fault"),
        (["at 1 s", "kill redis for ever"], "ever"),
    ],
)
def test_what_is_not_understood_is_said(cells: list[str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        read(cells, {"kill redis": None})  # type: ignore[dict-item]


def test_chance_comes_from_the_seed_and_uses_every_fault() -> None:
    arguments = {"lasting": (0.1, 0.2), "pause": (0.3, 0.4)}
    first = by_chance(7, 20, ["a", "b", "c", "d"], **arguments)  # type: ignore[arg-type]
    assert first == by_chance(7, 20, ["a", "b", "c", "d"], **arguments)  # type: ignore[arg-type]
    assert first != by_chance(8, 20, ["a", "b", "c", "d"], **arguments)  # type: ignore[arg-type]
    assert {row.action for row in first[:4]} == {"a", "b", "c", "d"}
    for before, after in itertools.pairwise(first):
        assert before.lasting is not None
        assert after.at >= before.at + before.lasting + 0.29


def test_faults_end_when_their_time_is_up_or_something_ends_them(injector: Injector, clock: Clock) -> None:
    switch = Switch()
    makers = {name: (lambda _, name=name: switch.fault(name)) for name in ("kill redis", "latency")}
    rows = [Row(0, "kill redis"), Row(0.02, "latency", "", 0.05), Row(0.15, "start redis")]
    run = Run(rows, injector, makers, _stop=clock)
    run.start()
    run.wait(30)
    assert switch.log == ["+kill redis", "+latency", "-latency", "-kill redis"]
    assert clock.now == pytest.approx(0.15)
    assert all(record.ended for record in run.records)


def test_in_turn_one_fault_waits_for_the_end_of_the_one_before(injector: Injector, clock: Clock) -> None:
    switch = Switch()
    makers = {name: (lambda _, name=name: switch.fault(name)) for name in ("a", "b")}
    run = Run([Row(0, "a", "", 0.2), Row(0.05, "b", "", 0.05)], injector, makers, in_turn=True, _stop=clock)
    run.start()
    run.wait(30)
    assert switch.log == ["+a", "-a", "+b", "-b"]
    assert clock.now == pytest.approx(0.2 + 0.05)


def test_a_schedule_that_is_broken_off_is_healed(injector: Injector) -> None:
    switch = Switch()
    run = Run([Row(0, "a"), Row(60, "a")], injector, {"a": lambda _: switch.fault("a")})
    run.start()
    wait_until(lambda: switch.log or None, timeout=30, failure=lambda: "it does not begin")
    with pytest.raises(WaitTimeout, match="had not ended"):
        run.wait(0.2)
    assert switch.log == ["+a", "-a"]


def test_what_cannot_be_done_is_said_and_the_rest_goes_on(injector: Injector) -> None:
    switch = Switch()

    def broken(_: str) -> Fault:
        raise ServiceError("no such thing")

    run = Run([Row(0, "broken"), Row(0, "a", "", 0.01)], injector, {"broken": broken, "a": lambda _: switch.fault("a")})
    run.start()
    with pytest.raises(ResilienceError, match="no such thing"):
        run.wait(30)
    assert switch.log == ["+a", "-a"]


def test_every_fault_is_healed_also_when_one_cannot_be(injector: Injector) -> None:
    switch = Switch()
    injector.inject(switch.fault("first"))
    injector.inject(switch.fault("stuck", end_fails=True))
    with pytest.raises(ServiceError, match="stuck"):
        injector.heal_all()
    assert switch.log == ["+first", "+stuck", "-stuck", "-first"]
    assert injector.heal_all() == 0


def test_a_fault_that_cannot_be_begun_is_undone(injector: Injector) -> None:
    log: list[str] = []

    def begin() -> None:
        log.append("+")
        raise ServiceError("half done")

    with pytest.raises(ServiceError, match="half done"):
        injector.inject(Fault("a", "b", begin, lambda: (True, ""), lambda: log.append("-")))
    assert log == ["+", "-"]
    assert injector.journal.records == []


def test_a_fault_whose_effect_cannot_be_measured_is_not_proven_and_healed_all_the_same(injector: Injector) -> None:
    log: list[str] = []

    def prove() -> tuple[bool, str]:
        raise ServiceError("accepts no connection")

    record = injector.inject(Fault("a", "b", lambda: log.append("+"), prove, lambda: log.append("-")))
    assert injector.journal.unproven() == [record]
    assert record.proof == "accepts no connection"
    assert injector.heal_all() == 1
    assert log == ["+", "-"]


def test_a_fault_that_reaches_nobody_is_proven_once_it_does(injector: Injector) -> None:
    there: list[str] = []
    fault = Fault(
        "a", "b", lambda: None, lambda: (True, "seen"), reaches=lambda: (bool(there), "" if there else "nobody")
    )
    record = injector.inject(fault)
    assert injector.journal.unproven() == [record]
    assert record.proof == "seen; nobody"
    there.append("somebody")
    assert injector.journal.unproven() == []
    assert record.proof == "seen"


def test_the_journal_says_what_is_proven_and_from_when_to_when(injector: Injector, tmp_path: Path) -> None:
    switch = Switch()
    proven = injector.inject(switch.fault("good"))
    unproven = injector.inject(switch.fault("bad", effective=False))
    time.sleep(0.002)
    injector.heal_all()
    assert injector.journal.unproven() == [unproven]
    lines = [json.loads(line) for line in (tmp_path / "faults.jsonl").read_text().splitlines()]
    assert [(line["op"], line["fault"], line["proven"]) for line in lines] == [
        ("begin", "good", True),
        ("begin", "bad", False),
        ("end", "bad", False),
        ("end", "good", True),
    ]
    assert lines[-1]["began"] < lines[-1]["ended"]
    assert proven.proof == "looked"


def test_a_fault_that_waits_is_proven_once_its_occasion_came(injector: Injector) -> None:
    hits: list[int] = []
    fault = Fault("waits", "b", lambda: None, lambda: (bool(hits), f"{len(hits)} hits"), waits=True)
    record = injector.inject(fault)
    assert injector.journal.unproven() == [record]
    hits.append(1)
    injector.heal(record)
    assert record.proven
    assert record.proof == "1 hits"
