"""Every imported package is declared: one that only comes with another disappears when that one drops it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import files, packages_distributions, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


LARGEST = 100
"""Megabytes of an installation without extras."""
MOST = 45
"""Packages of it, ours included, have to be fewer."""
COSTS = re.compile(r"^\| (none|`\w+`) \| (\d+) \| (\d+) MB \|", re.MULTILINE)


def installed(*extras: str) -> set[str]:
    """The packages that come with an installation with these extras, ours included."""
    found = {"robotframework-ocpp-resilience"}
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    pending = [Requirement(each) for group in groups for each in group]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        each = pending.pop()
        name, wanted = named(each.name), frozenset(each.extras)
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        if name in found and name == "robotframework-ocpp-resilience":
            # An extra of ours that brings another one.
            pending += [Requirement(one) for extra in wanted for one in PROJECT["optional-dependencies"][extra]]
            continue
        found.add(name)
        for text in requires(each.name) or []:
            further = Requirement(text)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                pending.append(further)
    return found


def size(packages: set[str]) -> float:
    """Megabytes of the files that pip has installed for these packages, compiled modules included."""
    total = 0
    for package in packages - {"robotframework-ocpp-resilience"}:
        for file in files(package) or []:
            path = Path(str(file.locate()))
            if path.suffix == ".pyc" or not path.is_file():
                continue
            # A compiled module is about as large as its source.
            total += path.stat().st_size * (2 if path.suffix == ".py" else 1)
    ours = [path for folder in ("libraries", "server", "suites", "resources") for path in (ROOT / folder).rglob("*.*")]
    return (total + 2 * sum(path.stat().st_size for path in ours if path.suffix != ".pyc")) / 1e6


def test_an_installation_without_extras_is_light() -> None:
    assert len(installed()) < MOST
    assert size(installed()) <= LARGEST


def is_locked(package: str) -> bool:
    """Whether a package has a version of the lock; the table is about these."""
    lock = (ROOT / "locks" / "dev.txt").read_text(encoding="utf-8")
    name = re.sub(r"[-_.]+", "-", package).lower()
    return version(package) in re.findall(rf"^{re.escape(name)}==(\S+)", lock, re.MULTILINE)


@pytest.mark.skipif(
    sys.platform != "linux"
    or sys.version_info[:2] != (3, 11)
    or not all(map(is_locked, installed("all") - {"robotframework-ocpp-resilience"})),
    reason="the table is about the locked versions on Linux with Python 3.11",
)
def test_what_each_extra_costs_is_documented() -> None:
    table = COSTS.findall((ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8"))
    assert [name.strip("`") for name, _, _ in table] == ["none", "load", "server", "containers", "locust", "all"]
    for name, packages, megabytes in table:
        there = installed(*([] if name == "none" else [name.strip("`")]))
        assert abs(len(there) - int(packages)) <= 1, f"{name}: {len(there)} packages"
        assert size(there) == pytest.approx(float(megabytes), rel=0.15), name
