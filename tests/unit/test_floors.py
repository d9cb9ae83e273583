"""Engine and server: rooms on floors, no import to a higher floor, no circle, none across the contract."""

from __future__ import annotations

import ast
import functools
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "libraries" / "ocpp_resilience"
FLOORS = (
    {
        "authority",
        "text",
        "clock",
        "ids",
        "errors",
        "event_loop",
        "waiting",
        "background",
        "ports",
        "processes",
        "guardian",
        "http_client",
        "strict_yaml",
        "arguments",
        "struct_errors",
        "struct_schema",
        "shipped",
        "json_lines",
        "robot",
    },
    {"redis", "profile", "ocpp"},
    {"transport", "system", "ledger", "evidence"},
    {"load", "faults", "correlation", "charge_points", "state", "report"},
    {"live"},
    {"check", "run", "init"},
    {"cli"},
)
"""The rooms of the engine, lowest floor first; a room may import from its own floor and from those below it."""

SERVER = ROOT / "server"
SERVER_FLOORS = (
    {"descriptors", "errors", "ids", "metrics", "origins", "rate_limited_log"},
    {"redis"},
    {"store"},
    {"ocpp"},
    {"correlation"},
    {"processor"},
    {"gateway"},
    {"api", "config"},
    {"logs"},
    {"app"},
    {"__main__"},
)
"""The rooms of the server, likewise."""

HOUSES = pytest.mark.parametrize(
    ("house", "floors"), [(ENGINE, FLOORS), (SERVER, SERVER_FLOORS)], ids=["engine", "server"]
)

SERVER_API = {"StateStoreLibrary", "ocpp_resilience/correlation/direct.py"}
"""The keywords whose subject is an API of the reference server: the one place where libraries import it."""


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """The dotted names that a file imports, with the names that it takes from a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def rooms_used(house: Path) -> dict[str, set[str]]:
    """Each room of a house with the rooms that it imports from."""
    used: dict[str, set[str]] = {}
    for path in house.rglob("*.py"):
        room = path.relative_to(house).parts[0].removesuffix(".py")
        found = {name.split(".")[1] for name in imports(path) if name.startswith(f"{house.name}.")}
        used.setdefault(room, set()).update(found - {room})
    used.pop("__init__", None)
    return used


@HOUSES
def test_each_room_has_its_floor(house: Path, floors: tuple[set[str], ...]) -> None:
    assert set(rooms_used(house)) == set().union(*floors)


@HOUSES
def test_no_room_imports_from_a_higher_floor(house: Path, floors: tuple[set[str], ...]) -> None:
    floor = {name: number for number, names in enumerate(floors) for name in names}
    upward = {
        f"{name} -> {other}" for name, used in rooms_used(house).items() for other in used if floor[other] > floor[name]
    }
    assert not upward


@HOUSES
def test_no_rooms_import_each_other_in_a_circle(house: Path, floors: tuple[set[str], ...]) -> None:
    assert floors
    graphlib.TopologicalSorter(rooms_used(house)).prepare()


def test_a_circle_would_be_found() -> None:
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"ledger": {"transport"}, "transport": {"ledger"}}).prepare()


@pytest.mark.parametrize(
    "library", sorted(path.parent.name for path in (ROOT / "libraries").glob("*Library/__init__.py"))
)
def test_no_room_imports_a_keyword_library(library: str) -> None:
    assert [path for path in ENGINE.rglob("*.py") if any(name.split(".")[0] == library for name in imports(path))] == []


def test_only_the_keywords_for_a_server_api_import_the_server() -> None:
    importing = {
        path.relative_to(ROOT / "libraries")
        for path in (ROOT / "libraries").rglob("*.py")
        if any(name.split(".")[0] == "server" for name in imports(path))
    }
    assert importing
    assert {
        path for path in importing if path.parts[0] not in SERVER_API and path.as_posix() not in SERVER_API
    } == set()


def test_the_server_imports_nothing_of_the_libraries() -> None:
    ours = {"ocpp_resilience", *(path.parent.name for path in (ROOT / "libraries").glob("*Library/__init__.py"))}
    found = {path for path in (ROOT / "server").rglob("*.py") for name in imports(path) if name.split(".")[0] in ours}
    assert found == set()
