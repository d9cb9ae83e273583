"""`python -m ocpp_resilience.check check`: each part of the two example profiles, and the messages about wrong
parts."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import prepared
import pytest
import yaml

from ocpp_resilience.check import drafts
from ocpp_resilience.check.decided import decided
from ocpp_resilience.check.profile_check import PARTS, Verdict, check
from ocpp_resilience.errors import UsageError
from ocpp_resilience.profile import PROFILES, Target

ROOT = Path(__file__).resolve().parents[2]
OTHER = ROOT / "tests" / "other_server" / "profile.yaml"
FAULTY = ROOT / "tests" / "faulty_server" / "profile.yaml"
REFERENCE = PROFILES / "reference.yaml"
VERDICTS = "works", "does not work", "not declared", "not tried"
Change = Callable[[dict[str, Any]], object]


def tried(profile: Path | str, *more: str) -> tuple[int, dict[str, tuple[str, str]], str]:
    """Exit status, part to verdict and sentence, and standard error."""
    command = [sys.executable, "-m", "ocpp_resilience.check", "check", str(profile), *more]
    done = prepared.run(command, timeout=120)
    lines = re.findall(rf"^({'|'.join(VERDICTS)}) +((?:\S+ )+) +(\S.*)$", done.stdout, re.MULTILINE)
    return done.returncode, {part.strip(): (verdict, sentence) for verdict, part, sentence in lines}, done.stderr


def test_everything_that_the_bundled_server_declares_works() -> None:
    status, found, _ = tried("reference")
    assert status == 0, found
    assert {part for part, (verdict, _) in found.items() if verdict != "works"} == {"announcement"}
    assert "flat Heartbeat" in found["queue"][1]
    assert found["actions"][1] == f"{len(Target.load('reference').handled)} answered"
    assert "code=FormationViolation" in found["log"][1]
    assert "ClearCache 404" in found["commands"][1]
    assert re.match(r"GetConfiguration 200 .* with its own answer$", found["answered command"][1])
    assert "BootNotification is answered" in found["gateway"][1]
    assert re.match(
        r"it says 'degraded' .* after Redis has stopped, and 'healthy' .* answered again$", found["outage"][1]
    )
    assert found["stop"][1].endswith("with status 0")


@pytest.mark.parametrize("version", ["ocpp2.0.1", "ocpp2.1"])
def test_a_profile_is_tried_in_another_version(version: str) -> None:
    only = ["queue", "state", "commands", "answered command"]
    found = {each.part: each for each in check(Target.load("reference", protocol=version), only=only)}
    assert {part: found[part].sentence for part in only if found[part].verdict is not Verdict.WORKS} == {}
    assert "SetVariables 404" in found["commands"].sentence
    assert found["answered command"].sentence.startswith("GetVariables 200 ")


def test_everything_that_the_second_server_declares_works_and_the_rest_is_not_declared() -> None:
    status, found, _ = tried(OTHER)
    assert status == 0, found
    works = {part for part, (verdict, _) in found.items() if verdict == "works"}
    assert works == {
        *("redis", "start", "ready", "health", "queue", "announcement", "actions"),
        *("state", "log", "keys", "stop", "capabilities"),
    }
    verdict, sentence = found["outage"]
    assert verdict == "not tried"
    assert sentence.startswith("it exited when Redis stopped, which the suites judge: ")
    lacking = "DiagnosticsStatusNotification, FirmwareStatusNotification"
    assert found["actions"][1] == f"8 answered; not declared: {lacking}"
    assert found["redis"][1].endswith("database 1 (queue) and 2 (state)")
    assert found["announcement"][1] == "on 'stations'; without it nothing is answered"
    assert found["metrics"] == ("not declared", "http.metrics is null")


def setting(path: str, value: object) -> Change:
    """Sets a field of a profile."""

    def change(profile: dict[str, Any]) -> None:
        *names, last = path.split(".")
        for name in names:
            profile = profile[name]
        profile[last] = value

    return change


MISTAKES: dict[str, tuple[Path, Change, str, str]] = {
    "the answers come elsewhere": (
        OTHER,
        setting("redis.keys.responses", "answers:{charge_point_id}"),
        "queue",
        r"BootNotification: it was taken, but nothing arrived on 'answers:CP-.*': is that the name",
    ),
    "the messages are read elsewhere": (
        OTHER,
        setting("redis.databases.queue", 5),
        "queue",
        r"BootNotification: it is still on 'in' in database 5: is the system reading there",
    ),
    "health is called otherwise": (
        OTHER,
        setting("http.healthy", "well"),
        "ready",
        r"has not become healthy, it is 'fine': neither http\.healthy, 'well', nor http\.degraded, 'degraded'",
    ),
    "the health is in another field": (
        OTHER,
        setting("http.health_field", "status"),
        "ready",
        r"has not become healthy; /up has no 'status' \(http\.health_field\): \{'state': 'fine'\}",
    ),
    "the event is in another field": (
        OTHER,
        setting("log", {"stream": "stderr"}),
        "log",
        r"\(log\.fields\.event: no line is a JSON object with 'event'\); it wrote '.* ERROR rejected",
    ),
    "an event is called otherwise": (
        REFERENCE,
        lambda profile: profile.update(
            ready={"record": None},
            start={**profile["start"], "environment": profile["start"]["environment"] | {"HTTP_PORT": "{http_port}"}},
            log={"fields": {"event": "level", "level": "event"}},
        ),
        "log",
        r"\(log\.events\.invalid_message: none says 'invalid_message'\); it wrote .*FormationViolation",
    ),
    "a line of the log is not recognised": (
        OTHER,
        setting("log.records", [{"event": "invalid_message", "pattern": "REFUSED (?P<reason>.+)"}]),
        "log",
        r"no record of an invalid message was recognised \(log\.records\); it wrote '.* ERROR rejected station=\?",
    ),
    "the log is elsewhere": (
        OTHER,
        setting("log.stream", "stdout"),
        "log",
        r"no record of an invalid message was recognised .*; nothing was written to its stdout \(log\.stream\)",
    ),
    "a field of the state is called otherwise": (
        OTHER,
        setting("state.transaction.fields.meter_start", "meter.begin"),
        "state",
        r"the record at session/1 has no meter_start \('meter\.begin'\) \(state\.transaction\.fields\)",
    ),
    "a value of the state is called otherwise": (
        OTHER,
        setting("state.transaction.values.status", {"open": "active"}),
        "state",
        r"the status of a running transaction is 'running' \(state\.transaction\.values\.status\)",
    ),
    "nothing has to be announced": (
        REFERENCE,
        setting("announcement.required", True),
        "announcement",
        r"a charge point that was not announced is answered, too \(announcement\.required\)",
    ),
    "a command has another path": (
        REFERENCE,
        setting("commands.requests.Reset.path", "/api/v1/reset/{charge_point_id}"),
        "commands",
        r"Reset: POST /api/v1/reset/CP-.* is answered 404, as a path that does not exist",
    ),
    "what it says without Redis is called otherwise": (
        REFERENCE,
        setting("http.degraded", "DOWN"),
        "outage",
        r"has not become degraded, it is 'degraded'?: neither http\.healthy, 'healthy', nor http\.degraded, 'DOWN'",
    ),
    "the own answer of a command is looked for elsewhere": (
        REFERENCE,
        setting("commands.requests.GetConfiguration.echo", "configurationKey"),
        "answered command",
        r"GetConfiguration to CP-.*: 200.*: it arrived on 'ocpp:responses:CP-.*' and was answered; .* 'ocpp:session",
    ),
    "a charge point is connected by another key": (
        REFERENCE,
        setting("redis.keys.session", "sessions:{charge_point_id}"),
        "answered command",
        r"GetConfiguration to CP-.*: 404 .*: nothing arrived on 'ocpp:responses:CP-.*; .* 'sessions:CP-",
    ),
    "an action is declared and not supported": (
        OTHER,
        setting("actions", ["BootNotification", "Heartbeat", "FirmwareStatusNotification"]),
        "actions",
        r"1 of 3 declared actions are refused or not answered, .*: Expected FirmwareStatusNotification .*InternalError",
    ),
    "it does not start": (
        OTHER,
        setting("start.command", ["{python}", "-c", "raise SystemExit('no licence {http_port}')"]),
        "start",
        r"exited with status 1 while starting\..*no licence",
    ),
}


@pytest.mark.parametrize(("source", "change", "part", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_failing_part_is_named_with_the_observation(
    tmp_path: Path, source: Path, change: Change, part: str, sentence: str
) -> None:
    profile = yaml.safe_load(source.read_text())
    change(profile)
    # Paths of the profile's own folder, and waits that are as short as a local server allows.
    text = yaml.safe_dump(profile).replace("{profile_directory}", str(source.parent))
    profile = yaml.safe_load(text)
    profile["timeouts"] = {"answer": 2, "ready": 2, "start": 15}
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(profile))
    found = {finding.part: finding for finding in check(Target.load(file), only=[part] if part in PARTS else ["stop"])}
    assert found[part].verdict is Verdict.FAILS
    assert re.search(sentence, found[part].sentence), found[part].sentence


def test_a_key_that_is_not_named_is_left_behind_and_told(tmp_path: Path) -> None:
    text = OTHER.read_text().replace("{profile_directory}", str(OTHER.parent))
    line = "    transaction_id: last session\n"
    assert line in text
    (tmp_path / "wrong.yaml").write_text(text.replace(line, ""))
    found = {each.part: each for each in check(Target.load(tmp_path / "wrong.yaml"), only=["state", "keys"])}
    assert found["keys"].verdict is Verdict.FAILS
    assert "are left behind: [2] last session; name them in redis.keys" in found["keys"].sentence


def test_silence_to_all_is_no_announcement(tmp_path: Path) -> None:
    """A system without any answer proves nothing about charge points without an announcement."""
    text = OTHER.read_text().replace("{profile_directory}", str(OTHER.parent))
    (tmp_path / "wrong.yaml").write_text(text.replace("out:{charge_point_id}", "answers:{charge_point_id}"))
    (finding,) = [e for e in check(Target.load(tmp_path / "wrong.yaml"), only=["announcement"]) if e.part in PARTS]
    assert finding.verdict is Verdict.FAILS
    assert finding.sentence.startswith("Heartbeat: it was taken, but nothing arrived on 'answers:CP-")


def test_a_part_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"^There is no part 'colour' \(allowed: health, queue, "):
        check(Target.load("reference"), only=["colour"])


@pytest.mark.parametrize("url", ["nowhere", "localhost:6379", "http://localhost:6379"])
def test_an_invalid_redis_url_is_named(url: str) -> None:
    with pytest.raises(UsageError, match=rf"^'{url}' is not a Redis URL; allowed is redis://host:port/db\.$"):
        list(check(Target.load("reference"), url))


def test_one_mistake_is_enough_for_the_exit_status(tmp_path: Path) -> None:
    text = (
        OTHER.read_text().replace("{profile_directory}", str(OTHER.parent)).replace("'ERROR rejected", "'NO rejected")
    )
    (tmp_path / "wrong.yaml").write_text(text)
    status, found, _ = tried(tmp_path / "wrong.yaml", "--only", "log")
    assert (status, found["log"][0]) == (1, "does not work")
    assert "queue" not in found


def test_a_profile_that_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: bad\ncolour: red\n")
    status, found, error = tried(tmp_path / "bad.yaml")
    assert (status, found) == (2, {})
    assert "line 2: unknown field 'colour'" in error


def checked(folder: Path, source: Path, change: Change, *only: str) -> dict[str, dict[str, Any]]:
    """Part to draft, of a profile with a mistake."""
    profile = yaml.safe_load(source.read_text())
    change(profile)
    profile = yaml.safe_load(yaml.safe_dump(profile).replace("{profile_directory}", str(source.parent)))
    profile["timeouts"] = {"answer": 2, "ready": 2, "start": 15}
    file = folder / "wrong.yaml"
    file.write_text(yaml.safe_dump(profile))
    return {finding.part: finding.draft for finding in check(Target.load(file), only=only) if finding.draft}


DRAFTS: dict[str, tuple[Path, Change, str, dict[str, Any]]] = {
    "the answers come elsewhere": (
        OTHER,
        setting("redis.keys.responses", "answers:{charge_point_id}"),
        "queue",
        {"redis": {"keys": {"responses": "out:{charge_point_id}"}}},
    ),
    "the messages are read elsewhere": (
        OTHER,
        setting("redis.keys.requests", "inbox"),
        "queue",
        {"redis": {"keys": {"requests": "in"}}},
    ),
    "the messages are read in another database": (
        OTHER,
        setting("redis.databases.queue", 5),
        "queue",
        {"redis": {"databases": {"queue": 1}}},
    ),
    "health is called otherwise": (OTHER, setting("http.healthy", "well"), "ready", {"http": {"healthy": "fine"}}),
    "health is in another field": (
        OTHER,
        setting("http.health_field", "status"),
        "ready",
        {"http": {"health_field": "state"}},
    ),
    "health has another path": (OTHER, setting("http.health", "/health"), "ready", {"http": {"health": "/up"}}),
    "health without redis is called otherwise": (
        REFERENCE,
        setting("http.degraded", "DOWN"),
        "outage",
        {"http": {"degraded": "degraded"}},
    ),
    "nothing has to be announced": (
        REFERENCE,
        setting("announcement.required", True),
        "announcement",
        {"announcement": {"required": False}},
    ),
    "a field of the state is called otherwise": (
        OTHER,
        setting("state.transaction.fields.meter_start", "meter.begin"),
        "state",
        {"state": {"transaction": {"fields": {"meter_start": "meter.from"}}}},
    ),
    "a value of the state is called otherwise": (
        OTHER,
        setting("state.transaction.values.status", {"open": "active"}),
        "state",
        {"state": {"transaction": {"values": {"status": {"running": "active"}}}}},
    ),
    "transactions are kept under another key": (
        OTHER,
        setting("redis.keys.transaction", "sitting/{transaction_id}"),
        "state",
        {"redis": {"keys": {"transaction": "session/{transaction_id}"}}},
    ),
    "an action is not supported": (
        OTHER,
        setting("actions", ["BootNotification", "Heartbeat", "FirmwareStatusNotification"]),
        "actions",
        {"actions": ["BootNotification", "Heartbeat"]},
    ),
    "the log is elsewhere": (OTHER, setting("log.stream", "stdout"), "log", {"log": {"stream": "stderr"}}),
    "an event is called otherwise": (
        FAULTY,
        setting("log.events.invalid_message", "rejected"),
        "log",
        {"log": {"events": {"invalid_message": "set aside"}}},
    ),
}


@pytest.mark.parametrize(("source", "change", "part", "draft"), DRAFTS.values(), ids=DRAFTS.keys())
def test_a_correction_is_drafted_from_what_was_seen(
    tmp_path: Path, source: Path, change: Change, part: str, draft: dict[str, Any]
) -> None:
    found = checked(tmp_path, source, change, part if part in PARTS else "stop")[part]
    for name, value in draft.items():
        assert contains(found[name], value), found


def contains(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(contains(found.get(name), value) for name, value in expected.items())
    return bool(found == expected)


def test_keys_that_are_left_behind_are_drafted_as_patterns(tmp_path: Path) -> None:
    found = checked(tmp_path, FAULTY, setting("redis.other", []), "actions", "keys")["keys"]
    others = {each["database"]: set(each["keys"]) for each in found["redis"]["other"]}
    assert {"count/{charge_point_id}", "count-of-all"} <= others[3]
    assert "plugs/{charge_point_id}" in others[2]


def test_a_line_of_a_text_log_becomes_a_pattern() -> None:
    target = Target.load(OTHER)
    line = "2026-01-01T00:00:00Z ERROR refused id=7 code=FormationViolation because it is none\n"
    draft = drafts.of_log(target, {"stdout": "", "stderr": line})
    [record] = draft["log"]["records"]
    found = re.search(record["pattern"], line)
    assert found is not None
    assert (found["code"], found["reason"]) == ("FormationViolation", "because it is none")


def test_the_check_ends_with_a_draft_and_with_what_is_decided(tmp_path: Path) -> None:
    profile = (
        OTHER.read_text().replace("{profile_directory}", str(OTHER.parent)).replace("healthy: fine", "healthy: ok")
    )
    (tmp_path / "wrong.yaml").write_text(profile.replace("ready: 15", "ready: 1"))
    command = [sys.executable, "-m", "ocpp_resilience.check", "check", str(tmp_path / "wrong.yaml")]
    done = prepared.run(command, timeout=120)
    assert done.returncode == 1
    assert "Draft of a corrected profile" in done.stdout
    assert "    http:\n      healthy: fine\n" in done.stdout
    assert re.search(r"^The suites decide \d+ of \d+ requirements: R13\.1, ", done.stdout, re.MULTILINE)
    assert re.search(r"^With gateway also R13\.7, ", done.stdout, re.MULTILINE)


def test_more_capabilities_decide_more_requirements() -> None:
    assert not decided(Target.load("reference")).gains
    other = decided(Target.load(OTHER))
    assert "R16.8" in other.requirements
    assert "R14.1" in other.gains["commands",]
    assert "R18.9" in other.gains["commands", "gateway"]
