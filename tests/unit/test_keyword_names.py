"""A keyword's name stands in one library only: a suite that imports all of them needs no prefixes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from robot.libdocpkg import LibraryDocumentation

LIBRARIES = sorted(path.parent.name for path in Path(__file__).parents[2].glob("libraries/*Library/__init__.py"))


def test_no_keyword_has_the_name_of_another_librarys() -> None:
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for library in LIBRARIES:
        for keyword in LibraryDocumentation(library).keywords:
            owners[keyword.name].append(library)
    assert {name: libraries for name, libraries in owners.items() if len(libraries) > 1} == {}
