"""Values over time as evidence: a chart in `log.html` where they were measured, and a line of `series.jsonl`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import msgspec
from robot.api import logger

from ocpp_resilience import json_lines
from ocpp_resilience.evidence.measurements import RUN
from ocpp_resilience.evidence.thresholds import with_unit
from ocpp_resilience.ledger import LedgerReport
from ocpp_resilience.report import charts, evidence
from ocpp_resilience.report.model import Divergence, Series
from ocpp_resilience.robot.facts import current_test
from ocpp_resilience.robot.variables import evidence_folder

Points = Sequence[tuple[float, float]]
"""Seconds since 1970, or of `time.monotonic`, and a value."""


def keep(
    title: str,
    unit: str,
    lines: Mapping[str, Points],
    *,
    requirement: str | None = None,
    limit: float | None = None,
    logarithmic: bool = False,
    monotonic: bool = False,
    seed: int | None = None,
) -> Series:
    """Show values over time in the log, with the faults shaded, and keep them for the page.

    Args:
        title: the title.
        unit: of the values.
        lines: by name, the points in the order of time; thinned to a few hundred, peaks stay.
        requirement: the id of the requirement that it belongs to.
        limit: a threshold to draw.
        logarithmic: whether the value axis is.
        monotonic: whether the times are of `time.monotonic`.
        seed: the seed of the random choices, shown beside the chart.

    Raises:
        ResilienceError: the file cannot be written.
    """
    offset = time.time() - time.monotonic() if monotonic else 0.0
    kept = {name: [(at + offset, value) for at, value in charts.thin(points)] for name, points in lines.items()}
    test = current_test()
    series = Series(
        title=title,
        unit=unit,
        lines=kept,
        requirement=requirement,
        suite=test.suite,
        test=test.test,
        start=test.start,
        run=RUN,
        limit=limit,
        logarithmic=logarithmic,
    )
    faults = []
    if folder := evidence_folder():
        json_lines.append(folder / evidence.SERIES, [series])
        faults = evidence.read_faults(folder / evidence.FAULTS)
    chart = charts.chart(series, faults)
    logger.info(f"<div>{escape(title)}{_chart_note(seed)}{chart}{_table(series)}</div>", html=True)
    return series


def keep_divergences(found: Iterable[tuple[str, str, str]]) -> None:
    """Keep invalid messages that got another code than the strict one: case, strict code, code that came."""
    folder = evidence_folder()
    if folder is None:
        return
    test = current_test()
    now = time.time()
    kept = [
        Divergence(case=what, expected=code, actual=came, test=test.test, start=test.start, run=RUN, at=now)
        for what, code, came in found
    ]
    json_lines.append(folder / evidence.DIVERGENCES, kept)


def keep_judgement(file: Path | str, report: LedgerReport) -> None:
    """Keep the judgement of a ledger for the page; `file` is the (first) file of it."""
    if folder := evidence_folder():
        judged = evidence.judgement(Path(file).name, report)
        test = current_test()
        kept = msgspec.structs.replace(judged, test=test.test, start=test.start, run=RUN, at=time.time())
        json_lines.append(folder / evidence.JUDGEMENTS, [kept])


def _table(series: Series) -> str:
    cell = "border:1px solid rgba(128,128,128,.5);padding:.1em .6em;text-align:left;background:none;color:inherit"
    rows = [
        "<tr>" + "".join(f'<th style="{cell}">{head}</th>' for head in ("", "lowest", "median", "highest")) + "</tr>"
    ]
    for name, points in series.lines.items():
        values = [value for _, value in points]
        if values:
            figures = [min(values), statistics.median(values), max(values)]
            shown = "".join(f'<td style="{cell}">{escape(with_unit(each, series.unit))}</td>' for each in figures)
            rows.append(f'<tr><th scope="row" style="{cell}">{escape(name)}</th>{shown}</tr>')
    return f'<table style="border-collapse:collapse;color:inherit;background:none">{"".join(rows)}</table>'


def _chart_note(seed: int | None) -> str:
    return "" if seed is None else f" (seed {seed})"
