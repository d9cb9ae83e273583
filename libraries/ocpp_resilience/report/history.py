"""Earlier runs and the accepted baseline."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from ocpp_resilience import json_lines
from ocpp_resilience.errors import UsageError
from ocpp_resilience.evidence.measurements import Measurement
from ocpp_resilience.json_lines import replace_file
from ocpp_resilience.report.model import Change, Comparison, Decision, Past, RequirementResult, ThresholdResult, Verdict

LARGEST = 1e15
"""No value that is measured is as large as this."""

KEPT = 50
"""Runs that a page shows."""

MOST_BYTES = 4_000_000
"""A larger file is cut to the newest half of that: about 125 runs of all suites, more than a page shows."""

NEGLIGIBLE = 0.01
"""A change below this share of the threshold is no regression: 3 ms after 2 ms do not matter when 5 s are allowed."""


def key(requirement: str, name: str) -> str:
    """The name of a value in the history: `R13.5 drain_rate`."""
    return f"{requirement} {name}"


def read(path: Path, *, before: str | None = None, problems: list[str] | None = None) -> list[Past]:
    """The runs in a history file, oldest first, each once (its last line counts).

    Args:
        path: JSON lines; a file that is not there is an empty history.
        before: leave this run and later ones out.
        problems: gets a sentence for lines that cannot be used; they are left out.
    """
    found = json_lines.read(path, Past, [] if problems is None else problems, check=_unusable)
    runs = {each.run: each for each in found}
    return [runs[run] for run in sorted(runs) if before is None or run < before]


def _unusable(past: Past) -> str | None:
    try:
        datetime.fromisoformat(past.run)
    except ValueError:
        return f"'{past.run}' is no date"
    wrong = [f"{name} {value:g}" for name, value in past.values.items() if not abs(value) < LARGEST]
    return f"the value {wrong[0]} is none" if wrong else None


def append(path: Path, past: Past) -> None:
    """Add a run, unless its last line says the same already; the oldest runs leave a file that has become large.

    Raises:
        ResilienceError: the file cannot be written.
    """
    if past not in read(path):
        json_lines.append(path, [past])
        json_lines.keep_newest(path, MOST_BYTES)


def accept(path: Path, past: Past, *, although: str = "") -> None:
    """Make a run the baseline.

    Args:
        path: the file of the baseline.
        past: the run.
        although: why one that is not ready is accepted all the same.

    Raises:
        UsageError: it is not ready, and no reason is given; or nothing of it was run.
        ResilienceError: the file cannot be written.
    """
    if past.verdict == Decision.NOT_RUN:
        raise UsageError("No test of this run was run, so it cannot be accepted as the baseline.")
    if past.verdict == Decision.NOT_READY and not although.strip():
        raise UsageError(
            "This run is not ready, so it is not accepted as the baseline. To accept it nevertheless, give a reason: "
            '--accept --although "the reason".'
        )
    past = msgspec.structs.replace(past, although=although if past.verdict == Decision.NOT_READY else "")
    replace_file(path, msgspec.json.format(msgspec.json.encode(past), indent=2) + b"\n")


def baseline(path: Path) -> Past | None:
    """The accepted run, `None` if none was accepted.

    Raises:
        UsageError: the file is there and cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Past)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"The baseline {path} cannot be read: {error}. `make baseline` writes a new one.") from None


def worse_by(comparison: str, baseline: float, measured: float) -> float | None:
    """By how much a value is worse than the baseline, as a share of it; `None` for a baseline of 0."""
    if not baseline:
        return None
    change = (measured - baseline) / abs(baseline)
    match comparison:
        case "<" | "<=":
            return change
        case ">" | ">=":
            return -change
        case _:
            return abs(change)


def _regressed(
    comparison: str, limit: float, baseline: float, measured: float, tolerance: float, *, missed: bool
) -> bool:
    if comparison == "==":
        return missed and measured != baseline
    worse = worse_by(comparison, baseline, measured)
    if worse is None:
        return missed
    return worse > tolerance and abs(measured - baseline) > NEGLIGIBLE * abs(limit)


def regressed(measurement: Measurement, baseline: float, tolerance: float) -> bool:
    """Whether a measured value is worse than the baseline beyond the tolerance; never where there is no threshold."""
    if measurement.comparison is None or measurement.threshold is None:
        return False
    return _regressed(
        measurement.comparison,
        measurement.threshold,
        baseline,
        measurement.value,
        tolerance,
        missed=measurement.verdict == Verdict.NOT_MET,
    )


def change(requirement: str, found: ThresholdResult, measured: float, baseline: float, tolerance: float) -> Change:
    """A threshold's measured value beside its baseline."""
    return Change(
        requirement=requirement,
        name=found.name,
        unit=found.unit,
        baseline=baseline,
        measured=measured,
        worse=worse_by(found.comparison, baseline, measured),
        regression=_regressed(
            found.comparison, found.limit, baseline, measured, tolerance, missed=found.verdict is Verdict.NOT_MET
        ),
    )


def compare(accepted: Past, run: str, requirements: Iterable[RequirementResult], tolerance: float) -> Comparison:
    """Every value that the accepted run and this one have; a run is not compared with itself."""
    if accepted.run == run:
        return Comparison(accepted=run, tolerance=tolerance, changes=[], itself=True, although=accepted.although)
    changes = [
        change(each.id, found, found.measured, accepted.values[key(each.id, found.name)], tolerance)
        for each in requirements
        for found in each.thresholds
        if found.measured is not None and key(each.id, found.name) in accepted.values
    ]
    return Comparison(accepted=accepted.run, tolerance=tolerance, changes=changes, although=accepted.although)
