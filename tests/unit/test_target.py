"""Target profiles: their values, and refused ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from ocpp_resilience.errors import UsageError
from ocpp_resilience.profile import KEY_PLACEHOLDERS, Capability, Keys, MessageFormat, Stream, Target, bundled_targets

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


def test_the_reference_profile_equals_the_contract(reference: Target) -> None:
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


def test_the_environment_is_inherited_then_the_profile_then_the_overrides(reference: Target) -> None:
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
        2,
    ),
    "unknown field below": (
        "  command:",
        "  commnd: []\n  command:",
        r"unknown field 'start\.commnd' \(allowed: command, ",
        3,
    ),
    "unknown key": (
        "    requests:",
        "    request: x\n    requests:",
        r"unknown field 'redis\.keys\.request' \(allowed: r",
        6,
    ),
    "missing field": ("name: small\n", "", r"field 'name' is missing.", 1),
    "missing key": ("    requests: in\n", "", r"field 'redis\.keys\.requests' is missing \(", 5),
    "wrong type": ("name: small", "name: 7", r"field 'name' is 7 \(allowed: text; YAML reads .* in quotes\)\.", 1),
    "wrong type in a list": ('"small"]', "1]", r"field 'start\.command\[2\]' is 1 \(allowed: text; .*\)\.", 3),
    "wrong type in the environment": (
        "redis:",
        "  environment: {A: [1]}\nredis:",
        r"field 'start\.environment\.A' is \[1\] \(allowed: .*text.*\)\.",
        4,
    ),
    "no such message format": (
        "name: small",
        "name: small\nmessage_format: round",
        r"field 'message_format' is 'round' \(allowed: flat, envelope, both\)\.",
        2,
    ),
    "no such log format": (
        "name: small",
        "name: small\nlog: {format: xml}",
        r"field 'log\.format' is 'xml' \(allowed: json, text\)\.",
        2,
    ),
    "no such log record": (
        "name: small",
        "name: small\nlog: {format: text, records: [{event: crashed, pattern: x}]}",
        r"field 'log\.records\[0\]\.event' is 'crashed' \(allowed: ready, invalid_message, .*\)\.",
        2,
    ),
    "no such pattern": (
        "name: small",
        "name: small\nlog: {format: text, records: [{event: ready, pattern: '('}]}",
        r"field 'log\.records\[0\]\.pattern' is no regular expression \(.*\) \(allowed: Python's syntax\)\.",
        2,
    ),
    "no such group": (
        "name: small",
        "name: small\nlog: {format: text, records: [{event: ready, pattern: '(?P<port>.)'}]}",
        r"field 'log\.records\[0\]\.pattern' has the unknown group 'port' \(allowed: level, timestamp, .*\)\.",
        2,
    ),
    "patterns of a JSON log": (
        "name: small",
        "name: small\nlog: {records: [{event: ready, pattern: x}]}",
        r"field 'log\.records' goes with a text log \(allowed: log\.format: text\)\.",
        2,
    ),
    "no such capability": (
        "name: small",
        "name: small\ncapabilities: [queue, flying]",
        r"field 'capabilities\[1\]' is 'flying' \(allowed: queue, ",
        2,
    ),
    "a field twice": ("name: small", "name: small\nname: big", r"field 'name' occurs twice", 2),
    "a field twice below": ("requests: in", "requests: in\n    requests: out", r"field 'requests' occurs twice", 7),
    "unknown placeholder in the command": (
        "{python}",
        "{pyton}",
        r"field 'start\.command\[0\]' has the unknown placeholder '\{pyton\}' \(allowed: python, ",
        3,
    ),
    "key without its placeholder": (
        "responses: ",
        "session: s\n    responses: ",
        r"field 'redis\.keys\.session' is 's' \(allowed: a key with \{charge_point_id\}\)\.",
        7,
    ),
    "key with another placeholder": (
        "requests: in",
        'requests: "in:{consumer}"',
        r"field 'redis\.keys\.requests' is 'in:\{consumer\}' \(allowed: a key with \{charge_point_id\}, or without",
        6,
    ),
    "empty command": (
        '["{python}", "-m", "small"]',
        "[]",
        r"field 'start\.command' is empty \(allowed: the program",
        3,
    ),
    "timeout below 0": (
        "name: small",
        "name: small\ntimeouts: {stop: -1}",
        r"field 'timeouts\.stop' is -1 \(allowed: a number above 0\)\.",
        2,
    ),
    "path without slash": (
        "name: small",
        "name: small\nhttp: {health: health}",
        r"field 'http\.health' is 'health' \(allowed: a path",
        2,
    ),
    "no way to see that it listens": (
        "name: small",
        "name: small\nready: {record: null}",
        r"field 'ready\.record' is null, and neither '\{http_port\}' nor '\{ws_port\}' is used ",
        2,
    ),
    "the reserved field": ("name: small", "name: small\nsource: x", r"unknown field 'source' \(allowed: name, ", 2),
    "not YAML": ("name: small", "name: [small", r"", 2),
    "a name that is no text": (
        "redis:",
        "  environment: {7: a}\nredis:",
        r"field 'start\.environment' has the name 7 \(allowed: text\)\.",
        4,
    ),
    "neither started nor running": (
        'start:\n  command: ["{python}", "-m", "small"]\n',
        "",
        r"field 'start' is missing \(allowed: either start \(.*\), or running",
        1,
    ),
    "started and running": (
        "redis:",
        "running: {redis_url: 'redis://localhost'}\nredis:",
        r"field 'start' stands beside running",
        2,
    ),
    "running at no address": (
        'start:\n  command: ["{python}", "-m", "small"]\n',
        "running:\n  redis_url: localhost:6379\n",
        r"field 'running\.redis_url' is 'localhost:6379' \(allowed: an address that starts with redis://, ",
        3,
    ),
    "an image with a directory": (
        "  command:",
        "  image: x\n  directory: y\n  command:",
        r"field 'start\.directory' stands beside image",
        4,
    ),
    "a state field that is none of ours": (
        "name: small",
        "name: small\nstate: {transaction: {path: '/t/{transaction_id}', fields: {price: p}}}",
        r"field 'state\.transaction\.fields\.price' is not a field of the suites \(allowed: id, ",
        2,
    ),
    "a state path without its placeholder": (
        "name: small",
        "name: small\nstate: {transaction: {path: /t}}",
        r"field 'state\.transaction\.path' is '/t' \(allowed: a path with \{transaction_id\}\)",
        2,
    ),
    "a state that is nowhere": (
        "name: small",
        "name: small\nstate: {connector: {}}",
        r"field 'state\.connector\.path' is missing \(allowed: an HTTP path, or a key redis\.keys\.connector\)",
        2,
    ),
    "a capability without its section": (
        "name: small",
        "name: small\ncapabilities: [state]",
        r"field 'capabilities' has 'state', and state\.transaction is missing",
        2,
    ),
    "half a mark of a command": (
        "name: small",
        "name: small\ncommands:\n  requests:\n    Reset: {path: /r, mark: a}",
        r"field 'commands\.requests\.Reset' has only one of mark and echo",
        4,
    ),
    "a command of another kind": (
        "name: small",
        "name: small\ncommands:\n  requests:\n    Reset: {path: /r}\n    Unlock: {path: u}",
        r"field 'commands\.requests\.Unlock\.path' is 'u' \(allowed: a path that starts with '/'\)",
        5,
    ),
}
"""A mistake in the small profile: the text before and after, the message, and the line that it names."""


@pytest.mark.parametrize(("old", "new", "message", "line"), REFUSED.values(), ids=REFUSED.keys())
def test_a_mistake_in_a_profile_is_named(tmp_path: Path, old: str, new: str, message: str, line: int) -> None:
    file = profile(tmp_path, **{old: new})
    with pytest.raises(UsageError, match=f"^Target profile {file}, line {line}: {message}"):
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
        UsageError,
        match=r"^There is no bundled target profile 'referense' \(there are: .*reference.*\); "
        r"did you mean 'reference'\? For a file of your own give its path",
    ):
        Target.load("referense")
    with pytest.raises(
        UsageError, match=rf"^There is no target profile {tmp_path}/none\.yaml\. .*: reference, running\.$"
    ):
        Target.load(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match=r"^There is no bundled target profile '' "):
        Target.load("")


def test_every_field_of_the_reference_profile_is_written_out(reference: Target) -> None:
    """The bundled profile is copied by users: it shows every field, except a start directory."""
    given = yaml.safe_load(Path(reference.source).read_text())
    assert set(given) == set(Target.__struct_fields__) - {"source", "running"}
    for section in ("ready", "timeouts", "http", "log", "queue", "redis", "state", "behaviour"):
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
    with pytest.raises(UsageError, match=r"'gateway\.path' is '.*' \(allowed: a path that starts with '/'"):
        Target.load(profile(tmp_path, text))
