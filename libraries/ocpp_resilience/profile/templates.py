"""Placeholders in the texts of a profile, filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_TEMPLATE_FIELD = re.compile(r"\{([A-Za-z_]+)\}")


def fill(text: str, values: Mapping[str, str | int]) -> str:
    """Fill in the placeholders; other braces, those of a JSON value for example, stay as they are."""
    return PLACEHOLDER.sub(lambda match: str(values.get(match[1], match[0])), text)


def listed(words: Iterable[str]) -> str:
    """Words for a message: `a, b, c`."""
    return ", ".join(words)


def fill_template(template: Any, values: Mapping[str, Any]) -> Any:
    """A template of a profile (text, list or mapping) filled in.

    A text that is one placeholder alone becomes the value itself, of any type; if `values` has none, its entry in the
    mapping or list is left out.

    Example: `fill_template({"key": "{key}", "timeout": "{timeout}"}, {"key": ["a"]})` gives `{"key": ["a"]}`.
    """
    filled = _fill_value(template, values)
    return None if filled is _ABSENT else filled


def placeholders(template: Any) -> list[str]:
    """The names of the placeholders in a template, each once, in their order."""
    if isinstance(template, str):
        return list(dict.fromkeys(_TEMPLATE_FIELD.findall(template)))
    parts = template.values() if isinstance(template, dict) else template if isinstance(template, list) else ()
    return list(dict.fromkeys(name for part in parts for name in placeholders(part)))


_ABSENT = object()


def _fill_value(template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, str):
        if whole := _TEMPLATE_FIELD.fullmatch(template):
            return values.get(whole[1], _ABSENT)
        return _TEMPLATE_FIELD.sub(lambda match: str(values.get(match[1], match[0])), template)
    if isinstance(template, dict):
        filled = {name: _fill_value(part, values) for name, part in template.items()}
        return {name: part for name, part in filled.items() if part is not _ABSENT}
    if isinstance(template, list):
        parts = [_fill_value(part, values) for part in template]
        return [part for part in parts if part is not _ABSENT]
    return template
