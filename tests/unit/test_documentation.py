"""Everything public is documented: keywords with an example and tags, Python with docstrings."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from packaging.version import Version
from robot.libdocpkg import LibraryDocumentation
from robot.libdocpkg.model import KeywordDoc, LibraryDoc
from robot.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = sorted(path.name for path in (ROOT / "libraries").glob("*Library") if (path / "__init__.py").is_file())
MODULES = sorted(path for folder in ("libraries/ocpp_resilience", "server") for path in (ROOT / folder).rglob("*.py"))

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def keywords() -> Iterator[tuple[str, KeywordDoc]]:
    for library in LIBRARIES:
        for keyword in LibraryDocumentation(library).keywords:
            if not keyword.private:
                yield library, keyword


KEYWORDS = list(keywords())
each_keyword = pytest.mark.parametrize("keyword", [pytest.param(kw, id=f"{lib}.{kw.name}") for lib, kw in KEYWORDS])


def first_paragraph(doc: str) -> str:
    return " ".join(doc.strip().split("\n\n")[0].split())


@pytest.mark.parametrize("library", LIBRARIES)
def test_library_has_documentation_in_markdown_and_keywords(library: str) -> None:
    documentation: LibraryDoc = LibraryDocumentation(library)
    assert documentation.doc_format == "MARKDOWN"
    assert first_paragraph(documentation.doc).endswith(".")
    assert documentation.keywords


@each_keyword
def test_keyword_starts_with_a_summary_sentence(keyword: KeywordDoc) -> None:
    summary = first_paragraph(keyword.doc)
    assert summary[:1].isupper(), f"summary: {summary!r}"
    assert summary.endswith("."), f"summary: {summary!r}"


@each_keyword
def test_keyword_has_an_example_that_uses_it(keyword: KeywordDoc) -> None:
    _, found, example = keyword.doc.partition("\nExample")
    assert found, "no section 'Example:'"
    assert re.match(r"s?:", example), "the section is called 'Example:'"
    code = re.search(r"```robotframework\n(.*?)```", example, re.DOTALL)
    assert code, "the example is a Robot code block"
    assert keyword.name.lower() in code[1].lower(), f"the example does not use '{keyword.name}'"


@each_keyword
def test_keyword_has_tags(keyword: KeywordDoc) -> None:
    assert list(keyword.tags)


@each_keyword
def test_keyword_has_types_on_every_argument(keyword: KeywordDoc) -> None:
    untyped = [argument.name for argument in keyword.args if argument.type is None]
    assert untyped == []


@pytest.mark.skipif(Version(VERSION) < Version("7.5"), reason="Robot Framework reads `Args:` from 7.5 on")
@each_keyword
def test_keyword_names_no_argument_in_its_documentation_that_it_does_not_have(keyword: KeywordDoc) -> None:
    # Robot Framework takes `Args:` out of the documentation; what it cannot assign to an argument stays in it.
    assert not re.search(r"^Args:", keyword.doc, re.MULTILINE)


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {re.split(r"[\[<>=]", each)[0] for each in project["dependencies"]}
    extras = {
        extra: {re.split(r"[\[<>=]", each)[0] for each in packages} - {project["name"]}
        for extra, packages in project["optional-dependencies"].items()
    }
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    tables = [
        set(re.findall(r"^\| ([a-z][a-z0-9-]*)(?: \(.*?\))? \|", part, re.MULTILINE))
        for part in text.split("\n## ")[1:]
        if not part.startswith("Weight")
    ]
    assert [table - {"package"} for table in tables] == [
        required,
        extras["server"],
        extras["load"],
        extras["containers"],
        extras["locust"],
        extras["dev"],
    ]


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = {path.name for path in folder.glob("[0-9]*.md")}
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", index)) == pages


def test_there_are_keywords() -> None:
    assert KEYWORDS


@functools.cache
def classes() -> dict[str, ast.ClassDef]:
    """Every class of the modules, by name."""
    trees = (ast.parse(module.read_text(encoding="utf-8")) for module in MODULES)
    return {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def documented_in_a_base(class_: ast.ClassDef, method: str) -> bool:
    """Whether a base class has a method of that name with a docstring; an override needs no second one."""
    for base in class_.bases:
        parent = classes().get(ast.unparse(base).split("[")[0].rpartition(".")[2])
        if parent is None or parent is class_:
            continue
        for child in parent.body:
            if isinstance(child, Definition) and child.name == method and ast.get_docstring(child):
                return True
        if documented_in_a_base(parent, method):
            return True
    return False


def public(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Public functions and classes of a module, and the methods that public classes do not just override."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            if isinstance(node, ast.ClassDef) and documented_in_a_base(node, child.name):
                continue
            yield f"{prefix}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


def needs_no_docstring(definition: Definition) -> bool:
    """Overloads, setters and overrides, stubs of a protocol, and properties that only hand something out."""
    if not isinstance(definition, ast.ClassDef) and [ast.unparse(line) for line in definition.body] == ["..."]:
        return True
    names = {ast.unparse(decorator).split("(")[0].rpartition(".")[2] for decorator in definition.decorator_list}
    if names & {"overload", "override", "setter"}:
        return True
    return bool(names & {"property", "cached_property"}) and len(definition.body) == 1


@pytest.mark.parametrize("module", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_module_documents_its_public_names(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    missing = [
        f"{module.relative_to(ROOT)}:{definition.lineno}: {name}"
        for name, definition in public(tree)
        if not ast.get_docstring(definition) and not needs_no_docstring(definition)
    ]
    if tree.body and not ast.get_docstring(tree):
        missing.insert(0, f"{module.relative_to(ROOT)}:1: the module itself")
    assert missing == [], "without a docstring:\n" + "\n".join(missing)
