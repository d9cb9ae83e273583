"""`make docs`: one site with guide, keywords, decisions and schemas; it can be searched, and needs no network.

The pages are those of this repository, with their links turned to where things are on the site. A link that leads
nowhere is an error.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import make_keyword_docs
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {
    ROOT / "README.md": "index.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    ROOT / "CONTRIBUTING.md": "contributing.md",
    ROOT / "tests" / "defects" / "README.md": "defects.md",
}
"""Pages that are not below `docs/`, and where they are on the site."""

SCHEMAS = {
    "schema/resilience.md": ("Results: resilience.json", DOCS / "resilience.schema.json"),
    "schema/profile.md": ("Profiles of systems", ROOT / "resources" / "targets" / "target.schema.json"),
}
KEYWORDS = "keywords"
FILES = "files"
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


class Site:
    """The pages of the site, gathered in a folder.

    Args:
        folder: where they are gathered.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problems: list[str] = []
        self._pages = dict(PAGES) | {
            path: str(path.relative_to(DOCS)).replace("README.md", "index.md") for path in sorted(DOCS.rglob("*.md"))
        }
        self._keywords = make_keyword_docs.Keywords()

    def gather(self) -> None:
        """Write every page, and the files that they link to."""
        for source, place in self._pages.items():
            self._write(place, self._page(source, place))
        for place, (title, schema) in SCHEMAS.items():
            self._write(place, schema_page(title, json.loads(schema.read_text(encoding="utf-8"))))
        self._write(f"{KEYWORDS}/index.md", self._keywords.index())
        self._keywords.write_pages(self._folder / KEYWORDS)

    def _write(self, place: str, text: str) -> None:
        path = self._folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _page(self, source: Path, place: str) -> str:
        parts = FENCE.split(source.read_text(encoding="utf-8"))
        to = os.path.relpath(KEYWORDS, Path(place).parent) + "/"
        turned = [
            part if n % 2 else LINK.sub(lambda found: self._turn(found, source, place), self._keywords.linked(part, to))
            for n, part in enumerate(parts)
        ]
        return "".join(turned)

    def _turn(self, found: re.Match[str], source: Path, place: str) -> str:
        """A link of the repository as one of the site; what is no page is copied."""
        address, hash_sign, anchor = found[2].partition("#")
        if not address or re.match(r"[a-z]+:", address) or f"{KEYWORDS}/" in address:
            return found[0]
        target = (source.parent / unquote(address)).resolve()
        if target in self._pages:
            there = self._pages[target]
        elif target.is_file() and target.is_relative_to(ROOT):
            there = f"{FILES}/{target.relative_to(ROOT)}"
            copy = self._folder / there
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, copy)
        else:
            self.problems.append(f"{source.relative_to(ROOT)}: there is no {address}")
            return found[0]
        return f"{found[1]}{os.path.relpath(there, Path(place).parent)}{hash_sign}{anchor}{found[3]}"

    def navigation(self) -> list[dict[str, Any]]:
        """The menu: the guide in the order of its own list, then the rest."""
        guide = (DOCS / "guide" / "README.md").read_text(encoding="utf-8")
        order = dict.fromkeys(re.findall(r"\]\(([\w-]+\.md)\)", guide))
        decisions = sorted(each for each in self._pages.values() if re.match(r"decisions/\d", each))
        return [
            {"Start": "index.md"},
            {"Guide": ["guide/index.md", *(f"guide/{each}" for each in order)]},
            {"Keywords": f"{KEYWORDS}/index.md"},
            {"Schemas": [{title: place} for place, (title, _) in SCHEMAS.items()]},
            {"Decisions": ["decisions/index.md", *decisions]},
            {
                "More": [
                    {"Glossary": "glossary.md"},
                    {"Dependencies": "dependencies.md"},
                    {"Defects": "defects.md"},
                    {"Contributing": "contributing.md"},
                    {"Changes": "changelog.md"},
                ]
            },
        ]


def schema_page(title: str, schema: dict[str, Any]) -> str:
    """A JSON Schema for people: a table for each of its parts."""
    lines = [f"# {title}", "", make_keyword_docs.cell(schema.get("description", "")), ""]
    for name, part in schema.get("$defs", {}).items():
        lines += [f"## {name}", "", " ".join(str(part.get("description", "")).split()), ""]
        if properties := part.get("properties"):
            lines += ["| field | type | what |", "|---|---|---|"]
            for field, about in properties.items():
                needed = " (needed)" if field in part.get("required", ()) else ""
                words = " ".join(str(about.get("description", "")).split())
                kinds = ", ".join(dict.fromkeys(types_of(about)))
                lines.append(f"| `{field}`{needed} | {kinds} | {make_keyword_docs.cell(words)} |")
            lines.append("")
        elif "enum" in part:
            lines += [", ".join(f"`{each}`" for each in part["enum"]), ""]
    return "\n".join(lines)


def types_of(about: dict[str, Any] | bool) -> Iterator[str]:
    """The types that a field may have, those of this schema as links."""
    if isinstance(about, bool):
        return
    if "$ref" in about:
        name = about["$ref"].rpartition("/")[2]
        yield f"[{name}](#{name.lower()})"
    for each in about.get("anyOf", ()):
        yield from types_of(each)
    kind = about.get("type")
    if kind == "array":
        yield from (f"list of {each}" for each in types_of(about.get("items", False)))
    elif kind == "object" and isinstance(about.get("additionalProperties"), dict):
        yield from (f"by name {each}" for each in types_of(about["additionalProperties"]))
    elif kind is not None:
        yield kind if isinstance(kind, str) else " or ".join(kind)
    if "enum" in about:
        yield from (f"`{each}`" for each in about["enum"])


def configuration(site: Site, pages: Path, out: Path) -> dict[str, Any]:
    """The settings of MkDocs: nothing from elsewhere, and every warning about a link or an anchor."""
    return {
        "site_name": "Resilience of charging back ends",
        "docs_dir": str(pages),
        "site_dir": str(out),
        "use_directory_urls": False,
        "nav": site.navigation(),
        "theme": {
            "name": "material",
            "font": False,
            "features": ["navigation.tabs", "navigation.top", "content.code.copy"],
        },
        "plugins": ["search", "offline"],
        "markdown_extensions": [
            "tables",
            "fenced_code",
            "toc",
            "admonition",
            "pymdownx.highlight",
            "pymdownx.superfences",
        ],
        "validation": {
            "nav": {"omitted_files": "warn", "not_found": "warn", "absolute_links": "warn"},
            "links": {"not_found": "warn", "anchors": "warn", "absolute_links": "warn", "unrecognized_links": "warn"},
        },
    }


SHIM = "https://unpkg.com/iframe-worker/shim"
"""What the theme would load from elsewhere, to search a page that was opened as a file."""
ELSEWHERE = re.compile(
    r"""<(?:script|img|iframe)[^>]*src=["']?(https?:[^"'\s>]+)|<link[^>]*href=["']?(https?:[^"'\s>]+)"""
)


def without_a_network(out: Path) -> list[str]:
    """Let the search of the site run with a script of ours; what else would be loaded from elsewhere."""
    shutil.copyfile(DOCS / "file_worker.js", out / "assets" / "javascripts" / "file_worker.js")
    problems = []
    for page in sorted(out.rglob("*.html")):
        to = os.path.relpath(out / "assets" / "javascripts", page.parent)
        text = page.read_text(encoding="utf-8").replace(SHIM, f"{to}/file_worker.js")
        page.write_text(text, encoding="utf-8")
        problems += [
            f"{page.relative_to(out)}: is loaded from elsewhere: {first or second}"
            for first, second in ELSEWHERE.findall(text)
            if "/keywords/" not in str(page)
        ]
    return problems


def main(out: Path) -> int:
    """Build the site into `out`; 1 when a link leads nowhere or a tool had something to say."""
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder, "pages")
        site = Site(pages)
        site.gather()
        for problem in site.problems:
            sys.stderr.write(f"{problem}\n")
        settings = Path(folder, "mkdocs.yml")
        settings.write_text(
            yaml.safe_dump(configuration(site, pages, out.resolve()), sort_keys=False), encoding="utf-8"
        )
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", str(settings)]
        # A plea of the theme's makers in capital letters is no warning about our pages.
        status = subprocess.run(command, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}).returncode
    if status == 0:
        problems = without_a_network(out)
        for problem in problems:
            sys.stderr.write(f"{problem}\n")
        status = int(bool(problems))
    if status == 0 and not site.problems:
        sys.stdout.write(f"The site: {out / 'index.html'}\n")
    return 1 if status or site.problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "docs"))
