"""Writes the page during a run and at its end."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from robot.api import logger
from robot.errors import DataError
from robot.running.context import EXECUTION_CONTEXTS
from robot.utils import escape

from ocpp_resilience.errors import ResilienceError, UsageError
from ocpp_resilience.evidence.measurements import FILE_NAME, RUN
from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.report import evidence, history, parallel
from ocpp_resilience.report.build import FOLDER, LINK, RELEASE, TOLERANCE, Settings, build, past, surroundings
from ocpp_resilience.report.files import HTML_NAME, write
from ocpp_resilience.report.tracker import NOTHING_RUN, Tracker
from ocpp_resilience.robot.console import console_is_wanted
from ocpp_resilience.robot.facts import moment
from ocpp_resilience.robot.variables import (
    DEFAULT_TARGET,
    as_number,
    chosen_for_the_run,
    evidence_folder,
    output_folder,
    robot_variable,
)

YES = ("true", "yes", "1", "on")

Check = Callable[[Any, list[Path]], list[str]]
"""Says what is wrong with a suite, given the requirements files."""

SECONDS_BETWEEN = 5.0
"""A page in the middle of a suite is not written more often than this."""


class RunReporter:
    """Follows a run through listener events, and writes facts and the page.

    A library listener gets the events of the suites that import its library only, so the last event may be that of a
    file while the folder above it goes on. Then the page still says that the run has not ended, and is written again
    when the process ends, from the results that Robot Framework keeps in memory. Where suites import the library with
    different arguments, several listeners get the same events; each event counts once.
    """

    def __init__(self) -> None:
        self._tracker = Tracker(_unproven)
        self._written = 0.0
        self._settings: Settings | None = None
        self._output: Path | None = None
        self._root: Any = None
        self._complete = False
        self._at_exit = False
        self._parallel: Path | None = None
        self._machine = parallel.Machine()
        self._checked: list[Any] = []
        self._mistakes: list[str] = []
        self._announced = False
        self._sentence = ""
        self._console = True
        self._requirements: list[Path] = []

    def use_requirements(self, path: Path) -> None:
        """Show the requirements of this file; several libraries may each have one."""
        if path not in self._requirements:
            self._requirements.append(path)

    def add_mistake(self, text: str) -> None:
        """Something is wrong with the run, as a library found out when it was imported: nothing is run."""
        if text not in self._mistakes:
            self._mistakes.append(text)

    def announce(self) -> None:
        """Print the tested system and its Redis on the console, once and first."""
        context = EXECUTION_CONTEXTS.current
        target = robot_variable("TARGET") or (DEFAULT_TARGET if _starts_a_system(context) else None)
        redis = robot_variable("REDIS")
        if self._announced or target is None or context is None or context.dry_run or parallel.is_parallel():
            return
        self._announced = True
        if console_is_wanted() and sys.__stdout__ is not None:
            where = f" at {_address(chosen_for_the_run('REDIS_URL') or '')}" if redis == "external" else ""
            sys.__stdout__.write(f"Target: {target}   Redis: {redis or 'as the suites say'}{where}\n")
            sys.__stdout__.flush()

    def start_suite(self, data: Any, result: Any, check: Check) -> None:
        """A suite begins, in parallel with others unless it has to run alone.

        Args:
            data: the suite that is going to run; where something is wrong with it, nothing of it is run.
            result: its result.
            check: says what is wrong with a suite, given the requirements files.
        """
        if self._root is not None and _root(result) is not self._root:
            self._begin_another_run()
        settings = self._find_settings()
        if settings is None:
            return
        self.announce()
        if not any(each in self._checked for each in _with_parents(data)):
            self._checked.append(data)
            # A library that was given something else than it was meant to be would seem to make further mistakes.
            mistakes = self._mistakes or check(data, list(self._requirements))
            self._mistakes = []
            if mistakes:
                self._run_nothing(data, mistakes)
        self._root = _root(result)
        folder = evidence_folder()
        if folder is not None and self._tracker.path is None and not parallel.is_parallel():
            evidence.make_room(folder)
        self._tracker.requirements = [str(each.resolve()) for each in self._requirements]
        self._tracker.start_suite(result, folder, self._output.name if self._output else "")
        if self._output is not None and parallel.is_parallel() and data.tests:
            alone = any(parallel.ALONE in test.tags for test in data.tests)
            self._machine.take(self._output, alone=alone)

    def _run_nothing(self, data: Any, mistakes: list[str]) -> None:
        """Replace all tests by one that reports the mistake, because an exception in a listener is only logged."""
        text = mistakes[0] if len(mistakes) == 1 else "\n".join(f"{n}. {each}" for n, each in enumerate(mistakes, 1))
        self._tracker.mistake = text
        data.suites.clear()
        data.tests.clear()
        data.setup = data.teardown = None
        test = data.tests.create(name=NOTHING_RUN)
        test.body.create_keyword("BuiltIn.Fail", args=[escape(text)])

    def _begin_another_run(self) -> None:
        """`robot.run` was called once more in the same process."""
        self._finish()
        self._tracker = Tracker(_unproven)
        self._written = 0.0
        self._root = None
        self._complete = self._announced = False
        self._checked = []

    def start_test(self, result: Any) -> None:
        """A test begins."""
        self._tracker.start_test(result)

    def start_item(self, result: Any) -> None:
        """A keyword, or another item of a body, begins."""
        self._tracker.start_item(result)

    def end_item(self, result: Any) -> None:
        """A keyword, or another item of a body, ended."""
        self._tracker.end_item(result)

    def end_test(self, result: Any) -> None:
        """A test ended: fail it for a regression if that is wanted, and bring the page up to date."""
        settings = self._settings
        if settings is None or not self._tracker.runs(result):
            return
        if result.passed and _fails_on_regression():
            self._judge(result, settings)
        self._tracker.end_test(result)
        if self._parallel is None and time.monotonic() - self._written >= SECONDS_BETWEEN:
            self._write(result.parent, settings, complete=False)

    def end_suite(self, result: Any) -> None:
        """A suite ended, perhaps the last."""
        self._machine.give_back()
        settings = self._settings
        if settings is None:
            return
        root = _root(result)
        for name, value in surroundings().items():
            root.metadata.setdefault(name, value)
        if folder := output_folder():
            root.metadata.setdefault(FOLDER, str(folder.resolve()))
        if robot_variable("RELEASE") == "yes":
            root.metadata.setdefault(RELEASE, "yes")
        # Robot Framework makes a link of it, in its log and in its report.
        root.metadata.setdefault(LINK, f"[{HTML_NAME}|Verdicts on all requirements]")
        self._tracker.end_suite(result)
        if self._parallel is None:
            self._write(result, settings, complete=root is result)

    def _write(self, result: Any, settings: Settings, *, complete: bool) -> None:
        try:
            page = self._build_and_write(_root(result), settings, complete=complete)
        except (ResilienceError, OSError) as error:
            logger.warn(f"The page could not be written: {error}")
            return
        self._written = time.monotonic()
        self._complete = complete
        if complete:
            logger.debug(f"Page: {page}")

    def _build_and_write(self, suite: Any, settings: Settings, *, complete: bool) -> Path:
        seconds = None if self._parallel or self._tracker.ended else self._tracker.run.seconds
        report = build(suite, settings, complete=complete, environment=surroundings(), seconds=seconds)
        page = write(report, settings.output)
        # Why nothing was run is said already, in the place of the tests.
        self._sentence = "" if self._tracker.mistake else f"{report.sentence}\n"
        if complete:
            history.append(settings.history_file, past(report))
        return page

    def _find_settings(self) -> Settings | None:
        """The settings of this run; `None` for a dry run, which leaves no page."""
        context = EXECUTION_CONTEXTS.current
        folder = output_folder()
        if context is None or context.dry_run or folder is None:
            return None
        output = robot_variable("OUTPUT FILE")
        self._output = None if output in {None, "NONE"} else Path(str(output))
        self._console = console_is_wanted()
        log = robot_variable("LOG FILE")
        if parallel.is_parallel():
            self._parallel = parallel.results_folder(self._output) if self._output else None
            if self._parallel is None:
                return None
            parallel.note_start(self._parallel)
            folder = self._parallel.parent
            log = parallel.log_of_the_whole(folder)
        given = robot_variable("HISTORY")
        known = robot_variable("KNOWN DEVIATIONS")
        accepted = robot_variable("BASELINE")
        self._settings = Settings(
            output=folder,
            requirements=list(self._requirements),
            # A folder is a mistake that is reported already, in the place of the tests.
            history=Path(given) if given and not Path(given).is_dir() else None,
            baseline=Path(accepted) if accepted else None,
            tolerance=_tolerance(),
            known=Path(known) if known else None,
            log=_beside(log, folder),
            report=_beside(robot_variable("REPORT FILE"), folder) if self._output and not self._parallel else None,
        )
        if not self._at_exit:
            self._at_exit = True
            atexit.register(self._finish)
        return self._settings

    def _finish(self) -> None:
        """At the end of the process, close the entries without an end event."""
        settings = self._settings
        if settings is None:
            return
        try:
            self._tracker.note_end()
            if self._parallel is not None:
                self._finish_in_parallel(settings, self._parallel)
                return
            if not self._complete and self._root is not None:
                ended = self._root.end_time is not None
                self._build_and_write(self._root, settings, complete=ended)
        except (DataError, ResilienceError, OSError) as error:
            sys.stderr.write(f"The page could not be written: {error}\n")
            return
        if self._console:
            # Below the files that Robot Framework lists; nobody may read on, as behind `| head`.
            with contextlib.suppress(BrokenPipeError):
                sys.stdout.write(f"{self._sentence}Page:    {settings.output / HTML_NAME}\n")
                sys.stdout.flush()

    def _finish_in_parallel(self, settings: Settings, folder: Path) -> None:
        with parallel.in_turn(folder):
            suite, complete = parallel.joined(folder)
            if suite is not None:
                self._build_and_write(suite, settings, complete=complete)

    def _judge(self, result: Any, settings: Settings) -> None:
        try:
            accepted = history.baseline(settings.baseline_file)
        except UsageError as error:
            logger.warn(str(error))
            return
        if accepted is None:
            return
        regressions = []
        kept = evidence.read_measurements((evidence_folder() or settings.output) / FILE_NAME)
        for each in kept:
            name = history.key(each.requirement, each.name)
            if (each.run, each.start, each.test) != (RUN, moment(result.start_time), result.name):
                continue
            if name in accepted.values and history.regressed(each, accepted.values[name], settings.tolerance):
                regressions.append(f"{name} is {each.value:g} {each.unit}, was {accepted.values[name]:g} {each.unit}")
        if regressions:
            result.status = "FAIL"
            result.message = f"Worse than the accepted baseline: {'; '.join(dict.fromkeys(regressions))}."


def _starts_a_system(context: Any) -> bool:
    """Whether a suite itself imports what starts a server, which is the bundled one if no other is named.

    It is asked while its libraries are imported, perhaps before that one.
    """
    imports = getattr(getattr(context, "namespace", None), "_imports", ())
    return any(each.name == "OcppServerLibrary" for each in imports)


def _unproven(suite: str, test: str) -> list[str]:
    try:
        return [f"{each}: {each.proof or 'nothing was seen'}" for each in JOURNAL.unproven(suite, test)]
    except Exception as error:  # noqa: BLE001 - what would look again is gone; that proves nothing either
        return [f"a fault whose proof cannot be read any more: {error}"]


def _root(suite: Any) -> Any:
    while suite.parent is not None:
        suite = suite.parent
    return suite


def _beside(file: str | None, folder: Path) -> str | None:
    return os.path.relpath(file, folder) if file and file != "NONE" else None


def _with_parents(suite: Any) -> Iterator[Any]:
    while suite is not None:
        yield suite
        suite = suite.parent


def _address(url: str) -> str:
    """Where a Redis is, without user and password."""
    return url.rpartition("@")[2] or "an address that is not set"


def _fails_on_regression() -> bool:
    return (robot_variable("FAIL ON REGRESSION") or "no").lower() in YES


def _tolerance() -> float:
    """Invalid numbers are reported before the run; the page is written nevertheless."""
    name = "REGRESSION TOLERANCE"
    given = robot_variable(name)
    try:
        return TOLERANCE if given is None else as_number(name, given, at_least=0)
    except UsageError:
        return TOLERANCE


REPORTER = RunReporter()
"""The one of this process."""
