"""The register of defects: the broken behaviour of each, and the tests that must catch it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Patch = Callable[[], None]

DEFAULT_PROTOCOL = "ocpp1.6"
"""The OCPP version that the suites test unless they are told otherwise."""
LONGEST_WAIT = 12.0
"""Seconds that a keyword waits at most for something that a broken server may never do."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One way in which a server is broken.

    Attributes:
        name: of the function that breaks it.
        requirement: the id that it violates.
        caught_by: names of tests, each of which must fail.
        says: regular expression for the line in which each of them fails: a test that fails for another reason (a slow
            machine, a port that is taken) has caught nothing.
        about: what is wrong, in a sentence.
        patch: breaks the server in this process.
        longest_wait: seconds that keywords wait at most, however long they are told to; more than the usual where the
            length of the wait is what finds the defect.
        stops_start: whether the server does not even start, so that a failing setup is what has to happen.
        variables: of the suites, as `NAME:value`, where a test needs other settings than the usual to see the defect.
        protocol: the OCPP version that the suites test when they have to see it, as its subprotocol.
        timing: whether the machine's speed has a part in it: a race, a load, a measured time or memory.
        heavy: whether its tests take much of the machine; at most one of these runs at a time.
        alone: whether its tests decide nothing while others use the machine: it runs before all others.
    """

    name: str
    requirement: str
    caught_by: tuple[str, ...]
    says: str
    about: str
    patch: Patch
    longest_wait: float = LONGEST_WAIT
    stops_start: bool = False
    variables: tuple[str, ...] = ()
    protocol: str = DEFAULT_PROTOCOL
    timing: bool = False
    heavy: bool = False
    alone: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """All variables of the suites, as `NAME:value`."""
        return self.variables if self.protocol == DEFAULT_PROTOCOL else (*self.variables, f"PROTOCOL:{self.protocol}")


_DEFECTS: dict[str, Defect] = {}


def defect(
    requirement: str,
    *caught_by: str,
    says: str,
    longest_wait: float = LONGEST_WAIT,
    stops_start: bool = False,
    variables: tuple[str, ...] = (),
    protocol: str = DEFAULT_PROTOCOL,
    timing: bool = False,
    heavy: bool = False,
    alone: bool = False,
) -> Callable[[Patch], Patch]:
    """Register the decorated function, whose docstring describes the fault of the server."""

    def register(patch: Patch) -> Patch:
        name = patch.__name__
        if name in _DEFECTS or not caught_by or not patch.__doc__:
            raise ValueError(f"Defect {name} needs a name of its own, a docstring, and the tests that catch it.")
        if re.search(says, ""):
            raise ValueError(f"Defect {name}: what its tests say fits any message: {says!r}.")
        _DEFECTS[name] = Defect(
            name,
            requirement,
            caught_by,
            says,
            patch.__doc__.strip(),
            patch,
            longest_wait=longest_wait,
            stops_start=stops_start,
            variables=variables,
            protocol=protocol,
            timing=timing,
            heavy=heavy,
            alone=alone,
        )
        return patch

    return register


def defects() -> dict[str, Defect]:
    """All defects by name, in the order of the tests that they belong to."""
    for file in sorted(Path(__file__).parent.glob("*_defects.py")):
        importlib.import_module(file.stem)
    return dict(_DEFECTS)


def apply(name: str) -> None:
    """Break the server in this process.

    Raises:
        LookupError: there is no such defect.
    """
    known = defects()
    if name not in known:
        raise LookupError(f"There is no defect '{name}'; there are {', '.join(known)}.")
    known[name].patch()
