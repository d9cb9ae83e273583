"""Target profiles: what they give, and what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from resilience.errors import UsageError
from resilience.target import KEY_PLACEHOLDERS, Capability, Keys, MessageFormat, Stream, Target, bundled_targets

SMALL = """\
name: small
start:
  command: ["{python}", "-m", "small"]
redis:
  keys:
    requests: in
    responses: "out:{charge_point_id}"
"""
PLACES = {"redis_url": "redis://127.0.0.1:7777/0", "redis_host": "127.0.0.1", "redis_port": 7777, "alias": "server"}


@pytest.fixture
def reference() -> Target:
    return Target.load("reference")


def profile(folder: Path, text: str = SMALL, **changes: str) -> Path:
    """A profile file; `changes` replace parts of the text."""
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    file = folder / "system.yaml"
    file.write_text(text)
    return file


def test_the_reference_profile_says_what_the_contract_says(reference: Target) -> None:
    assert reference.redis.keys.requests == "ocpp:requests"
    assert reference.key("responses", charge_point_id="CP-001") == "ocpp:responses:CP-001"
    assert reference.key("connector", charge_point_id="CP-001", connector_id=1) == "ocpp:connector:CP-001:1"
    assert reference.key("active_transactions", charge_point_id="CP-001") == "ocpp:transactions:CP-001:active"
    assert reference.key("dead_letters") == "ocpp:dead-letters"
    assert reference.http.ready == "/health/ready"
    assert reference.message_format is MessageFormat.BOTH
    assert reference.log.stream is Stream.STDOUT
    assert reference.has("dead_letters")
    assert reference.has(Capability.GATEWAY)


def test_bundled_profiles_are_found_from_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert "reference" in bundled_targets()
    for name in bundled_targets():
        assert Target.load(name).name == name


def test_a_profile_of_ones_own_is_found_by_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = profile(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in (file, str(file), "system.yaml", "./system.yaml"):
        assert Target.load(name).name == "small"
        assert Target.load(name).source == str(file.resolve())


def test_every_key_has_its_placeholders_declared() -> None:
    assert set(Keys.__struct_fields__) == set(KEY_PLACEHOLDERS)


def test_the_command_runs_with_the_interpreter_of_the_run(reference: Target) -> None:
    assert reference.start_command(PLACES) == [sys.executable, "-m", "server"]


def test_the_environment_is_what_is_inherited_then_the_profile_then_the_overrides(reference: Target) -> None:
    inherited = {"HOME": "/srv/me", "LOG_LEVEL": "debug", "KEY_PREFIX": "mine", "API_TOKEN": "secret"}
    environment = reference.start_environment(PLACES, {"LOG_LEVEL": "error", "MAX": 7, "ON": True}, inherited)
    assert environment["HOME"] == "/srv/me"
    assert environment["REDIS_URL"] == "redis://127.0.0.1:7777/0"
    assert environment["HTTP_PORT"] == "0"
    assert environment["LOG_LEVEL"] == "error"
    assert environment["MAX"] == "7"
    assert environment["ON"] == "true"
    assert "KEY_PREFIX" not in environment, "null in the profile takes a variable out"
    assert "API_TOKEN" not in environment
    assert inherited["LOG_LEVEL"] == "debug"


def test_an_override_can_take_a_variable_out_and_use_placeholders(reference: Target) -> None:
    environment = reference.start_environment(PLACES, {"LOG_LEVEL": None, "REDIS_URL": "{redis_url}?x={other}"}, {})
    assert "LOG_LEVEL" not in environment
    assert environment["REDIS_URL"] == "redis://127.0.0.1:7777/0?x={other}"


def test_braces_that_are_no_placeholders_stay(tmp_path: Path) -> None:
    file = profile(tmp_path, **{'"small"]': '"small", \'{"a": {"b": 1}}\']'})
    assert Target.load(file).start_command(PLACES)[-1] == '{"a": {"b": 1}}'


def test_the_directory_is_relative_to_the_profile(tmp_path: Path) -> None:
    file = profile(tmp_path, **{"start:\n": "start:\n  directory: bin\n"})
    assert Target.load(file).start_directory(PLACES) == tmp_path.resolve() / "bin"
    assert Target.load("reference").start_directory(PLACES) is None


def test_a_glob_matches_any_value_but_only_as_placeholder(tmp_path: Path, reference: Target) -> None:
    assert reference.key_glob("connector") == "ocpp:connector:*:*"
    assert reference.key_glob("connector", charge_point_id="CP-[1]*") == r"ocpp:connector:CP-\[1\]\*:*"
    odd = Target.load(profile(tmp_path, **{"out:": "o[u]t?:"}))
    assert odd.key_glob("responses") == r"o\[u\]t\?:*"


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("response", {}, r"Unknown key 'response' \(allowed: requests, responses, dead_letters, .*\)\."),
        ("responses", {}, r"Key 'responses' needs charge_point_id, not nothing\."),
        ("requests", {"charge_point_id": "a"}, r"Key 'requests' needs no values, not charge_point_id\."),
        ("dead_letters", {}, r"Target 'small' has no key 'dead_letters' \(redis\.keys in .*system\.yaml\)\."),
    ],
)
def test_a_key_that_cannot_be_made_is_refused(tmp_path: Path, key: str, values: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        Target.load(profile(tmp_path)).key(key, **values)


def test_an_unknown_capability_is_refused(reference: Target) -> None:
    with pytest.raises(UsageError, match=r"^Unknown capability 'flying' \(allowed: queue, several_processors, "):
        reference.has("flying")


REFUSED = {
    "unknown field at the top": (
        "name: small",
        "name: small\ncolour: red",
        r"unknown field 'colour' \(allowed: name, ",
    ),
    "unknown field below": (
        "  command:",
        "  commnd: []\n  command:",
        r"unknown field 'start\.commnd' \(allowed: command, ",
    ),
    "unknown key": (
        "    requests:",
        "    request: x\n    requests:",
        r"unknown field 'redis\.keys\.request' \(allowed: r",
    ),
    "missing field": ("name: small\n", "", "field 'name' is missing."),
    "missing key": ("    requests: in\n", "", r"field 'redis\.keys\.requests' is missing\."),
    "wrong type": ("name: small", "name: 7", r"field 'name': expected str, got int\."),
    "wrong type in a list": ('"small"]', "1]", r"field 'start\.command\[2\]': expected str, got int\."),
    "wrong type in the environment": (
        "redis:",
        "  environment: {A: [1]}\nredis:",
        r"field 'start\.environment\.\*': expected .*got array\.",
    ),
    "no such message format": (
        "name: small",
        "name: small\nmessage_format: round",
        r"field 'message_format': invalid enum value 'round' \(allowed: flat, envelope, both\)\.",
    ),
    "no such log format": (
        "name: small",
        "name: small\nlog: {format: xml}",
        r"field 'log\.format': invalid enum value 'xml' \(allowed: json, text\)\.",
    ),
    "no such log record": (
        "name: small",
        "name: small\nlog: {format: text, records: [{event: crashed, pattern: x}]}",
        r"log\.records\[0\]\.event is 'crashed' \(allowed: ready, invalid_message, .*\)\.",
    ),
    "no such pattern": (
        "name: small",
        "name: small\nlog: {format: text, records: [{event: ready, pattern: '('}]}",
        r"log\.records\[0\]\.pattern is no regular expression \(.*\) \(allowed: Python's syntax\)\.",
    ),
    "no such group": (
        "name: small",
        "name: small\nlog: {format: text, records: [{event: ready, pattern: '(?P<port>.)'}]}",
        r"log\.records\[0\]\.pattern has the unknown group 'port' \(allowed: level, timestamp, .*\)\.",
    ),
    "patterns of a JSON log": (
        "name: small",
        "name: small\nlog: {records: [{event: ready, pattern: x}]}",
        r"log\.records goes with a text log \(allowed: log\.format: text\)\.",
    ),
    "no such capability": (
        "name: small",
        "name: small\ncapabilities: [queue, flying]",
        r"field 'capabilities\[1\]': invalid enum value 'flying' \(allowed: queue, ",
    ),
    "a field twice": ("name: small", "name: small\nname: big", "line 2: field 'name' stands twice"),
    "a field twice below": ("requests: in", "requests: in\n    requests: out", "line 7: field 'requests' stands twice"),
    "unknown placeholder in the command": (
        "{python}",
        "{pyton}",
        r"start\.command\[0\] has the unknown placeholder '\{pyton\}' \(allowed: python, ",
    ),
    "key without its placeholder": (
        "out:{charge_point_id}",
        "out",
        r"redis\.keys\.responses is 'out' \(allowed: a key with \{charge_point_id\}\)\.",
    ),
    "key with another placeholder": (
        "requests: in",
        'requests: "in:{consumer}"',
        r"redis\.keys\.requests is 'in:\{consumer\}' \(allowed: a key with no placeholder\)\.",
    ),
    "empty command": ('["{python}", "-m", "small"]', "[]", r"start\.command is empty"),
    "timeout below 0": ("name: small", "name: small\ntimeouts: {stop: -1}", r"timeouts\.stop is not above 0"),
    "path without slash": (
        "name: small",
        "name: small\nhttp: {health: health}",
        r"http\.health is 'health' \(allowed: a path",
    ),
    "no way to see that it listens": (
        "name: small",
        "name: small\nready: {record: null}",
        r"ready\.record is null \(allowed: a log event, or '\{http_port\}'",
    ),
    "the reserved field": ("name: small", "name: small\nsource: x", r"unknown field 'source' \(allowed: name, "),
    "not YAML": ("name: small", "name: [small", "line 2: "),
}


@pytest.mark.parametrize(("old", "new", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_mistake_in_a_profile_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = profile(tmp_path, **{old: new})
    with pytest.raises(UsageError, match=f"^Target profile {file}: {message}"):
        Target.load(file)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    file = profile(tmp_path, text)
    with pytest.raises(
        UsageError, match=rf"^Target profile {file}: expected fields such as 'name' and 'start', found "
    ):
        Target.load(file)


def test_a_profile_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^There is no bundled target profile 'referense' \(there are: .*reference.*\)\."
    ):
        Target.load("referense")
    with pytest.raises(UsageError, match=rf"^There is no target profile {tmp_path}/none\.yaml\.$"):
        Target.load(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match=r"^There is no bundled target profile '' "):
        Target.load("")


def test_every_field_of_the_reference_profile_is_written_out(reference: Target) -> None:
    """The bundled profile is what people copy: it shows everything that can be said, but a start directory."""
    given = yaml.safe_load(Path(reference.source).read_text())
    assert set(given) == set(Target.__struct_fields__) - {"source"}
    for section in ("ready", "timeouts", "http", "log", "redis"):
        assert set(given[section]) == set(type(getattr(reference, section)).__struct_fields__), section
    assert set(given["redis"]["keys"]) == set(Keys.__struct_fields__)


def test_the_path_of_the_gateway_has_the_id_percent_encoded(reference: Target, tmp_path: Path) -> None:
    assert reference.gateway_path("CP 1/{alias}") == "/ocpp/CP%201%2F%7Balias%7D"
    assert reference.gateway.subprotocol == "ocpp1.6"
    with pytest.raises(UsageError, match=r"^Target 'small' has no gateway \(gateway\.path in "):
        Target.load(profile(tmp_path)).gateway_path("CP-1")


@pytest.mark.parametrize("path", ["ocpp/{charge_point_id}", "/ocpp", "/{alias}"])
def test_a_path_of_the_gateway_that_cannot_be_used_is_refused(tmp_path: Path, path: str) -> None:
    text = f'{SMALL}gateway:\n  path: "{path}"\n'
    with pytest.raises(UsageError, match=r"gateway\.path is '.*' \(allowed: a path that starts with '/', with "):
        Target.load(profile(tmp_path, text))
