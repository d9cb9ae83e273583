"""The JSON Schema of profiles: the shipped one equals the structures, and it accepts the same profiles."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import prepared
import pytest
import yaml
from test_target import REFUSED, SMALL

from ocpp_resilience.profile import PROFILES, Keys, Target
from ocpp_resilience.profile.reading import OWN_FIELDS
from ocpp_resilience.profile.schema import SCHEMA_FILE, schema
from ocpp_resilience.profile.sections import Section

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [*sorted(PROFILES.glob("*.yaml")), *sorted((ROOT / "tests").rglob("profile*.yaml"))]
BEYOND_A_SCHEMA = {
    "a capability without its section",
    "a state that is nowhere",
    "a state path without its placeholder",
    "an image with a directory",
    "empty command",
    "missing key",
    "half a mark of a command",
    "no such group",
    "no such log record",
    "no such pattern",
    "no way to see that it listens",
    "patterns of a JSON log",
    "running at no address",
    "unknown placeholder in the command",
}
"""Mistakes that only reading the profile finds."""
NO_DATA = {"a field twice", "a field twice below", "a name that is no text", "not YAML"}


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema_rs.validator_for(schema())


def test_the_shipped_schema_is_that_of_the_structures() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == schema(), (
        "python -m ocpp_resilience.check schema > resources/targets/target.schema.json"
    )


def test_the_command_prints_it() -> None:
    command = [sys.executable, "-m", "ocpp_resilience.check", "schema"]
    printed = prepared.run(command, timeout=60, check=True)
    assert json.loads(printed.stdout) == schema()


@pytest.mark.parametrize("file", SHIPPED, ids=[f"{file.parent.name}/{file.stem}" for file in SHIPPED])
def test_profiles_that_are_accepted_fit_the_schema_and_name_it_for_editors(validator: Any, file: Path) -> None:
    Target.load(file)
    validator.validate(yaml.safe_load(file.read_text()))
    first, _, _ = file.read_text().partition("\n")
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / named).resolve() == SCHEMA_FILE


@pytest.mark.parametrize("mistake", sorted(REFUSED.keys() - NO_DATA))
def test_a_mistake_that_is_refused_does_not_fit_the_schema(validator: Any, mistake: str) -> None:
    old, new, _, _ = REFUSED[mistake]
    fits = validator.is_valid(yaml.safe_load(SMALL.replace(old, new)))
    assert fits == (mistake in BEYOND_A_SCHEMA)


def test_every_field_is_explained() -> None:
    parts = schema()["$defs"]
    kinds = {kind.__name__: kind for kind in _sections(Section)}
    assert set(kinds) <= set(parts)
    for name, kind in kinds.items():
        for field in set(kind.__struct_fields__) - OWN_FIELDS:
            assert parts[name]["properties"][field].get("description"), f"{name}.{field}"
    assert "{charge_point_id}" in parts[Keys.__name__]["properties"]["responses"]["description"]


def _sections(kind: type[Section]) -> list[type[Section]]:
    return [each for part in kind.__subclasses__() for each in (part, *_sections(part))]
