"""`ocpp-resilience init FOLDER`: a folder with the suites, their resources, a profile to fill in and a CI recipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ocpp_resilience.arguments import Parser
from ocpp_resilience.shipped import shipped

PROFILE = "my-system.yaml"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: the folder is there; 2: it cannot be made."""
    parser = Parser(
        prog="ocpp-resilience init",
        description="Make a folder with the suites, the resources with their sentences, a commented profile of a "
        f"system ({PROFILE}), a recipe for GitHub Actions and a README. Change all of it as you like.",
    )
    parser.add_argument("folder", type=Path, help="the new folder; it must not exist or has to be empty")
    folder: Path = parser.parse_args(arguments).folder
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            parser.error(f"{folder} is there already; name a folder that is new or empty")
        _fill(folder)
    except OSError as error:
        parser.error(f"{folder} cannot be made: {error}")
    sys.stdout.write(f"{folder} is ready. Next: ocpp-resilience run {folder}\n")
    return 0


def _fill(folder: Path) -> None:
    for part in ("suites", "resources"):
        shutil.copytree(shipped(part), folder / part, ignore=LEFT_OUT)
    shutil.copy(shipped("templates", "README.md"), folder)
    workflows = folder / ".github" / "workflows"
    workflows.mkdir(parents=True)
    shutil.copy(shipped("templates", "acceptance.yml"), workflows)
    (folder / PROFILE).write_text(_profile(), encoding="utf-8")


def _profile() -> str:
    """The profile of the reference server, which has every field with a comment, under another name."""
    text = shipped("resources", "targets", "reference.yaml").read_text(encoding="utf-8")
    _, start = text.split("\nabout: ", 1)
    return (
        "# yaml-language-server: $schema=resources/targets/target.schema.json\n"
        "# How your system is started and reached. This is the profile of the bundled reference server: change what\n"
        "# differs, take out what your system does not have. `ocpp-resilience check check my-system.yaml` tries each\n"
        "# part.\n"
        f"name: my-system\nabout: {start}"
    )


if __name__ == "__main__":
    sys.exit(main())
