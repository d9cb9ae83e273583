"""Charts as SVG that needs nothing but the page that it is in, light or dark, on screen or on paper.

Lines differ in colour and in dashes, and carry their names; axes and text take the colour of the page.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from html import escape

from ocpp_resilience.evidence.thresholds import with_unit
from ocpp_resilience.report.model import Fault, Series

COLOURS = ("#2f7ed8", "#0b8a8a", "#2f9e44", "#b05cc6", "#b8860b", "#7a8694")
LIMIT = "#e03131"
"""The limit has a colour that no series has, and marks across it: without colour it looks like no series either."""
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 4")

WIDTH = 720
WIDE = 1000
HEIGHT = 270
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 34, 40
POINTS = 360
"""Points that a line is thinned to; each step keeps its highest."""

REGULAR = 10
"""From so many points on, the steps between them say how often was measured."""
GAP = 4
"""So many usual steps without a point are a gap."""

FAULTS_NAMED = 8
"""Beyond so many faults in one chart they are numbered in the list only."""


def chart(series: Series, faults: Iterable[Fault] = ()) -> str:
    """Values over time, with the faults shaded and named, and the threshold as a line.

    Args:
        series: the series; a chart without points says so.
        faults: those that overlap are drawn.
    """
    every = [point for points in series.lines.values() for point in points if _finite(point)]
    if not every:
        return f'<p class="chart-empty">{escape(series.title)}: no values.</p>'
    begin, end = min(at for at, _ in every), max(at for at, _ in every)
    end = max(end, begin + 1e-3)
    shown = [each for each in faults if each.begin <= end and (each.end or end) >= begin]
    values = [value for _, value in every]
    # A limit that is far off would press the lines flat; it is said then, not drawn.
    near = series.limit is not None and (series.logarithmic or abs(series.limit) <= 2.5 * max(map(abs, values)))
    scale = _Scale(values + ([series.limit] if near and series.limit is not None else []), series.logarithmic)
    if shown:
        scale.make_room()

    def x(at: float) -> float:
        return LEFT + (at - begin) / (end - begin) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - scale.share(value) * (HEIGHT - TOP - BOTTOM)

    parts = [_frame(series.title, _described(series, shown))]
    for number, fault in enumerate(shown):
        left, right = max(x(fault.begin), LEFT), min(x(fault.end or end), WIDTH - RIGHT)
        parts.append(
            f'<rect x="{left:.1f}" y="{TOP}" width="{max(right - left, 1.5):.1f}" height="{HEIGHT - TOP - BOTTOM}" '
            f'fill="#e8590c" fill-opacity=".16"><title>{escape(fault.name)}</title></rect>'
        )
        if len(shown) <= FAULTS_NAMED:
            anchor, at = ("end", min(right, WIDTH - RIGHT)) if left > WIDTH * 0.7 else ("start", left + 3)
            parts.append(_text(at, TOP + 12 + 13 * (number % 3), _cut(fault.name, 34), anchor=anchor, size=11))
    for value in scale.ticks():
        level = y(value)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}" stroke="currentColor" '
            'stroke-opacity=".18"/>'
        )
        parts.append(_text(LEFT - 6, level + 4, _plain(value), anchor="end"))
    parts += [_text(x(begin + at), HEIGHT - BOTTOM + 16, _clock(at, end - begin)) for at in _moments(end - begin)]
    # A long unit would not fit to the left of the axis; the names of the lines stand behind it.
    parts.append(_text(2, TOP - 10, series.unit, anchor="start"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "time since the start of the measurement"))
    if series.limit is not None:
        level = y(series.limit) if near else TOP
        if near:
            ends = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}" stroke="{LIMIT}"'
            parts.append(f'<line {ends} stroke-width="1"/><line {ends} stroke-width="7" stroke-dasharray="1.5 10.5"/>')
        words = f"limit {with_unit(series.limit, series.unit)}{'' if near else ', beyond this chart'}"
        parts.append(_text(WIDTH - RIGHT, level - 5, words, anchor="end"))
    legend = max(LEFT, 16 + 7 * len(series.unit))
    for number, (name, points) in enumerate(series.lines.items()):
        colour, dashes = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"'
        style += f' stroke-dasharray="{dashes}"' if dashes else ""
        for drawn in pieces([point for point in points if _finite(point)]):
            path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in drawn)
            if len(drawn) == 1:
                parts.append(f'<circle cx="{x(drawn[0][0]):.1f}" cy="{y(drawn[0][1]):.1f}" r="3" fill="{colour}"/>')
            else:
                parts.append(f'<polyline points="{path}" {style}/>')
        parts.append(f'<line x1="{legend}" x2="{legend + 24}" y1="{TOP - 14}" y2="{TOP - 14}" {style}/>')
        label = _cut(name, 28)
        parts.append(_text(legend + 29, TOP - 10, label, anchor="start"))
        legend += 45 + 7 * len(label)
    return "".join([*parts, "</svg>"])


def trend(title: str, values: Sequence[float], unit: str, *, limit: float | None = None) -> str:
    """A small line of one value over the runs, the last one marked."""
    width, height, pad = 150, 34, 5
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    if low == high:
        low, high = low - 1, high + 1
    spread = high - low
    step = (width - 2 * pad) / (len(known) - 1)
    points = [(pad + n * step, height - pad - (v - low) / spread * (height - 2 * pad)) for n, v in enumerate(known)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    last_x, last_y = points[-1]
    about = f"{title}: {len(known)} runs, from {with_unit(known[0], unit)} to {with_unit(known[-1], unit)}"
    about += f", limit {with_unit(limit, unit)}" if limit is not None else ""
    return (
        f'<svg class="trend" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(about)}"><title>{escape(about)}</title>'
        f'<polyline points="{path}" fill="none" stroke="{COLOURS[0]}" stroke-width="1.5"/>'
        f'<circle cx="{last_x:.1f}" cy="{last_y:.1f}" r="3" fill="{COLOURS[0]}"/></svg>'
    )


VERDICT_HEIGHTS = {"met": 16, "not applicable": 4, "inconclusive": 8, "not met": 16}
"""Heights of the marks in a row of verdicts: shapes differ as well as colours."""


DRAWN_AS = {"ready": "met", "not ready": "not met", "undecided": "inconclusive", "not run": "not applicable"}
"""Decisions on a system, each with the verdict that is drawn like it."""


def verdicts(title: str, runs: Sequence[str]) -> str:
    """Verdicts or decisions of the last runs as a row of marks, the newest on the right: full met, crossed not met."""
    if len(runs) < 2:
        return ""
    step, height = 9, 20
    marks = []
    for number, said in enumerate(runs):
        verdict = DRAWN_AS.get(said, said)
        x, tall = number * step + 1, VERDICT_HEIGHTS.get(verdict, 4)
        slug = verdict.replace(" ", "-")
        marks.append(f'<rect class="{escape(slug)}" x="{x}" y="{height - 2 - tall}" width="7" height="{tall}"/>')
        if verdict == "not met":
            marks.append(f'<line x1="{x}" y1="{height - 2}" x2="{x + 7}" y2="{height - 2 - tall}"/>')
    counts = ", ".join(f"{runs.count(each)} {each}" for each in (*VERDICT_HEIGHTS, *DRAWN_AS) if each in runs)
    about = f"{title}: the last {len(runs)} runs: {counts}; the newest: {runs[-1]}"
    return (
        f'<svg class="verdicts" viewBox="0 0 {len(runs) * step} {height}" width="{len(runs) * step}" height="{height}" '
        f'role="img" aria-label="{escape(about)}"><title>{escape(about)}</title>{"".join(marks)}</svg>'
    )


def timeline(faults: Sequence[Fault], begin: float, end: float) -> str:
    """The faults of the run as bars over its time, a row for each kind."""
    rows: dict[str, list[Fault]] = {}
    for fault in faults:
        rows.setdefault(_kind(fault.name), []).append(fault)
    row = 20
    height = 30 + row * len(rows)
    left, right = 260, 16
    end = max(end, begin + 1e-3)

    def x(at: float) -> float:
        return left + (min(max(at, begin), end) - begin) / (end - begin) * (WIDE - left - right)

    about = f"{len(faults)} faults of {len(rows)} kinds; the table below lists them."
    parts = [_frame("Faults over the run", about, height, WIDE)]
    for number, (kind, several) in enumerate(rows.items()):
        top = 6 + row * number
        times = f" ({len(several)})" if len(several) > 1 else ""
        parts.append(_text(left - 8, top + 11, f"{_cut(kind, 38)}{times}", anchor="end", size=12))
        parts.append(
            f'<line x1="{left}" x2="{WIDE - right}" y1="{top + row - 4}" y2="{top + row - 4}" '
            'stroke="currentColor" stroke-opacity=".12"/>'
        )
        for fault in several:
            until = fault.end or end
            dashes = "" if fault.end else ' stroke="#e8590c" stroke-dasharray="3 2"'
            width = max(x(until) - x(fault.begin), 3)
            parts.append(
                f'<rect x="{x(fault.begin):.1f}" y="{top}" width="{width:.1f}" height="13" '
                f'rx="2" fill="#e8590c" fill-opacity="{".85" if fault.proof else ".35"}"{dashes}>'
                f"<title>{escape(fault.name)}</title></rect>"
            )
    parts += [_text(x(begin + at), height - 6, _clock(at, end - begin)) for at in _moments(end - begin)]
    return "".join([*parts, "</svg>"])


def _kind(name: str) -> str:
    """A fault without its values."""
    return name.partition(" (")[0]


def thin(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most about this many points; of each stretch the highest stays, so that no peak is lost."""
    if len(points) <= most:
        return list(points)
    stretch = math.ceil(len(points) / most)
    return [max(points[at : at + stretch], key=lambda point: point[1]) for at in range(0, len(points), stretch)]


def pieces(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """A line in pieces: where nothing was measured for several steps there is a gap, and no line across it."""
    if len(points) < REGULAR:
        return [list(points)] if points else []
    steps = sorted(after[0] - before[0] for before, after in itertools.pairwise(points))
    longest = GAP * max(steps[len(steps) // 2], 1e-9)
    found = [[points[0]]]
    for before, after in itertools.pairwise(points):
        if after[0] - before[0] > longest:
            found.append([])
        found[-1].append(after)
    most = max(2, POINTS // len(found))
    return [thin(each, most) for each in found]


class _Scale:
    """The value axis."""

    def __init__(self, values: Sequence[float], logarithmic: bool) -> None:
        self.logarithmic = logarithmic and min(values) > 0
        if self.logarithmic:
            self.low = 10.0 ** math.floor(math.log10(min(values)))
            self.high = 10.0 ** math.ceil(math.log10(max(*values, self.low * 10)))
        else:
            self.low = min(0.0, *values)
            self.high = max(*values, self.low) if max(values) > self.low else self.low + 1
            self.high += (self.high - self.low) * 0.06

    def make_room(self) -> None:
        """Leave room above the lines for the names of faults."""
        self.high += (self.high - self.low) * 0.25 if not self.logarithmic else self.high * 2

    def share(self, value: float) -> float:
        if self.logarithmic:
            value = max(value, self.low)
            return math.log10(value / self.low) / math.log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        if not self.logarithmic:
            return _nice(self.low, self.high, 5)
        powers = range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)
        return [10.0**power for power in powers]


def _nice(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two limits."""
    raw = (high - low) / about
    unit: float = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next((unit * each for each in (1, 2, 5, 10) if unit * each >= raw), unit * 10)
    first = math.ceil(low / step - 1e-9)
    return [
        round(number * step, 9)
        for number in itertools.takewhile(lambda number: number * step <= high * (1 + 1e-9), itertools.count(first))
    ]


def _moments(whole: float) -> list[float]:
    """Ticks of a time axis, in seconds: round seconds, or round minutes."""
    if whole < 120:
        return _nice(0, whole, 6)
    return [60 * minutes for minutes in _nice(0, whole / 60, 6)]


def _plain(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.0e}"
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _clock(seconds: float, whole: float) -> str:
    if whole < 120:
        return f"{_plain(seconds)} s"
    return f"{seconds / 60:.1f}".rstrip("0").rstrip(".") + " min"


def _finite(point: tuple[float, float]) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _described(series: Series, faults: Sequence[Fault]) -> str:
    parts = []
    for name, points in series.lines.items():
        values = [point[1] for point in points if _finite(point)]
        if values:
            low, high = with_unit(min(values), series.unit), with_unit(max(values), series.unit)
            parts.append(f"{name}: {low} to {high}")
    if faults:
        parts.append(f"faults: {', '.join(each.name for each in faults[:FAULTS_NAMED])}")
    return "; ".join(parts)


def _frame(title: str, description: str, height: int = HEIGHT, width: int = WIDTH) -> str:
    about = f"{title}. {description}"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(about)}" '
        f'style="width:100%;max-width:{width}px;height:auto;display:block;color:inherit;'
        'font-family:system-ui,sans-serif"><title>'
        f"{escape(title)}</title>"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="currentColor">'
        f"{escape(text)}</text>"
    )
