"""Reading the files that a run leaves beside `output.xml`: JSON lines, appended while it runs, perhaps cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ocpp_resilience.evidence.measurements import FILE_NAME, Measurement
from ocpp_resilience.ledger import LedgerReport, check
from ocpp_resilience.ledger.records import LedgerError
from ocpp_resilience.report.model import Divergence, Fault, LedgerResult, Series

T = TypeVar("T")

FAULTS = "faults.jsonl"
SERIES = "series.jsonl"
DIVERGENCES = "divergences.jsonl"
LEDGERS = "ledger-*.jsonl"
JUDGEMENTS = "ledgers.jsonl"

_judged: dict[tuple[str, int, int], LedgerResult] = {}
"""Judgements by path, size and time of change: a page is written after every test, most ledgers do not change."""


@dataclass
class Evidence:
    """What the files say."""

    measurements: list[Measurement] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    divergences: list[Divergence] = field(default_factory=list)
    ledgers: list[LedgerResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def folders(output: Path, more: Iterable[Path] = ()) -> list[Path]:
    """Where evidence is: the output folder, what pabot's processes left in it, and folders of merged runs."""
    found = [output, *sorted(path for path in (output / "pabot_results").glob("**") if path.is_dir()), *more]
    return list(dict.fromkeys(path.resolve() for path in found))


def read(where: Iterable[Path], page: Path, began: float | None, ended: float | None) -> Evidence:
    """Everything in these folders that belongs to a run.

    Args:
        where: folders.
        page: the folder of the page, for relative names.
        began: when the run started, seconds since 1970; what is older is another run's.
        ended: when it ended.
    """
    evidence = Evidence()

    def inside(at: float) -> bool:
        return (began is None or at >= began - 1) and (ended is None or at <= ended + 5)

    for folder in where:
        evidence.measurements += _decoded(folder / FILE_NAME, Measurement, evidence.problems)
        evidence.series += [
            each
            for each in _decoded(folder / SERIES, Series, evidence.problems)
            if any(inside(points[-1][0]) for points in each.lines.values() if points)
        ]
        evidence.divergences += [
            each
            for each in _decoded(folder / DIVERGENCES, Divergence, evidence.problems)
            if each.at is None or inside(each.at)
        ]
        evidence.faults += [each for each in _faults(folder / FAULTS, evidence.problems) if inside(each.begin)]
        judged = [
            each
            for each in _decoded(folder / JUDGEMENTS, LedgerResult, evidence.problems)
            if each.at is None or inside(each.at)
        ]
        evidence.ledgers += judged
        names = {each.file for each in judged}
        for path in sorted(folder.glob(LEDGERS)):
            if path.name not in names and inside(path.stat().st_mtime):
                evidence.ledgers.append(_ledger(path, page))
    evidence.faults.sort(key=lambda each: each.begin)
    return evidence


def read_measurements(path: Path) -> list[Measurement]:
    """The measurements in one file, of every run in it."""
    return _decoded(path, Measurement, [])


def read_faults(path: Path) -> list[Fault]:
    """The faults in one file, of every run in it."""
    return _faults(path, [])


def _lines(path: Path, problems: list[str]) -> Iterator[bytes]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{path.name}: {error.strerror}")
        return
    for line in data.splitlines():
        if line.strip():
            yield line


def _decode(path: Path, problems: list[str], decode: Callable[[bytes], T]) -> list[T]:
    found: list[T] = []
    wrong = 0
    for line in _lines(path, problems):
        try:
            found.append(decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            wrong += 1
    if wrong:
        problems.append(f"{path.name}: {wrong} {'line' if wrong == 1 else 'lines'} could not be read.")
    return found


def _decoded(path: Path, kind: type[T], problems: list[str]) -> list[T]:
    return _decode(path, problems, msgspec.json.Decoder(kind).decode)


class _FaultRecord(msgspec.Struct, kw_only=True):
    """A line of `faults.jsonl`: a fault when it began, and the same one again when it was over."""

    run: str
    number: int
    fault: str
    target: str
    began: str
    parameters: dict[str, Any] = {}
    suite: str | None = None
    test: str | None = None
    ended: str | None = None
    proven: bool = False
    proof: str = ""
    healed: str = ""


def _faults(path: Path, problems: list[str]) -> list[Fault]:
    """Every fault once, as its last line says."""
    faults: dict[tuple[str, int], Fault] = {}
    for record in _decoded(path, _FaultRecord, problems):
        began = _seconds(record.began)
        if began is None:
            continue
        values = ", ".join(f"{name} {value}" for name, value in record.parameters.items())
        faults[record.run, record.number] = Fault(
            name=f"{record.fault}: {record.target}{f' ({values})' if values else ''}",
            begin=began,
            end=_seconds(record.ended),
            proof=record.proof if record.proven else "",
            suite=record.suite,
            test=record.test,
        )
    return list(faults.values())


def _seconds(moment: str | None) -> float | None:
    """A moment, RFC 3339, in seconds since 1970; `None` for what is none."""
    try:
        return datetime.fromisoformat(moment).timestamp() if moment else None
    except ValueError:
        return None


def _ledger(path: Path, page: Path) -> LedgerResult:
    status = path.stat()
    identity = (str(path), status.st_size, status.st_mtime_ns)
    if identity not in _judged:
        _judged[identity] = _judge(path, page)
    return _judged[identity]


def _judge(path: Path, page: Path) -> LedgerResult:
    name = str(path.relative_to(page)) if path.is_relative_to(page) else path.name
    try:
        report = check([path])
    except LedgerError as error:
        return LedgerResult(file=name, verdict="unreadable", summary=str(error), counts={})
    return judgement(name, report)


def judgement(name: str, report: LedgerReport) -> LedgerResult:
    """A judgement as the page shows it."""
    counts = {kind: value for kind, value in report.to_json().items() if type(value) is int}
    return LedgerResult(file=name, verdict=report.verdict.value, summary=report.summary, counts=counts)
