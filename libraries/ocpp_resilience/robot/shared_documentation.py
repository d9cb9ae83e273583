"""Documentation of arguments that mean the same in many keywords, written once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

ALIASES = {
    "charge point": "which charge point.",
    "commands": "which commands.",
    "faults": "which fault proxy.",
    "fleet": "which fleet.",
    "load": "which load.",
    "queue": "which queue.",
    "redis": "which Redis.",
    "sampling": "which sampling.",
    "server": "which server.",
    "state": "which store.",
}
"""`alias`, by its default value."""

ARGUMENTS = {
    "charge_point": "the charge point's id.",
    "charge_points": "their aliases or ids; all by default.",
    "direction": "`upstream` (to Redis or the gateway) or `downstream` (back).",
    "gateway": "which gateway, if there are several.",
    "keys": "key patterns (`*` matches anything); each has to match a key of the command.",
    "occurrence": "the first matching command that is affected, counted from 1.",
    "server": "the server of OcppServerLibrary.",
    "target": "a bundled target profile, or the path of one; by default the run's `TARGET`, else `reference`.",
    "timeout": "the longest wait.",
    "seed": "the seed of the random choices; chosen and logged if not given.",
    "toxicity": "the share of connections that are affected, 0 to 1.",
}
"""Other arguments."""

_NEXT = re.compile(r"^(?:Returns|Raises|Example):$", re.MULTILINE)


def complete(method: Callable[..., Any]) -> str:
    """The documentation of a keyword, with what is written here about the arguments that it does not describe."""
    text = inspect.cleandoc(method.__doc__ or "")
    lines = []
    for name, parameter in inspect.signature(method).parameters.items():
        shared = ALIASES.get(str(parameter.default)) if name == "alias" else ARGUMENTS.get(name)
        if shared and f"\n    {name}: " not in text:
            lines.append(f"    {name}: {shared}")
    if not lines:
        return text
    described, mark, rest = text.partition("\nArgs:\n")
    if mark:
        # Behind those that are described, where the shared ones stand in nearly every signature.
        own, gap, rest = rest.partition("\n\n")
        return "\n".join([f"{described}{mark}{own}", *lines]) + gap + rest
    next_section = _NEXT.search(text)
    at = next_section.start() if next_section else len(text)
    return text[:at] + "\n".join(["Args:", *lines]) + "\n\n" + text[at:]
