"""Schedules of faults, and the journal that says whether they took effect."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from ocpp_resilience.errors import ResilienceError, ServiceError, UsageError, WaitTimeout
from ocpp_resilience.faults import schedule
from ocpp_resilience.faults.fault import Direction, InjectableFault, Place, Proof, Subjects
from ocpp_resilience.faults.injection import Injector
from ocpp_resilience.faults.journal import FaultJournal
from ocpp_resilience.faults.kinds.latency import Latency
from ocpp_resilience.faults.registry import FaultRegistry, arguments_of, faults, fill_tables
from ocpp_resilience.faults.schedule import Row, Run, by_chance, read
from ocpp_resilience.waiting import wait_until


@dataclass(eq=False)
class Stub(InjectableFault):
    """A fault that is made of functions."""

    place = Place.NETWORK

    on: Subjects = field(default_factory=Subjects)
    name: str = "a"  # type: ignore[misc]
    begins: Callable[[], object] = lambda: None
    proves: Callable[[], Proof] = lambda: (True, "looked")
    ends: Callable[[], object] = lambda: None
    meets: Callable[[], Proof] = lambda: (True, "")
    waits: bool = False  # type: ignore[misc]

    target = "switch"

    @property
    def parameters(self) -> dict[str, object]:
        return {}

    def begin(self) -> None:
        self.begins()

    def prove(self) -> Proof:
        return self.proves()

    def end(self) -> None:
        self.ends()

    def reaches(self) -> Proof:
        return self.meets()


class Switch:
    """Something that faults turn off and on, and a log of it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def fault(self, name: str, *, effective: bool = True, end_fails: bool = False) -> InjectableFault:
        """A fault of that name."""

        def end() -> None:
            self.log.append(f"-{name}")
            if end_fails:
                raise ServiceError("stuck")

        return Stub(
            name=name, begins=lambda: self.log.append(f"+{name}"), proves=lambda: (effective, "looked"), ends=end
        )


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
    cells = ["at 5 s", "latency  100 ms for 2s", "At 500ms", "Kill Redis", "at 6 s", "start redis"]
    assert read(cells, faults()) == [
        Row(0.5, "kill redis"),
        Row(5.0, "latency", "100 ms", 2.0),
        Row(6.0, "start redis"),
    ]


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([], "pairs"),
        (["at 1 s"], "pairs"),
        (["1 s", "kill redis"], "not a time"),
        (["at noon", "kill redis"], "noon"),
        (["at 1 s", "hurt redis"], "Unknown fault 'hurt redis'"),
        (["at 1 s", "kill redis for ever"], "ever"),
        (["at 1 s", "kill redis 5"], "takes no arguments"),
        (["at 1 s", "latency soon"], "latency"),
        (
            ["at 1 s", "latency 5 ms wobble=2"],
            r"no argument 'wobble' \(allowed: latency, jitter, direction, toxicity\)",
        ),
    ],
)
def test_unknown_words_are_reported(cells: list[str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        read(cells, faults())


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
    rows = [Row(0, "kill redis"), Row(0.02, "latency", "", 0.05), Row(0.15, "start redis")]
    run = Run(rows, injector, lambda name, _: switch.fault(name), _stop=clock)
    run.start()
    run.wait(30)
    assert switch.log == ["+kill redis", "+latency", "-latency", "-kill redis"]
    assert clock.now == pytest.approx(0.15)
    assert all(record.ended for record in run.records)


def test_in_turn_one_fault_waits_for_the_end_of_the_one_before(injector: Injector, clock: Clock) -> None:
    switch = Switch()
    run = Run(
        [Row(0, "a", "", 0.2), Row(0.05, "b", "", 0.05)],
        injector,
        lambda name, _: switch.fault(name),
        in_turn=True,
        _stop=clock,
    )
    run.start()
    run.wait(30)
    assert switch.log == ["+a", "-a", "+b", "-b"]
    assert clock.now == pytest.approx(0.2 + 0.05)


def test_a_schedule_that_is_broken_off_is_healed(injector: Injector) -> None:
    switch = Switch()
    run = Run([Row(0, "a"), Row(60, "a")], injector, lambda name, _: switch.fault(name))
    run.start()
    wait_until(lambda: switch.log or None, timeout=30, failure=lambda: "it does not begin")
    with pytest.raises(WaitTimeout, match="had not ended"):
        run.wait(0.2)
    assert switch.log == ["+a", "-a"]


def test_an_impossible_action_is_reported_and_the_rest_goes_on(injector: Injector) -> None:
    switch = Switch()

    def make(name: str, _: str) -> InjectableFault:
        if name == "broken":
            raise ServiceError("no such thing")
        return switch.fault(name)

    run = Run([Row(0, "broken"), Row(0, "a", "", 0.01)], injector, make)
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
        injector.inject(Stub(begins=begin, ends=lambda: log.append("-")))
    assert log == ["+", "-"]
    assert injector.journal.records == []


def test_a_fault_whose_effect_cannot_be_measured_is_not_proven_and_healed_all_the_same(injector: Injector) -> None:
    log: list[str] = []

    def prove() -> tuple[bool, str]:
        raise ServiceError("accepts no connection")

    record = injector.inject(Stub(begins=lambda: log.append("+"), proves=prove, ends=lambda: log.append("-")))
    assert injector.journal.unproven() == [record]
    assert record.proof == "accepts no connection"
    assert injector.heal_all() == 1
    assert log == ["+", "-"]


def test_a_fault_without_traffic_is_proven_once_there_is_some(injector: Injector) -> None:
    there: list[str] = []
    fault = Stub(proves=lambda: (True, "seen"), meets=lambda: (bool(there), "" if there else "nobody"))
    record = injector.inject(fault)
    assert injector.journal.unproven() == [record]
    assert record.proof == "seen; nobody"
    there.append("somebody")
    assert injector.journal.unproven() == []
    assert record.proof == "seen"


def test_the_journal_has_proof_start_and_end_of_each_fault(injector: Injector, tmp_path: Path) -> None:
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
    fault = Stub(name="waits", proves=lambda: (bool(hits), f"{len(hits)} hits"), waits=True)
    record = injector.inject(fault)
    assert injector.journal.unproven() == [record]
    hits.append(1)
    injector.heal(record)
    assert record.proven
    assert record.proof == "1 hits"


GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "faults.md"


def test_a_row_gives_its_arguments_with_their_types() -> None:
    assert arguments_of(Latency, "200 ms jitter=20 ms direction=upstream toxicity=0.5") == {
        "latency": timedelta(milliseconds=200),
        "jitter": timedelta(milliseconds=20),
        "direction": Direction.UPSTREAM,
        "toxicity": 0.5,
    }


def test_the_journal_has_the_arguments_that_were_given() -> None:
    made = Latency(Subjects(), jitter=timedelta(milliseconds=5))
    assert made.parameters == {"latency": "100 ms", "jitter": "5 ms"}


def test_a_fault_without_its_subject_names_the_missing_one() -> None:
    with pytest.raises(UsageError, match="needs a fault proxy"):
        Latency(Subjects()).begin()


def test_two_faults_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two faults of the name 'latency'"):
        FaultRegistry([Latency, Latency])


def test_every_fault_is_documented_for_the_guide_and_can_be_made_without_arguments() -> None:
    for name, kind in faults().by_name.items():
        assert kind.effect, name
        assert kind.evidence, name
        assert kind(Subjects()).name == name


def test_a_new_fault_is_one_class() -> None:
    """It is in schedules, in the choice by chance and in the guide without being named anywhere."""

    @dataclass(eq=False)
    class Fog(Latency):
        """A made-up fault."""

        name = "fog"
        effect = "nothing is seen"

    registry = FaultRegistry([*faults().by_name.values(), Fog])
    (row,) = read(["at 1 s", "fog 5 ms for 2 s"], registry)
    made = registry.make(row.action, row.value, Subjects())
    assert isinstance(made, Fog)
    assert made.latency == timedelta(milliseconds=5)
    assert "fog" in registry.names(Place.NETWORK)
    assert "| fog | `latency`, `jitter`" in fill_tables("<!-- faults: network -->\n<!-- -->", registry)


def test_the_tables_of_the_guide_are_those_of_the_registry() -> None:
    """`python docs/make_fault_tables.py` renews them."""
    text = GUIDE.read_text(encoding="utf-8")
    assert text == fill_tables(text)
    assert all(f"| {name}" in text for name in faults().names())
