"""`resilience.html`: one file that needs no other and no network."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from ocpp_resilience.evidence.thresholds import with_unit
from ocpp_resilience.report import charts
from ocpp_resilience.report.history import key
from ocpp_resilience.report.model import (
    NO_TEST,
    Decision,
    Fault,
    Figure,
    Report,
    RequirementResult,
    Series,
    TestResult,
    ThresholdResult,
    Verdict,
)
from ocpp_resilience.report.verdict import severity

SYMBOLS = {
    Verdict.MET: "\N{CHECK MARK}",
    Verdict.NOT_MET: "\N{BALLOT X}",
    Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_APPLICABLE: "\N{EN DASH}",
}

DECISIONS = {
    Decision.READY: "\N{CHECK MARK}",
    Decision.NOT_READY: "\N{BALLOT X}",
    Decision.UNDECIDED: "?",
    Decision.NOT_RUN: "!",
}

LEDGER_COLUMNS = {
    "invoked": "Messages",
    "acknowledged": "Acknowledged",
    "failed": "Refused",
    "recovered": "Recovered",
    "lost": "Lost",
    "duplicated": "Duplicated",
    "reordered": "Out of order",
}
"""Counts of a ledger to their headings."""

CHARTS = 60
"""Charts on the page; a run with more shows the rest in `log.html` only, so that the page stays below 2 MB."""

ROWS = 200
"""Rows of a table of faults or divergences; the rest is in `resilience.json`."""

VALUES_OPEN = 8
"""So many further values of a requirement, percentiles for example, are not folded away."""

VERDICTS = 20
"""Earlier verdicts that are drawn for each requirement."""

MESSAGE = 600
"""Characters of a test's message."""


def render(report: Report) -> str:
    """The page."""
    groups: dict[int, list[RequirementResult]] = {}
    for each in sorted(report.requirements, key=lambda each: not each.group):
        groups.setdefault(each.group, []).append(each)
    return template("page.html.j2").render(
        report=report,
        groups=groups,
        names={group: report.headings.get(str(group), "") for group in groups},
        symbols=SYMBOLS,
        decisions=DECISIONS,
        open_ones=lambda verdict: _by_reason(report, verdict),
        tests={each.id: each for each in report.tests},
        link=lambda test: f"{quote(report.log)}#{quote(test)}" if report.log else "",
        chart=lambda series: Markup(charts.chart(series, _during(series, report.faults))),  # noqa: S704 - escapes
        timeline=Markup(_timeline(report)),  # noqa: S704 - escapes
        trend=lambda requirement, found: Markup(_trend(report, requirement, found)),  # noqa: S704 - escapes
        past_verdicts=lambda requirement: Markup(_past_verdicts(report, requirement)),  # noqa: S704 - escapes
        tested=_tested(report),
        last_runs=Markup(charts.verdicts("The system", _last_decisions(report))),  # noqa: S704 - escapes
        figure_trend=lambda figure: Markup(_figure_trend(figure)),  # noqa: S704 - escapes
        values_open=VALUES_OPEN,
        no_test=NO_TEST,
        script=Markup(_script()),  # noqa: S704 - our own
        script_hash=base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode(),
        again=lambda test: again(test, report.environment),
        anchors=_anchors(report),
        ledger_columns=LEDGER_COLUMNS,
        most_charts=CHARTS,
        most_rows=ROWS,
    )


TESTED = ("System", "System version", "Protocol", "Redis", "Commit", "Oracle")
"""Facts about the system under test on the first screen, if they are known."""


def _tested(report: Report) -> list[tuple[str, str]]:
    known = report.environment
    names = TESTED if "System" in known else ("Target", *TESTED)
    return [(name, known[name]) for name in names if name in known]


def _last_decisions(report: Report) -> list[str]:
    return [*(each.verdict for each in report.history[-VERDICTS:]), report.verdict.value]


def _figure_trend(figure: Figure) -> str:
    return charts.trend(figure.title, [*figure.history, figure.value], figure.unit)


def _script() -> str:
    """The page's own script; the page's policy lets no other one run."""
    return template("page.js.j2").render()


def _past_verdicts(report: Report, requirement: RequirementResult) -> str:
    known = [each.verdicts[requirement.id] for each in report.history if requirement.id in each.verdicts][-VERDICTS:]
    return charts.verdicts(requirement.id, [*known, requirement.verdict.value])


def again(test: TestResult, environment: Mapping[str, str]) -> str:
    """The command that runs a test again."""
    given = {"TARGET": environment.get("Target", ""), "REDIS": _kind_of(environment.get("Redis", ""))}
    command = ["robot"]
    for name, value in given.items():
        if value and value not in DEFAULTS:
            command += ["--variable", f"{name}:{value}"]
    return shlex.join([*command, "--test", pattern(test.name), test.source or "suites/"])


def pattern(name: str) -> str:
    """The name of a test as an argument of robot, with characters of patterns in brackets."""
    return re.sub(r"([*?\[])", r"[\1]", name)


DEFAULTS = ("reference", "embedded")
"""Target and Redis by default; a command line need not name them."""


def _kind_of(redis: str) -> str:
    """`embedded` of `valkey 9.1.2 (embedded)`."""
    return redis.rpartition("(")[2].removesuffix(")") if redis.endswith(")") else ""


def _anchors(report: Report) -> dict[str, str]:
    """The requirement on the page of a measured value such as `R16.3 recovery_time`, by its name."""
    known = {each.id for each in report.requirements}
    names = {name for fault in report.faults for name in fault.measured}
    return {name: each for name in names if (each := name.partition(" ")[0]) in known}


def _by_reason(report: Report, verdict: str) -> list[tuple[str, list[RequirementResult]]]:
    """The requirements of a verdict, those with the same reason together, those with the worst measurement first.

    Those that no test is about come last.
    """
    found: dict[str, list[RequirementResult]] = {}
    for each in report.requirements:
        if each.verdict == verdict and each.group:
            found.setdefault(each.reason, []).append(each)

    def worst_first(entry: tuple[str, list[RequirementResult]]) -> tuple[bool, float]:
        return entry[0] == NO_TEST, -max(map(severity, entry[1]))

    return sorted(found.items(), key=worst_first)


@cache
def template(name: str) -> jinja2.Template:
    """A template of this room, with the filters that pages need."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ocpp_resilience.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        measure=_measure,
        comparison=_comparison,
        moment=_moment,
        length=len,
        duration=_duration,
        cut=_cut,
        code=code,
        groups_of=_groups_of,
        slug=_slug,
        percent=_percent,
        share=_share,
    )
    return environment.get_template(name)


def _comparison(text: str) -> str:
    """A comparison in signs that people write: `≤ 5 s` of `<= 5 s`."""
    return text.replace("==", "=").replace("<=", "≤").replace(">=", "≥")


def _measure(value: float, unit: str) -> str:
    return with_unit(value, unit)


def _moment(value: str | float) -> str:
    moment = datetime.fromtimestamp(value).astimezone() if isinstance(value, float) else datetime.fromisoformat(value)
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _cut(text: str, length: int = MESSAGE) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def code(text: str) -> Markup:
    """Text in which backticks enclose code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


def _groups_of(items: Iterable[Any], name: str) -> list[tuple[Any, list[Any]]]:
    """Runs of neighbouring items that have an attribute in common; Jinja's own filter would sort them."""
    return [(value, list(group)) for value, group in itertools.groupby(items, key=lambda each: getattr(each, name))]


def _slug(verdict: str) -> str:
    return str(verdict).replace(" ", "-")


def _percent(share: float) -> str:
    return f"{share * 100:+.0f} %"


def _share(share: float) -> str:
    return f"{share * 100:.0f} %"


def _during(series: Series, faults: Sequence[Fault]) -> list[Fault]:
    return [each for each in faults if series.test is None or each.test is None or each.test == series.test]


def _timeline(report: Report) -> str:
    if not report.faults:
        return ""
    begin = datetime.fromisoformat(report.run).timestamp()
    return charts.timeline(report.faults[:ROWS], begin, begin + report.seconds)


def _trend(report: Report, requirement: RequirementResult, found: ThresholdResult) -> str:
    name = key(requirement.id, found.name)
    values: list[Any] = [each.values[name] for each in report.history if name in each.values]
    if found.measured is not None:
        values.append(found.measured)
    return charts.trend(f"{requirement.id} {found.name}", values, found.unit, limit=found.limit)
