"""Hypothesis strategies for payloads, made from the official schemas (the few schema keywords that these use)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st


def from_schema(
    schema: Mapping[str, Any],
    special: Mapping[str, st.SearchStrategy[Any]],
    *,
    all_optional: bool = False,
    name: str = "",
) -> st.SearchStrategy[Any]:
    """Values that keep to `schema`.

    Args:
        schema: an object, array, string or integer schema.
        special: strategies that take the place of what stands under a property name or a format.
        all_optional: whether the required fields of the outermost object may be missing too.
        name: the property whose schema this is.
    """
    if name in special:
        return special[name]
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "format" in schema:
        return special[schema["format"]]
    match schema["type"]:
        case "object":
            fields = {
                name: from_schema(below, special, name=name) for name, below in schema.get("properties", {}).items()
            }
            required = set() if all_optional else set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {name: field for name, field in fields.items() if name in required},
                optional={name: field for name, field in fields.items() if name not in required},
            )
        case "array":
            items = from_schema(schema["items"], special)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=3)
        case "string":
            return st.text(max_size=schema.get("maxLength", 30))
        case "integer":
            return st.integers(-(2**31), 2**31 - 1)
    raise NotImplementedError(schema)
