"""The documentation of the keywords: a page for each library, and a list of all of them. Any warning is an error.

`make docs` builds the whole site with `make_site.py`, which uses this.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from robot.libdocpkg import LibraryDocumentation

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"(```.*?```)", re.DOTALL)
IN_CODE = re.compile(r"(?<!\[)`([A-Z][A-Za-z0-9 -]+)`")


@dataclass(frozen=True)
class Keyword:
    """A keyword for the list.

    Attributes:
        name: its name.
        library: its library.
        summary: one sentence.
    """

    name: str
    library: str
    summary: str

    @property
    def address(self) -> str:
        """Where it is explained, from the list."""
        return f"{self.library}.html#{quote(self.name)}"


class Keywords:
    """All libraries, as Robot Framework reads them."""

    def __init__(self) -> None:
        names = sorted(path.parent.name for path in (ROOT / "libraries").glob("*Library/__init__.py"))
        self.libraries = [LibraryDocumentation(name) for name in names]
        self.all = sorted(
            (
                Keyword(each.name, library.name, summary(each.doc))
                for library in self.libraries
                for each in library.keywords
            ),
            key=lambda each: each.name,
        )
        self._addresses = {each.name: each.address for each in self.all}

    def linked(self, text: str, to: str = "") -> str:
        """Markdown in which the name of a keyword, as code, is a link to its documentation.

        Args:
            text: the Markdown; what is in a block of code stays as it is.
            to: the folder of the documentation, from where the text is, with a slash at the end.
        """

        def link(found: re.Match[str]) -> str:
            address = self._addresses.get(found[1])
            return found[0] if address is None else f"[`{found[1]}`]({to}{address})"

        parts = FENCE.split(text)
        return "".join(part if n % 2 else IN_CODE.sub(link, part) for n, part in enumerate(parts))

    def write_pages(self, folder: Path) -> None:
        """A page of `libdoc` for each library."""
        folder.mkdir(parents=True, exist_ok=True)
        for library in self.libraries:
            library.doc = self.linked(library.doc)
            library.source = None  # it is a path of the machine that builds the pages
            for each in (*library.inits, *library.keywords):
                each.doc = self.linked(each.doc)
                each.source = None
            library.convert_docs_to_html()
            library.save(str(folder / f"{library.name}.html"), "HTML")

    def index(self) -> str:
        """The list of libraries and keywords, as Markdown."""
        lines = [
            "# Keywords",
            "",
            f"{len(self.all)} keywords in {len(self.libraries)} libraries. In Python each is a method: `start_redis`.",
            "",
            "| library | what for | keywords |",
            "|---|---|---|",
        ]
        lines += [
            f"| [{each.name}]({each.name}.html) | {cell(summary(each.doc))} | {len(each.keywords)} |"
            for each in self.libraries
        ]
        lines += ["", "## All keywords", "", "| keyword | library | what it does |", "|---|---|---|"]
        lines += [
            f"| [{each.name}]({each.address}) | {each.library.removesuffix('Library')} | {cell(each.summary)} |"
            for each in self.all
        ]
        return "\n".join(lines) + "\n"


def summary(text: str) -> str:
    """The first sentence of a documentation."""
    first = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.;:]) (?=[A-Z])", first)[0]


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return text.replace("|", r"\|")


def main(folder: Path) -> int:
    """Write the pages and `index.md` into `folder`; 1 when Robot Framework had something to say about one of them."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        keywords = Keywords()
        keywords.write_pages(folder)
    (folder / "index.md").write_text(keywords.index(), encoding="utf-8")
    sys.stderr.write(said.getvalue())
    sys.stdout.write(f"{len(keywords.all)} keywords of {len(keywords.libraries)} libraries: {folder / 'index.md'}\n")
    return 1 if said.getvalue() else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "docs" / "keywords"))
