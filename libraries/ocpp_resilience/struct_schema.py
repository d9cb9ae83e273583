"""JSON Schema of msgspec structures, explained by their docstrings.

The explanations are read from the docstrings here, not taken from msgspec, and alternatives are sorted: its releases
differ in both, and the schemas in the repository must not depend on the installed one.
"""

from __future__ import annotations

import enum
import inspect
import json
import re
from typing import Any, get_args, get_type_hints

import msgspec


def described_components(root: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return a reference to the schema of `root`, and the schemas of all structures and enums in it by name.

    Each schema has the docstring before `Attributes:` as its `description`; each property has its entry there.
    """
    (reference,), parts = msgspec.json.schema_components([root], ref_template="#/$defs/{name}")
    kinds = _kinds_in(root)
    described = {}
    for name, part in sorted(parts.items()):
        about, entries = _explanations(kinds[name])
        own = {key: _in_order(value) for key, value in part.items() if key not in {"title", "description"}}
        for field, explanation in entries.items():
            if field in own.get("properties", {}):
                own["properties"][field]["description"] = explanation
        described[name] = {"description": about, **own} if about else own
    return reference, described


def as_text(schema: dict[str, Any]) -> str:
    """The document as it is kept in a file."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _kinds_in(root: type) -> dict[str, type]:
    """Every structure and enum that `root` refers to, by name, itself included."""
    found: dict[str, type] = {}
    waiting: list[Any] = [root]
    while waiting:
        kind = waiting.pop()
        waiting.extend(get_args(kind))
        if not isinstance(kind, type) or kind.__name__ in found:
            continue
        if issubclass(kind, enum.Enum):
            found[kind.__name__] = kind
        elif issubclass(kind, msgspec.Struct):
            found[kind.__name__] = kind
            waiting.extend(get_type_hints(kind).values())
    return found


def _explanations(kind: type) -> tuple[str, dict[str, str]]:
    about, _, attributes = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")
    entries = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", attributes, re.MULTILINE)
    return _one_line(about), {name: _one_line(text) for name, text in entries}


def _in_order(part: Any) -> Any:
    """The same schema with alternatives in an order of our own, `null` last."""
    if isinstance(part, dict):
        return {key: _alternatives(value) if key == "anyOf" else _in_order(value) for key, value in part.items()}
    return [_in_order(each) for each in part] if isinstance(part, list) else part


def _alternatives(parts: list[Any]) -> list[Any]:
    return sorted(map(_in_order, parts), key=lambda each: (each == {"type": "null"}, json.dumps(each, sort_keys=True)))


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
