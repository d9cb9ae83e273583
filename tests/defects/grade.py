"""Runs the suites against the defect catalogue: is every defect caught by the tests that are there for it?

    python tests/defects/grade.py [--only NAME] [--fraction 0.5 --seed 7] [--limit 60 --steady] [--sound 1]

For each defect only the tests that must catch it are run. A defect counts as caught when each of them fails with a line
that fits it; one that fails with another line has caught it for another reason, a miss of its own kind, and one that
could not even be set up has caught nothing, unless its defect stops the server from starting. The sound server then
has to pass all of these tests, `--sound` times, with other processes keeping the machine busy: a failure there is a
false alarm. Exit status 0: all caught and no false alarm; 3: some were caught for another reason, and nothing worse; 1
otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import matrix
import msgspec
from catalogue import LONGEST_WAIT, Defect, defects
from robot.api import SuiteVisitor
from robot.api import TestSuite as Suites
from robot.running import TestCase
from runs import ROOT, Outcomes, Turns, burning, run_suites

from ocpp_resilience.report.__main__ import main as report
from ocpp_resilience.report.grade import FILE_NAME, SETUPS, Failure, Grade, GradedDefect

FOR_ANOTHER_REASON = 3
"""The exit status where all tests failed that had to, some of them for another reason."""


class _Homes(SuiteVisitor):
    """The suite of each test."""

    def __init__(self) -> None:
        self.homes: dict[str, str] = {}

    def visit_test(self, test: TestCase) -> None:
        self.homes[test.name] = test.parent.name


def judge(defect: Defect, outcomes: Outcomes) -> GradedDefect:
    """Compare the results with the expected ones."""
    graded = _graded(defect)
    for test in defect.caught_by:
        status, message = outcomes.get(test, ("not run", ""))
        failure = Failure(test=test, message=message if status == "FAIL" else f"{status} {message}".strip())
        if status != "FAIL":
            graded.missed.append(failure)
        elif re.search(defect.says, failure.line) and (defect.stops_start or not message.startswith(SETUPS)):
            graded.caught.append(failure)
        else:
            graded.otherwise.append(failure)
    return graded


def _graded(defect: Defect, **found: Any) -> GradedDefect:
    return GradedDefect(name=defect.name, requirement=defect.requirement, about=defect.about, **found)


class Group(NamedTuple):
    """Tests that run together, the longest wait of their keywords in seconds, and variables of the suites."""

    tests: tuple[str, ...]
    longest_wait: float
    variables: tuple[str, ...]


class Grader:
    """Runs the tests that the chosen defects need.

    Args:
        jobs: runs side by side.
        scratch: where runs leave their output.
        limit: seconds after which no further defect is begun.
    """

    def __init__(self, jobs: int, scratch: Path, limit: float) -> None:
        self._turns = Turns(jobs)
        self._scratch = scratch
        self._deadline = time.monotonic() + limit
        self.alarms: list[Failure] = []
        self.passed = 0
        self.inconclusive = 0

    async def grade(self, chosen: Sequence[Defect]) -> dict[Defect, GradedDefect]:
        """Each defect with the tests that must catch it, as far as there is time."""
        found = {each: await self._one(each) for each in chosen if each.alone}
        async with asyncio.TaskGroup() as tasks:
            running = {each: tasks.create_task(self._one(each)) for each in self._in_turn(chosen) if not each.alone}
        found |= {each: task.result() for each, task in running.items()}
        return {each: graded for each in chosen if (graded := found[each]) is not None}

    def _in_turn(self, chosen: Sequence[Defect]) -> Sequence[Defect]:
        """The longest first, so that none is left over at the end; with a limit, chance decides which are begun."""
        if self._deadline != float("inf"):
            return chosen
        return sorted(chosen, key=lambda each: (each.heavy, each.longest_wait), reverse=True)

    async def _one(self, defect: Defect) -> GradedDefect | None:
        async with self._turns.turn(heavy=defect.heavy):
            began = time.monotonic()
            if began > self._deadline:
                return None
            folder = self._scratch / defect.name
            try:
                outcomes = await run_suites(
                    defect.caught_by,
                    folder,
                    longest_wait=defect.longest_wait,
                    defect=defect.name,
                    variables=defect.settings,
                )
                graded = judge(defect, outcomes)
            except RuntimeError as error:
                graded = _graded(defect, problem=str(error))
            shutil.rmtree(folder, ignore_errors=True)
            graded = msgspec.structs.replace(graded, seconds=round(time.monotonic() - began, 1))
        matrix.say(graded)
        return graded

    async def try_sound(self, groups: Iterable[Group], run: int) -> None:
        """Run groups of tests against the sound server."""
        async with asyncio.TaskGroup() as tasks:
            for number, group in enumerate(groups, 1):
                tasks.create_task(self._sound(self._scratch / f"sound-{run}-{number}", group))

    async def _sound(self, folder: Path, group: Group) -> None:
        async with self._turns.turn():
            try:
                outcomes = await run_suites(
                    group.tests, folder, longest_wait=group.longest_wait, variables=group.variables
                )
            except RuntimeError as error:
                outcomes = {test: ("FAIL", str(error)) for test in group.tests}
            shutil.rmtree(folder, ignore_errors=True)
        # What a busy machine kept from showing anything is no alarm, and no test that the sound server has passed.
        self.passed += sum(status == "PASS" for status, _ in outcomes.values())
        for test in group.tests:
            status, said = outcomes.get(test, ("not run", ""))
            if status not in {"PASS", "FAIL"}:
                self.inconclusive += 1
                print(f"{status} {test}: {said[:200]}", flush=True)
        alarms = [Failure(test=test, message=said) for test, (status, said) in outcomes.items() if status == "FAIL"]
        self.alarms += alarms
        for alarm in alarms:
            print(f"FALSE ALARM {alarm.test}: {alarm.message}", flush=True)


def as_with_the_defects(chosen: Iterable[Defect]) -> list[Group]:
    """The tests in the company that they have with a defect: one that fails alone without any has caught nothing."""
    waits: dict[tuple[tuple[str, ...], tuple[str, ...]], float] = {}
    for each in chosen:
        company = each.caught_by, each.settings
        waits[company] = max(waits.get(company, LONGEST_WAIT), each.longest_wait)
    return [Group(tests, wait, variables) for (tests, variables), wait in waits.items()]


def by_suite(chosen: Iterable[Defect], homes: dict[str, str]) -> list[Group]:
    """The same tests, each once, those of one suite and one OCPP version in one run."""
    groups: dict[tuple[str, str], Group] = {}
    for each in chosen:
        for test in each.caught_by:
            run = homes[test], each.protocol
            known = groups.get(run, Group((), LONGEST_WAIT, ()))
            groups[run] = Group(
                tuple(dict.fromkeys((*known.tests, test))),
                max(known.longest_wait, each.longest_wait),
                tuple(dict.fromkeys((*known.variables, *each.settings))),
            )
    return list(groups.values())


async def run(chosen: Sequence[Defect], homes: dict[str, str], options: argparse.Namespace, catalogue: int) -> Grade:
    """Grade the chosen defects and try the sound server."""
    began, clock = datetime.now(UTC), time.monotonic()
    # Whoever is told to end takes along what was started.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    scratch = Path(tempfile.mkdtemp(prefix="grade-"))
    grader = Grader(options.jobs, scratch, options.limit)
    try:
        graded = await grader.grade(chosen)
        chosen = list(graded)
        async with burning(options.burners if options.sound else 0):
            for number in range(1, options.sound + 1):
                in_company = number == 1 and options.fraction == 1
                groups = as_with_the_defects(chosen) if in_company else by_suite(chosen, homes)
                await grader.try_sound(groups, number)
                print(f"sound server, run {number}: {len(grader.alarms)} false alarms so far", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Grade(
        began=began.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 1),
        seed=options.seed,
        fraction=round(len(chosen) / catalogue, 3),
        catalogue=catalogue,
        defects=list(graded.values()),
        false_alarms=grader.alarms,
        sound_runs=options.sound,
        sound_tests=grader.passed + len(grader.alarms),
        sound_inconclusive=grader.inconclusive,
        burners=options.burners if options.sound else 0,
    )


def choose(known: dict[str, Defect], *, only: Sequence[str], fraction: float, seed: int, steady: bool) -> list[Defect]:
    """The defects that are meant, all of the catalogue in its order, a part of it in an order of chance.

    Raises:
        LookupError: one of `only` does not exist.
    """
    if unknown := [name for name in only if name not in known]:
        raise LookupError(f"There is no defect {', '.join(unknown)}; there are {', '.join(known)}.")
    if only:
        return [known[name] for name in dict.fromkeys(only)]
    names = sorted(name for name, each in known.items() if not (steady and each.timing))
    if fraction == 1 and not steady:
        return list(known.values())
    return [known[name] for name in random.Random(seed).sample(names, max(1, round(len(names) * fraction)))]


def write(grade: Grade, folder: Path, *, whole: bool) -> None:
    """Write a grade into a folder, print the last lines, and renew an existing page, whose annex it is.

    What was chosen by name goes to files of its own: it says nothing of the others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / (FILE_NAME if whole else "grade-only.json")
    data.write_bytes(msgspec.json.format(msgspec.json.encode(grade), indent=1) + b"\n")
    table = data.with_suffix(".md")
    table.write_text(matrix.as_markdown(grade))
    matrix.summarise(grade, table)
    if whole and (folder / "output.xml").is_file():
        report([str(folder / "output.xml")])


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Run the suites against the defect catalogue.")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this defect; may be repeated")
    parser.add_argument("--fraction", type=float, default=1.0, help="this part of the catalogue, chosen at random")
    parser.add_argument("--seed", type=int, help="seed of the choice; by default the date")
    parser.add_argument(
        "--limit", type=float, default=float("inf"), help="seconds after which no further defect is started"
    )
    parser.add_argument("--steady", action="store_true", help="only defects that do not depend on the machine's speed")
    parser.add_argument("--jobs", type=int, default=3, help="parallel runs (3)")
    parser.add_argument("--sound", type=int, default=1, help="runs of the sound server (1)")
    parser.add_argument(
        "--burners", type=int, default=2, help="processes that keep the machine busy during the runs (2)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results", help="folder for grade.json and grade.md")
    options = parser.parse_args()
    if not 0 < options.fraction <= 1:
        parser.error("--fraction has to be above 0 and at most 1")
    if options.jobs < 1 or options.sound < 0 or options.burners < 0:
        parser.error("--jobs has to be at least 1, --sound and --burners at least 0")
    if not options.limit > 0:
        parser.error(f"--limit {options.limit:g} cannot be used, allowed is a number of seconds above 0")
    if options.seed is None:
        options.seed = date.today().toordinal()  # noqa: DTZ011 - any number does
    known = defects()
    try:
        chosen = choose(known, only=options.only, fraction=options.fraction, seed=options.seed, steady=options.steady)
    except LookupError as error:
        parser.error(str(error))
    suites = _Homes()
    Suites.from_file_system(str(ROOT / "suites")).visit(suites)
    if unknown := {test for each in known.values() for test in each.caught_by} - suites.homes.keys():
        parser.error(f"there is no test {', '.join(sorted(unknown))}")
    print(f"{len(chosen)} of {len(known)} defects, seed {options.seed}", flush=True)
    try:
        grade = asyncio.run(run(chosen, suites.homes, options, len(known)))
    except asyncio.CancelledError:
        sys.exit("ended before the grade was known")
    write(grade, options.output, whole=not options.only)
    if grade.missed or grade.false_alarms:
        return 1
    return FOR_ANOTHER_REASON if grade.otherwise else 0


if __name__ == "__main__":
    sys.exit(main())
