"""What is wrong with a file, in the words of this library's messages instead of msgspec's."""

from __future__ import annotations

import re

import msgspec

from ocpp_resilience.text import did_you_mean

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "fields",
    "array": "a list",
    "null": "null",
}


def explained(error: msgspec.DecodeError, *fields: str) -> str:
    """What is wrong, by its field, and what is allowed; to end a sentence with.

    Args:
        error: of msgspec.
        fields: those that there are, where one is unknown.
    """
    text, _, path = str(error).partition(" - at `$")
    if not isinstance(error, msgspec.ValidationError):
        return f"not JSON: {text}."
    where = path.strip("`").lstrip(".")
    inside = f"{where}." if where else ""
    if missing := re.search(r"missing required field `(\w+)`", text):
        return f"field '{inside}{missing[1]}' is missing."
    if unknown := re.search(r"unknown field `(.+)`", text):
        allowed = f" (allowed: {', '.join(fields)})" if fields else ""
        return f"unknown field '{inside}{unknown[1]}'{allowed}{did_you_mean(unknown[1], fields)}"
    if types := re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", text):
        expected, found = map(_in_words, types.groups())
        return (
            f"field '{where}' is {found} (allowed: {expected})." if where else f"it is {found} (allowed: {expected})."
        )
    return f"field '{where}': {text}." if where else f"{text}."


def _in_words(kinds: str) -> str:
    return " or ".join(_WORDS.get(each, each) for each in kinds.split(" | "))
