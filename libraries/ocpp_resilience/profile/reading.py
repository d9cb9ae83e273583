"""Reads a profile: YAML to structures, and errors with line, field and allowed values."""

from __future__ import annotations

import enum
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from ocpp_resilience import strict_yaml
from ocpp_resilience.errors import UsageError
from ocpp_resilience.profile.sections import Section
from ocpp_resilience.profile.templates import listed
from ocpp_resilience.shipped import shipped
from ocpp_resilience.text import did_you_mean

PROFILES = shipped("resources", "targets")

OWN_FIELDS = {"source"}
"""Fields that are set here and cannot stand in a profile."""

_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "fields of its own",
    "null": "null",
}
_CONSTRAINTS = {
    "> 0.0": "a number above 0",
    "<= 86400.0": "a number up to 86400, a day",
    ">= 0": "a whole number from 0 on",
    "matching regex '^/'": "a path that starts with '/'",
}
_STEP = re.compile(r"\.([A-Za-z_]+)|\[(\d+|\.\.\.)\]")

S = TypeVar("S", bound=Section)
Step = str | int


def bundled_targets() -> list[str]:
    """The names of the profiles that come with the project."""
    return sorted(file.stem for file in PROFILES.glob("*.yaml"))


def find(name: str | Path) -> Path:
    """The file of a profile, given by its path or the name of a bundled profile.

    Raises:
        UsageError: there is none.
    """
    text = str(name)
    path = Path(text).expanduser()
    if isinstance(name, Path) or "/" in text or path.suffix in {".yaml", ".yml"}:
        if path.is_dir():
            raise UsageError(f"{path.resolve()} is a folder; a target profile is a YAML file, such as my-system.yaml.")
        if not path.is_file():
            raise UsageError(
                f"There is no target profile {path.resolve()}. Allowed is the path of one, from the folder that the "
                f"run is started in, or the name of a bundled one: {listed(bundled_targets())}."
            )
        return path.resolve()
    bundled = PROFILES / f"{text}.yaml"
    if text and bundled.is_file():
        return bundled
    raise UsageError(
        f"There is no bundled target profile '{text}' (there are: {listed(bundled_targets())})"
        f"{did_you_mean(text, bundled_targets())} For a file of your own give its path, ending in .yaml."
    )


class Document:
    """A profile as it was written: its data, and the line of each field.

    Raises:
        UsageError: it is no YAML, or no mapping.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        root, self.data = strict_yaml.read(file, "Target profile ")
        if root is None or not isinstance(self.data, dict):
            found = {type(None): "nothing", str: "text", list: "a list"}.get(type(self.data), repr(self.data))
            raise UsageError(f"Target profile {file}: expected fields such as 'name' and 'start', found {found}.")
        self._root = root

    def convert(self, kind: type[S]) -> S:
        """The structure that this profile describes.

        Raises:
            UsageError: a field is unknown, missing, or invalid.
        """
        for name in sorted(OWN_FIELDS & self.data.keys()):
            raise self.mistake([name], f"unknown field '{name}' (allowed: {field_names(kind)})")
        try:
            return msgspec.convert(self.data | {"source": str(self.file)}, type=kind)
        except msgspec.ValidationError as error:
            raise self._explain(str(error), kind) from None

    def mistake(self, steps: list[Step], problem: str) -> UsageError:
        """The error with the file, the line of a field, and the reason."""
        end = "" if problem.endswith(("?", ".")) else "."
        return UsageError(f"Target profile {self.file}, line {strict_yaml.line_of(self._root, steps)}: {problem}{end}")

    def _explain(self, problem: str, root: type[Section]) -> UsageError:
        """msgspec's message in the words of the other messages."""
        text, _, path = problem.partition(" - at `")
        if path.startswith("key` in `"):
            steps, _, value = self._follow(path.removeprefix("key` in `").rstrip("`").removeprefix("$"), root)
            name = next(key for key in value if not isinstance(key, str))
            return self.mistake(steps, f"field '{in_words(steps)}' has the name {name!r} (allowed: text)")
        steps, kind, value = self._follow(path.rstrip("`").removeprefix("$"), root)
        where = in_words(steps)
        if match := re.fullmatch(r"Object contains unknown field `(.+)`", text):
            unknown = [*steps, match[1]]
            meant = did_you_mean(match[1], kind.__struct_fields__)
            return self.mistake(unknown, f"unknown field '{in_words(unknown)}' (allowed: {field_names(kind)}){meant}")
        if match := re.fullmatch(r"Object missing required field `(.+)`", text):
            return self.mistake(steps, f"field '{in_words([*steps, match[1]])}' is missing")
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            allowed = listed(kind)
        elif typing.get_origin(kind) is Literal:
            allowed = listed(typing.get_args(kind))
        else:
            allowed = strict_yaml.hint(_allowed(text), value)
        choices = list(kind) if isinstance(kind, type) and issubclass(kind, enum.Enum) else typing.get_args(kind)
        meant = did_you_mean(value, [str(each) for each in choices]) if isinstance(value, str) else "."
        return self.mistake(steps, f"field '{where}' is {strict_yaml.shown(value)} (allowed: {allowed}){meant}")

    def _follow(self, path: str, kind: Any) -> tuple[list[Step], Any, Any]:
        """Resolves a path in msgspec's message: its steps, and the type and value at its end.

        msgspec says `[...]` for any entry of a mapping: the entry is found by converting one after the other.
        """
        steps: list[Step] = []
        value: Any = self.data
        for name, index in _STEP.findall(path):
            kind = _without_none(kind, value)
            if name:
                steps.append(name)
                kind = typing.get_type_hints(kind)[name]
            elif index == "...":
                kind = typing.get_args(kind)[-1]
                steps.append(next(key for key, part in value.items() if _fails(part, kind)))
            else:
                kind = typing.get_args(kind)[-1]
                steps.append(int(index))
            value = value[steps[-1]]
        return steps, _without_none(kind, value), value


def in_words(steps: list[Step]) -> str:
    """A path for messages: `start.command[2]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


def field_names(kind: type[Section]) -> str:
    """The fields that a section may have, for error messages."""
    return listed(name for name in kind.__struct_fields__ if name not in OWN_FIELDS)


def _fails(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, type=kind)
    except msgspec.ValidationError:
        return True
    return False


def _without_none(kind: Any, value: Any) -> Any:
    """Of the kinds that a field may have, the one that its value is meant to be."""
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        fitting = [
            part
            for part in parts
            if isinstance(typing.get_origin(part), type) and isinstance(value, typing.get_origin(part))
        ] or parts
        return fitting[0] if len(fitting) == 1 else kind
    return kind


def _allowed(text: str) -> str:
    for constraint, words in _CONSTRAINTS.items():
        if constraint in text:
            return words
    match = re.match(r"Expected `([^`]+)`", text)
    kinds = [_WORDS.get(name, name) for name in match[1].split(" | ")] if match else [text]
    return " or ".join(kinds)
