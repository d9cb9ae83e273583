"""The lock: within the ranges of `pyproject.toml`, with all hashes, the same versions in each of its files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = {
    extra: [found for each in group if (found := Requirement(each)).name != PROJECT["project"]["name"]]
    for extra, group in PROJECT["project"]["optional-dependencies"].items()
}
OPTIONAL = [each for group in EXTRAS.values() for each in group]
FOR_RUNNING = [
    *map(Requirement, PROJECT["project"]["dependencies"]),
    *EXTRAS["server"],
    *EXTRAS["load"],
    *EXTRAS["containers"],
]
FILES = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("locks/dev.txt", "locks/run.txt", "requirements.txt")
}


def locked(name: str) -> dict[str, Requirement]:
    """The packages of one file of the lock, by name."""
    lines = re.findall(r"^([a-z0-9][^\\#\n]*)", FILES[name], re.MULTILINE)
    return {(found := Requirement(line)).name: found for line in lines}


def version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize(
    ("file", "needed"),
    [("locks/dev.txt", [*FOR_RUNNING, *OPTIONAL]), ("locks/run.txt", FOR_RUNNING), ("requirements.txt", FOR_RUNNING)],
)
def test_the_lock_has_every_dependency_within_its_range(file: str, needed: list[Requirement]) -> None:
    found = locked(file)
    assert [str(each) for each in needed if each.name not in found] == [], "make lock KEEP=1"
    outside = [str(each) for each in needed if not each.specifier.contains(version(found[each.name]), prereleases=True)]
    assert outside == [], "make lock"


@pytest.mark.parametrize("file", ["locks/run.txt", "requirements.txt"])
def test_a_smaller_file_of_the_lock_has_the_versions_of_the_whole(file: str) -> None:
    whole = locked("locks/dev.txt")
    assert {name: version(each) for name, each in locked(file).items() if version(whole[name]) != version(each)} == {}


def test_pip_installs_the_same_with_and_without_hashes() -> None:
    assert locked("requirements.txt").keys() == locked("locks/run.txt").keys()
    assert "\n-e .\n" in FILES["requirements.txt"]


@pytest.mark.parametrize("file", ["locks/dev.txt", "locks/run.txt"])
def test_every_locked_version_has_hashes(file: str) -> None:
    # A package may be there twice, each time for other versions of Python.
    lines = re.findall(r"^[a-z0-9][^\\\n]*", FILES[file], re.MULTILINE)
    hashed = re.findall(r"^[a-z0-9][^\\\n]*\\\n    --hash=sha256:[0-9a-f]{64}", FILES[file], re.MULTILINE)
    assert len(hashed) == len(lines) >= len(locked(file))


@pytest.mark.parametrize("file", FILES)
def test_the_lock_names_no_place_that_packages_come_from(file: str) -> None:
    assert not re.search(r"://|--index|--find-links|--extra-index|--trusted", FILES[file])


def test_the_package_is_built_by_the_locked_setuptools() -> None:
    (build,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert build.name == "setuptools"
    assert version(build) == version(locked("locks/dev.txt")["setuptools"])
