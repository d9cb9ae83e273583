"""Broken payloads: each is refused with the code that the break names, unless the documents leave it open.

The oracle is the reference server's own validator: other code, written from the same contract.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from ocpp_resilience.ocpp.invalid_payloads import NOT_INTEGER, NOT_TEXT, Break, Payloads
from ocpp_resilience.ocpp.version import ocpp_version
from server.ocpp import schemas
from server.ocpp.versions import VERSIONS

CHOICES = max(len(NOT_TEXT), len(NOT_INTEGER))
"""The generator chooses among at most so many wrong values of one kind."""


class Nth(random.Random):
    """Chooses the same place each time, so that every wrong value gets its turn."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place

    def choice(self, seq: Any) -> Any:
        return seq[self.place % len(seq)]

    def random(self) -> float:
        """Every optional field is there, and each number is the lowest."""
        return 0.0


def put_back(live: Any, whole: Any) -> None:
    """Make a payload what it was. Its objects and lists stay the same ones, for who is on the way through them."""
    if isinstance(live, dict):
        for key in live.keys() - whole.keys():
            del live[key]
    for key, value in whole.items() if isinstance(whole, dict) else enumerate(whole):
        there = live[key] if isinstance(live, list) else live.get(key)
        if (isinstance(value, dict) and isinstance(there, dict)) or (
            isinstance(value, list) and isinstance(there, list) and len(there) == len(value)
        ):
            put_back(there, value)
        else:
            live[key] = copy.deepcopy(value)


def broken(protocol: str, action: str) -> Iterator[tuple[Break, dict[str, Any]]]:
    """Every break of the payload with all its fields, one at a time."""
    version = ocpp_version(protocol)
    whole = Payloads(Nth(0), version).valid(action)
    for place in range(CHOICES):
        payload = copy.deepcopy(whole)
        for each in Payloads(Nth(place), version).breaks(action, payload):
            each.apply()
            yield each, payload
            put_back(payload, whole)
        assert json.dumps(payload, sort_keys=True) == json.dumps(whole, sort_keys=True)


@pytest.mark.parametrize("protocol", VERSIONS)
def test_every_break_is_refused_with_the_code_that_it_names(protocol: str) -> None:
    seen = VERSIONS[protocol]
    misjudged = set()
    for action in ocpp_version(protocol).samples:
        if action in seen.actions:
            validator = schemas.validator(seen, action, flat=False)
            for each, payload in broken(protocol, action):
                violation = schemas.violation(seen, validator, payload)
                if not each.open and (violation is None or violation[0] != each.code):
                    misjudged.add(f"{action}: {each.kind}: {each.code} expected, got {violation}")
    assert misjudged == set()
