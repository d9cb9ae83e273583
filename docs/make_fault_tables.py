"""Renew the tables of faults in the guide from the registry."""

from __future__ import annotations

from pathlib import Path

from ocpp_resilience.faults.registry import fill_tables

PAGE = Path(__file__).resolve().parent / "guide" / "faults.md"

if __name__ == "__main__":
    PAGE.write_text(fill_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
