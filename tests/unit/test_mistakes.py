"""The mistakes that a user makes: each is made here for real, and `docs/guide/mistakes.md` shows what each is told.

`MISTAKES=write pytest tests/unit/test_mistakes.py` writes the table anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree as ET

import prepared
import pytest

from ocpp_resilience.shipped import shipped

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guide" / "mistakes.md"
ROBOT = [sys.executable, "-m", "robot", "--outputdir", "out"]
COMMAND = [sys.executable, "-m", "ocpp_resilience.cli"]
LONGEST = 420
"""Characters of a message in the table."""


@dataclass(frozen=True)
class Mistake:
    """A mistake.

    Attributes:
        kind: the part of the table.
        made: what somebody types, in the table.
        said: pieces of the message: what was wrong, what is allowed, the nearest name.
        command: what is run in a folder of its own.
        files: what is in that folder.
        status: the exit status.
        environment: variables of the environment.
    """

    kind: str
    made: str
    said: tuple[str, ...]
    command: list[str]
    files: dict[str, str] = field(default_factory=dict)
    status: int = 1
    environment: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return re.sub(r"[^\w]+", "-", self.made).strip("-")[:60]


SYSTEM = """
*** Settings ***
Library    EvidenceLibrary
Library    OcppServerLibrary
*** Test Cases ***
One
    No Operation
"""


def with_variable(*given: str, said: tuple[str, ...], **more: object) -> Mistake:
    options = [part for each in given for part in ("--variable", each)]
    made = " ".join(f"--variable {each}" for each in given)
    files = {"one.robot": SYSTEM} | more.pop("files", {})  # type: ignore[operator]
    return Mistake("Variables of a run", f"`robot {made} …`", said, [*ROBOT, *options, "one.robot"], files, **more)  # type: ignore[arg-type]


PROFILE = shipped("resources", "targets", "reference.yaml").read_text()


def with_profile(old: str, new: str, *said: str) -> Mistake:
    assert PROFILE.count(old) >= 1, old
    files = {"one.robot": SYSTEM, "my.yaml": PROFILE.replace(old, new, 1)}
    shown = f"`{' '.join(new.split()).rstrip(',')}` in a profile" if new else f"a profile without `{old}`"
    shown = shown if not new.startswith("\t") else "a tab before a field of a profile"
    command = [*ROBOT, "--variable", "TARGET:my.yaml", "one.robot"]
    return Mistake("The profile of a system", shown, ("my.yaml", *said), command, files)


OWN = """
counted: [messages]
requirements:
  - id: R99.1
    test: 99
    title: Our nightly batch is through in time.
    thresholds:
      batch_time: {comparison: "<", value: 5, unit: s, statistic: p95, measures: "time of a batch"}
"""
OWN_SUITE = """
*** Settings ***
Library    EvidenceLibrary    requirements=own.yaml
*** Test Cases ***
One
    [Tags]    R99.1
    {line}
"""
MEASURED = "Requirement Should Be Met    R99.1    batch_time    4"


def with_requirements(old: str, new: str, *said: str, made: str = "") -> Mistake:
    assert old in OWN
    files = {"one.robot": OWN_SUITE.format(line=MEASURED), "own.yaml": OWN.replace(old, new, 1)}
    shown = made or f"`{' '.join(new.split()).rstrip(',')}`"
    return Mistake(
        "Own requirements", f"{shown} in a requirements file", ("own.yaml, line ", *said), [*ROBOT, "one.robot"], files
    )


def with_test(made: str, suite: str, *said: str, kind: str = "Own requirements", **more: object) -> Mistake:
    files = {"one.robot": suite, "own.yaml": OWN}
    return Mistake(kind, made, said, [*ROBOT, "one.robot"], files, **more)  # type: ignore[arg-type]


CASES_SUITE = """
*** Settings ***
Library    EvidenceLibrary
Library    RedisQueueLibrary
*** Test Cases ***
One
    Load Invalid Messages
"""
CASE = """
    {"id": "own-case", "title": "An own case.", "requirement": "R17.1", "kind": "malformed_json", "raw": "{",
     "code": "FormationViolation", "reason": "The closing brace is missing.", "answer": null}
"""


def with_case(made: str, old: str, new: str, *said: str) -> Mistake:
    cases = '{"description": "Own.", "kinds": ["malformed_json"], "cases": [%s]}' % CASE  # noqa: UP031
    assert old in cases
    files = {"one.robot": CASES_SUITE, "resources/invalid_messages.json": cases.replace(old, new, 1)}
    return Mistake("Invalid messages", f"{made} in `invalid_messages.json`", said, [*ROBOT, "one.robot"], files)


def with_command(made: str, *said: str, status: int, files: dict[str, str] | None = None) -> Mistake:
    command = [*COMMAND, *made.split()]
    return Mistake("Commands", f"`ocpp-resilience {made}`", said, command, files or {}, status=status)


def of_server(said: tuple[str, ...], **environment: str) -> Mistake:
    made = " ".join(f"{name}={value}" for name, value in environment.items())
    command = [sys.executable, "-m", "server"]
    return Mistake(
        "The reference server", f"`{made} python -m server`", said, command, status=2, environment=environment
    )


MISTAKES = [
    with_variable(
        "TARGT:my.yaml", said=("There is no variable TARGT", "did you mean 'TARGET'?", "Known: TARGET, REDIS")
    ),
    with_variable("TARGET:missing.yaml", said=("There is no target profile", "the name of a bundled one: reference")),
    with_variable("TARGET:refrence", said=("no bundled target profile 'refrence'", "did you mean 'reference'?")),
    with_variable("TARGET:resources", said=("no bundled target profile 'resources'", "give its path, ending in .yaml")),
    with_variable("REDIS:foo", said=("The variable REDIS is 'foo'", "embedded, sentinel, container, external")),
    with_variable(
        "REDIS:external", said=("REDIS is 'external', and REDIS_URL is not set", "--variable REDIS_URL:redis://")
    ),
    with_variable("SOAK:long", said=("The variable SOAK is 'long'", "a time above 0, such as '90 seconds'")),
    with_variable("FAIL ON REGRESSION:maybe", said=("FAIL ON REGRESSION is 'maybe'", "true, yes, 1, on")),
    with_variable("REGRESSION TOLERANCE:much", said=("REGRESSION TOLERANCE is 'much'", "a number at least 0")),
    with_variable("TARGET:", said=("The variable TARGET is empty", "leave it out")),
    with_variable("PROTOCOL:ocpp1.5", said=("Unknown OCPP version 'ocpp1.5'", "ocpp1.6, ocpp2.0.1, ocpp2.1")),
    with_variable(
        "REDIS:external",
        "REDIS_URL:localhost:6379",
        said=("'localhost:6379' is none", "redis://[user:password@]host:port/db"),
    ),
    with_variable(
        "REDIS:embedded",
        "REDIS_URL:redis://127.0.0.1:6379",
        said=("REDIS is 'embedded', so that the URL would not be used", "--variable REDIS:external"),
    ),
    with_variable(
        "REDIS:external",
        "REDIS_URL:redis://127.0.0.1:1",
        said=("The Redis of this run does not answer PING at 127.0.0.1:", "Connection refused"),
    ),
    with_variable(
        "REDIS:container",
        said=("needs Docker, which cannot be reached", "Start Docker, or do without it: REDIS:embedded"),
        environment={"DOCKER_HOST": "unix:///nowhere/docker.sock"},
    ),
    Mistake(
        "Variables of a run",
        "`robot --variablefile our-system.py …`",
        ("There is no variable file our-system.py", "a path, from the folder that the run is started in"),
        [*ROBOT, "--variablefile", "our-system.py", "one.robot"],
        {"one.robot": SYSTEM},
    ),
    with_variable("HISTORY:.", said=("HISTORY is '.'", "is a folder; give the path of a file")),
    with_variable("BASELINE:one.robot", said=("The baseline one.robot cannot be read", "`make baseline` writes a new")),
    with_variable("KNOWN DEVIATIONS:known.yaml", said=("Known deviations known.yaml", "No such file")),
    with_variable(
        "KNOWN DEVIATIONS:wrong.yaml",
        said=("wrong.yaml", "unknown field 'requirment'", "did you mean 'requirement'?"),
        files={"wrong.yaml": "known:\n  - {requirment: R16.9, reason: Ticket 17, since: 2026-10-01}\n"},
    ),
    with_variable(
        "KNOWN DEVIATIONS:other.yaml",
        said=("other.yaml: There is no requirement 'R16.99'", "did you mean 'R16.9'?"),
        files={"other.yaml": "known:\n  - {requirement: R16.99, reason: Ticket 17, since: 2026-10-01}\n"},
    ),
    with_profile("  start: 15", "  start: 1e3", "is '1e3'", "write 1000 without quotes"),
    with_profile("  start: 15", "  start: 1:30", "line 56", "YAML reads 1:30 as 90; write that number"),
    with_profile("name: reference", "name: no", "is false (allowed: text", "unless they are in quotes"),
    with_profile(
        "stop_signal: SIGTERM", "stop_signl: SIGTERM", "line 1", "unknown field 'start.stop_signl'", "'stop_signal'?"
    ),
    with_profile("  start: 15", "  start: soon", "field 'timeouts.start' is 'soon' (allowed: a number)"),
    with_profile("name: reference", "", "line ", "field 'name' is missing"),
    with_profile("  start: 15", "\tstart: 15", "line 56", "found character '\\t'"),
    with_profile("- dead_letters", "- dead_leters", "is 'dead_leters'", "did you mean 'dead_letters'?"),
    with_profile(" StatusNotification,", " StatusNotificaton,", "is 'StatusNotificaton'", "mean 'StatusNotification'?"),
    with_requirements("statistic: p95", "statistic: p955", "unknown statistic 'p955'", "a percentile such as p95"),
    with_requirements("statistic: p95", "statistic: medain", "unknown statistic 'medain'", "did you mean 'median'?"),
    with_requirements("unit: s,", "unit: sec,", "unknown unit 'sec'", "allowed: %, HTTP status"),
    with_requirements('comparison: "<"', 'comparison: "=<"', "'comparison' is '=<' (allowed: <, <=, ==, >=, >)"),
    with_requirements("value: 5", "value: five", "field 'value' is 'five' (allowed: a number)"),
    with_requirements("title:", "titel:", "unknown field 'titel'", "did you mean 'title'?"),
    with_requirements("value: 5, ", "", "field 'value' is missing", made="a threshold without `value`"),
    with_requirements("test: 99", "test: 9", "field 'test' is 9, but the id says 99"),
    with_requirements(
        "title: Our nightly batch is through in time.", "title: 2026-12-01", "is 2026-12-01", "in quotes"
    ),
    with_requirements("    title:", "\ttitle:", "line 5", "spaces in front of a field, no tabs", made="a tab"),
    with_requirements("value: 5", 'value: "5"', "is '5' (allowed: a number", "write 5 without quotes"),
    with_test(
        "`Resource    our.resource`, which is not there",
        OWN_SUITE.format(line=MEASURED).replace("*** Test", "Resource    our.resource\n*** Test"),
        "one.robot:3: There is no resource file our.resource",
        "a path, from the folder of the file that names it",
        kind="Imports",
    ),
    with_test(
        "`Library    RedisServiceLibary`",
        OWN_SUITE.format(line=MEASURED).replace("*** Test", "Library    RedisServiceLibary\n*** Test"),
        "There is no library RedisServiceLibary; did you mean 'RedisServiceLibrary'?",
        kind="Imports",
    ),
    with_test(
        "`Library    RedisQueueLibrary    ocpp:requests`",
        OWN_SUITE.format(line=MEASURED).replace("*** Test", "Library    RedisQueueLibrary    ocpp:requests\n*** Test"),
        "RedisQueueLibrary takes 0 arguments, and was given 1: ocpp:requests",
        kind="Imports",
    ),
    with_test(
        "`Library    EvidenceLibrary    measurements=.`",
        OWN_SUITE.format(line=MEASURED).replace("requirements=own.yaml", "measurements=."),
        "was given measurements=.: . is a folder; give the path of a file",
        kind="Imports",
    ),
    with_test(
        "`Library    EvidenceLibrary    requirments=own.yaml`",
        OWN_SUITE.format(line=MEASURED).replace("requirements=", "requirments="),
        "EvidenceLibrary has no argument 'requirments'; did you mean 'requirements'?",
        "Allowed: requirements, measurements",
    ),
    with_test(
        "`requirements=` a file that is not there",
        OWN_SUITE.format(line=MEASURED).replace("own.yaml", "owm.yaml"),
        "owm.yaml: cannot be read: No such file or directory",
    ),
    with_test(
        "the tag `R99.2`, which no file has",
        OWN_SUITE.format(line="No Operation").replace("[Tags]    R99.1", "[Tags]    R99.2"),
        "one.robot:4: test 'One' has the tag R99.2",
        "Known: R99.1",
    ),
    with_test(
        "`Requirement Should Be Met    R99.1    batch_tme    4`",
        OWN_SUITE.format(line=MEASURED.replace("batch_time", "batch_tme")),
        "R99.1 has no threshold 'batch_tme'",
        "did you mean 'batch_time'?",
    ),
    with_test(
        "a p95 of three samples",
        OWN_SUITE.format(line="Requirement Should Be Met    R99.1    batch_time    4    samples=3"),
        "R99.1 batch_time is inconclusive: 3 samples for a p95, which needs at least 20",
        status=0,
    ),
    with_case(
        "the kind `malformd_json`",
        '"malformed_json", "raw"',
        '"malformd_json", "raw"',
        "did you mean 'malformed_json'?",
    ),
    with_case("the requirement `R17.99`", "R17.1", "R17.99", "'own-case'", "There is no requirement 'R17.99'"),
    with_case(
        "the code `FormationViolatoin`",
        "FormationViolation",
        "FormationViolatoin",
        "did you mean 'FormationViolation'?",
    ),
    with_case("the field `reson`, not `reason`,", '"reason"', '"reson"', "case 'own-case': field 'reason' is missing"),
    with_case("a brace too few", "]}", "]", "invalid_messages.json is not JSON"),
    with_case("the same id twice", CASE.strip(), f"{CASE.strip()}, {CASE.strip()}", "'id' occurs twice"),
    Mistake(
        "Invalid messages",
        "a folder of the name `resources/invalid_messages.json`",
        ("invalid_messages.json", "Is a directory"),
        [*ROBOT, "one.robot"],
        {"one.robot": CASES_SUITE, "resources/invalid_messages.json/a": ""},
    ),
    Mistake(
        "Invalid messages",
        "`charge_points: many` in `load_test_data.json`",
        ("load_test_data.json: field 'charge_points' is text (allowed: fields)",),
        [*ROBOT, "one.robot"],
        {
            "one.robot": CASES_SUITE.replace("RedisQueueLibrary", "LoadLibrary").replace("Load Inv", "No Operation  #"),
            "resources/load_test_data.json": '{"charge_points": "many"}',
        },
    ),
    with_command("runn", "there is no subcommand 'runn'", "did you mean 'run'?", status=2),
    with_command("run nosuch.robot", "Not run: There is no nosuch.robot.", status=3),
    with_command("run --fail-unless green", "invalid choice: 'green' (choose from", status=3),
    with_command("run --targt my.yaml", "no option --targt; did you mean '--target'?", "robot come after --", status=3),
    with_command("run --limit soon", "--limit is 'soon', allowed is a time above 0", status=3),
    with_command("run --summary .", "--summary .: . is a folder; give the path of a file", status=3),
    with_command("run --outputdir a", "a is a file; give a path in a folder", status=3, files={"a": ""}),
    with_command("run --redis embedded --redis-url redis://127.0.0.1:6379", "Give --redis external", status=3),
    with_command("check check reference --only queu", "no part 'queu'", "did you mean 'queue'?", status=2),
    with_command("load plan.json", "plan.json: cannot be read: No such file", status=2),
    with_command(
        "init full", "full is there already; name a folder that is new or empty", status=2, files={"full/a": ""}
    ),
    with_command("report nosuch.xml", "nosuch.xml", "Allowed is the output.xml of a run", status=1),
    Mistake(
        "The reference server",
        "`python -m server --port 8081`",
        ("There is no argument --port", "settings come from the environment, for example HTTP_PORT=8081"),
        [sys.executable, "-m", "server", "--port", "8081"],
        status=2,
    ),
    of_server(("REDIS_URL: 'localhost' cannot be used, allowed is",), REDIS_URL="localhost"),
    of_server(("QUEUE_SHARDS: 'many' cannot be used, allowed is",), QUEUE_SHARDS="many"),
]

KEYWORDS = {
    "`Start Redis    allias=second`": ("Start Redis    allias=second", "no argument 'allias'; did you mean 'alias'?"),
    "`Start Redis    alias=other    maxmemry=10mb`": (
        "Start Redis    alias=other    maxmemry=10mb",
        "does not accept the setting maxmemry 10mb: Bad directive",
    ),
    "`Restart Redis    alias=redes`": (
        "Restart Redis    alias=redes",
        "There is no Redis 'redes'; there is only 'redis'.",
    ),
    "`Start Server    …    QUEUE_NAMES=x`": (
        "Start Server    ${URL}    alias=other    QUEUE_NAMES=x",
        "no setting QUEUE_NAMES; did you mean QUEUE_NAME?",
    ),
    "`Start Server    …    QUEUE_SHARDS=many`": (
        "Start Server    ${URL}    alias=other    QUEUE_SHARDS=many",
        "QUEUE_SHARDS: 'many' cannot be used, allowed is",
    ),
    "`Queue Message    Hartbeat`": ("Queue Message    Hartbeat", "no action 'Hartbeat'; did you mean 'Heartbeat'?"),
    "`Queue Message    Heartbeat    charge_pont=CP-1`": (
        "Queue Message    Heartbeat    charge_pont=CP-1",
        "no argument 'charge_pont'; did you mean 'charge_point'?",
    ),
    "`Send Command    RemoteStartTransaction    …    id_tag=X`": (
        "Send Command    RemoteStartTransaction    ${POINT}    id_tag=X",
        "RemoteStartTransaction has no field 'id_tag' in the profile of target 'reference'; did you mean 'idTag'?",
    ),
    "`Send Command    Reset    …    type=Gentle`": (
        "Send Command    Reset    ${POINT}    type=Gentle",
        "The system cannot use Reset to ",
    ),
    "`Load Invalid Messages    kind=malformd_json`": (
        "Load Invalid Messages    kind=malformd_json",
        "no case of kind malformd_json",
    ),
    "`Message Should Be Answered    nothing`": (
        "Message Should Be Answered    nothing",
        "Expected the result of `Queue Message` or another sending keyword, not 'nothing'.",
    ),
}
SUITE = """
*** Settings ***
Library    CorrelationLibrary
Library    OcppServerLibrary
Library    RedisQueueLibrary
Library    RedisServiceLibrary
Suite Setup    Start Everything
*** Variables ***
${URL}      ${NONE}
${POINT}    ${NONE}
*** Keywords ***
Start Everything
    ${url} =    Start Redis
    VAR    ${URL} =    ${url}    scope=SUITE
    ${server} =    Start Server    ${url}
    Wait Until Server Is Ready
    Open Queue    ${url}
    Open Commands    ${url}    ${server}
    ${points} =    Announce Charge Points    1
    VAR    ${POINT} =    ${points}[0]    scope=SUITE
*** Test Cases ***
"""


def shown(text: str, folder: Path) -> str:
    """A message for the table: without the paths of this machine, on one line, cut where it is long."""
    text = text.replace(f"{folder}/", "").replace(f"{ROOT}/resources", "resources").replace(str(ROOT), "…")
    text = re.sub(r"\bCP-[0-9a-z]+-\d+", "CP-1", text)
    text = re.sub(r"127\.0\.0\.1:\d{2,}", "127.0.0.1:6379", " ".join(text.split()))
    text = re.sub(r"waited [\d.]+ seconds", "waited 10 seconds", text)
    text = re.sub(r"/\S+/(targets/\w+\.yaml)", r"resources/\1", text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(' ', 1)[0]} …"


def told(mistake: Mistake, done: subprocess.CompletedProcess[str], folder: Path) -> str:
    """The message that somebody reads."""
    if "robot" in mistake.command[2:3]:
        found = ET.parse(folder / "out" / "output.xml")
        [test] = found.iter("test")
        status = test.find("status")
        assert status is not None
        messages = [each.text or "" for each in found.iter("msg") if each.get("level") == "WARN"]
        return status.text or next(iter(messages), "")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else done.stdout


TOLD: dict[str, tuple[str, str]] = {}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_each_mistake_is_told_what_is_wrong_and_what_is_allowed(mistake: Mistake, tmp_path: Path) -> None:
    for name, text in mistake.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(dedent(text).lstrip("\n"))
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"} | mistake.environment
    environment["PYTHONPATH"] = str(ROOT)
    done = prepared.run(mistake.command, cwd=tmp_path, env=environment, timeout=120)
    message = told(mistake, done, tmp_path)
    for piece in mistake.said:
        assert piece in message, f"{message}\n{done.stdout}{done.stderr}"
    assert done.returncode == mistake.status
    if mistake.command[:3] == ROBOT[:3] and mistake.status:
        assert done.stdout.count(message.splitlines()[0]) == 1, "told once"
        assert 'File "' not in done.stdout + done.stderr, "no traceback"
        assert "Start Server" not in (tmp_path / "out" / "output.xml").read_text()
        assert '"verdict": "not run"' in (tmp_path / "out" / "resilience.json").read_text()
    check_row(mistake.kind, mistake.made, shown(message, tmp_path))


@pytest.fixture(scope="module")
def keywords(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, Path]]:
    """The messages of keywords that are used wrongly, from one run with a real Redis and a real server."""
    folder = tmp_path_factory.mktemp("keywords")
    tests = "".join(f"{number}\n    {line}\n" for number, (line, _) in enumerate(KEYWORDS.values()))
    (folder / "one.robot").write_text(SUITE.lstrip("\n") + tests)
    done = prepared.run([*ROBOT, "one.robot"], cwd=folder, timeout=200)
    assert done.returncode == len(KEYWORDS), done.stdout
    found = {}
    for test, made in zip(ET.parse(folder / "out" / "output.xml").iter("test"), KEYWORDS, strict=True):
        status = test.find("status")
        assert status is not None
        found[made] = status.text or ""
    return lambda made: (found[made], folder)


@pytest.mark.parametrize("made", KEYWORDS, ids=lambda made: re.sub(r"\W+", "-", made).strip("-"))
def test_a_keyword_that_is_used_wrongly_says_so(made: str, keywords: Callable[[str], tuple[str, Path]]) -> None:
    message, folder = keywords(made)
    assert KEYWORDS[made][1] in message
    check_row("Keywords", made, shown(message, folder))


def row(made: str, message: str) -> str:
    escaped = message.replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*")
    return f"| {made.replace('|', chr(92) + '|')} | {escaped} |"


def check_row(kind: str, made: str, message: str) -> None:
    """The table of the guide has this message; or it is written anew."""
    if os.environ.get("MISTAKES") == "write":
        TOLD[made] = (kind, message)
        if len(TOLD) == len(MISTAKES) + len(KEYWORDS):
            write_page()
        return
    assert row(made, message) in PAGE.read_text(encoding="utf-8"), "MISTAKES=write writes the table anew"


def write_page() -> None:
    head, _, _ = PAGE.read_text(encoding="utf-8").partition("\n## ")
    parts = [head.rstrip() + "\n"]
    for kind in dict.fromkeys(kind for kind, _ in TOLD.values()):
        parts += [f"\n## {kind}\n", "| mistake | message |", "|---|---|"]
        parts += [row(made, message) for made, (each, message) in TOLD.items() if each == kind]
    PAGE.write_text("\n".join(parts) + "\n", encoding="utf-8")


def test_there_are_at_least_forty_five_and_the_page_has_no_other() -> None:
    assert len(MISTAKES) + len(KEYWORDS) >= 45
    rows = re.findall(r"^\| (?!mistake|---)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(MISTAKES) + len(KEYWORDS)
