"""Every imported package is declared: one that only comes with another disappears when that one drops it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {"server", *(path.name for path in (ROOT / "libraries").iterdir())}
BEHIND_ANOTHER = {
    "docker",  # testcontainers hands out its containers,
    "requests",  # and the errors of its requests
    "gevent",  # locust runs on it
    "h11",  # the protocol inside uvicorn, which is bounded
    "hiredis",  # redis[hiredis]
    "markupsafe",  # what jinja2 escapes with
    "pabot",  # only asked for when it runs us
}


def named(package: str) -> str:
    return package.lower().replace("_", "-")


def declared(*extras: str) -> set[str]:
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return {named(re.split(r"[\[<>=]", each)[0]) for group in groups for each in group}


def imported(folder: Path) -> set[str]:
    """The packages that are imported anywhere in a folder, but for ours and Python's own."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - OURS - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("libraries", ("load", "containers", "locust")), ("server", ("server", "load"))],
    ids=["libraries", "server"],
)
def test_every_package_that_is_imported_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    distributions = packages_distributions()
    known = declared(*extras)
    missing = {
        name
        for name in imported(ROOT / folder) - BEHIND_ANOTHER
        if not {named(each) for each in distributions.get(name, [name])} & known
    }
    assert missing == set()
