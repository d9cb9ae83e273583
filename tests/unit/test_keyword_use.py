"""Every keyword is used by a suite or by a keyword test: one that is not was never seen to work.

What a user keyword uses counts once the user keyword is used itself. The name may stand as a call, a template, a setup,
or in a cell of its own as an argument (`Run Keyword And Expect Error    …    Kill Redis`), there also with a variable
in it (`Run Keyword    Commands End By ${end}`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from robot.api.parsing import File, Keyword, ModelVisitor, Token, get_model, get_resource_model
from robot.libdocpkg import LibraryDocumentation
from robot.parsing.model import Statement

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = sorted(path.parent.name for path in ROOT.glob("libraries/*Library/__init__.py"))
SUITES = sorted([*(ROOT / "suites").glob("*.robot"), *(ROOT / "tests" / "keywords").glob("*.robot")])
RESOURCES = sorted((ROOT / "resources").glob("*.resource"))
CELLS = {Token.KEYWORD, Token.NAME, Token.ARGUMENT}
TEXTS = {Token.DOCUMENTATION, Token.TAGS, Token.TEST_TAGS, Token.KEYWORD_TAGS, Token.METADATA}
VARIABLE = re.compile(r"\\\$\\\{.*?\\\}")
LEAST_FIXED = 10
"""Letters that a cell has to have beside its variables, to be taken for the name of a keyword."""


def normal(name: str) -> str:
    """As Robot Framework compares names of keywords."""
    return name.replace(" ", "").replace("_", "").lower()


@cache
def pattern(text: str) -> re.Pattern[str]:
    """Matches a name or a cell with variables in it: any text stands for a variable."""
    return re.compile(VARIABLE.sub(".*", re.escape(normal(text))))


def fits(name: str, cells: set[str]) -> bool:
    """Whether the name of a keyword is in one of the cells."""
    if "${" not in name and normal(name) in cells:
        return True
    named = pattern(name)
    return any(named.fullmatch(cell) for cell in cells) or any(
        pattern(cell).fullmatch(normal(name))
        for cell in cells
        if "${" in cell and len(re.sub(r"\$\{.*?\}", "", cell)) >= LEAST_FIXED
    )


class Use(ModelVisitor):
    """The cells of files: those of each user keyword by its name, and those of everything else."""

    def __init__(self, files: Iterable[File]) -> None:
        self.cells: set[str] = set()
        self.user_keywords: dict[str, set[str]] = {}
        self._into = self.cells
        for file in files:
            self.visit(file)

    def visit_Keyword(self, node: Keyword) -> None:  # noqa: N802 - Robot Framework's name
        self._into = self.user_keywords.setdefault(node.name, set())
        self.generic_visit(node)
        self._into = self.cells

    def visit_Statement(self, node: Statement) -> None:  # noqa: N802 - Robot Framework's name
        if node.type not in TEXTS:
            self._into |= {normal(token.value) for token in node.tokens if token.type in CELLS}

    def reached(self) -> set[str]:
        """Every cell that a test or a setting leads to."""
        reached, rest = set(self.cells), dict(self.user_keywords)
        while called := [name for name in rest if fits(name, reached)]:
            reached.update(*(rest.pop(name) for name in called))
        return reached


def unused(names: Iterable[str], files: Iterable[File]) -> list[str]:
    """The keywords of these names that no test comes to."""
    reached = Use(files).reached()
    return [name for name in names if not fits(name, reached)]


def test_every_keyword_of_a_library_is_used_by_a_suite_or_a_keyword_test() -> None:
    keywords = [keyword for library in LIBRARIES for keyword in LibraryDocumentation(library).keywords]
    names = [keyword.name for keyword in keywords if not keyword.private]
    assert len(names) > 100
    assert unused(names, [*map(get_model, SUITES), *map(get_resource_model, RESOURCES)]) == []


def test_every_user_keyword_is_used() -> None:
    files = [*map(get_model, SUITES), *map(get_resource_model, RESOURCES)]
    names = list(Use(files).user_keywords)
    assert len(names) > 100
    assert unused(names, files) == []


@pytest.mark.parametrize(
    ("row", "reached"),
    [
        ("Kill Redis", True),
        ("kill_redis", True),
        ("${url} =    Kill Redis", True),
        ("Run Keyword And Expect Error    *    Kill Redis", True),
        ("[Setup]    Kill Redis", True),
        ("[Template]    Kill Redis", True),
        ("IF    $there    Kill Redis", True),
        ("Redis 3 Times Killed", True),
        ("Run Keyword    Redis ${many} Times Killed", True),
        ("Run Keyword    Deeper And Deep${more}", True),
        ("Run Keyword    ${any}", False),
        ("[Documentation]    Kill Redis", False),
        ("[Tags]    Kill Redis", False),
        ("Log    Kill Redis now", False),
        ("# Kill Redis", False),
        ("No Operation", False),
    ],
)
def test_a_keyword_is_used_where_a_test_comes_to_it(row: str, reached: bool) -> None:
    text = f"*** Test Cases ***\nOne\n    {row}\n\n*** Keywords ***\n"
    text += "Redis ${n:\\d+} Times Killed\n    Deeper And Deeper\n\nDeeper And Deeper\n    Kill Redis\n\n"
    text += "Nobody's\n    Kill Redis\n"
    assert unused(["Kill Redis"], [get_model(text)]) == ([] if reached else ["Kill Redis"])
