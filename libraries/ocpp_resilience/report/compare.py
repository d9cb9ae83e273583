"""Two runs side by side: `comparison.html`, from the JSON files of both."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ocpp_resilience.errors import UsageError
from ocpp_resilience.json_lines import replace_file
from ocpp_resilience.report.model import FORMAT, Report, RequirementResult
from ocpp_resilience.report.page import SYMBOLS, template

FILE_NAME = "comparison.html"


class Row(msgspec.Struct, frozen=True):
    """A requirement in both runs.

    Attributes:
        id, title: of the requirement.
        left: the verdict of the other run; `None` if it does not have the requirement.
        right: the verdict of this run.
        values: name, unit, and the values of both runs, of each threshold that one of them measured.
    """

    id: str
    title: str
    left: RequirementResult | None
    right: RequirementResult | None
    values: list[tuple[str, str, float | None, float | None]]

    @property
    def changed(self) -> bool:
        """Whether the verdicts differ."""
        return (self.left and self.left.verdict) != (self.right and self.right.verdict)


def read(path: Path) -> Report:
    """The report in a file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be compared with: {error}.") from None
    if report.format != FORMAT:
        raise UsageError(f"{path} has format {report.format}, not {FORMAT}; write it again from its output.xml.")
    return report


def rows(left: Report, right: Report) -> list[Row]:
    """The requirements of both reports; those with a changed verdict come first."""
    before, after = ({each.id: each for each in report.requirements} for report in (left, right))
    found = []
    for name in dict.fromkeys([*after, *before]):
        old, new = before.get(name), after.get(name)
        one = new or old
        title = one.title if one else ""
        found.append(Row(name, title, old, new, _values(old, new)))
    return sorted(found, key=lambda each: not each.changed)


def _values(
    old: RequirementResult | None, new: RequirementResult | None
) -> list[tuple[str, str, float | None, float | None]]:
    first = {each.name: each for each in (old.thresholds if old else ())}
    second = {each.name: each for each in (new.thresholds if new else ())}
    found = []
    for name in dict.fromkeys([*second, *first]):
        unit = (second.get(name) or first[name]).unit
        before, after = (each[name].measured if name in each else None for each in (first, second))
        if before is not None or after is not None:
            found.append((name, unit, before, after))
    return found


def write(report: Report, other: Path, folder: Path) -> Path:
    """Write the comparison of a report with that of another run.

    Returns:
        The page.

    Raises:
        ResilienceError: the other one cannot be read, or the page cannot be written.
    """
    left = read(other)
    page = template("comparison.html.j2").render(left=left, right=report, rows=rows(left, report), symbols=SYMBOLS)
    replace_file(folder / FILE_NAME, page.encode())
    return folder / FILE_NAME
