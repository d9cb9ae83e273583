"""Payloads made from the official schemas, of every shape or by chance, and everything that can be broken in one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.ocpp.version import LARGEST_INTEGER, Version

DATE_WITHOUT_ZONE = "2026-01-15T10:30:00"
BAD_DATES = (
    "",
    "yesterday",
    "2026-01-15",
    DATE_WITHOUT_ZONE,
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "10:30Z",
)
NOT_TEXT: tuple[Any, ...] = (None, 0, 17, 1.5, True, False, [], {}, ["text"], {"text": "text"})
NOT_INTEGER: tuple[Any, ...] = (None, "1", "", 1.5, 1.0, True, False, [], {}, [1])
NOT_LIST: tuple[Any, ...] = (None, "text", 0, 1.5, True, {}, {"0": "text"})
NOT_OBJECT: tuple[Any, ...] = (None, "text", "", 0, 1.5, True, [], [{}])
NOT_NUMBER: tuple[Any, ...] = (None, "1", "", True, False, [], {}, [1])
NOT_BOOLEAN: tuple[Any, ...] = (None, "true", "", 0, 1, [], {})
_WRONG: dict[str, tuple[Any, ...]] = {
    "object": NOT_OBJECT,
    "array": NOT_LIST,
    "integer": NOT_INTEGER,
    "number": NOT_NUMBER,
    "boolean": NOT_BOOLEAN,
    "string": NOT_TEXT,
}


class Break(NamedTuple):
    """One way to break a payload.

    Attributes:
        kind: the kind of mutation.
        code: the error code that a sound back end refuses it with.
        apply: breaks the payload that it was made for.
        open: whether the documents leave open that it is refused: `1.0` for an integer, a date without a zone.
    """

    kind: str
    code: str
    apply: Callable[[], object]
    open: bool = False


class Payloads:
    """Makes payloads of one version.

    Args:
        rng: the source of random choices.
        version: the OCPP version.
    """

    def __init__(self, rng: random.Random, version: Version) -> None:
        self._rng = rng
        self._version = version
        self._root: dict[str, Any] = {}

    def valid(self, action: str) -> dict[str, Any]:
        """A valid payload: everything required, and each optional field as chance decides."""
        self._root = self._version.schemas.request(action)
        made: dict[str, Any] = self._value(action, self._root)
        return made

    def shapes(self, action: str) -> list[dict[str, Any]]:
        """Valid payloads in which each alternative of the schema occurs, one at a time.

        These are each value of an enumeration, each optional field, the limits of numbers and texts, lists of one and
        two. `customData` of OCPP 2.x is left out.
        """
        self._root = self._version.schemas.request(action)
        return self._alternatives(action, self._root)

    def breaks(self, action: str, payload: dict[str, Any], *, required_counts: bool = True) -> Iterator[Break]:
        """Everything that can be broken in a valid payload.

        Args:
            action: its action.
            payload: the payload; `apply` changes it.
            required_counts: whether a missing field at the top is a fault.
        """
        self._root = self._version.schemas.request(action)
        yield from self._object(action, payload, self._root, "", required_counts=required_counts)

    def word(self, length: int) -> str:
        """Text of this many characters, not all of them ASCII."""
        return "".join(
            self._rng.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789-. äß漢🚗", k=length)
        )

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        reference = part.get("$ref")
        return part if reference is None else self._root["definitions"][reference.rpartition("/")[2]]

    def _value(self, action: str, part: dict[str, Any], name: str = "") -> Any:
        rng = self._rng
        part = self._part(part)
        match part.get("type"):
            case None:
                # Anything is allowed, such as the data of a DataTransfer.
                return rng.choice((None, 1, "text", ["text"], {"text": "text"}))
            case "object":
                required = part.get("required", ())
                return {
                    key: self._value(action, sub, key)
                    for key, sub in part.get("properties", {}).items()
                    if key in required or rng.random() < 0.5
                }
            case "array":
                number = min(rng.randint(1, 2), part.get("maxItems", 2))
                return [self._value(action, part["items"]) for _ in range(number)]
            case "integer" | "number":
                small = self._version.lowest_of(action, name) is not None
                most = min(4 if small else LARGEST_INTEGER, int(part.get("maximum", LARGEST_INTEGER)))
                return rng.randint(min(1, most), most)
            case "boolean":
                return rng.random() < 0.5
        if "enum" in part:
            return rng.choice(part["enum"])
        if part.get("format") == "date-time":
            return rfc3339()
        if part.get("format") == "uri":
            return "https://example.org/ocpp"
        return self.word(rng.randint(1, min(part.get("maxLength", 20), 20)))

    def _alternatives(self, action: str, part: dict[str, Any], name: str = "") -> list[Any]:
        """Values of a part of a schema, the plainest first."""
        part = self._part(part)
        match part.get("type"):
            case None:
                return ["text", 1, ["text"], {"text": "text"}]
            case "object":
                return self._objects(action, part)
            case "array":
                items = self._alternatives(action, part["items"])
                pair = [[items[0], items[-1]]] if part.get("maxItems", 2) >= 2 else []
                return [*([each] for each in items), *pair]
            case "integer" | "number":
                lowest = self._version.lowest_of(action, name)
                if lowest is not None:
                    return [max(lowest, 1), lowest, 4]
                most = int(part.get("maximum", LARGEST_INTEGER))
                return list(
                    dict.fromkeys(number for number in (min(1, most), 0, most) if number >= part.get("minimum", 0))
                )
            case "boolean":
                return [True, False]
        if "enum" in part:
            return list(part["enum"])
        if part.get("format") == "date-time":
            return [rfc3339(), f"{rfc3339()[:-1]}+05:45"]
        if part.get("format") == "uri":
            return ["https://example.org/ocpp"]
        return [self.word(1), self.word(min(part.get("maxLength", 500), 500))]

    def _objects(self, action: str, part: dict[str, Any]) -> list[dict[str, Any]]:
        required = part.get("required", ())
        values = {
            key: self._alternatives(action, sub, key)
            for key, sub in part.get("properties", {}).items()
            if key != "customData"
        }
        plain = {key: values[key][0] for key in required}
        # Of a required field, the plain one has the first value.
        others = [plain | {key: each} for key in values for each in values[key][key in required :]]
        return [plain, *others, {key: each[0] for key, each in values.items()}]

    def _object(
        self, action: str, value: dict[str, Any], part: dict[str, Any], where: str, *, required_counts: bool = True
    ) -> Iterator[Break]:
        codes = self._version.codes
        # The customData of 2.x may hold anything.
        if part.get("additionalProperties") is False:
            unknown = f"unknown{self._rng.randint(0, 999)}"
            yield Break(
                f"unknown field {where}{unknown}", codes.formation, _setter(value, unknown, self._rng.choice(NOT_TEXT))
            )
        for key in list(value):
            sub = part["properties"][key]
            if required_counts and key in part.get("required", ()):
                yield Break(f"{where}{key} is missing", codes.missing, _remover(value, key))
            yield from self._field(action, value, key, sub, where)

    def _field(self, action: str, holder: Any, key: Any, part: dict[str, Any], where: str) -> Iterator[Break]:
        rng, codes = self._rng, self._version.codes
        part = self._part(part)
        name = f"{where}{key}"
        kind = part.get("type")
        if kind is None:
            return
        chosen = rng.choice(_WRONG[kind])
        is_open = kind == "integer" and isinstance(chosen, float) and chosen.is_integer()
        yield Break(f"{name} is {chosen!r}", codes.wrong_type, _setter(holder, key, chosen), is_open)
        if kind == "object":
            yield from self._object(action, holder[key], part, f"{name}.")
        elif kind == "array":
            if part.get("minItems"):
                yield Break(f"{name} is empty", codes.wrong_value, _setter(holder, key, []))
            for index in range(len(holder[key])):
                yield from self._field(action, holder[key], index, part["items"], f"{name}.")
        elif kind == "integer":
            for value, what in self._integers(action, key, part):
                yield Break(f"{name} is {what}", codes.wrong_value, _setter(holder, key, value))
        elif "enum" in part:
            first = part["enum"][0]
            # The only difference is the case of the first letter; `string` itself is written in small letters.
            other = rng.choice(("", "nonsense", first[0].swapcase() + first[1:], f"{first} "))
            yield Break(f"{name} is not in the enumeration", codes.wrong_value, _setter(holder, key, other))
        elif part.get("format") == "date-time":
            date = rng.choice(BAD_DATES)
            yield Break(f"{name} is no date", codes.wrong_value, _setter(holder, key, date), date == DATE_WITHOUT_ZONE)
        elif "maxLength" in part:
            longer = part["maxLength"] + rng.choice((1, 1, 2, 100, 1_000))
            yield Break(
                f"{name} is {longer} characters long", codes.wrong_value, _setter(holder, key, self.word(longer))
            )

    def _integers(self, action: str, key: Any, part: dict[str, Any]) -> Iterator[tuple[int, str]]:
        yield self._rng.choice((LARGEST_INTEGER + 1, -LARGEST_INTEGER - 2, 10**20, -(10**30))), "out of range"
        stated = self._version.lowest_of(action, key) if isinstance(key, str) else None
        lowest = int(part["minimum"]) if stated is None and "minimum" in part else stated
        if lowest is not None:
            yield lowest - 1, f"{lowest - 1}"
            yield -17, "-17"


def _remover(holder: dict[str, Any], key: str) -> Callable[[], object]:
    return lambda: holder.pop(key)


def _setter(holder: Any, key: Any, value: Any) -> Callable[[], object]:
    def apply() -> None:
        holder[key] = value

    return apply
