"""Measurements as evidence: value and threshold, in a file that survives a killed run."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Self

import msgspec

from ocpp_resilience import json_lines
from ocpp_resilience.evidence.requirements import Requirement
from ocpp_resilience.evidence.thresholds import Judgement, with_unit
from ocpp_resilience.robot.facts import TestIdentity

FILE_NAME = "measurements.jsonl"
INCONCLUSIVE = "inconclusive"

RUN = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"
"""The name of this run: start and process id. A file may hold several runs, since it is only ever appended to."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value, as one line of `measurements.jsonl`.

    Attributes:
        run: the run that measured it.
        recorded_at: when, RFC 3339 with zone.
        suite: full name of the Robot suite, `None` outside Robot Framework.
        test: name of the Robot test, `None` outside a test.
        start: when Robot Framework started that test, exactly as in `output.xml`; empty outside a test.
        requirement: for example `R13.3`.
        name: of the threshold, or of a value that has none.
        value: the measured value in `unit`.
        unit: as in `requirements.yaml`.
        comparison: of the threshold: `<`, `<=`, `==`, `>=`, `>`; `None` without one.
        threshold: the limit in `unit`, `None` without one.
        margin: how far the value is on the good side of the limit in `unit`, below 0 when missed; `None` without one.
        verdict: `met`, `not met`, or `inconclusive` when the value decides nothing; `None` without a threshold.
        doubt: why it decides nothing: a fault of the test without proof, a generator that was late.
        samples: how many single measurements the value is made from, where known.
        method: how it was measured, in words.
    """

    run: str
    recorded_at: str
    suite: str | None
    test: str | None
    requirement: str
    name: str
    value: float
    unit: str
    comparison: str | None = None
    threshold: float | None = None
    margin: float | None = None
    verdict: str | None = None
    samples: int | None = None
    method: str | None = None
    start: str = ""
    doubt: str = ""

    @classmethod
    def of(
        cls,
        requirement: str,
        name: str,
        value: float,
        unit: str,
        *,
        judgement: Judgement | None = None,
        samples: int | None = None,
        method: str | None = None,
        test: TestIdentity | None = None,
        doubt: str = "",
    ) -> Self:
        """A measurement of this run, made now; `judgement` gives threshold, margin and verdict.

        With a `doubt`, the value decides nothing, whether it keeps its threshold or not.
        """
        test = test or TestIdentity()
        return cls(
            run=RUN,
            recorded_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            suite=test.suite,
            test=test.test,
            start=test.start,
            requirement=requirement,
            name=name,
            value=value,
            unit=unit,
            comparison=judgement.threshold.comparison if judgement else None,
            threshold=judgement.threshold.value if judgement else None,
            margin=judgement.margin if judgement else None,
            verdict=None if judgement is None else INCONCLUSIVE if doubt else judgement.verdict,
            doubt=doubt if judgement else "",
            samples=samples,
            method=method,
        )


class MeasurementFile:
    """JSON lines, written one by one as they come, so that a killed run leaves all earlier lines.

    Attributes:
        path: the file; its folder is made when needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, measurement: Measurement) -> None:
        """Write one line.

        Raises:
            ResilienceError: the file cannot be written; without its evidence a run proves nothing.
        """
        json_lines.append(self.path, [measurement])


def failure_text(
    requirement: Requirement, name: str, judgement: Judgement, *, samples: int | None = None, method: str | None = None
) -> str:
    """The threshold, the measured value, and the difference."""
    threshold = judgement.threshold
    measured = with_unit(judgement.measured, threshold.unit) + _how(samples, method)
    return (
        f"{requirement.id} {name}: required {threshold} ({threshold.statistic}: {threshold.measures}), "
        f"measured {measured}, {judgement.miss_in_words}."
    )


def as_html(
    requirement: Requirement, name: str, judgement: Judgement, *, samples: int | None = None, method: str | None = None
) -> str:
    """A table for `log.html`: it needs no other file, and takes its colours from the page, light or dark."""
    threshold = judgement.threshold
    unit = threshold.unit
    rows = {
        "Requirement": f"{requirement.id} {requirement.title}",
        "What": f"{name}: {threshold.measures} ({threshold.statistic})",
        "Required": str(threshold),
        "Measured": with_unit(judgement.measured, unit) + _how(samples, method),
        "Margin": judgement.margin_in_words if judgement.met else judgement.miss_in_words,
        "Verdict": ("\N{CHECK MARK} " if judgement.met else "\N{BALLOT X} ") + judgement.verdict,
    }
    cell = "border:1px solid rgba(128,128,128,.5);padding:.2em .6em;text-align:left;background:none;color:inherit"
    body = "".join(
        f'<tr><th scope="row" style="{cell}">{escape(head)}</th><td style="{cell}">{escape(text)}</td></tr>'
        for head, text in rows.items()
    )
    return f'<table style="border-collapse:collapse;color:inherit;background:none">{body}</table>'


def _how(samples: int | None, method: str | None) -> str:
    parts = []
    if samples is not None:
        parts.append(with_unit(samples, "samples"))
    if method:
        parts.append(method)
    return f" ({', '.join(parts)})" if parts else ""
