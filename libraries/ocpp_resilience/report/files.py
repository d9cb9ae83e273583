"""Writing `resilience.json` and `resilience.html`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ocpp_resilience.json_lines import replace_file
from ocpp_resilience.report.model import Report
from ocpp_resilience.report.page import render

JSON_NAME = "resilience.json"
HTML_NAME = "resilience.html"


def write(report: Report, folder: Path) -> Path:
    """Write both files; a reader never sees half of one.

    Returns:
        The page.

    Raises:
        ResilienceError: they cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    html = render(report).encode()
    replace_file(folder / JSON_NAME, data)
    replace_file(folder / HTML_NAME, html)
    return folder / HTML_NAME
