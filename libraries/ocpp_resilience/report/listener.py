"""Writing the page while a run goes on and when it ends."""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path
from typing import Any

from robot.api import ExecutionResult, logger
from robot.errors import DataError
from robot.running.context import EXECUTION_CONTEXTS

from ocpp_resilience.errors import ResilienceError, UsageError
from ocpp_resilience.evidence.measurements import FILE_NAME, RUN
from ocpp_resilience.report import evidence, history, parallel
from ocpp_resilience.report.build import TOLERANCE, Settings, build, past, surroundings
from ocpp_resilience.report.files import HTML_NAME, write
from ocpp_resilience.robot.variables import as_choice, as_number, robot_variable

YES = ("true", "yes", "1", "on")
NO = ("false", "no", "0", "off")

SECONDS_BETWEEN = 5.0
"""A page in the middle of a suite is not written more often than this."""


class RunReporter:
    """Follows a run by the events that a library listener gets.

    A library listener hears of the suites that import its library only, so the last event may be that of a file while
    the folder above it goes on. Then the page still says that the run has not ended, and is written again from
    `output.xml` when the process ends.
    """

    def __init__(self) -> None:
        self._written = 0.0
        self._settings: Settings | None = None
        self._output: Path | None = None
        self._complete = False
        self._at_exit = False
        self._parallel: Path | None = None
        self._machine = parallel.Machine()
        self._checked = False
        self._mistake = ""

    def start_suite(self, data: Any) -> None:
        """A suite begins: beside others, unless it is to be alone."""
        if not self._checked:
            self._checked = True
            try:
                _tolerance()
                _fails_on_regression()
            except UsageError as error:
                # Whatever a listener raises is only logged, so every test that would pass fails for it, too.
                logger.error(str(error))
                self._mistake = str(error)
        output = robot_variable("OUTPUT FILE")
        if parallel.is_parallel() and output is not None and data.tests:
            alone = any(parallel.ALONE in test.tags for test in data.tests)
            self._machine.take(Path(output), alone=alone)

    def end_test(self, result: Any) -> None:
        """A test ended: fail it for a regression if that is wanted, and bring the page up to date."""
        settings = self._find_settings()
        if settings is None:
            return
        if result.passed and self._mistake:
            result.status, result.message = "FAIL", self._mistake
        elif result.passed and _fails_on_regression():
            self._judge(result, settings)
        if self._parallel is None and time.monotonic() - self._written >= SECONDS_BETWEEN:
            self._write(result.parent, settings, complete=False)

    def end_suite(self, result: Any) -> None:
        """A suite ended, perhaps the last."""
        self._machine.give_back()
        settings = self._find_settings()
        if settings is None:
            return
        root = _root(result)
        for name, value in surroundings().items():
            root.metadata.setdefault(name, value)
        if self._parallel is None:
            self._write(result, settings, complete=root is result)

    def _write(self, result: Any, settings: Settings, *, complete: bool) -> None:
        try:
            report = build(_root(result), settings, complete=complete, environment=surroundings())
            if complete:
                history.append(settings.history_file, past(report))
            page = write(report, settings.output)
        except (ResilienceError, OSError) as error:
            logger.warn(f"The page could not be written: {error}")
            return
        self._written = time.monotonic()
        self._complete = complete
        if complete:
            logger.debug(f"{report.sentence} Page: {page}")

    def _find_settings(self) -> Settings | None:
        """The settings of this run; `None` where no page is wanted: no output, a dry run."""
        output = robot_variable("OUTPUT FILE")
        context = EXECUTION_CONTEXTS.current
        if context is None or context.dry_run:
            return None
        if output in {None, "NONE"}:
            return None
        self._output = Path(str(output))
        if parallel.is_parallel():
            self._parallel = parallel.results_folder(self._output)
            if self._parallel is None:
                return None
            parallel.note_start(self._parallel)
        log = robot_variable("LOG FILE")
        given = robot_variable("HISTORY")
        accepted = robot_variable("BASELINE")
        folder = self._output.parent if self._parallel is None else self._parallel.parent
        if self._parallel is not None:
            log = str(folder / "log.html")  # that of the whole
        self._settings = Settings(
            output=folder,
            history=Path(given) if given else None,
            baseline=Path(accepted) if accepted else None,
            tolerance=TOLERANCE if self._mistake else _tolerance(),
            log=os.path.relpath(log, folder) if log and log != "NONE" else None,
        )
        if not self._at_exit:
            self._at_exit = True
            atexit.register(self._finish)
        return self._settings

    def _finish(self) -> None:
        """At the end of the process: complete what the events left open."""
        if self._settings is None or self._output is None:
            return
        if self._parallel is not None:
            self._finish_in_parallel(self._settings, self._parallel, self._output.name)
            return
        if not self._complete:
            try:
                result = ExecutionResult(self._output, include_keywords=False)
                report = build(result.suite, self._settings)
                history.append(self._settings.history_file, past(report))
                write(report, self._settings.output)
            except (DataError, ResilienceError, OSError) as error:
                sys.stderr.write(f"The page could not be written: {error}\n")
                return
        if sys.stdout.isatty():
            # Below the files that Robot Framework lists; a program that reads its output is not bothered.
            sys.stdout.write(f"Page:    {self._settings.output / HTML_NAME}\n")

    def _finish_in_parallel(self, settings: Settings, folder: Path, name: str) -> None:
        try:
            with parallel.in_turn(folder):
                suite, complete = parallel.joined(folder, name)
                if suite is None:
                    return
                report = build(suite, settings, complete=complete)
                if complete:
                    history.append(settings.history_file, past(report))
                write(report, settings.output)
        except (DataError, ResilienceError, OSError) as error:
            sys.stderr.write(f"The page could not be written: {error}\n")

    def _judge(self, result: Any, settings: Settings) -> None:
        try:
            accepted = history.baseline(settings.baseline_file)
        except UsageError as error:
            logger.warn(str(error))
            return
        if accepted is None:
            return
        regressions = []
        kept = evidence.read_measurements((self._output.parent if self._output else settings.output) / FILE_NAME)
        for each in kept:
            name = history.key(each.requirement, each.name)
            if (each.run, each.suite, each.test) != (RUN, result.parent.full_name, result.name):
                continue
            if name in accepted.values and history.regressed(each, accepted.values[name], settings.tolerance):
                regressions.append(f"{name} is {each.value:g} {each.unit}, was {accepted.values[name]:g} {each.unit}")
        if regressions:
            result.status = "FAIL"
            result.message = f"Worse than the accepted baseline: {'; '.join(dict.fromkeys(regressions))}."


def _root(suite: Any) -> Any:
    while suite.parent is not None:
        suite = suite.parent
    return suite


def _fails_on_regression() -> bool:
    name = "FAIL ON REGRESSION"
    return as_choice(name, (robot_variable(name) or "no").lower(), [*YES, *NO]) in YES


def _tolerance() -> float:
    name = "REGRESSION TOLERANCE"
    given = robot_variable(name)
    return TOLERANCE if given is None else as_number(name, given, at_least=0)
