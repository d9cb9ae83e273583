"""The charts and texts of the page: drawn from numbers, every word from outside stays text."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from ocpp_resilience.report import charts
from ocpp_resilience.report.model import Fault, Series
from ocpp_resilience.report.page import code

EVIL = "<script>alert(1)</script>"


def series(**changes: Any) -> Series:
    points = [(float(at), float(at % 7) + 1) for at in range(1000)]
    return msgspec.structs.replace(Series(title=f"p99 {EVIL}", unit="ms", lines={f"p99 {EVIL}": points}), **changes)


@pytest.mark.parametrize("changes", [{}, {"logarithmic": True, "limit": 100.0}, {"lines": {"one": [(1.0, 2.0)]}}])
def test_a_chart_is_svg_without_anything_from_outside(changes: dict[str, Any]) -> None:
    faults = [Fault(name=f"Redis killed {EVIL}", begin=100, end=200), Fault(name="latency", begin=900)]
    svg = charts.chart(series(**changes), faults)
    drawn = ElementTree.fromstring(svg)
    assert not [each for each in drawn.iter() if "script" in str(each.tag)]
    assert not re.search(r"href|class=|<style|url\(|nan|inf", svg)
    if not changes:
        assert any("Redis killed" in text for text in drawn.itertext())


def test_a_chart_keeps_its_peaks_and_stays_small() -> None:
    points = [(float(at), 1.0) for at in range(100_000)]
    points[54_321] = (54_321.0, 900.0)
    svg = charts.chart(series(lines={"depth": points}))
    assert len(svg) < 20_000
    assert max(value for _, value in charts.thin(points)) == 900


def test_the_timeline_has_a_row_for_each_kind_of_fault() -> None:
    faults = [
        Fault(name=name, begin=at, end=at + 1, proof="seen")
        for at, name in enumerate(["latency: Proxy (100 ms)", "killed: Redis <b>", "latency: Proxy (50 ms)"])
    ]
    svg = charts.timeline(faults, 0, 10)
    assert svg.count("<rect") == 3
    assert svg.count(">latency: Proxy (2)<") == 1
    assert svg.count("killed: Redis &lt;b&gt;<") == 2
    assert "3 faults of 2 kinds" in svg


def test_commands_in_a_reason_are_shown_as_such_and_everything_stays_text() -> None:
    assert code("a `make b` c") == "a <code>make b</code> c"
    assert code("<i> `<b>`") == "&lt;i&gt; <code>&lt;b&gt;</code>"
    assert code("one ` alone <b>") == "one ` alone &lt;b&gt;"


def test_a_long_unit_is_whole_and_before_the_names_of_the_lines() -> None:
    svg = charts.chart(Series(title="CPU", unit="percent of a core", lines={"server": [(0, 1.0), (1, 2.0)]}))
    places = {text: float(x) for x, text in re.findall(r'<text x="([\d.]+)"[^>]*>([^<]+)</text>', svg)}
    assert places["percent of a core"] == 2
    assert places["server"] > 2 + 6 * len("percent of a core")


def test_a_chart_without_values_says_so() -> None:
    assert "no values" in charts.chart(series(lines={"empty": []}))


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    points = [(float(at), 1.0) for at in range(20)] + [(float(at), 1.0) for at in range(60, 80)]
    assert [len(each) for each in charts.pieces(points)] == [20, 20]
    assert charts.chart(series(lines={"memory": points})).count("<polyline") == 1 + 1
    assert len(charts.pieces([(float(at), 1.0) for at in range(40)])) == 1


def test_a_few_points_that_are_far_apart_are_one_line() -> None:
    assert len(charts.pieces([(0.0, 1.0), (1.0, 2.0), (30.0, 1.0)])) == 1
    assert charts.pieces([]) == []


def test_a_limit_is_drawn_like_no_series() -> None:
    svg = charts.chart(series(limit=5.0))
    limits = re.findall(r'<line [^>]*stroke="#e03131"[^>]*>', svg)
    assert len(limits) == 2
    assert 'stroke-width="7" stroke-dasharray="1.5 10.5"' in limits[1]
    assert charts.LIMIT not in charts.COLOURS


def test_the_decisions_of_earlier_runs_are_a_row_of_marks() -> None:
    svg = charts.verdicts("The system", ["undecided", "not ready", "ready"])
    assert 'aria-label="The system: the last 3 runs: 1 ready, 1 not ready, 1 undecided; the newest: ready"' in svg
    assert svg.count("<line") == 1
    assert re.findall(r'rect class="([\w-]+)"', svg) == ["inconclusive", "not-met", "met"]
