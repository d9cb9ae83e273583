"""Variables of the running Robot Framework, for code that also works outside it."""

from __future__ import annotations

import os
from pathlib import Path

from robot.libraries.BuiltIn import BuiltIn, RobotNotRunningError


def robot_variable(name: str) -> str | None:
    """The value of `${name}` as text; `None` where it is empty or not set, and outside Robot Framework."""
    try:
        value = BuiltIn().get_variable_value(f"${{{name}}}")
    except RobotNotRunningError:
        return None
    return None if value is None or value == "" else str(value)


def chosen_for_the_run(name: str) -> str | None:
    """What a whole run is given under this name: `robot --variable NAME:value`, else the environment variable."""
    return robot_variable(name) or os.environ.get(name) or None


def output_folder() -> Path | None:
    """Robot's output folder, `None` outside Robot Framework."""
    folder = robot_variable("OUTPUT DIR")
    return Path(folder) if folder else None
