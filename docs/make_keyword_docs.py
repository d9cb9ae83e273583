"""`make docs`: a page of documentation for each keyword library, and an index. Any warning is an error."""

from __future__ import annotations

import contextlib
import io
import sys
from html import escape
from pathlib import Path

from robot.libdoc import libdoc
from robot.libdocpkg import LibraryDocumentation

ROOT = Path(__file__).resolve().parents[1]

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Keywords</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
th, td {{ text-align: left; vertical-align: top; padding: .4rem 1.2rem .4rem 0; border-top: 1px solid #8886; }}
table {{ border-collapse: collapse; }}
</style>
</head>
<body>
<h1>Keywords</h1>
<p>{count} keywords in {libraries} libraries. In Python each keyword is a method: <code>start_redis</code> for
<code>Start Redis</code>.</p>
<h2>Libraries</h2>
<table>
<tr><th scope="col">Library</th><th scope="col">What for</th><th scope="col">Keywords</th></tr>
{rows}
</table>
<h2>All keywords</h2>
<ul>
{keywords}
</ul>
</body>
</html>
"""


def main(folder: Path) -> int:
    """Write the pages into `folder`; 1 when Robot Framework had something to say about one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, links = [], []
    said = io.StringIO()
    names = sorted(path.name for path in (ROOT / "libraries").glob("*Library") if (path / "__init__.py").is_file())
    with contextlib.redirect_stderr(said):
        for name in names:
            documentation = LibraryDocumentation(name)
            shown = [each for each in documentation.keywords if not each.private]
            libdoc(name, str(folder / f"{name}.html"), quiet=True)
            about = escape(" ".join(documentation.doc.strip().split("\n\n")[0].split()))
            rows.append(
                f'<tr><th scope="row"><a href="{name}.html">{name}</a></th><td>{about}</td><td>{len(shown)}</td></tr>'
            )
            links += [
                (
                    each.name,
                    f'<li><a href="{name}.html#{escape(each.name.replace(" ", "%20"))}">{escape(each.name)}</a>',
                )
                for each in shown
            ]
    page = PAGE.format(
        count=len(links),
        libraries=len(names),
        rows="\n".join(rows),
        keywords="\n".join(f"{link}</li>" for _, link in sorted(links)),
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    sys.stderr.write(said.getvalue())
    sys.stdout.write(f"{len(links)} keywords of {len(names)} libraries: {folder / 'index.html'}\n")
    return 1 if said.getvalue() else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "docs"))
