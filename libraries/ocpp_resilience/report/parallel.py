"""Runs of pabot: each of its processes has its own results; whichever ends last has written the page of them all.

pabot reports its end to no process. So every process that ends merges the results that exist so far, as pabot itself
does later, and the page says that it is incomplete until the last one has done so.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psutil
from robot.api import ExecutionResult
from robot.errors import DataError

from ocpp_resilience.robot.variables import robot_variable

FOLDER = "pabot_results"
"""The folder of the results of pabot's processes, beside the merged ones."""

ALONE = "alone"
"""The tag of suites beside which no other one runs."""

_LAST = "last-has-started"
_PAGE = "page.lock"
_MACHINE = "machine.lock"


def is_parallel() -> bool:
    """Whether this is a process of pabot."""
    return robot_variable("PABOTISLASTEXECUTIONINPOOL") is not None


def results_folder(output: Path) -> Path | None:
    """pabot's folder with the results of this process in it; `None` if there is none."""
    return next((each for each in output.parents if each.name == FOLDER), None)


def note_start(folder: Path) -> None:
    """Note whether this process is the last one that pabot starts."""
    if robot_variable("PABOTISLASTEXECUTIONINPOOL") == "1":
        (folder / _LAST).touch()


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """One process at a time."""
    with (folder / _PAGE).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def joined(folder: Path) -> tuple[Any | None, bool]:
    """The results of all processes as one, in pabot's order, so that ids are those of its log.

    Args:
        folder: pabot's.

    Returns:
        The suite, `None` if no process has ended, and whether all have.
    """
    complete = (folder / _LAST).exists()
    whole = None
    for process in sorted((each for each in folder.iterdir() if each.is_dir()), key=_natural):
        # The name of the file may hold the time, and be another one in each process.
        suites = [suite for file in sorted(process.rglob("*.xml"), key=_natural) if (suite := _read(file)) is not None]
        complete = complete and bool(suites)
        for suite in suites:
            if whole is None:
                whole = suite
            else:
                _join(whole, suite)
    return whole, complete


def _read(file: Path) -> Any | None:
    """The results in a file; `None` for one that is being written, or that holds none."""
    try:
        return ExecutionResult(file, include_keywords=False).suite
    except (DataError, OSError):
        return None


def log_of_the_whole(folder: Path) -> str | None:
    """The log that pabot writes when all processes have ended, as its own command line says.

    `None` if it writes none, or one whose name is not known before: the time is in it, or the command line cannot be
    read.
    """
    try:
        command = psutil.Process().parent().cmdline()  # type: ignore[union-attr]
        place = next(number for number, each in enumerate(command) if "pabot" in Path(each).name)
        options = _pabot_options(command[place + 1 :])
    except Exception:  # noqa: BLE001 - a page without the link is better than none
        return None
    if options.get("timestampoutputs"):
        return None
    name = str(options.get("log") or "log.html")
    return None if name.upper() == "NONE" else str(folder / (name if Path(name).suffix else f"{name}.html"))


def _pabot_options(arguments: list[str]) -> dict[str, Any]:
    from pabot.arguments import parse_args  # noqa: PLC0415 - it is there where pabot runs

    with contextlib.redirect_stdout(io.StringIO()):
        options, *_ = parse_args(arguments)
    return dict(options)


def _join(into: Any, other: Any) -> None:
    into.metadata.update(other.metadata)
    for suite in other.suites:
        found = next((each for each in into.suites if (each.name, each.source) == (suite.name, suite.source)), None)
        if found is None:
            into.suites.append(suite)
        else:
            _join(found, suite)
    into.tests.extend(other.tests)


def _natural(path: Path) -> list[int | str]:
    return [int(part) if part.isdigit() else part.casefold() for part in re.split(r"(\d+)", str(path))]


class Machine:
    """Suites of pabot's processes share the machine, but for those that need it for themselves."""

    def __init__(self) -> None:
        self._held: BinaryIO | None = None

    def take(self, output: Path, *, alone: bool) -> None:
        """Wait until no suite has the machine for itself, or with `alone` until there is no other one at all."""
        folder = results_folder(output)
        if folder is None:
            return
        self.give_back()
        self._held = (folder / _MACHINE).open("ab")
        fcntl.flock(self._held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)

    def give_back(self) -> None:
        """Release the lock; a killed process releases it, too."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
