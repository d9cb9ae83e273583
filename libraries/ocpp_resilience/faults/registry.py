"""All faults that there are: each file in `kinds` with a named class is one.

Schedules, the choice by chance, `Inject Fault`, the documentation of keywords and the tables of the guide use it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from robot.running import TypeInfo

from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults import kinds
from ocpp_resilience.faults.fault import InjectableFault, Place, Subjects

_NAMED = re.compile(r"(?:^|\s)([a-z_]+)=")


class FaultRegistry:
    """Faults by name.

    Args:
        faults: the classes.
    """

    def __init__(self, faults: Iterable[type[InjectableFault]]) -> None:
        self.by_name: dict[str, type[InjectableFault]] = {}
        for kind in sorted(faults, key=lambda each: each.name):
            if kind.name in self.by_name:
                raise UsageError(f"There are two faults of the name '{kind.name}'.")
            self.by_name[kind.name] = kind

    def names(self, *places: Place) -> list[str]:
        """The names of all faults, or of those that act at these places."""
        return [name for name, kind in self.by_name.items() if not places or kind.place in places]

    def get(self, name: str) -> type[InjectableFault]:
        """The fault of this name.

        Raises:
            UsageError: there is none.
        """
        found = self.by_name.get(" ".join(name.lower().split()))
        if found is None:
            raise UsageError(f"Unknown fault '{name}' (allowed: {', '.join(self.by_name)}).")
        return found

    def split(self, text: str) -> tuple[str, str]:
        """A name and the text behind it: `latency 100 ms` is `latency` and `100 ms`.

        Raises:
            UsageError: it begins with no name of a fault.
        """
        text = " ".join(text.split())
        for name in sorted(self.by_name, key=len, reverse=True):
            if text.lower() == name or text.lower().startswith(f"{name} "):
                return name, text[len(name) :].strip()
        raise UsageError(f"Unknown fault '{text}' (allowed: {', '.join(self.by_name)}).")

    def make(self, name: str, text: str, on: Subjects) -> InjectableFault:
        """A fault with the arguments in a text: the value of the first one, then `name=value` pairs.

        Raises:
            UsageError: there is no such fault or argument, or a value cannot be used.
        """
        kind = self.get(name)
        return kind(on, **arguments_of(kind, text))

    def table(self, place: Place) -> str:
        """The faults of one place as a table of Markdown, for the guide."""
        rows = ["| fault | arguments | effect on the system | proof |", "|---|---|---|---|"]
        for name in self.names(place):
            kind = self.by_name[name]
            mark = " ¹" if kind.own_proxy_only else ""
            arguments = ", ".join(f"`{each.name}`" for each in kind.arguments())
            rows.append(f"| {name}{mark} | {arguments} | {kind.effect} | {kind.evidence} |")
        return "\n".join(rows)


def arguments_of(kind: type[InjectableFault], text: str) -> dict[str, Any]:
    """Arguments as a row of a schedule has them: `200 ms jitter=50 ms`.

    Raises:
        UsageError: there is no such argument, or a value cannot be used.
    """
    types = typing.get_type_hints(kind)
    known = [each.name for each in kind.arguments()]
    parts = _NAMED.split(text)
    given = dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
    if first := parts[0].strip():
        if not known:
            raise UsageError(f"'{kind.name}' takes no arguments, not '{first}'.")
        given = {known[0]: first} | given
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"'{kind.name}' has no argument '{unknown[0]}' (allowed: {', '.join(known) or 'none'}).")
    values = {}
    for name, value in given.items():
        try:
            values[name] = TypeInfo.from_type_hint(types[name]).convert(value, name=name)
        except (ValueError, TypeError) as error:
            raise UsageError(f"'{kind.name}': {error}") from None
    return values


def _modules(package: ModuleType) -> Iterable[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


@functools.cache
def faults() -> FaultRegistry:
    """All faults of `kinds`."""
    found = {
        kind
        for module in _modules(kinds)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, InjectableFault) and kind.__module__ == module.__name__ and kind.name
    }
    return FaultRegistry(found)


def fill_tables(text: str, registry: FaultRegistry | None = None) -> str:
    """A page of Markdown with its tables of faults renewed, between `<!-- faults: PLACE -->` and `<!-- -->`."""
    registry = registry or faults()
    tables: Mapping[str, str] = {place.name.lower(): registry.table(place) for place in Place}

    def renewed(found: re.Match[str]) -> str:
        return f"{found[1]}\n{tables[found[2]]}\n{found[3]}"

    return re.sub(r"(<!-- faults: (\w+) -->)\n.*?(<!-- -->)", renewed, text, flags=re.DOTALL)
