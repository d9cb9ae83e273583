"""A keyword's name stands in one library only: a suite that imports all of them needs no prefixes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from robot.libdocpkg import LibraryDocumentation
from robot.running.arguments.argumentspec import ArgInfo

LIBRARIES = sorted(path.parent.name for path in Path(__file__).parents[2].glob("libraries/*Library/__init__.py"))


def test_no_keyword_has_the_name_of_another_librarys() -> None:
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for library in LIBRARIES:
        for keyword in LibraryDocumentation(library).keywords:
            owners[keyword.name].append(library)
    assert {name: libraries for name, libraries in owners.items() if len(libraries) > 1} == {}


@pytest.mark.parametrize("name", ["alias", "target"])
def test_an_alias_and_a_target_are_always_named(name: str) -> None:
    """A word alone in a cell does not show its meaning."""
    unnamed = [
        f"{library}.{keyword.name}"
        for library in LIBRARIES
        for keyword in LibraryDocumentation(library).keywords
        for argument in keyword.args
        if argument.name == name and argument.kind is not ArgInfo.NAMED_ONLY
    ]
    assert unnamed == []
