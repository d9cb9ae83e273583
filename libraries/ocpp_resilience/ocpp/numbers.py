"""Numbers of JSON by their meaning: `17.0` and `17e0` are the integer 17 (RFC 8259 section 6)."""

from __future__ import annotations

from typing import Any

_EXACT = 2.0**53
"""Up to here every integer is a float of its own."""


def with_integers(value: Any) -> Any:
    """A decoded JSON value with each number that is whole as an `int`; it is unchanged itself."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if isinstance(value, list):
        return [with_integers(each) for each in value]
    if isinstance(value, dict):
        return {name: with_integers(each) for name, each in value.items()}
    return value
