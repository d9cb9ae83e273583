"""The explanations in a JSON Schema come from our docstrings, for any version of msgspec."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
import pytest

from ocpp_resilience.struct_schema import described_components


class Colour(StrEnum):
    """A colour."""

    RED = "red"


class Part(msgspec.Struct):
    """A part.

    Attributes:
        size: how large it is,
            in metres.
        other: not a field.
    """

    size: float
    colour: Colour | None = None


class Whole(msgspec.Struct):
    """A whole,
    made of parts."""

    parts: dict[str, list[Part]]


@pytest.mark.parametrize("foreign", ["formatted elsewhere", None])
def test_descriptions_are_those_of_the_docstrings(monkeypatch: pytest.MonkeyPatch, foreign: str | None) -> None:
    from_msgspec = msgspec.json.schema_components

    def formatted_otherwise(*arguments: Any, **options: Any) -> Any:
        references, parts = from_msgspec(*arguments, **options)
        for part in parts.values():
            part["title"] = part["description"] = foreign
            for field in part.get("properties", {}).values():
                field.get("anyOf", []).sort(key=str, reverse=foreign is None)
            if foreign is None:
                del part["title"], part["description"]
        return references, parts

    monkeypatch.setattr(msgspec.json, "schema_components", formatted_otherwise)
    reference, parts = described_components(Whole)
    assert reference == {"$ref": "#/$defs/Whole"}
    assert list(parts) == ["Colour", "Part", "Whole"]
    assert {name: part["description"] for name, part in parts.items()} == {
        "Colour": "A colour.",
        "Part": "A part.",
        "Whole": "A whole, made of parts.",
    }
    assert parts["Part"]["properties"]["size"]["description"] == "how large it is, in metres."
    assert set(parts["Part"]["properties"]) == {"size", "colour"}
    assert parts["Part"]["properties"]["colour"]["anyOf"] == [{"$ref": "#/$defs/Colour"}, {"type": "null"}]
    assert not {"title"} & {key for part in parts.values() for key in part}
