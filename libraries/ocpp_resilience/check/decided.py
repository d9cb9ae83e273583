"""The requirements that the suites decide for a target with given capabilities, and those that more would add.

A test is left out when it, its setup or a keyword that they use says `Skip Unless Target Supports` of something that
the profile does not declare. That is read from the suites themselves.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from robot.api import TestSuite
from robot.running import ResourceFile

from ocpp_resilience.profile import Target
from ocpp_resilience.profile.sections import Capability, Trait
from ocpp_resilience.shipped import shipped

REQUIREMENT = re.compile(r"R[1-9]\d*\.\d+")
SKIP = "skipunlesstargetsupports"
NEEDS: dict[str, tuple[Capability | Trait, ...]] = {
    "chargepointsconnecttothesystemundertest": (Capability.GATEWAY,),
    "aimloadsattherunningserver": (Capability.GATEWAY,),
    "skipunlessredisoftargetcanfail": (Trait.GIVEN_REDIS,),
}
"""Keywords that skip a test in other words."""


@dataclass
class Decided:
    """The requirements that the suites decide for one target.

    Attributes:
        requirements: those with a test that is run, in their order.
        gains: what is missing, in words, to the requirements that no test decides without it.
    """

    requirements: list[str] = field(default_factory=list)
    gains: dict[tuple[str, ...], list[str]] = field(default_factory=dict)


def decided(target: Target) -> Decided:
    """What the suites decide for a target."""
    lacking: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    for requirement, needs in tests():
        missing = tuple(sorted(each.value for each in needs if not target.has(each)))
        lacking[requirement].append(missing)
    found = Decided()
    for requirement in sorted(lacking, key=_in_order):
        fewest = min(lacking[requirement], key=len)
        if fewest:
            found.gains.setdefault(fewest, []).append(requirement)
        else:
            found.requirements.append(requirement)
    return found


@cache
def tests() -> tuple[tuple[str, frozenset[Capability | Trait]], ...]:
    """Each requirement of each test, with the capabilities that the test needs."""
    keywords: dict[str, object] = {}
    for file in sorted(shipped("resources").glob("*.resource")):
        keywords |= {_plain(each.name): each for each in ResourceFile.from_file_system(str(file)).keywords}
    found = []
    for file in sorted(shipped("suites").glob("[0-9]*.robot")):
        suite = TestSuite.from_file_system(str(file))
        above = _needs([suite.setup], keywords)
        for test in suite.tests:
            needs = above | _needs([test.setup or suite.setup, *test.body], keywords)
            found += [(tag, frozenset(needs)) for tag in test.tags if REQUIREMENT.fullmatch(tag)]
    return tuple(found)


def _needs(
    steps: Iterable[object], keywords: Mapping[str, object], seen: Collection[str] = ()
) -> set[Capability | Trait]:
    """The capabilities that steps need in any case, without conditional steps."""
    needs: set[Capability | Trait] = set()
    for step in steps:
        name = _plain(str(getattr(step, "name", None) or ""))
        if not name or getattr(step, "type", "KEYWORD") in {"IF/ELSE ROOT", "TRY/EXCEPT ROOT"}:
            continue
        if name == SKIP:
            needs.add(_capability(str(step.args[0])))  # type: ignore[attr-defined]
        elif name in NEEDS:
            needs |= set(NEEDS[name])
        if name in keywords and name not in seen:
            keyword = keywords[name]
            inner = [getattr(keyword, "setup", None), *getattr(keyword, "body", ())]
            needs |= _needs(inner, keywords, {*seen, name})
        if name in {"runkeywords", "ingroup"}:
            words = [str(word) for word in step.args]  # type: ignore[attr-defined]
            for word in words:
                if _plain(word) in keywords:
                    needs |= _needs(getattr(keywords[_plain(word)], "body", ()), keywords, {*seen, _plain(word)})
    return needs


def _capability(text: str) -> Capability | Trait:
    word = text.replace(" ", "_")
    return Trait(word) if word in set(Trait) else Capability(word)


def _plain(name: str) -> str:
    return re.sub(r"[\s_]", "", name).lower()


def _in_order(requirement: str) -> tuple[int, int]:
    test, _, number = requirement[1:].partition(".")
    return int(test), int(number)


def sentences(target: Target) -> list[str]:
    """The decided requirements, and those that further capabilities would add, one line each."""
    found = decided(target)
    total = len(found.requirements) + sum(map(len, found.gains.values()))
    lines = [f"The suites decide {len(found.requirements)} of {total} requirements: {', '.join(found.requirements)}."]
    for missing, requirements in sorted(found.gains.items(), key=lambda gain: (len(gain[0]), -len(gain[1]))):
        what = " and ".join(each.replace("_", " ") for each in missing)
        lines.append(f"With {what} also {', '.join(requirements)}.")
    return lines
