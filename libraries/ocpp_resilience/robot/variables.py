"""Variables of the running Robot Framework, for code that also works outside it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from robot.libraries.BuiltIn import BuiltIn, RobotNotRunningError
from robot.utils import timestr_to_secs

from ocpp_resilience.errors import ResilienceError, UsageError


def robot_variable(name: str) -> str | None:
    """The value of `${name}` as text; `None` if it is empty or not set, and outside Robot Framework."""
    try:
        value = BuiltIn().get_variable_value(f"${{{name}}}")
    except RobotNotRunningError:
        return None
    return None if value is None or value == "" else str(value)


def chosen_for_the_run(name: str) -> str | None:
    """A variable of the whole run: `robot --variable NAME:value`, else the environment variable."""
    return robot_variable(name) or os.environ.get(name) or None


DEFAULT_TARGET = "reference"
"""The profile of the bundled server."""


def target_of(given: str | None) -> str:
    """The name or path of a target profile: the given one, else the run's variable `TARGET`, else `reference`."""
    return given or robot_variable("TARGET") or DEFAULT_TARGET


def output_folder() -> Path | None:
    """Robot's output folder, `None` outside Robot Framework."""
    folder = robot_variable("OUTPUT DIR")
    return Path(folder) if folder and folder != "NONE" else None


EVIDENCE = "evidence"
"""The folder in Robot's output folder for what a run records: measurements, faults, ledgers, samples."""


def evidence_folder() -> Path | None:
    """The folder for the evidence of a run, created on demand. `None` outside Robot Framework.

    Raises:
        ResilienceError: it cannot be made.
    """
    output = output_folder()
    if output is None:
        return None
    folder = output / EVIDENCE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResilienceError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    return folder


def as_number(
    name: str, value: str, *, at_least: float | None = None, at_most: float | None = None, whole: bool = False
) -> float:
    """The value of a variable as a number within these limits, which an error message names.

    Raises:
        UsageError: it is invalid; the message names the variable, its value and the allowed values.
    """
    limits = [f"at least {at_least:g}"] if at_least is not None else []
    limits += [f"at most {at_most:.15g}"] if at_most is not None else []
    allowed = " ".join(["a whole number" if whole else "a number", " and ".join(limits)]).strip()
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        raise _unusable(name, value, allowed) from None
    within = (at_least is None or number >= at_least) and (at_most is None or number <= at_most)
    if not within or (isinstance(number, float) and not math.isfinite(number)):
        raise _unusable(name, value, allowed)
    return number


def as_duration(name: str, value: str) -> float:
    """The value of a variable as seconds, from a time string of Robot Framework's.

    Raises:
        UsageError: it is none, or not above 0; the message names the variable, its value and the allowed values.
    """
    try:
        length = timestr_to_secs(value)
    except (ValueError, OverflowError):
        length = math.nan
    if not 0 < length < math.inf:
        raise _unusable(name, value, "a time above 0, such as '90 seconds' or '10 min'")
    return float(length)


def as_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """The value of a variable, which has to be one of these.

    Raises:
        UsageError: it is not; the message names the variable, its value and the allowed values.
    """
    if value not in choices:
        raise _unusable(name, value, f"one of {', '.join(choices)}")
    return value


def _unusable(name: str, value: str, allowed: str) -> UsageError:
    what = name if name.startswith("--") else f"The variable {name}"
    return UsageError(f"{what} is {repr(value) if value else 'empty'}, allowed is {allowed}.")
