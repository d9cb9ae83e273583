"""Runs the suites against the defect catalogue: is every defect caught by the tests that are there for it?

    python tests/defects/grade.py [--only NAME] [--fraction 0.5 --seed 7] [--jobs 2] [--sound 1] [--output FOLDER]

For each defect only the tests that must catch it are run. A defect counts as caught when each of them fails; a test
that could not even be set up has caught nothing, unless its defect stops the server from starting. The sound server
then has to pass all of these tests, `--sound` times: a failure there is a false alarm. Exit status 0: all caught and
no false alarm; 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from catalogue import Defect, defects
from robot.api import ExecutionResult, ResultVisitor, SuiteVisitor
from robot.api import TestSuite as Suites

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SECONDS_PER_RUN = 420
"""A run that takes longer is ended: some defects make everything slow."""


@dataclass(slots=True)
class Row:
    """What became of one defect.

    Attributes:
        caught: test to its failure message, of those that had to fail and did.
        missed: tests that had to fail and passed, or were not run.
        seconds: how long the run took.
        problem: why the run says nothing, if it does not.
    """

    name: str
    requirement: str
    about: str
    caught: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    problem: str | None = None

    @property
    def sound(self) -> bool:
        """Whether everything that had to fail did."""
        return not self.missed and self.problem is None


class _Outcomes(ResultVisitor):
    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[str, str]] = {}

    def visit_test(self, test) -> None:
        self.outcomes[test.name] = (test.status, test.message)


class _Names(SuiteVisitor):
    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_test(self, test) -> None:
        self.names.add(test.name)


async def run_suites(tests: Iterable[str], defect: str | None, folder: Path) -> dict[str, tuple[str, str]]:
    """Run these tests, with a defect or without; returns status and message by test.

    Raises:
        RuntimeError: the run left no result.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {"DEFECT", "PYTHONPATH"}}
    if defect:
        environment |= {"DEFECT": defect, "PYTHONPATH": str(HERE / "inject")}
    command = [sys.executable, "-m", "robot", "--outputdir", str(folder), "--console", "none"]
    for test in tests:
        command += ["--test", test]
    process = await asyncio.create_subprocess_exec(
        *command,
        str(ROOT / "suites"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), SECONDS_PER_RUN)
    except TimeoutError:
        # Robot ends what it started on the first signal.
        process.terminate()
        _, errors = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    output = folder / "output.xml"
    if not output.exists():
        raise RuntimeError(f"no result; {errors.decode(errors='replace')[-300:]}")
    visitor = _Outcomes()
    ExecutionResult(str(output)).visit(visitor)
    return visitor.outcomes


def judge(defect: Defect, outcomes: dict[str, tuple[str, str]]) -> Row:
    """Compare what happened with what had to happen."""
    row = Row(defect.name, defect.requirement, defect.about)
    for test in defect.caught_by:
        status, message = outcomes.get(test, ("NOT RUN", ""))
        setup = message.startswith(("Setup failed", "Parent suite setup failed"))
        if status == "FAIL" and (not setup or defect.stops_start):
            row.caught[test] = message
        else:
            row.missed.append(f"{test}: {message[:300]}" if setup else f"{test}: {status}")
    return row


async def grade(chosen: Sequence[Defect], *, jobs: int, sound_runs: int) -> tuple[list[Row], list[str], int]:
    """Grade the defects, and run the sound server; returns rows, false alarms, and how many tests the latter ran."""
    turn = asyncio.Semaphore(jobs)
    scratch = Path(tempfile.mkdtemp(prefix="grade-"))

    async def one(defect: Defect) -> Row:
        async with turn:
            began = time.monotonic()
            try:
                row = judge(defect, await run_suites(defect.caught_by, defect.name, scratch / defect.name))
            except RuntimeError as error:
                row = Row(defect.name, defect.requirement, defect.about, problem=str(error))
            row.seconds = round(time.monotonic() - began, 1)
            say = "caught" if row.sound else "MISSED"
            print(f"{say:7} {row.requirement:6} {row.name} ({row.seconds} s)", flush=True)
            for line in [*row.missed, *([row.problem] if row.problem else [])]:
                print(f"        {line}", flush=True)
            return row

    async def sound(number: int, tests: Sequence[str]) -> list[str]:
        async with turn:
            outcomes = await run_suites(tests, None, scratch / f"sound-{number}")
            alarms = [f"{test}: {message}" for test, (status, message) in outcomes.items() if status == "FAIL"]
            for alarm in alarms:
                print(f"FALSE ALARM {alarm}", flush=True)
            return alarms

    try:
        rows = await asyncio.gather(*(one(defect) for defect in chosen))
        # In the same company as with the defect: a test that fails when it runs alone has caught nothing.
        groups = list(dict.fromkeys(defect.caught_by for defect in chosen)) * sound_runs
        alarms = await asyncio.gather(*(sound(number, tests) for number, tests in enumerate(groups, 1)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return list(rows), [each for run in alarms for each in run], sum(map(len, groups))


def as_markdown(rows: Sequence[Row], alarms: Sequence[str], sound_tests: int) -> str:
    """The matrix as a table."""
    caught = sum(row.sound for row in rows)
    lines = [
        "# Defects and the tests that catch them",
        "",
        f"{caught} of {len(rows)} defects caught, {len(alarms)} false alarms in {sound_tests} tests.",
        "",
        "| requirement | defect | verdict | test | failure |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        for test, message in row.caught.items():
            first = _cell(_first_failure(message))
            lines.append(f"| {row.requirement} | {row.name}: {_cell(row.about)} | caught | {_cell(test)} | {first} |")
        lines += [
            f"| {row.requirement} | {row.name}: {_cell(row.about)} | **missed** | {_cell(line)} | |"
            for line in [*row.missed, *([row.problem] if row.problem else [])]
        ]
    lines += [""] + [f"- False alarm: {_cell(alarm)}" for alarm in alarms]
    return "\n".join(lines).rstrip() + "\n"


def _first_failure(message: str) -> str:
    """The first line that says something: a template's failure starts with a count of failures."""
    lines = [line.removeprefix("1) ") for line in message.splitlines() if line.strip()]
    return next((line for line in lines if line != "Several failures occurred:"), "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:400]


def choose(known: dict[str, Defect], *, only: Sequence[str], fraction: float, seed: int) -> list[Defect]:
    """The defects that are meant.

    Raises:
        LookupError: one of `only` does not exist.
    """
    if unknown := [name for name in only if name not in known]:
        raise LookupError(f"There is no defect {', '.join(unknown)}; there are {', '.join(known)}.")
    if only:
        return [known[name] for name in only]
    count = max(1, round(len(known) * fraction))
    names = set(random.Random(seed).sample(sorted(known), count))
    return [each for name, each in known.items() if name in names]


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Run the suites against the defect catalogue.")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this defect; may be repeated")
    parser.add_argument("--fraction", type=float, default=1.0, help="this part of the catalogue, chosen at random")
    parser.add_argument("--seed", type=int, default=1, help="of the choice (1)")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side (2)")
    parser.add_argument("--sound", type=int, default=1, help="runs of the sound server (1)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "grade", help="folder for the matrix")
    options = parser.parse_args()
    if not 0 < options.fraction <= 1:
        parser.error("--fraction has to be above 0 and at most 1")
    try:
        chosen = choose(defects(), only=options.only, fraction=options.fraction, seed=options.seed)
    except LookupError as error:
        parser.error(str(error))
    names = _Names()
    Suites.from_file_system(str(ROOT / "suites")).visit(names)
    if unknown := {test for each in chosen for test in each.caught_by} - names.names:
        parser.error(f"there is no test {', '.join(sorted(unknown))}")
    print(f"{len(chosen)} defects, seed {options.seed}", flush=True)
    rows, alarms, sound_tests = asyncio.run(grade(chosen, jobs=options.jobs, sound_runs=options.sound))
    options.output.mkdir(parents=True, exist_ok=True)
    data = {"defects": [asdict(row) for row in rows], "false_alarms": alarms, "sound_tests": sound_tests}
    (options.output / "matrix.json").write_text(json.dumps(data, indent=2) + "\n")
    (options.output / "matrix.md").write_text(as_markdown(rows, alarms, sound_tests))
    caught = sum(row.sound for row in rows)
    print(f"{caught} of {len(rows)} defects caught, {len(alarms)} false alarms; {options.output / 'matrix.md'}")
    return 0 if caught == len(rows) and not alarms else 1


if __name__ == "__main__":
    sys.exit(main())
