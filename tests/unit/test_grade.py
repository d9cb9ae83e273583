"""The defect catalogue and the program that grades the suites with it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import psutil
import pytest
from robot.api import SuiteVisitor
from robot.api import TestSuite as Suites

from ocpp_resilience.evidence.requirements import DEFAULT_FILE, load
from ocpp_resilience.report.grade import Failure, Grade, GradedDefect

FOLDER = Path(__file__).resolve().parents[1] / "defects"

SUITE = """
*** Settings ***
Library    ResilienceWaits.py

*** Test Cases ***
Rows
    [Template]    Never
    1
    2

Goes On
    Run Keyword And Continue On Failure    Never    1
    Run Keyword And Continue On Failure    Never    2

Load
    ${seconds}    Answer Limit    30
    Should Be Equal    ${seconds}    ${12.0}

Other
    No Operation

Told
    Should Be Equal    ${SOAK}    45s
"""

WAITS = """
from ocpp_resilience.load import LoadRun, Plan
from ocpp_resilience.waiting import wait_until

def answer_limit(seconds):
    run = LoadRun("load", Plan(url="ws://127.0.0.1/{charge_point_id}", messages=1, timeout=float(seconds)))
    run.close()
    return run.plan.timeout

def never(row):
    wait_until(lambda: None, timeout=60, failure=lambda: f"Row {row} has not come")
"""


@pytest.fixture(scope="module")
def tools() -> Iterator[SimpleNamespace]:
    """The modules of the catalogue, as its program sees them."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    names = ("catalogue", "grade", "matrix", "runs")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(FOLDER))
    for name in set(sys.modules) - before:
        if str(FOLDER) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def make(tools: Any, name: str = "broken", *tests: str, **options: Any) -> Any:
    says = options.pop("says", "no|never")
    return tools.catalogue.Defect(name, "R13.4", tests or ("A",), says, "Broken.", lambda: None, **options)


def test_every_defect_names_a_requirement_that_there_is(tools: Any) -> None:
    known = {each.id for each in load(DEFAULT_FILE)}
    wrong = {
        name: each.requirement for name, each in tools.catalogue.defects().items() if each.requirement not in known
    }
    assert not wrong


def test_every_requirement_of_a_system_has_a_defect_that_breaks_it(tools: Any) -> None:
    broken = {each.requirement for each in tools.catalogue.defects().values()}
    # These three are of the run as a whole, whatever the system: its length, its Redis, its baseline.
    assert {each.id for each in load(DEFAULT_FILE)} - broken == {"R0.1", "R0.2", "R0.3"}


def test_every_test_of_the_suites_has_a_defect_that_it_must_catch(tools: Any) -> None:
    """A test that has never failed proves nothing."""
    homes = tools.grade._Homes()
    Suites.from_file_system(str(FOLDER.parents[1] / "suites")).visit(homes)
    named = {test for each in tools.catalogue.defects().values() for test in each.caught_by}
    assert named == homes.homes.keys()


def test_every_defect_is_caught_by_a_test_of_its_requirement(tools: Any) -> None:
    tags: dict[str, set[str]] = {}

    class Tags(SuiteVisitor):
        def visit_test(self, test: Any) -> None:
            tags[test.name] = set(test.tags)

    Suites.from_file_system(str(FOLDER.parents[1] / "suites")).visit(Tags())
    elsewhere = {
        name: each.requirement
        for name, each in tools.catalogue.defects().items()
        if not any(each.requirement in tags[test] for test in each.caught_by)
    }
    assert not elsewhere


def test_every_defect_finds_its_place_in_the_server() -> None:
    """The server changes: a defect that breaks nothing any more must not wait for the next grade to be noticed."""
    program = """
import os, sys
import catalogue
for name in catalogue.defects():
    if (child := os.fork()) == 0:
        catalogue.apply(name)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]


def test_a_defect_is_caught_when_each_of_its_tests_fails(tools: Any) -> None:
    graded = tools.grade.judge(make(tools, "broken", "A", "B"), {"A": ("FAIL", "no"), "B": ("FAIL", "never")})
    assert graded.found
    assert [each.message for each in graded.caught] == ["no", "never"]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (("PASS", ""), "PASS"),
        (("SKIP", "no gateway"), "SKIP no gateway"),
        (None, "not run"),
    ],
)
def test_a_defect_is_missed_when_one_does_not(tools: Any, outcome: tuple[str, str] | None, said: str) -> None:
    outcomes = {"A": ("FAIL", "no")} | ({"B": outcome} if outcome else {})
    graded = tools.grade.judge(make(tools, "broken", "A", "B"), outcomes)
    assert not graded.found
    assert not graded.for_another_reason
    assert graded.missed == [Failure(test="B", message=said)]


@pytest.mark.parametrize(
    "message",
    [
        "Test timeout 2 minutes exceeded.",
        "The process did not finish within 60 seconds.",
        "Port 6379 is taken.",
        "Setup failed:\nno Redis.",
        "Parent suite setup failed:\nno server.",
        "Another line.\nno",
        "Several failures occurred:\n\n1) Another line.\n\n2) no",
    ],
)
def test_a_failure_for_another_reason_is_no_catch(tools: Any, message: str) -> None:
    outcomes = {"A": ("FAIL", "no"), "B": ("FAIL", message)}
    graded = tools.grade.judge(make(tools, "broken", "A", "B", says="^no"), outcomes)
    assert not graded.found
    assert graded.for_another_reason
    assert [each.test for each in graded.caught] == ["A"]
    assert graded.otherwise == [Failure(test="B", message=message)]
    assert not graded.missed


@pytest.mark.parametrize("says", ["", ".*", "lost|"])
def test_the_expected_message_of_a_defect_may_not_match_everything(tools: Any, says: str) -> None:
    def harmless() -> None:
        """Nothing."""

    with pytest.raises(ValueError, match="what its tests say fits any message"):
        tools.catalogue.defect("R13.4", "A", says=says)(harmless)


def test_the_longest_come_first_and_those_that_need_the_machine_before_all(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    going: set[str] = set()
    beside: dict[str, set[str]] = {}

    async def run(tests: Any, *_: Any, defect: str, **__: Any) -> Any:
        begun.append(defect)
        for other in going:
            beside.setdefault(other, set()).add(defect)
        beside[defect] = set(going)
        going.add(defect)
        for _ in range(5):
            await asyncio.sleep(0)
        going.remove(defect)
        return dict.fromkeys(tests, ("FAIL", "no"))

    monkeypatch.setattr(tools.grade, "run_suites", run)
    chosen = [
        make(tools, "short"),
        make(tools, "long", longest_wait=60),
        make(tools, "heavy", heavy=True),
        make(tools, "heavier", heavy=True, longest_wait=90),
        make(tools, "first", alone=True),
    ]
    graded = asyncio.run(tools.grade.Grader(3, tmp_path, float("inf")).grade(chosen))
    assert list(graded) == chosen
    assert begun[0] == "first"
    assert begun.index("heavier") < begun.index("heavy")
    assert begun.index("long") < begun.index("short")
    assert not beside["first"]
    assert "heavy" not in beside["heavier"]


def test_a_server_that_does_not_start_is_caught_by_a_setup(tools: Any) -> None:
    outcomes = {"A": ("FAIL", "Setup failed:\nno server.")}
    assert tools.grade.judge(make(tools, "broken", "A", stops_start=True), outcomes).found


def test_a_seed_chooses_the_same_defects_again(tools: Any) -> None:
    known = {f"d{number:02}": make(tools, f"d{number:02}") for number in range(20)}

    def chosen(seed: int, fraction: float = 0.5) -> list[str]:
        return [each.name for each in tools.grade.choose(known, only=[], fraction=fraction, seed=seed, steady=False)]

    assert len(chosen(7)) == 10
    assert chosen(7) == chosen(7) != chosen(8)
    assert chosen(7, 1.0) == list(known)
    assert len(chosen(7, 0.01)) == 1
    with pytest.raises(LookupError, match="There is no defect x; there are d00"):
        tools.grade.choose(known, only=["x"], fraction=1, seed=1, steady=False)


def test_steady_ones_leave_out_defects_that_depend_on_the_machine(tools: Any) -> None:
    known = {"a": make(tools, "a"), "b": make(tools, "b", timing=True), "c": make(tools, "c")}
    chosen = tools.grade.choose(known, only=[], fraction=1.0, seed=3, steady=True)
    assert sorted(each.name for each in chosen) == ["a", "c"]


def test_no_defect_is_begun_after_the_limit(tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    async def run(tests: Any, *_: Any, defect: str, **__: Any) -> Any:
        begun.append(defect)
        grader._deadline = 0
        return dict.fromkeys(tests, ("FAIL", "no"))

    monkeypatch.setattr(tools.grade, "run_suites", run)
    grader = tools.grade.Grader(1, tmp_path, 1000)
    first, second = make(tools, "first"), make(tools, "second")
    graded = asyncio.run(grader.grade([first, second]))
    assert begun == ["first"]
    assert [each.name for each in graded] == ["first"]


def test_inconclusive_tests_of_the_sound_server_are_neither_passed_nor_alarms(
    tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = {"A": ("PASS", ""), "B": ("SKIP", "Inconclusive: busy"), "C": ("FAIL", "no")}

    async def run(*_: Any, **__: Any) -> Any:
        return outcomes

    monkeypatch.setattr(tools.grade, "run_suites", run)
    grader = tools.grade.Grader(1, tmp_path, 1000)
    asyncio.run(grader.try_sound([tools.grade.Group(("A", "B", "C", "D"), 12, ())], 1))
    assert (grader.passed, grader.inconclusive) == (1, 2)
    assert grader.alarms == [Failure(test="C", message="no")]


def test_the_sound_server_runs_tests_as_with_the_defects_and_then_by_suite(tools: Any) -> None:
    chosen = [
        make(tools, "a", "A", "B"),
        make(tools, "b", "C", longest_wait=60),
        make(tools, "c", "C"),
        make(tools, "d"),
        make(tools, "e", "C", variables=("SOAK:45s",)),
    ]
    assert tools.grade.as_with_the_defects(chosen) == [
        (("A", "B"), 12.0, ()),
        (("C",), 60, ()),
        (("A",), 12.0, ()),
        (("C",), 12.0, ("SOAK:45s",)),
    ]
    homes = {"A": "one", "B": "two", "C": "one"}
    assert tools.grade.by_suite(chosen, homes) == [(("A", "C"), 60, ("SOAK:45s",)), (("B",), 12.0, ())]


@pytest.fixture
def suites(tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`runs`, with a folder of suites of its own."""
    folder = tmp_path / "suites"
    folder.mkdir()
    (folder / "small.robot").write_text(SUITE)
    (folder / "ResilienceWaits.py").write_text(WAITS)
    monkeypatch.setattr(tools.runs, "ROOT", tmp_path)
    runs: ModuleType = tools.runs
    return runs


def test_a_run_keeps_its_time_limit_and_runs_only_the_chosen_tests(suites: Any, tmp_path: Path) -> None:
    outcomes = asyncio.run(suites.run_suites(["Rows"], tmp_path / "out", longest_wait=0.01))
    assert list(outcomes) == ["Rows"]
    status, message = outcomes["Rows"]
    assert status == "FAIL"
    assert "Row 1 has not come (waited 10 ms)" in message
    assert "Row 2 has not come (waited 10 ms)" in message


def test_a_run_has_the_variables_that_it_is_given(suites: Any, tmp_path: Path) -> None:
    run = suites.run_suites(["Told"], tmp_path / "out", longest_wait=1, variables=("SOAK:45s",))
    assert asyncio.run(run) == {"Told": ("PASS", "")}


@pytest.mark.parametrize("test", ["Rows", "Goes On"])
def test_with_a_defect_the_first_failure_decides(suites: Any, tmp_path: Path, test: str) -> None:
    sound = asyncio.run(suites.run_suites([test], tmp_path / "sound", longest_wait=0.01))
    assert "Row 2" in sound[test][1]
    run = suites.run_suites([test], tmp_path / "broken", longest_wait=0.01, defect="last_in_first_out")
    status, message = asyncio.run(run)[test]
    assert (status, message.splitlines()[0]) == ("FAIL", "Row 1 has not come (waited 10 ms)")
    assert "Row 2" not in message


def test_charge_points_of_a_load_wait_no_longer_than_keywords(suites: Any, tmp_path: Path) -> None:
    outcomes = asyncio.run(suites.run_suites(["Load"], tmp_path / "out", longest_wait=90))
    assert outcomes == {"Load": ("PASS", "")}


def test_a_run_without_a_result_shows_the_output_of_robot(suites: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no result; .*contains no tests matching name 'Nowhere'"):
        asyncio.run(suites.run_suites(["Nowhere"], tmp_path / "out", longest_wait=1))


def test_a_run_that_does_not_end_when_told_to_is_a_run_without_a_result(
    suites: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a run is a problem of its defect; any other exception would take the whole grade along."""
    monkeypatch.setattr(suites, "SECONDS_PER_RUN", 0.01)
    monkeypatch.setattr(suites, "SECONDS_TO_END", 0)
    with pytest.raises(RuntimeError, match="did not end within"):
        asyncio.run(suites.run_suites(["Rows"], tmp_path / "out", longest_wait=60))
    assert not [each for each in psutil.Process().children() if str(tmp_path) in " ".join(each.cmdline())]


def test_a_run_that_is_given_up_leaves_no_process(suites: Any, tmp_path: Path) -> None:
    async def give_up() -> None:
        running = asyncio.create_task(suites.run_suites(["Rows"], tmp_path / "out", longest_wait=60))
        while not (tmp_path / "out").exists():  # noqa: ASYNC110 - a folder has no event
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(give_up())
    assert not [each for each in psutil.Process().children() if str(tmp_path) in " ".join(each.cmdline())]


def test_a_grade_that_is_told_to_end_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "grade.py"), "--only", "last_in_first_out", "--output", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        grader = psutil.Process(process.pid)
        while not (children := grader.children()):
            time.sleep(0.05)
        process.terminate()
        assert process.stderr is not None
        assert "ended before the grade was known" in process.stderr.read()
    assert process.returncode == 1
    assert not any(each.is_running() for each in children)


def test_burners_burn_and_end_also_after_a_failure(tools: Any) -> None:
    async def burn() -> list[psutil.Process]:
        known = {each.pid for each in psutil.Process().children()}
        burners: list[psutil.Process] = []
        with contextlib.suppress(ZeroDivisionError):
            async with tools.runs.burning(2):
                burners = [each for each in psutil.Process().children() if each.pid not in known]
                raise ZeroDivisionError
        return burners

    burners = asyncio.run(burn())
    assert len(burners) == 2
    assert not any(each.is_running() for each in burners)


def test_the_matrix_shows_caught_and_missed_defects_and_alarms(tools: Any) -> None:
    grade = Grade(
        began="2026-01-15T10:30:00+00:00",
        seconds=75.0,
        seed=7,
        fraction=0.5,
        catalogue=4,
        defects=[
            GradedDefect(name="a", requirement="R13.4", about="A.", caught=[Failure(test="T", message="x | y")]),
            GradedDefect(name="b", requirement="R13.6", about="B.", missed=[Failure(test="U", message="PASS")]),
            GradedDefect(name="c", requirement="R13.3", about="C.", problem="no result"),
            GradedDefect(name="d", requirement="R13.1", about="D.", otherwise=[Failure(test="W", message="slow")]),
        ],
        false_alarms=[Failure(test="V", message="busy")],
        sound_runs=1,
        sound_tests=3,
        burners=0,
    )
    text = tools.matrix.as_markdown(grade)
    assert "1 of 4 defects caught, 1 for another reason, 2 missed; 1 false alarms in 3 tests" in text
    assert "| R13.4 | a: A. | caught | T | x \\| y |" in text
    assert "| R13.6 | b: B. | **missed** | U | PASS |" in text
    assert "| R13.3 | c: C. | **missed** | | no result |" in text
    assert "| R13.1 | d: D. | **caught for another reason** | W | slow |" in text
    assert "- False alarm: V: busy" in text


def test_the_review_needs_all_of_its_defects(tools: Any) -> None:
    caught = [
        GradedDefect(name=name, requirement="R1.1", about="A.", caught=[Failure(test="T", message=f"{name} | seen")])
        for name in tools.matrix.REVIEWED
    ]
    whole = Grade(
        began="",
        seconds=1,
        seed=1,
        fraction=1,
        catalogue=10,
        defects=caught,
        false_alarms=[],
        sound_runs=0,
        sound_tests=0,
        burners=0,
    )
    assert "| R1.1 | T | last_in_first_out \\| seen | A. |" in tools.matrix.as_review(whole)
    assert tools.matrix.REVIEWED[0] in tools.catalogue.defects()
    with pytest.raises(LookupError, match="last_in_first_out was not caught in this grade"):
        tools.matrix.as_review(msgspec.structs.replace(whole, defects=caught[1:]))


def test_waits_of_other_programs_are_not_capped() -> None:
    environment = os.environ | {"PYTHONPATH": str(FOLDER / "inject"), "GRADE_LONGEST_WAIT": "1"}
    program = "from ocpp_resilience.waiting import wait_until; print(wait_until.__module__)"

    async def printed() -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env=environment, stdout=asyncio.subprocess.PIPE
        )
        return (await process.communicate())[0]

    assert asyncio.run(printed()).strip() == b"ocpp_resilience.waiting"
