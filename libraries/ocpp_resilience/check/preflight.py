"""Mistakes of a run, found before its first keyword: each is reported once, and nothing is started.

What a run is given (variables, the profile, requirements files, files of invalid messages) and what its tests name
(requirements, thresholds, arguments of our libraries) is read without running anything.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from robot.errors import DataError
from robot.run import RobotFramework
from robot.running import ResourceFile, TestSuite
from robot.utils import normalize

from ocpp_resilience.charge_points.frame_cases import frame_file, load_frames
from ocpp_resilience.errors import ResilienceError, UsageError
from ocpp_resilience.evidence.requirements import Requirements, UnknownRequirement, load_with_ours, requirement_id
from ocpp_resilience.ids import Ids
from ocpp_resilience.json_lines import no_place_for
from ocpp_resilience.load import data as load_data
from ocpp_resilience.profile import Target, version_of_run
from ocpp_resilience.redis.connection import shown_url
from ocpp_resilience.redis.services import ServiceKind, create_service
from ocpp_resilience.report import history, known_deviations
from ocpp_resilience.robot.data_files import data_file
from ocpp_resilience.robot.variables import as_choice, as_duration, as_number
from ocpp_resilience.text import counted, did_you_mean, nearest
from ocpp_resilience.transport.invalid_cases import load_cases, message_file

YES_OR_NO = ("true", "yes", "1", "on", "false", "no", "0", "off")
URL = "REDIS_URL"

VARIABLES = (
    "TARGET",
    "REDIS",
    URL,
    "REDIS_CA",
    "SYSTEM_REDIS_LOGIN",
    "PROTOCOL",
    "RELEASE",
    "SOAK",
    "SOAK BESIDE",
    "HISTORY",
    "BASELINE",
    "KNOWN DEVIATIONS",
    "REGRESSION TOLERANCE",
    "FAIL ON REGRESSION",
)
"""What any run may be given with `robot --variable`, beside the variables that its own files define."""

WITH_REQUIREMENT = {
    "requirementshouldbemet": True,
    "recordmeasurement": False,
    "getthreshold": True,
}
"""Keywords whose first argument is a requirement; whether the second has to be one of its thresholds."""


@dataclass
class Given:
    """The variables and files of a run.

    Attributes:
        suite: all of its tests, as Robot Framework has read them.
        variables: the variables that are set when it begins, by name.
        requirements: own requirements files.
        environment: variables of the environment.
        command: the arguments of this process, if it was started as robot.
    """

    suite: TestSuite
    variables: Mapping[str, object]
    requirements: list[Path] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()

    def variable(self, name: str) -> str | None:
        """The value of a variable as text; `None` if it is not set, or empty."""
        value = self._found(name)
        return None if value is None or value == "" else str(value)

    def is_empty(self, name: str) -> bool:
        """Whether a variable is set, to nothing."""
        return self._found(name) == ""

    def _found(self, name: str) -> object:
        plain = normalize(name, ignore="_")
        return next((value for each, value in self.variables.items() if normalize(each, ignore="_") == plain), None)


def mistakes(given: Given) -> list[str]:
    """Everything that is wrong with a run before it begins, a sentence or two each."""
    found: list[str] = []
    files = list(_files(given.suite))
    found += _misspelt_variables(given, files)
    found += _missing_variable_files(given.command)
    if _uses(files, SYSTEM_LIBRARIES):
        found += _unusable_variables(given, OF_A_SYSTEM)
    found += _unusable_variables(given, OF_ANY_RUN)
    own, all_known = _requirements_files(files)
    requirements = _said(found, lambda: load_with_ours([*given.requirements, *own]))
    if requirements is not None and all_known:
        found += _unknown_requirements(given.suite, files, requirements)
    if requirements is not None:
        found += _unknown_deviations(given, requirements)
    if requirements is not None and _calls_one_of(given.suite, files, WITH_CASES):
        found += _unusable_cases(requirements)
    if _uses(files, ["LoadLibrary"]):
        found += _unusable_load_data()
    found += _wrong_imports(files)
    found += _missing_imports(files)
    return list(dict.fromkeys(found))


def _said(found: list[str], load: Callable[[], Requirements]) -> Requirements | None:
    try:
        return load()
    except ResilienceError as error:
        found.append(str(error))
        return None


# --- Files of the run


def _files(suite: TestSuite) -> Iterator[ResourceFile]:
    """The files of a run: its suites, and the resource files that they import."""
    pending = [each.resource for each in _suites(suite)]
    seen: set[Path] = set()
    while pending:
        current = pending.pop(0)
        yield current
        for each in current.imports:
            path = _resource(each) if each.type == each.RESOURCE else None
            if path is None or path in seen:
                continue
            seen.add(path)
            try:
                pending.append(ResourceFile.from_file_system(path))
            except DataError:
                continue  # Robot Framework says so itself


def _suites(suite: TestSuite) -> Iterator[TestSuite]:
    yield suite
    for each in suite.suites:
        yield from _suites(each)


def _resource(imported: Any) -> Path | None:
    """The file of a resource; `None` if its name contains a variable that is not known yet."""
    directory = Path(imported.directory) if imported.directory else Path.cwd()
    name = str(imported.name).replace("${CURDIR}", str(directory)).replace("${/}", "/")
    if "${" in name:
        return None
    for folder in (directory, *map(Path, sys.path)):
        if (folder / name).is_file():
            return (folder / name).resolve()
    return None


# --- Variables


def _misspelt_variables(given: Given, files: Iterable[ResourceFile]) -> list[str]:
    """Variables that no file defines, and that are like one of those that do something."""
    defined = [each.name.strip("$@&{}").partition(":")[0] for file in files for each in file.variables]
    known = list(dict.fromkeys([*VARIABLES, *defined]))
    plain = {normalize(each, ignore="_") for each in known}
    found = []
    for name in given.variables:
        meant = nearest(name, known)
        if normalize(name, ignore="_") in plain or meant is None or not _by_a_slip(name, meant):
            continue
        found.append(
            f"There is no variable {name}{did_you_mean(name, known)} Known: {', '.join(VARIABLES)}, and what the "
            "suites define themselves."
        )
    return found


def _missing_variable_files(command: Sequence[str]) -> Iterator[str]:
    """Variable files that do not exist: Robot Framework says so and goes on, and another system would be tested."""
    try:
        options, _ = RobotFramework().parse_arguments(command)
    except DataError:
        return  # not the arguments of robot
    for each in options.get("variablefile", []):
        name = each if Path(each).exists() else each.partition(":")[0]
        if name.endswith((".py", ".yaml", ".yml", ".json")) and not Path(name).exists():
            yield f"There is no variable file {name}. Allowed is a path, from the folder that the run is started in."


def _by_a_slip(name: str, meant: str) -> bool:
    return abs(len(normalize(name, ignore="_")) - len(normalize(meant, ignore="_"))) <= 1


Check = Callable[[str, str], object]
"""Raises `UsageError` for a variable, by its name, with a value that cannot be used."""


def _existing_file(name: str, value: str) -> None:
    if not Path(value).is_file():
        state = "is a folder" if Path(value).is_dir() else "does not exist"
        raise UsageError(f"The variable {name} is '{value}', which {state}; allowed is the path of a file.")


def _file_to_write(name: str, value: str) -> None:
    if problem := no_place_for(Path(value)):
        raise UsageError(f"The variable {name} is '{value}': {problem}")


OF_A_SYSTEM: dict[str, Check] = {
    "REDIS": lambda name, value: as_choice(name, value, [each.value for each in ServiceKind]),
    "REDIS_CA": _existing_file,
    "TARGET": lambda _, value: Target.load(value),
    "SOAK": as_duration,
    "SOAK BESIDE": lambda name, value: as_choice(name, value, ("yes", "no")),
}
OF_ANY_RUN: dict[str, Check] = {
    "REGRESSION TOLERANCE": lambda name, value: as_number(name, value, at_least=0),
    "FAIL ON REGRESSION": lambda name, value: as_choice(name, value.lower(), YES_OR_NO),
    "PROTOCOL": lambda _, value: version_of_run(value),
    "HISTORY": _file_to_write,
    "BASELINE": lambda _, value: history.baseline(Path(value)),
    "KNOWN DEVIATIONS": lambda _, value: known_deviations.read(Path(value)),
}
LIBRARIES = (
    "ChargePointLibrary",
    "CorrelationLibrary",
    "EvidenceLibrary",
    "FaultLibrary",
    "LoadLibrary",
    "OcppServerLibrary",
    "RedisQueueLibrary",
    "RedisServiceLibrary",
    "StateStoreLibrary",
)
SYSTEM_LIBRARIES = ("OcppServerLibrary", "RedisServiceLibrary", "RedisQueueLibrary")
"""Where these are used, `TARGET` and `REDIS` say what is tested."""


def _uses(files: Iterable[ResourceFile], libraries: Iterable[str]) -> bool:
    return any(each.type == each.LIBRARY and each.name in libraries for file in files for each in file.imports)


def _unusable_variables(given: Given, checks: Mapping[str, Check]) -> Iterator[str]:
    """Variables with a value that cannot be used."""
    for name, check in checks.items():
        value = given.variable(name)
        if value is None:
            continue
        try:
            check(name, value)
        except UsageError as error:
            yield str(error)
    if "REDIS" in checks:
        yield from _contradictions(given)


def _contradictions(given: Given) -> Iterator[str]:
    """Variables of which one makes no sense without the other, and those that say nothing."""
    external = given.variable("REDIS") == ServiceKind.EXTERNAL.value
    url = given.variable(URL)
    if external and not (url or given.environment.get(URL)):
        yield (
            f"The variable REDIS is 'external', and {URL} is not set. Say where it is: --variable "
            f"{URL}:redis://host:port, or the environment variable {URL}."
        )
    try:
        _reach_redis(given.variable("REDIS"), url or given.environment.get(URL))
    except ResilienceError as error:
        yield str(error)
    if url and not external and (kind := given.variable("REDIS")):
        yield (
            f"The variable {URL} is '{shown_url(url)}', and REDIS is '{kind}', so that the URL would not be used. Say "
            "--variable REDIS:external as well, or leave the URL out."
        )
    for name in ("TARGET", "REDIS"):
        # A script whose own variable is not set would test another system than it seems to.
        if given.is_empty(name):
            yield (
                f"The variable {name} is empty. Give it a value, or leave it out for the one that the suites choose."
            )


def _reach_redis(kind: str | None, url: str | None) -> None:
    """Fail once, before anything is started, and not in the setup of each suite."""
    name = "The Redis of this run"
    if kind == ServiceKind.CONTAINER.value or (kind == ServiceKind.EXTERNAL.value and url):
        create_service(ServiceKind(kind), name, binary=url if kind == ServiceKind.EXTERNAL.value else None).check()


def _unknown_deviations(given: Given, requirements: Requirements) -> Iterator[str]:
    """Known deviations from requirements that there are not."""
    file = given.variable("KNOWN DEVIATIONS")
    try:
        known = known_deviations.read(Path(file)) if file else []
    except UsageError:
        return  # reported with the variable
    for each in known:
        try:
            requirements.get(each.requirement)
        except UnknownRequirement as error:
            yield f"{file}: {error}"


# --- Requirements


def _requirements_files(files: Iterable[ResourceFile]) -> tuple[list[Path], bool]:
    """The requirements files that suites of the run give to `EvidenceLibrary`, and whether all of them are known."""
    found: list[Path] = []
    for file in files:
        for each in file.imports:
            if each.type != each.LIBRARY or each.name != "EvidenceLibrary" or not each.args:
                continue
            directory = Path(each.directory) if each.directory else Path.cwd()
            given = dict(arg.split("=", 1) for arg in map(str, each.args) if "=" in arg)
            first = str(each.args[0])
            name = given.get("requirements", first if "=" not in first else "")
            name = name.replace("${CURDIR}", str(directory)).replace("${/}", "/")
            if "${" in name:
                return found, False
            if name:
                places = [Path(name), directory / name]
                found.append(next((place for place in places if place.is_file()), places[0]))
    return found, True


WITH_CASES = {"loadinvalidmessages", "queuecasesfromfile", "sendinvalidframes"}
"""Keywords that read the files of invalid messages and frames."""


def _calls_one_of(suite: TestSuite, files: Iterable[ResourceFile], names: set[str]) -> bool:
    items = (*suite.all_tests, *(each for file in files for each in file.keywords))
    return any(_plain(call) in names for item in items for call in _calls(item))


def _plain(call: Any) -> str:
    return str(normalize(str(call.name), ignore="_")).rpartition(".")[2]


def _unknown_requirements(suite: TestSuite, files: Iterable[ResourceFile], requirements: Requirements) -> Iterator[str]:
    """Tags, and arguments of our keywords, that name a requirement or a threshold which is in no file."""
    for test in suite.all_tests:
        for tag in map(str, test.tags):
            name = requirement_id(tag)
            if name and name not in requirements:
                try:
                    requirements.get(name)
                except UnknownRequirement as error:
                    yield f"{_place(test)}: test '{test.name}' has the tag {name}. {error}"
        yield from _in_calls(test, requirements)
    for file in files:
        for each in file.keywords:
            yield from _in_calls(each, requirements)


def _in_calls(item: Any, requirements: Requirements) -> Iterator[str]:
    for call in _calls(item):
        name = _plain(call)
        if name not in WITH_REQUIREMENT or not call.args:
            continue
        first, second = [*map(str, call.args[:2]), ""][:2]
        if "{" in first:
            continue
        try:
            requirements.get(first)
            if second and "{" not in second and WITH_REQUIREMENT[name]:
                requirements.threshold(first, second)
        except UnknownRequirement as error:
            yield f"{_place(call)}: {error}"


def _calls(item: Any) -> Iterator[Any]:
    """The calls of keywords in a test or a keyword, however deep."""
    for each in (*((item.setup,) if getattr(item, "has_setup", False) else ()), *getattr(item, "body", ())):
        if hasattr(each, "args") and getattr(each, "name", None):
            yield each
        yield from _calls(each)


def _place(item: Any) -> str:
    source = Path(item.source) if item.source else None
    if source is not None and source.is_relative_to(Path.cwd()):
        source = source.relative_to(Path.cwd())
    return f"{source or '(no file)'}:{item.lineno}"


# --- Files of cases


def _unusable_cases(requirements: Requirements) -> Iterator[str]:
    """Mistakes in the files of invalid messages and frames."""
    try:
        version = version_of_run(None)
    except UsageError as error:
        yield str(error)
        return
    file = data_file(message_file(version))
    try:
        for case in load_cases(file, ids=Ids(), version=version):
            requirements.get(case.requirement)
        load_frames(data_file(frame_file(version)), version=version)
    except UnknownRequirement as error:
        yield f"{file.name}: case '{case.id}': {error}"
    except UsageError as error:
        yield str(error)


def _unusable_load_data() -> Iterator[str]:
    """Mistakes in the file of the default load."""
    try:
        load_data.read(data_file(load_data.FILE_NAME))
    except UsageError as error:
        yield str(error)


# --- Libraries and resources that are not there


def _missing_imports(files: Iterable[ResourceFile]) -> Iterator[str]:
    """Libraries with nearly the name of one of ours, and resource files that do not exist.

    Robot Framework reports them too, as one error among many: it goes on, and every test fails for a missing keyword.
    """
    for file in files:
        for each in file.imports:
            name = str(each.name)
            if each.type == each.RESOURCE and "${" not in name and _resource(each) is None:
                yield (
                    f"{_place(each)}: There is no resource file {name}. Allowed is a path, from the folder of the file "
                    "that names it."
                )
            elif each.type == each.LIBRARY and (meant := _misspelt_library(name)):
                yield (
                    f"{_place(each)}: There is no library {name}; did you mean '{meant}'? Those of this project: "
                    f"{', '.join(LIBRARIES)}."
                )


def _misspelt_library(name: str) -> str | None:
    """The library of ours that is meant; `None` for one that there is, and for one unlike any of ours."""
    if name in LIBRARIES or not name.isidentifier() or find_spec(name) is not None:
        return None
    return nearest(name, LIBRARIES)


# --- Arguments of libraries

OURS = "Library"


def _wrong_imports(files: Iterable[ResourceFile]) -> Iterator[str]:
    """Arguments of our libraries that they do not have."""
    for file in files:
        for each in file.imports:
            if each.type != each.LIBRARY or not each.name.endswith(OURS) or not each.args:
                continue
            try:
                library = getattr(import_module(each.name), each.name)
            except (ImportError, AttributeError):
                continue  # none of ours
            if not library.__module__.startswith(each.name):
                continue
            yield from (f"{_place(each)}: {problem}" for problem in wrong_arguments(library, each.name, each.args))


def wrong_arguments(library: type, name: str, arguments: Iterable[str]) -> Iterator[str]:
    """The named arguments of an import that a library does not have."""
    known = [each.name for each in inspect.signature(library).parameters.values() if each.kind is not each.VAR_KEYWORD]
    others = []
    for argument in map(str, arguments):
        given, equals, _ = argument.partition("=")
        if not (equals and given.isidentifier()):
            others.append(argument)
        elif given not in known:
            yield unknown_argument(name, given, known)
    if len(others) > len(known):
        yield (
            f"The library {name} takes {counted(len(known), 'argument')}, and was given {len(others)}: "
            f"{', '.join(others)}. Allowed: {', '.join(known) or 'none'}."
        )


def unknown_argument(library: str, given: str, known: Iterable[str]) -> str:
    """That a library has no such argument, and which it has."""
    known = list(known)
    return (
        f"The library {library} has no argument '{given}'{did_you_mean(given, known)} Allowed: "
        f"{', '.join(known) or 'none'}."
    )
