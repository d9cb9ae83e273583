"""Deviations that are known: a file that names requirements which are not met, why, and since when.

A known deviation changes no verdict. The page shows that it is known, and that one is met again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import msgspec

from ocpp_resilience import strict_yaml
from ocpp_resilience.errors import UsageError
from ocpp_resilience.report.model import Deviation, RequirementResult
from ocpp_resilience.struct_errors import explained


def read(path: Path) -> list[Deviation]:
    """The deviations in a file: a list under `known`, each with `requirement`, `reason` and `since`.

    Raises:
        UsageError: the file cannot be read, or something in it is missing or misspelt.
    """
    _, data = strict_yaml.read(path, "Known deviations ")
    entries = data.get("known") if isinstance(data, dict) and len(data) == 1 else None
    if not isinstance(entries, list):
        raise UsageError(f"{path}: expected the key 'known' with a list, each with requirement, reason and since.")
    found: list[Deviation] = []
    for number, entry in enumerate(entries, 1):
        try:
            deviation = msgspec.convert(_with_date_as_text(entry), Deviation)
            date.fromisoformat(deviation.since)
        except msgspec.ValidationError as error:
            problem = explained(error, *Deviation.__struct_fields__)
            raise UsageError(f"{path}: deviation number {number}: {problem}") from None
        except ValueError:
            raise UsageError(
                f"{path}: deviation number {number}: field 'since' is '{deviation.since}' (allowed: a date such as "
                "2026-10-01)."
            ) from None
        if deviation.requirement in {each.requirement for each in found}:
            raise UsageError(f"{path}: deviation number {number}: {deviation.requirement} is listed already.")
        found.append(deviation)
    return found


def _with_date_as_text(entry: object) -> object:
    """YAML reads `2026-01-31` as a date."""
    if isinstance(entry, dict) and isinstance(entry.get("since"), date):
        return entry | {"since": entry["since"].isoformat()}
    return entry


def mark(results: Sequence[RequirementResult], path: Path | None, problems: list[str]) -> list[RequirementResult]:
    """The results with their known deviations; errors of the file are added to `problems`."""
    if path is None:
        return list(results)
    try:
        known = {each.requirement: each for each in read(path)}
    except UsageError as error:
        problems.append(str(error))
        return list(results)
    unknown = sorted(known.keys() - {each.id for each in results})
    if unknown:
        problems.append(f"{path.name} names requirements that this page does not have: {', '.join(unknown)}.")
    return [msgspec.structs.replace(each, known=known.get(each.id)) for each in results]
