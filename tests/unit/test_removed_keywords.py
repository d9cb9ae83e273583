"""A keyword that was removed fails with the name of its successor, which exists."""

from __future__ import annotations

from pathlib import Path

import pytest
from robot.libdocpkg import LibraryDocumentation

from ocpp_resilience.errors import UsageError
from ocpp_resilience.robot.removed import REMOVED
from StateStoreLibrary import StateStoreLibrary

LIBRARIES = sorted(path.parent.name for path in Path(__file__).parents[2].glob("libraries/*Library/__init__.py"))
PAIRS = [(library, *names) for library, gone in REMOVED.items() for names in gone.items()]
KEYWORDS = {library: {each.name: each for each in LibraryDocumentation(library).keywords} for library in LIBRARIES}


@pytest.mark.parametrize(("library", "name", "successor"), PAIRS)
def test_a_removed_keyword_has_a_successor_and_is_hidden(library: str, name: str, successor: str) -> None:
    assert KEYWORDS[library][name].private
    owners = [other for other, keywords in KEYWORDS.items() if successor in keywords]
    assert len(owners) == 1
    assert not KEYWORDS[owners[0]][successor].private


def test_a_removed_keyword_names_its_successor_with_any_arguments() -> None:
    with StateStoreLibrary() as library, pytest.raises(UsageError) as raised:
        library.run_keyword("Take State Snapshot", ["1"], {"values": True})
    assert str(raised.value) == "`Take State Snapshot` was removed; use `Take Key Snapshot`."
