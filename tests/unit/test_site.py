"""`make docs`: one site, whole, without links that lead nowhere, without a path of the machine that built it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "make_site.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return folder


def test_it_has_guide_keywords_decisions_and_schemas(site: Path) -> None:
    for page in (ROOT / "docs" / "guide").glob("*.md"):
        assert (site / "guide" / page.with_suffix(".html").name.replace("README", "index")).is_file()
    assert len(list((site / "decisions").glob("0*.html"))) == len(list((ROOT / "docs" / "decisions").glob("0*.md")))
    schema = (site / "schema" / "resilience.html").read_text()
    assert "RequirementResult" in schema
    assert "the worst measured value" in schema
    assert "stop_signal" in (site / "schema" / "profile.html").read_text()


def test_every_keyword_is_listed_with_its_library_and_a_sentence(site: Path) -> None:
    page = (site / "keywords" / "index.html").read_text()
    rows = re.findall(
        r'<td><a href="(\w+Library)\.html#([^"]+)">([^<]+)</a></td>\s*<td>(\w+)</td>\s*<td>(.*?)</td>', page
    )
    assert len(rows) > 250
    for library, anchor, name, short, sentence in rows:
        assert library == f"{short}Library"
        assert unquote(anchor) == name
        assert len(sentence) > 10, name
        assert sentence.rstrip("</code>")[-1] in ".:;", (name, sentence)


def test_links_lead_somewhere(site: Path) -> None:
    ids: dict[Path, set[str]] = {}
    for page in site.rglob("*.html"):
        ids[page.resolve()] = set(re.findall(r'\sid="([^"]+)"', page.read_text()))
    broken = []
    for page in ids:
        if page.name == "404.html" or (page.parent.name == "keywords" and page.name != "index.html"):
            continue  # for a server; written by a script in the browser
        for link in set(re.findall(r'href="([^"]+)"', page.read_text())):
            if re.match(r"[a-z]+:", link):
                continue
            address, _, anchor = link.partition("#")
            target = (page.parent / unquote(address)).resolve() if address else page
            target = target / "index.html" if target.is_dir() else target
            known = ids.get(target, set())
            by_script = target.parent.name == "keywords" and target.name != "index.html"
            if not target.is_file() or (anchor and not by_script and target.suffix == ".html" and anchor not in known):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_keywords_in_prose_are_links(site: Path) -> None:
    library = (site / "keywords" / "FaultLibrary.html").read_text()
    assert 'href=\\"RedisServiceLibrary.html#Kill%20Redis\\"' in library
    guide = (site / "guide" / "own-requirements.html").read_text()
    assert 'href="../keywords/EvidenceLibrary.html#Requirement%20Should%20Be%20Met"' in guide


def test_nothing_names_the_machine_or_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert str(ROOT) not in text, page
        assert not re.search(r'<script[^>]+src="https?:', text), page
        assert not re.search(r'<link[^>]+rel="stylesheet"[^>]+href="https?:', text), page


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import make_site; from pathlib import Path\n"
        "page = Path(sys.argv[2], 'page.md'); page.write_text('# A page\\n\\n[gone](nosuch.md)\\n')\n"
        "site = make_site.Site(Path(sys.argv[2], 'pages'))\n"
        "make_site.LINK.sub(lambda found: site._turn(found, make_site.DOCS / 'x.md', 'x.md'), page.read_text())\n"
        "print(site.problems)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ROOT / "docs", tmp_path], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "['docs/x.md: there is no nosuch.md']"
