"""Payloads of every shape: each is valid, and every alternative of the schemas occurs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from ocpp_resilience.ocpp.invalid_payloads import Payloads
from ocpp_resilience.ocpp.validation import compiled
from ocpp_resilience.ocpp.version import ocpp_version, ocpp_versions


def words_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from words_in(each)


def enumerations(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "enum" in schema:
            yield from schema["enum"]
        for each in schema.values():
            yield from enumerations(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from enumerations(each)


@pytest.mark.parametrize("protocol", sorted(ocpp_versions()))
def test_each_is_valid_and_each_value_of_an_enumeration_occurs(protocol: str) -> None:
    version = ocpp_version(protocol)
    payloads = Payloads(random.Random(7), version)
    for action in version.samples:
        shapes = payloads.shapes(action)
        validator = compiled(protocol, action, is_response=False)
        assert [each for each in shapes if not validator.is_valid(each)] == []
        assert set(enumerations(version.schemas.request(action))) <= {
            word for each in shapes for word in words_in(each)
        }


def test_optional_fields_occur_alone_and_together_and_numbers_at_their_limits() -> None:
    shapes = Payloads(random.Random(7), ocpp_version("ocpp1.6")).shapes("MeterValues")
    assert {frozenset(each) for each in shapes} == {
        frozenset({"connectorId", "meterValue"}),
        frozenset({"connectorId", "meterValue", "transactionId"}),
    }
    assert {each["connectorId"] for each in shapes} == {0, 1, 4}
    assert {each.get("transactionId") for each in shapes} == {None, 0, 1, 2**31 - 1}
    assert max(len(each["meterValue"]) for each in shapes) == 2


def test_only_the_unit_of_the_errata_may_be_refused() -> None:
    """Two libraries with the published schemas refused it, and were accused."""
    version = ocpp_version("ocpp1.6")
    payloads = Payloads(random.Random(7), version)
    for action in version.samples:
        for payload in payloads.shapes(action):
            assert version.leaves_open(payload) == ("Hertz" in words_in(payload))
