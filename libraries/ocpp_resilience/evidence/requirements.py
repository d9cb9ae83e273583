"""The requirements of the suites and their thresholds: the loader of `resources/requirements.yaml`, and a check.

`python -m ocpp_resilience.evidence.requirements check suites/` reads suites without running them and lists tests
without a requirement, tags with an unknown one and, with `--complete`, requirements without a test.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import yaml
from robot.api import TestSuite
from robot.errors import DataError
from robot.running import TestCase
from robot.utils import normalize

from ocpp_resilience import strict_yaml
from ocpp_resilience.arguments import Parser
from ocpp_resilience.errors import VIOLATIONS, UsageError
from ocpp_resilience.evidence.thresholds import RATES, UNITS, Comparison, Threshold, statistic_problem
from ocpp_resilience.shipped import shipped
from ocpp_resilience.text import did_you_mean

FILE_NAME = "requirements.yaml"
DEFAULT_FILE = shipped("resources", FILE_NAME)

REQUIREMENT_ID = re.compile(r"R(\d+)\.(\d+)")

MOST_RUNS = 10
"""Maximum number of repetitions of a requirement's tests in a release."""


class RequirementsFileError(UsageError):
    """`requirements.yaml` cannot be used; the message names file, requirement and field."""


class UnknownRequirement(UsageError):
    """There is no such requirement, or it has no such threshold."""


class Wording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The different text of a requirement in an OCPP version.

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
        values: names of further values that its tests record, which the headline may show.
        violations: kinds of wrong answers that count against this requirement alone, in whichever test they are seen.
        versions: what it says in other OCPP versions than 1.6, by subprotocol.
    """

    id: str
    test: int
    title: str
    thresholds: Mapping[str, Threshold]
    runs: int = 1
    values: Sequence[str] = ()
    violations: Sequence[str] = ()
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
    """All requirements of one file, in the order of the file; or of several, those of own files first.

    Attributes:
        source: the file; the first of own ones.
        by_id: the requirements.
        headings: by the number of the test, where the file gives one.
        headline: what the page says first, and the value that it is: `R18.5 response_time_p99`.
        own: the ids of those that are in the file, or in own files where there are any.
        are_ours: whether all of the project's are among them: its own file, or a copy with other limits.
    """

    source: Path
    by_id: Mapping[str, Requirement]
    headings: Mapping[int, str] = field(default_factory=dict)
    headline: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    are_ours: bool = True

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
                f"There is no requirement '{requirement_id}' in {self.source}{did_you_mean(requirement_id, near)} "
                f"Known: {', '.join(near)}."
            )
        return found

    def in_version(self, protocol: str | None) -> Requirements:
        """The requirements in the words of the version with this subprotocol."""
        worded = {name: each.in_version(protocol) for name, each in self.by_id.items()}
        return replace(self, by_id=worded)

    def threshold(self, requirement_id: str, name: str) -> Threshold:
        """The threshold of that name.

        Raises:
            UnknownRequirement: no such requirement, or no such threshold; the message lists those that there are.
        """
        requirement = self.get(requirement_id)
        found = requirement.thresholds.get(name)
        if found is None:
            raise UnknownRequirement(
                f"Requirement {requirement_id} has no threshold '{name}' in {self.source}"
                f"{did_you_mean(name, requirement.thresholds)} "
                f"Known: {', '.join(requirement.thresholds)}."
            )
        return found


def load(path: Path = DEFAULT_FILE) -> Requirements:
    """Read the requirements and their thresholds.

    Args:
        path: the file; by default the project's own.

    Raises:
        RequirementsFileError: the file cannot be read, or something in it is missing, misspelt or of the wrong type;
            names the line, what is wrong and what is allowed.
    """
    try:
        root, data = strict_yaml.read(path)
    except UsageError as error:
        raise RequirementsFileError(str(error)) from None
    return _Reader(path, root, data).requirements()


@cache
def _ours() -> Requirements:
    """Read once: a run asks for them with each page that it writes."""
    return load(DEFAULT_FILE)


def load_with_ours(paths: Sequence[Path]) -> Requirements:
    """The requirements of the given files, and those of the project that they do not define.

    Raises:
        RequirementsFileError: a file cannot be used.
    """
    ours = _ours()
    others = [load(each) for each in dict.fromkeys(path.resolve() for path in paths) if each != DEFAULT_FILE.resolve()]
    if not others:
        return ours
    own = {each.id: each for several in others for each in several}
    by_id = own | {each.id: each for each in ours if each.id not in own}
    headings = dict(ours.headings)
    headline: dict[str, str] = {}
    for several in others:
        headings |= several.headings
        headline |= several.headline
    headline |= {words: value for words, value in ours.headline.items() if words not in headline}
    return Requirements(others[0].source, by_id, headings, headline, frozenset(own), are_ours=ours.own <= own.keys())


FIELDS = ("headings", "headline", "counted", "requirements")


class _Reader:
    """Reads and checks one file; its errors name the line."""

    def __init__(self, path: Path, root: yaml.Node | None, data: Any) -> None:
        self._path = path
        self._root = root
        self._data = data
        self._units: frozenset[str] = UNITS

    def mistake(self, steps: Sequence[strict_yaml.Step], problem: str) -> RequirementsFileError:
        """The error that names the file, the line of a field, and what is wrong with it."""
        line = strict_yaml.line_of(self._root, steps) if self._root is not None else 1
        return RequirementsFileError(f"{self._path}, line {line}: {problem}")

    def requirements(self) -> Requirements:
        """Everything in the file."""
        data = self._data
        if not isinstance(data, dict):
            raise self.mistake([], "expected the key 'requirements' with a list of requirements.")
        for key in data:
            if key not in FIELDS:
                allowed = ", ".join(sorted(FIELDS))
                raise self.mistake([key], f"unknown key '{key}' (allowed: {allowed}){did_you_mean(key, FIELDS)}")
        if not isinstance(data.get("requirements"), list) or not data["requirements"]:
            raise self.mistake(["requirements"], "expected the key 'requirements' with a list of requirements.")
        counted = self._counted(data.get("counted", []))
        self._units = UNITS | counted | {f"{each}{rate}" for each in counted for rate in RATES}
        by_id: dict[str, Requirement] = {}
        claimed: dict[str, str] = {}
        for position, entry in enumerate(data["requirements"]):
            requirement = self._requirement(entry, position)
            if requirement.id in by_id:
                raise self.mistake(
                    ["requirements", position], f"{requirement.id}: there are two requirements with this id."
                )
            for violation in set(requirement.violations).intersection(claimed):
                raise self.mistake(
                    ["requirements", position, "violations"],
                    f"{requirement.id}: violation '{violation}' already counts against {claimed[violation]}.",
                )
            claimed |= dict.fromkeys(requirement.violations, requirement.id)
            by_id[requirement.id] = requirement
        return Requirements(
            self._path,
            by_id,
            self._headings(data.get("headings", {}), {each.test for each in by_id.values()}),
            self._headline(data.get("headline", {}), by_id),
            frozenset(by_id),
        )

    def _counted(self, listed: object) -> frozenset[str]:
        if not isinstance(listed, list) or not all(isinstance(thing, str) and thing for thing in listed):
            raise self.mistake(["counted"], "'counted' has to be a list of words, for example [messages, keys].")
        return frozenset(listed)

    def _headings(self, given: object, tests: set[int]) -> dict[int, str]:
        if not isinstance(given, dict):
            raise self.mistake(["headings"], "'headings' has to be the number of a test and its heading, line by line.")
        for number, heading in given.items():
            where = ["headings", str(number)]
            if number not in tests:
                known = ", ".join(map(str, sorted(tests)))
                raise self.mistake(
                    where, f"heading {number}: no requirement has this test number (there are: {known})."
                )
            if not isinstance(heading, str) or not heading.strip():
                raise self.mistake(where, f"heading {number}: expected words, got {heading!r}.")
        return given

    def _headline(self, given: object, by_id: Mapping[str, Requirement]) -> dict[str, str]:
        if not isinstance(given, dict):
            raise self.mistake(["headline"], "'headline' has to be words and a value, line by line: p99: R18.5 p99.")
        for words, value in given.items():
            where = ["headline", str(words)]
            if not str(words).strip():
                raise self.mistake(where, f"headline: expected words for '{value}', got {words!r}.")
            requirement, _, name = str(value).partition(" ")
            if requirement not in by_id:
                first = next(iter(by_id.values()))
                raise self.mistake(
                    where,
                    f"headline '{words}': expected a requirement of this file and the name of a value, such as "
                    f"{first.id} {next(iter(first.thresholds))}, got {value!r}{did_you_mean(requirement, by_id)}",
                )
            known = [*by_id[requirement].thresholds, *by_id[requirement].values]
            if name not in known:
                problem = f"has no value '{name}'" if name else "needs the name of a value behind it"
                raise self.mistake(
                    where,
                    f"headline '{words}': {requirement} {problem} (allowed: {', '.join(known)}; other values that a "
                    f"test records, once they are listed under 'values' of {requirement}){did_you_mean(name, known)}",
                )
        return given

    def _requirement(self, entry: object, position: int) -> Requirement:
        at: list[strict_yaml.Step] = ["requirements", position]
        if not isinstance(entry, dict):
            raise self.mistake(at, f"requirement number {position + 1}: expected fields, got {entry!r}.")
        name = entry.get("id")
        where = name if isinstance(name, str) and name else f"requirement number {position + 1}"
        thresholds = entry.get("thresholds")
        if isinstance(thresholds, dict):
            read = {
                key: self._threshold(key, each, [*at, "thresholds", key], where) for key, each in thresholds.items()
            }
            entry = entry | {"thresholds": read}
        requirement = self._converted(entry, Requirement, at, where)
        form = REQUIREMENT_ID.fullmatch(requirement.id)
        if form is None:
            raise self.mistake(
                [*at, "id"], f"{where}: field 'id' is '{requirement.id}' (allowed: a form such as R13.3)."
            )
        if int(form[1]) != requirement.test:
            raise self.mistake(
                [*at, "test"],
                f"{where}: field 'test' is {requirement.test}, but the id says {form[1]}; they have to agree.",
            )
        if not requirement.title.endswith("."):
            raise self.mistake([*at, "title"], f"{where}: field 'title' has to be a sentence that ends in a full stop.")
        self._check_wordings(requirement, at, where)
        if not 1 <= requirement.runs <= MOST_RUNS:
            raise self.mistake(
                [*at, "runs"], f"{where}: field 'runs' is {requirement.runs} (allowed: 1 to {MOST_RUNS})."
            )
        for violation in requirement.violations:
            if violation not in VIOLATIONS:
                raise self.mistake(
                    [*at, "violations"],
                    f"{where}: field 'violations': unknown violation '{violation}' (allowed: {', '.join(VIOLATIONS)})"
                    f"{did_you_mean(violation, VIOLATIONS)}",
                )
        if not requirement.thresholds:
            raise self.mistake([*at, "thresholds"], f"{where}: field 'thresholds' is empty; at least one is needed.")
        return requirement

    def _check_wordings(self, requirement: Requirement, at: list[strict_yaml.Step], where: str) -> None:
        for protocol, wording in requirement.versions.items():
            there = [*at, "versions", protocol]
            if unknown := sorted(wording.measures.keys() - requirement.thresholds.keys()):
                known = ", ".join(requirement.thresholds)
                raise self.mistake(
                    [*there, "measures", unknown[0]],
                    f"{where}: field 'versions.{protocol}.measures': unknown threshold '{unknown[0]}' (allowed: "
                    f"{known})"
                    f"{did_you_mean(unknown[0], requirement.thresholds)}",
                )
            if wording.title is not None and not wording.title.endswith("."):
                raise self.mistake(
                    [*there, "title"],
                    f"{where}: field 'versions.{protocol}.title' has to be a sentence that ends in a full stop.",
                )

    def _threshold(self, name: object, entry: object, at: list[strict_yaml.Step], where: str) -> Threshold:
        where = f"{where}: threshold '{name}'"
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise self.mistake(at, f"{where}: a name has lower-case letters, digits and underscores only.")
        threshold = self._converted(entry, Threshold, at, where)
        if not math.isfinite(threshold.value):
            raise self.mistake(
                [*at, "value"], f"{where}: field 'value' is {threshold.value} (allowed: a finite number)."
            )
        if problem := statistic_problem(threshold.statistic):
            raise self.mistake([*at, "statistic"], f"{where}: field 'statistic': {problem}")
        if threshold.unit not in self._units:
            allowed = ", ".join(sorted(each for each in self._units if not each.endswith(RATES) or each in UNITS))
            raise self.mistake(
                [*at, "unit"],
                f"{where}: field 'unit': unknown unit '{threshold.unit}' (allowed: {allowed}; a thing listed under "
                f"'counted', and its rates, such as messages/s){did_you_mean(threshold.unit, self._units)}",
            )
        if not threshold.measures.strip():
            raise self.mistake([*at, "measures"], f"{where}: field 'measures' is empty; describe the measured value.")
        return threshold

    def _converted(self, entry: object, kind: type[S], at: list[strict_yaml.Step], where: str) -> S:
        try:
            return msgspec.convert(entry, kind)
        except msgspec.ValidationError as error:
            field, problem = _field(error, kind, entry)
            steps = [*at, field] if field else at
            raise self.mistake(steps, f"{where}: {problem}") from None


S = TypeVar("S", Requirement, Threshold)

TYPES = {
    "int": "a whole number",
    "int | float": "a number",
    "str": "text",
    "object": "fields such as comparison, value and unit",
}


def _field(error: msgspec.ValidationError, kind: type[msgspec.Struct], entry: object) -> tuple[str, str]:
    """The field that msgspec's message is about, and the message in the words of the others."""
    text, _, path = str(error).partition(" - at `$.")
    fields = kind.__struct_fields__
    allowed = f"(allowed: {', '.join(fields)})"
    if missing := re.search(r"missing required field `(\w+)`", text):
        return "", f"field '{missing[1]}' is missing."
    if unknown := re.search(r"unknown field `(.+)`", text):
        return unknown[1], f"unknown field '{unknown[1]}' {allowed}{did_you_mean(unknown[1], fields)}"
    at = path.rstrip("`").partition("[")[0]
    found = entry.get(at) if isinstance(entry, dict) else entry
    expected = re.match(r"Expected `([^`]+)`", text)
    choices = ", ".join(get_args(Comparison)) if at == "comparison" else ""
    if at == "id":
        choices = "a form such as R13.3"
    words = choices or strict_yaml.hint(TYPES.get(expected[1], expected[1]) if expected else text, found)
    field = f"field '{at}' is" if at else "it is"
    return at, f"{field} {strict_yaml.shown(found)} (allowed: {words})."


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
    parser = Parser(prog="ocpp-resilience requirements", description="Check the requirement tags of suites.")
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
