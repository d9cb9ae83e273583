"""The JSON Schema of a profile, made from the structures: editors complete, explain and check fields with it."""

from __future__ import annotations

from typing import Any

from ocpp_resilience.ocpp import ocpp_versions
from ocpp_resilience.profile.kept import CHOICES, KEY_PLACEHOLDERS, STATE_FIELDS
from ocpp_resilience.profile.reading import OWN_FIELDS, PROFILES
from ocpp_resilience.profile.target import Target
from ocpp_resilience.struct_schema import described_components

SCHEMA_FILE = PROFILES / "target.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema as a document."""
    root, parts = described_components(Target)
    for name in OWN_FIELDS:
        del parts["Target"]["properties"][name]
    parts["Target"]["oneOf"] = [{"required": ["start"]}, {"required": ["running"]}]
    for key, names in KEY_PLACEHOLDERS.items():
        _with_placeholders(parts["Keys"]["properties"][key], names)
    for choice, choices in CHOICES.items():
        pattern = parts["Keys"]["properties"][choice]
        wanted = "|".join(choices)
        pattern["pattern"] = rf"^[^{{}}]*(\{{({wanted})\}}[^{{}}]*)?$"
        pattern["description"] = f"May contain {' or '.join(f'{{{name}}}' for name in choices)}."
    _with_actions(parts)
    for record, fields in STATE_FIELDS.items():
        parts[f"{record}_fields"] = {"enum": list(fields), "description": f"The fields of a {record}."}
    for part in ("fields", "values"):
        known = [{"$ref": f"#/$defs/{record}_fields"} for record in STATE_FIELDS]
        parts["StateRecord"]["properties"][part]["propertyNames"] = {"anyOf": known}
    return {
        "$schema": DIALECT,
        "title": "Target profile: a system under test",
        **root,
        "$defs": dict(sorted(parts.items())),
    }


def _with_actions(parts: dict[str, Any]) -> None:
    """The actions that charge points send, by OCPP version."""
    known = {name: sorted(version.samples) for name, version in ocpp_versions().items()}
    parts["Gateway"]["properties"]["subprotocol"]["enum"] = list(known)
    actions = parts["Target"]["properties"]["actions"]
    for form in actions["anyOf"]:
        if form["type"] == "array":
            form["items"]["enum"] = sorted(set().union(*known.values()))
        elif form["type"] == "object":
            del form["additionalProperties"]
            form["properties"] = {
                name: {"type": "array", "items": {"type": "string", "enum": names}} for name, names in known.items()
            }
            form["additionalProperties"] = False


def _with_placeholders(part: dict[str, Any], names: tuple[str, ...]) -> None:
    """A key's pattern has each of its placeholders in it."""
    if names:
        part["description"] = f"Has to contain {', '.join(f'{{{name}}}' for name in names)}."
        part["allOf"] = [{"pattern": rf"\{{{name}\}}"} for name in names]
    else:
        part["description"] = "One key, without placeholders."
