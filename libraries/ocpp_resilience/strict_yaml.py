"""YAML as the files of this library are written: safe, and without what YAML would silently take for something else.

No key stands twice, of which YAML would take the last, none stands without a value, and a number has one meaning: `017`
is not 15, `1:30` not 90.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ocpp_resilience.errors import UsageError

Step = str | int
"""A step from a mapping to a field, or from a list to an entry."""

_Fast: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)(\.[0-9_]*)?([eE][-+]?[0-9]+)?|[-+]?\.([0-9]+|inf|nan)", re.IGNORECASE)


class _NoSurprises:
    """The rules, for a loader."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, once every key was seen to be text, there only once, and with a value."""
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="the name of a field has to be text", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"field '{key.value}' occurs twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
            if isinstance(value, yaml.ScalarNode) and not value.value and value.tag.endswith(":null"):
                raise yaml.constructor.ConstructorError(
                    problem=f"field '{key.value}' has no value; give it one, write null for none, or remove the line",
                    problem_mark=key.start_mark,
                )
        found: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]
        return found

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number in decimal digits."""
        found: int = super().construct_yaml_int(node)  # type: ignore[misc]
        return _decimal(node, found)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """A number in decimal digits."""
        found: float = super().construct_yaml_float(node)  # type: ignore[misc]
        return _decimal(node, found)


N = TypeVar("N", int, float)


def _decimal(node: yaml.ScalarNode, found: N) -> N:
    if not _DECIMAL.fullmatch(node.value):
        raise yaml.constructor.ConstructorError(
            problem=f"YAML reads {node.value} as {found}; write that number, or put {node.value} in quotes for text",
            problem_mark=node.start_mark,
        )
    return found


class _FastLoader(_NoSurprises, _Fast):
    """With libyaml if available, which is several times as fast."""


class _ExplainingLoader(_NoSurprises, yaml.SafeLoader):
    """All in Python: its errors are the same on every machine, and say more."""


_LOADERS: tuple[Any, ...] = (_FastLoader, _ExplainingLoader)
for _loader in _LOADERS:
    _loader.add_constructor("tag:yaml.org,2002:int", _loader.construct_yaml_int)
    _loader.add_constructor("tag:yaml.org,2002:float", _loader.construct_yaml_float)


def read(file: Path, what: str = "") -> tuple[yaml.Node | None, Any]:
    """Read a YAML file.

    Args:
        file: the file.
        what: words before its name in messages: `Target profile `.

    Returns:
        As `parse`.

    Raises:
        UsageError: it cannot be read; the message names the line, and the remedy.
    """
    try:
        data = file.read_bytes()
    except IsADirectoryError:
        raise UsageError(f"{what}{file}: cannot be read: it is a folder; give the path of a YAML file.") from None
    except OSError as error:
        raise UsageError(f"{what}{file}: cannot be read: {error.strerror}.") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{what}{file}, line {line}: byte 0x{data[error.start]:02x} is no UTF-8; save the file as UTF-8."
        ) from None
    try:
        return parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        problem = error.problem or ""
        if problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        if "'\\t'" in problem:
            problem += "; YAML takes spaces in front of a field, no tabs"
        raise UsageError(f"{what}{file}{where}: {problem}.") from None
    except yaml.reader.ReaderError as error:
        line, code = text[: error.position].count("\n") + 1, ord(text[error.position])
        raise UsageError(f"{what}{file}, line {line}: the character U+{code:04X} is not allowed in YAML.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{what}{file}: cannot be read: {' '.join(str(error).split())}.") from None


def shown(value: object, limit: int = 60) -> str:
    """A value for a message, as somebody has written it into the file."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = value.isoformat() if isinstance(value, date) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def hint(allowed: str, value: object) -> str:
    """What is allowed, with the remedy where YAML has read something else than was meant.

    Args:
        allowed: in words: `text`, `a number`.
        value: the found one.
    """
    if allowed == "text" and isinstance(value, (bool, int, float, date)):
        return "text; YAML reads words such as no, on, 1.0 and dates as something else unless they are in quotes"
    if "number" in allowed and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return allowed
        return f"{allowed}; YAML reads this as text: write {number:.15g} without quotes"
    return allowed


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """Parse a YAML text.

    Args:
        text: the text.

    Returns:
        Its root node, which knows the line of everything (`None` if there is nothing), and its data.

    Raises:
        yaml.YAMLError: it is no YAML, or a key occurs twice or is no text.
    """
    try:
        return _parse(_FastLoader(text))
    except yaml.YAMLError:
        return _parse(_ExplainingLoader(text))


def line_of(root: yaml.Node, steps: Sequence[Step]) -> int:
    """The line of a field, counted from 1, or of its nearest existing parent.

    Args:
        root: as `parse` returns it.
        steps: from the root to the field.
    """
    node, line = root, root.start_mark.line
    for step in steps:
        found = next((each for each in _children(node) if each[0] == step), None)
        if found is None:
            break
        _, line, node = found
    return int(line) + 1


def _children(node: yaml.Node) -> Iterator[tuple[Step, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), key.start_mark.line, value
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield index, value.start_mark.line, value


def _parse(loader: Any) -> tuple[yaml.Node | None, Any]:
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()
