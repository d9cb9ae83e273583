"""The requirements of the suites and their thresholds: the loader of `resources/requirements.yaml`, and a check.

`python -m ocpp_resilience.evidence.requirements check suites/` reads suites without running them and lists tests
without a requirement, tags with an unknown one and, with `--complete`, requirements without a test.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import msgspec
import yaml
from robot.api import TestSuite
from robot.errors import DataError
from robot.running import TestCase
from robot.utils import normalize

from ocpp_resilience import strict_yaml
from ocpp_resilience.errors import UsageError
from ocpp_resilience.shipped import shipped

DEFAULT_FILE = shipped("resources", "requirements.yaml")

REQUIREMENT_ID = re.compile(r"R(\d+)\.(\d+)")

Comparison = Literal["<", "<=", "==", ">=", ">"]
Statistic = Literal["maximum", "minimum", "median", "mean", "count", "share", "rate", "growth", "ratio", "single"]

LENGTHS_OF_TIME = {"ms": 0.001, "s": 1.0, "min": 60.0}
"""Units of time, each with its length in seconds."""

MOST_RUNS = 10
"""Maximum number of repetitions of a requirement's tests in a release."""

UNITS = frozenset({*LENGTHS_OF_TIME, "KB", "MB", "MiB", "%", "msg/s", "x", "HTTP status"})
"""Units that need no listing under `counted`."""


class RequirementsFileError(UsageError):
    """`requirements.yaml` cannot be used; the message names file, requirement and field."""


class UnknownRequirement(UsageError):
    """There is no such requirement, or it has no such threshold."""


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The condition on a measured value.

    Attributes:
        comparison: how the measured value has to stand to `value`.
        value: the limit, in `unit`.
        unit: the unit of the limit and of the measured value.
        statistic: the statistic that is compared when there are many samples.
        measures: the measured quantity, in words.
    """

    comparison: Comparison
    value: int | float
    unit: str
    statistic: Statistic
    measures: str

    @property
    def limit(self) -> int | float | timedelta:
        """The limit as keywords pass it on: a `timedelta` for a length of time, else the number."""
        if self.unit in LENGTHS_OF_TIME:
            return timedelta(seconds=self.value * LENGTHS_OF_TIME[self.unit])
        return self.value

    def in_unit(self, measured: float | timedelta) -> float:
        """The measured value as a number in this threshold's unit.

        Raises:
            UsageError: a length of time for a unit that is none, or not a finite number.
        """
        return in_unit(measured, self.unit)

    def judge(self, measured: float | timedelta) -> Judgement:
        """Compare a measured value, a number in this threshold's unit or a length of time, with the limit."""
        return Judgement(self, self.in_unit(measured))

    def __str__(self) -> str:
        return f"{self.comparison} {with_unit(self.value, self.unit)}"


@dataclass(frozen=True)
class Judgement:
    """A measured value beside its threshold."""

    threshold: Threshold
    measured: float

    @property
    def met(self) -> bool:
        """Whether the measured value keeps the threshold."""
        measured, limit = self.measured, self.threshold.value
        match self.threshold.comparison:
            case "<":
                return measured < limit
            case "<=":
                return measured <= limit
            case "==":
                return measured == limit
            case ">=":
                return measured >= limit
            case ">":
                return measured > limit

    @property
    def margin(self) -> float:
        """Distance of the measured value from the limit on the good side, in the threshold's unit; negative if
        missed."""
        measured, limit = self.measured, self.threshold.value
        match self.threshold.comparison:
            case "<" | "<=":
                return _difference(limit, measured)
            case "==":
                return 0 if measured == limit else -abs(_difference(limit, measured))
            case ">=" | ">":
                return _difference(measured, limit)

    @property
    def verdict(self) -> str:
        """`met` or `not met`."""
        return "met" if self.met else "not met"

    @property
    def margin_in_words(self) -> str:
        """The margin for people: `85 ms (85 %)`, with the share of the limit where there is one."""
        text = with_unit(self.margin, self.threshold.unit)
        share = self._share
        return text if share is None else f"{text} ({share})"

    @property
    def miss_in_words(self) -> str:
        """By how much the threshold was missed: `missed by 40 ms (40 %)`."""
        if self.margin == 0:
            return f"exactly the limit, which is not {'below' if self.threshold.comparison == '<' else 'above'} it"
        text = f"missed by {with_unit(abs(self.margin), self.threshold.unit)}"
        share = self._share
        return text if share is None else f"{text} ({share.lstrip('-')})"

    @property
    def _share(self) -> str | None:
        limit = self.threshold.value
        if not limit or self.threshold.comparison == "==":
            return None
        return with_unit(self.margin / abs(limit) * 100, "%")


class Wording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The text of a requirement in an OCPP version, where it differs.

    Attributes:
        title: the title, in the place of the requirement's.
        measures: by threshold, what was measured, in the place of its own words.
    """

    title: str | None = None
    measures: Mapping[str, str] = {}


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One requirement: its text, and the thresholds that decide it.

    Attributes:
        id: for example `R13.3`.
        test: the number of the test that proves it; 0 for the whole.
        title: one sentence.
        thresholds: by name.
        runs: how many times a release runs its tests.
        versions: what it says in other OCPP versions than 1.6, by subprotocol.
    """

    id: str
    test: int
    title: str
    thresholds: Mapping[str, Threshold]
    runs: int = 1
    versions: Mapping[str, Wording] = {}

    def in_version(self, protocol: str | None) -> Requirement:
        """The requirement in the words of the version with this subprotocol."""
        wording = self.versions.get(protocol or "")
        if wording is None:
            return self
        thresholds = {
            name: msgspec.structs.replace(each, measures=wording.measures.get(name, each.measures))
            for name, each in self.thresholds.items()
        }
        return msgspec.structs.replace(self, title=wording.title or self.title, thresholds=thresholds)


@dataclass(frozen=True)
class Requirements:
    """All requirements of one file, in the order of the file."""

    source: Path
    by_id: Mapping[str, Requirement]

    def __iter__(self) -> Iterator[Requirement]:
        return iter(self.by_id.values())

    def __len__(self) -> int:
        return len(self.by_id)

    def __contains__(self, requirement_id: object) -> bool:
        return requirement_id in self.by_id

    def get(self, requirement_id: str) -> Requirement:
        """The requirement with this id.

        Raises:
            UnknownRequirement: there is none; the message lists the ids of the same test.
        """
        found = self.by_id.get(requirement_id)
        if found is None:
            test = requirement_id.partition(".")[0]
            near = [known for known in self.by_id if known.startswith(f"{test}.")] or list(self.by_id)
            raise UnknownRequirement(
                f"There is no requirement '{requirement_id}' in {self.source}. Known: {', '.join(near)}."
            )
        return found

    def in_version(self, protocol: str | None) -> Requirements:
        """The requirements in the words of the version with this subprotocol."""
        return Requirements(self.source, {name: each.in_version(protocol) for name, each in self.by_id.items()})

    def threshold(self, requirement_id: str, name: str) -> Threshold:
        """The threshold of that name.

        Raises:
            UnknownRequirement: no such requirement, or no such threshold; the message lists those that there are.
        """
        requirement = self.get(requirement_id)
        found = requirement.thresholds.get(name)
        if found is None:
            raise UnknownRequirement(
                f"Requirement {requirement_id} has no threshold '{name}' in {self.source}. "
                f"Known: {', '.join(requirement.thresholds)}."
            )
        return found


def in_unit(measured: float | timedelta, unit: str) -> float:
    """A measured value as a number in `unit`.

    Args:
        measured: a number that is in `unit` already, or a length of time.
        unit: for a length of time one of `ms`, `s`, `min`.

    Raises:
        UsageError: a length of time for a unit that is none, or not a finite number.
    """
    if isinstance(measured, timedelta):
        if unit not in LENGTHS_OF_TIME:
            raise UsageError(f"A length of time ({measured}) cannot be given in '{unit}'. Give a number of {unit}.")
        # Microseconds are the resolution of a timedelta; smaller parts come from binary fractions.
        return _plain(round(measured.total_seconds() / LENGTHS_OF_TIME[unit], 9))
    if isinstance(measured, bool) or not isinstance(measured, int | float) or not math.isfinite(measured):
        raise UsageError(f"A measured value has to be a finite number or a length of time, not {measured!r}.")
    return measured


def with_unit(value: float, unit: str) -> str:
    """A number for people, with its unit: `85 ms`, `20,000 messages`, `1 message`, `0.25 %`."""
    digits = 0 if abs(value) >= 1000 else 2 if abs(value) >= 1 else 4
    text = f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text in {"0", "-0"} and value != 0:
        text = f"{value:.2g}"
    if abs(value) == 1 and unit not in UNITS:
        unit = _singular(unit)
    return f"{text} {unit}"


def load(path: Path = DEFAULT_FILE) -> Requirements:
    """Read the requirements and their thresholds.

    Args:
        path: the file; by default the project's own.

    Raises:
        RequirementsFileError: the file cannot be read, or something in it is missing, misspelt or of the wrong type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequirementsFileError(f"{path}: cannot be read: {error}") from None
    try:
        _, data = strict_yaml.parse(text)
    except yaml.YAMLError as error:
        raise RequirementsFileError(f"{path}: not valid YAML: {_on_one_line(error)}") from None
    if not isinstance(data, dict) or not isinstance(data.get("requirements"), list) or not data["requirements"]:
        raise RequirementsFileError(f"{path}: expected the key 'requirements' with a list of requirements.")
    unknown = sorted(str(key) for key in data.keys() - {"counted", "requirements"})
    if unknown:
        raise RequirementsFileError(f"{path}: unknown key '{unknown[0]}'; allowed: counted, requirements.")
    units = UNITS | _counted(data.get("counted", []), path)
    by_id: dict[str, Requirement] = {}
    for position, entry in enumerate(data["requirements"], start=1):
        requirement = _requirement(entry, position, path, units)
        if requirement.id in by_id:
            raise RequirementsFileError(f"{path}: {requirement.id}: there are two requirements with this id.")
        by_id[requirement.id] = requirement
    return Requirements(path, by_id)


def _counted(listed: object, path: Path) -> frozenset[str]:
    if not isinstance(listed, list) or not all(isinstance(thing, str) and thing for thing in listed):
        raise RequirementsFileError(f"{path}: 'counted' has to be a list of words, for example [messages, keys].")
    return frozenset(listed)


def _requirement(entry: object, position: int, path: Path, units: frozenset[str]) -> Requirement:
    if not isinstance(entry, dict):
        raise RequirementsFileError(f"{path}: requirement number {position}: expected fields, got {entry!r}.")
    name = entry.get("id")
    where = f"{path}: {name}" if isinstance(name, str) and name else f"{path}: requirement number {position}"
    thresholds = entry.get("thresholds")
    if isinstance(thresholds, dict):
        # One by one, since msgspec does not say which key of a mapping was wrong.
        entry = entry | {"thresholds": {key: _threshold(key, each, where, units) for key, each in thresholds.items()}}
    try:
        requirement = msgspec.convert(entry, Requirement)
    except msgspec.ValidationError as error:
        raise RequirementsFileError(f"{where}: {_field(error)}") from None
    form = REQUIREMENT_ID.fullmatch(requirement.id)
    if form is None:
        raise RequirementsFileError(f"{where}: field 'id': expected a form such as R13.3, got '{requirement.id}'.")
    if int(form[1]) != requirement.test:
        raise RequirementsFileError(
            f"{where}: field 'test': expected {form[1]} as the id says, got {requirement.test}."
        )
    if not requirement.title.endswith("."):
        raise RequirementsFileError(f"{where}: field 'title': expected a sentence that ends in a full stop.")
    for protocol, wording in requirement.versions.items():
        if unknown := sorted(wording.measures.keys() - requirement.thresholds.keys()):
            known = ", ".join(requirement.thresholds)
            raise RequirementsFileError(
                f"{where}: field 'versions.{protocol}.measures': unknown threshold '{unknown[0]}'; allowed: {known}."
            )
        if wording.title is not None and not wording.title.endswith("."):
            raise RequirementsFileError(
                f"{where}: field 'versions.{protocol}.title': expected a sentence that ends in a full stop."
            )
    if not 1 <= requirement.runs <= MOST_RUNS:
        raise RequirementsFileError(f"{where}: field 'runs': expected 1 to {MOST_RUNS}, got {requirement.runs}.")
    if not requirement.thresholds:
        raise RequirementsFileError(f"{where}: field 'thresholds': expected at least one.")
    return requirement


def _threshold(name: object, entry: object, where: str, units: frozenset[str]) -> Threshold:
    where = f"{where}: threshold '{name}'"
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise RequirementsFileError(f"{where}: a name has lower-case letters, digits and underscores only.")
    try:
        threshold = msgspec.convert(entry, Threshold)
    except msgspec.ValidationError as error:
        raise RequirementsFileError(f"{where}: {_field(error)}") from None
    if not math.isfinite(threshold.value):
        raise RequirementsFileError(f"{where}: field 'value': expected a finite number, got {threshold.value}.")
    if threshold.unit not in units:
        raise RequirementsFileError(
            f"{where}: field 'unit': unknown unit '{threshold.unit}'; allowed: {', '.join(sorted(units))}."
        )
    if not threshold.measures.strip():
        raise RequirementsFileError(f"{where}: field 'measures': expected the measured quantity, in words.")
    return threshold


def _field(error: msgspec.ValidationError) -> str:
    """msgspec's message with the field in front: ``Expected `int`, got `str` - at `$.test` ``."""
    text, _, path = str(error).partition(" - at `$.")
    missing = re.search(r"(?:missing required|unknown) field `(\w+)`", text)
    at = path.rstrip("`") if path else missing[1] if missing else ""
    return f"field '{at}': {text}." if at else f"{text}."


def _difference(left: float, right: float) -> float:
    """A difference without the noise of binary fractions: 0.3 - 0.1 is 0.2."""
    return _plain(round(left - right, 9))


def _plain(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def _singular(unit: str) -> str:
    return unit[:-2] if unit.endswith(("sses", "shes")) else unit.removesuffix("s")


def _on_one_line(error: object) -> str:
    return " ".join(str(error).split())


# --- The check ---------------------------------------------------------------------------------------------------


@dataclass
class Coverage:
    """The result of checking the tags of the suites against the requirements.

    Attributes:
        tests: the number of tests of each known requirement.
        problems: one line for each problem, with the file and line of the test.
    """

    tests: Counter[str]
    problems: list[str]

    @property
    def missing(self) -> list[str]:
        """The ids without a test, in the order of the file."""
        return [each for each, number in self.tests.items() if number == 0]


def check_suite(suite: TestSuite, requirements: Requirements) -> Coverage:
    """Compare the tags of all tests of a suite with the requirements; nothing is run."""
    coverage = Coverage(Counter(dict.fromkeys(requirements.by_id, 0)), [])
    for test in suite.all_tests:
        ids = sorted({each for tag in test.tags if (each := requirement_id(str(tag)))})
        for each in ids:
            if each in requirements:
                coverage.tests[each] += 1
            else:
                coverage.problems.append(
                    f"{_place(test)}: Test '{test.name}' has the tag {each}, which {requirements.source.name} does not "
                    "know."
                )
        if not ids:
            coverage.problems.append(
                f"{_place(test)}: Test '{test.name}' has no requirement tag; add one such as R13.1."
            )
    return coverage


def requirement_id(tag: str) -> str | None:
    """The requirement id that a tag is, as Robot Framework compares tags: without regard to case and spaces."""
    plain = normalize(tag, ignore="_").upper()
    return plain if REQUIREMENT_ID.fullmatch(plain) else None


def _place(test: TestCase) -> str:
    source = Path(test.source) if test.source else None
    if source is None:
        return "(no file)"
    if source.is_relative_to(Path.cwd()):
        source = source.relative_to(Path.cwd())
    return f"{source}:{test.lineno}"


def _table(coverage: Coverage, requirements: Requirements) -> str:
    lines = ["Requirement  Tests  Title"]
    lines += [f"{each.id:<11}  {coverage.tests[each.id]:>5}  {each.title}" for each in requirements]
    covered = sum(number > 0 for number in coverage.tests.values())
    lines.append(f"{covered} of {len(requirements)} requirements have a test.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Returns:
        0 when all is well, 1 when the check found something, 2 for a wrong use (argparse leaves with it itself).
    """
    parser = argparse.ArgumentParser(
        prog="ocpp-resilience requirements", description="Check the requirement tags of suites."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="compare the tags of suites with the requirements; runs nothing")
    check.add_argument("suites", nargs="+", type=Path, help="suite files or folders")
    check.add_argument("--complete", action="store_true", help="fail for a requirement without a test, too")
    check.add_argument("--requirements", type=Path, default=DEFAULT_FILE, help="default: %(default)s")
    options = parser.parse_args(arguments)
    for path in (*options.suites, options.requirements):
        if not path.exists():
            check.error(f"there is no {path}")
    try:
        requirements = load(options.requirements)
        suite = TestSuite.from_file_system(*options.suites, allow_empty_suite=True)
    except (RequirementsFileError, DataError) as error:
        return _fail([_on_one_line(error)])
    if not suite.test_count:
        return _fail([f"No tests in {', '.join(map(str, options.suites))}: nothing was checked."])
    coverage = check_suite(suite, requirements)
    sys.stdout.write(_table(coverage, requirements) + "\n")
    problems = list(coverage.problems)
    if options.complete:
        problems += [f"{each}: no test proves it ({requirements.get(each).title})" for each in coverage.missing]
    elif coverage.missing:
        sys.stdout.write(f"Note: without a test so far: {', '.join(coverage.missing)}.\n")
    return _fail(problems)


def _fail(problems: Sequence[str]) -> int:
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
