"""Writing `resilience.json` and `resilience.html`."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ocpp_resilience.errors import ResilienceError
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
    page = folder / HTML_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
        _replace(folder / JSON_NAME, data)
        _replace(page, render(report).encode())
    except OSError as error:
        raise ResilienceError(f"The report cannot be written to {folder}: {error.strerror}.") from error
    return page


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_bytes(data)
    new.replace(path)
