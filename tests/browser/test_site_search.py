"""The site of the documentation in a real browser, opened as a file: nothing from elsewhere, and the search finds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from chromium import PROGRAM, Chromium

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not PROGRAM, reason="needs Chromium (Debian: apt-get install chromium)")

TYPE = """(e => { e.focus(); e.value = 'percentile'; e.dispatchEvent(new Event('input', {bubbles: true}));
  e.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true})); })(document.querySelector('.md-search__input'))"""


def test_the_site_can_be_searched_without_a_network(tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run([sys.executable, ROOT / "docs" / "make_site.py", site], check=True, capture_output=True)
    with Chromium(tmp_path) as browser:
        for width in (1280, 390):
            browser.resize(width, 900, mobile=width == 390)
            browser.open((site / "guide" / "mistakes.html").as_uri())
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
        browser.resize(1280, 900)
        browser.focus()
        browser.open((site / "index.html").as_uri())
        browser.evaluate(TYPE)
        deadline = time.monotonic() + 30
        while not browser.evaluate("document.querySelectorAll('.md-search-result__item').length"):
            assert time.monotonic() < deadline, "the search finds nothing"
            time.sleep(0.1)
        assert browser.errors == []
        assert [each for each in browser.requests if not each.startswith(("file:", "data:", "blob:"))] == []
