"""`python -m ocpp_resilience.check check` with each kind of mistake: one line that names file, line, field and the
allowed values, exit status 2; wrong addresses are found when they are tried, exit status 1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocpp_resilience.check.__main__ import main
from ocpp_resilience.ports import free_port
from ocpp_resilience.profile import PROFILES
from ocpp_resilience.redis.services import EmbeddedRedis

OTHER = (Path(__file__).resolve().parents[2] / "tests" / "other_server" / "profile.yaml").read_text()
RUNNING = (PROFILES / "running.yaml").read_text()

MISTAKES = {
    "unknown section": ("redis:\n", "rediss:\n", "unknown field 'rediss' (allowed: name, "),
    "unknown field": ("healthy: fine", "healty: fine", "unknown field 'http.healty' (allowed: health, "),
    "wrong type": ("queue: 1", "queue: one", "field 'redis.databases.queue' is 'one' (allowed: a whole number)"),
    "no list": ("[queue, health, log_records, state]", "queue", "field 'capabilities' is 'queue' (allowed: a list)"),
    "missing field": ("    requests: in\n", "", "field 'redis.keys.requests' is missing"),
    "wrong word": ("envelope", "envelop", "field 'message_format' is 'envelop' (allowed: flat, envelope, both)"),
    "wrong capability": ("[queue, health", "[queue, helth", "field 'capabilities[1]' is 'helth' (allowed: queue, "),
    "unknown action": ("[Authorize,", "[Autorize,", "field 'actions[0]' is 'Autorize' (allowed: Authorize, "),
    "action of the system's": ("[Authorize,", "[Reset,", "field 'actions[0]' is 'Reset' (allowed: Authorize, "),
    "action twice": ("Authorize, Boot", "Authorize, Authorize, Boot", "field 'actions[1]' is Authorize for the second"),
    "no heartbeats": ("Heartbeat, ", "", "field 'actions' lacks Heartbeat (allowed: at least BootNotification and"),
    "half a transaction": (", StopTransaction]", "]", "field 'actions' has only one of StartTransaction and StopTrans"),
    "no signal": (
        "command: [",
        "stop_signal: SIGKILL\n  command: [",
        "field 'start.stop_signal' is 'SIGKILL' (allowed",
    ),
    "claimed and not there": (
        "[queue, health",
        "[metrics, queue, health",
        "field 'capabilities[0]' is metrics, and http",
    ),
    "nothing to announce": (
        '  connect:\n    what: up\n    station: "{charge_point_id}"\n',
        "",
        "field 'announcement.required' is true, but nothing defines the announcement (allowed: session (",
    ),
    "unknown commit key": (
        "redis:\n",
        "redis:\n  commit: {command: EXEC, keys: [nope]}\n",
        "field 'redis.commit.keys[0]' is 'nope' (allowed: requests, ",
    ),
    "wrong format": ("format: text", "format: txt", "field 'log.format' is 'txt' (allowed: json, text)"),
    "no regular expression": ("<reason>.+)", "<reason>.+", "field 'log.records[0].pattern' is no regular expression ("),
    "unknown group": ("?P<code>", "?P<cod>", "field 'log.records[0].pattern' has the unknown group 'cod' (allowed: "),
    "unknown event": ("event: inv", "event: xinv", "field 'log.records[0].event' is 'xinvalid_message' (allowed: rea"),
    "unknown placeholder": ("{redis_url}", "{redis}", "field 'start.command[2]' has the unknown placeholder '{redis}'"),
    "wrong placeholder": ("out:{charge_point_id}", "out:{id}", "field 'redis.keys.responses' is 'out:{id}' (allowed: "),
    "open placeholder": ("out:{charge_point_id}", "out:{charge_point_id", "field 'redis.keys.responses' is 'out:{char"),
    "result without id": (
        "redis:\n",
        "commands:\n  accepted: {path: /results, id: id, statuses: {done: 200}}\nredis:\n",
        "field 'commands.accepted.path' is '/results' (allowed: a path that starts with '/', with {command_id} in it)",
    ),
    "nothing is answered": (
        "redis:\n",
        "commands:\n  accepted: {path: '/results/{command_id}', id: id, statuses: {late: 408}}\nredis:\n",
        "field 'commands.accepted.statuses' has no state for 200",
    ),
    "pending and over": (
        "redis:\n",
        "commands:\n  accepted: {path: '/r/{command_id}', id: id, statuses: {pending: 200}}\nredis:\n",
        "field 'commands.accepted.pending' has 'pending', as statuses has",
    ),
    "none at once": (
        "redis:\n",
        "commands: {at_once: 0}\nredis:\n",
        "field 'commands.at_once' is 0 (allowed:",
    ),
    "resource of nothing": (
        "  health: /up\n",
        "  health: /up\n  resources: [/sessions]\n",
        "field 'http.resources[0]' is '/sessions' (allowed: a path with one of {charge_point_id}",
    ),
    "no path": ("health: /up", "health: up", "field 'http.health' is 'up' (allowed: a path that starts with '/')"),
    "unknown record field": (
        "vendor: maker",
        "vndor: maker",
        "field 'state.charge_point.fields.vndor' is not a field of",
    ),
    "negative time": ("answer: 5", "answer: -5", "field 'timeouts.answer' is -5 (allowed: a number above 0)"),
    "endless time": ("answer: 5", "answer: .inf", "field 'timeouts.answer' is inf (allowed: a number up to 86400, a"),
    "no time": ("answer: 5", "answer: .nan", "field 'timeouts.answer' is nan (allowed: a number above 0)"),
    "negative database": ("state: 2", "state: -2", "field 'redis.databases.state' is -2 (allowed: a whole number from"),
    "session without a key": (
        "  required: true\n",
        "  required: true\n  session: {a: b}\n",
        "field 'announcement.session' has no place in Redis (allowed: a key redis.keys.session)",
    ),
    "two events of one name": (
        "  stream: stderr\n",
        "  stream: stderr\n  events: {late_answer: stray, unknown_answer: stray}\n",
        "field 'log.events.late_answer' is 'stray', as unknown_answer is (allowed: a name for each of them)",
    ),
    "name that is no text": ("what: up", "1: up", "field 'announcement.connect' has the name 1 (allowed: text)"),
    "name that is a list": ("what: up", "? [a, b]\n    : up", "the name of a field has to be text"),
    "field twice": ("healthy: fine", "healthy: fine\n  health: /x", "field 'health' occurs twice"),
    "yaml syntax": ("healthy: fine", "healthy: fine\n bad", "expected <block end>, but found '<scalar>'"),
    "tab": ("  health: /up", "\thealth: /up", "found character '\\t' that cannot start any token"),
    "second document": ("capabilities", "---\ncapabilities", "expected a single document in the stream, but found an"),
    "unknown alias": ("name: other", "name: *other", "found undefined alias 'other'"),
    "tag": ("name: other", "name: !!python/name:os.system", "could not determine a constructor for the tag"),
    "no value": (
        "  health: /up",
        "  health:",
        "field 'health' has no value; give it one, write null for none, or remov",
    ),
    "empty text": ("healthy: fine", "healthy: ''", "field 'http.healthy' is '' (allowed: text that is not empty)"),
    "blank text in a list": (
        "redis:\n",
        "commands: {not_sent: [gone, ' ']}\nredis:\n",
        "field 'commands.not_sent[1]' is ' ' (allowed: text that is not empty)",
    ),
    "unknown command": (
        "redis:\n",
        "commands: {requests: {Rest: {path: /reset}}}\nredis:\n",
        "field 'commands.requests.Rest' is no command of OCPP (allowed: CancelReservation, ",
    ),
    "unknown status": (
        "behaviour:\n",
        "behaviour:\n  authorization: [Acepted]\n",
        "field 'behaviour.authorization[0]' is 'Acepted' (allowed: Accepted, Blocked, ConcurrentTx, Expired, Invalid",
    ),
    "no status": (
        "behaviour:\n",
        "behaviour:\n  registration: []\n",
        "field 'behaviour.registration' is empty (allowed: at least one of Accepted, Pending, Rejected)",
    ),
    "unknown key of a write": (
        "redis:\n",
        "redis:\n  writes: {push: {command: RPUSH, keys: [request]}}\n",
        "field 'redis.writes.push.keys[0]' is 'request' (allowed: requests, ",
    ),
    "no action": ("[Authorize,", "[null,", "field 'actions[0]' is null (allowed: text)"),
    "no action of a version": (
        "actions: [Authorize,",
        "actions:\n  ocpp1.6: [null,",
        "field 'actions.ocpp1.6[0]' is null (allowed: text)",
    ),
    "control character": ("name: other", "name: oth\x00er", "the character U+0000 is not allowed in YAML"),
}
"""The text before and after in the second server's profile, and how the message goes on behind the line."""

MEANT = {
    "unknown section": "redis",
    "unknown field": "healthy",
    "wrong word": "envelope",
    "wrong capability": "health",
    "unknown action": "Authorize",
    "wrong format": "text",
    "unknown event": "invalid_message",
    "unknown status": "Accepted",
    "unknown key of a write": "requests",
}
"""Mistakes that look like a misspelt known name, with the name that the message offers."""


def checked(file: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, str]:
    """Exit status and both outputs of the command."""
    status = main(["check", str(file), *more])
    seen = capsys.readouterr()
    return status, seen.out, seen.err


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_one_line_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    old, new, message = MISTAKES[mistake]
    end = f"; did you mean '{MEANT[mistake]}'?" if mistake in MEANT else "."
    file = tmp_path / "mine.yaml"
    assert old in OTHER
    file.write_text(OTHER.replace(old, new, 1))
    status, out, error = checked(file, capsys)
    assert (status, out) == (2, "")
    assert error.startswith(f"Target profile {file}, line ")
    told = error.removeprefix(f"Target profile {file}, line ")
    assert re.fullmatch(rf"\d+: {re.escape(message)}.*{re.escape(end)}\n", told)
    assert abs(int(error.split(", line ")[1].split(":")[0]) - OTHER[: OTHER.index(old)].count("\n") - 1) <= 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("redis://127.0.0.1:6379/0", "127.0.0.1:6379"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:port/0"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:99999/0"),
        ("http://127.0.0.1:8081", "https://127.0.0.1:8081"),
        ("http://127.0.0.1:8081", "http://127.0.0.1:0"),
        ("ws://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("ws://127.0.0.1:8080", "ws://[::1:8080"),
    ],
)
def test_an_invalid_address_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(RUNNING.replace(old, f'"{new}"'))
    status, out, error = checked(file, capsys)
    assert (status, out) == (2, "")
    field = old.partition(":")[0].replace("ws", "gateway")
    assert re.fullmatch(
        rf"Target profile {file}, line \d+: field 'running\.{field}_url' is '{re.escape(new)}' "
        rf"\(allowed: an address that starts with {old[: old.index(':')]}://.*\)\.\n",
        error,
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"Target profile .*: expected fields such as 'name' and 'start', found nothing\."),
        (b"# later\n", r"Target profile .*: expected fields such as 'name' and 'start', found nothing\."),
        (b"- a\n", r"Target profile .*: expected fields such as 'name' and 'start', found a list\."),
        (b"words\n", r"Target profile .*: expected fields such as 'name' and 'start', found text\."),
        (b"name: a\nabout: F\xfcr\n", r"Target profile .*, line 2: byte 0xfc is no UTF-8; save the file as UTF-8\."),
        ("name: a\n".encode("utf-16"), r"Target profile .*, line 1: byte 0xff is no UTF-8; save the file as UTF-8\."),
        (None, r".*mine\.yaml is a folder; a target profile is a YAML file, such as my-system\.yaml\."),
    ],
    ids=["empty", "comment", "list", "text", "latin-1", "utf-16", "folder"],
)
def test_a_file_that_is_no_profile_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes | None, message: str
) -> None:
    file = tmp_path / "mine.yaml"
    if data is None:
        file.mkdir()
    else:
        file.write_bytes(data)
    status, out, error = checked(file, capsys)
    assert (status, out) == (2, "")
    assert re.fullmatch(message + "\n", error)


def test_a_mark_at_the_beginning_of_the_file_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some editors write one."""
    file = tmp_path / "mine.yaml"
    file.write_text("\ufeff" + RUNNING.replace("127.0.0.1:6379", f"127.0.0.1:{free_port()}"))
    status, out, _ = checked(file, capsys)
    assert status == 1
    assert "does not work  redis" in out


@pytest.fixture(scope="module")
def service() -> Iterator[EmbeddedRedis]:
    service = EmbeddedRedis("Redis", settings={"requirepass": "secret"})
    service.start(10)
    yield service
    service.close()


@pytest.mark.parametrize("place", ["no-such-host.invalid:8081", "127.0.0.1:{port}"])
def test_a_server_that_is_not_there_is_named_with_its_address(
    service: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    there = place.format(port=free_port())
    file = tmp_path / "mine.yaml"
    file.write_text(RUNNING.replace("redis://127.0.0.1:6379/0", service.url()).replace("127.0.0.1:8081", there))
    status, out, error = checked(file, capsys, "--only", "health")
    assert (status, error) == (1, "")
    assert len(out.splitlines()) == 4, "name, redis, start, and that health was not tried"
    assert re.search(rf"^does not work +start +.*nothing listens at http://{re.escape(there)}\.$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("url", "database", "seen"),
    [
        ("redis://no-such-host.invalid:6379", 1, r"Redis at redis://no-such-host\.invalid:6379 could not be reached: "),
        ("redis://127.0.0.1:{free}", 1, r"Redis at redis://127\.0\.0\.1:\d+ could not be reached: .*refused"),
        ("redis://127.0.0.1:{port}", 1, r"cannot be used: the user or the password is refused \("),
        ("redis://:wrong@127.0.0.1:{port}", 1, r"cannot be used: the user or the password is refused \("),
        ("redis://:secret@127.0.0.1:{port}", 99, r"cannot be used: .* out of range \(databases: 99 and 2\)\."),
    ],
    ids=["host", "port", "no password", "wrong password", "database"],
)
def test_a_redis_that_cannot_be_used_is_named_with_the_reason(
    service: EmbeddedRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, url: str, database: int, seen: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(OTHER.replace("queue: 1", f"queue: {database}"))
    address = url.format(free=free_port(), port=service.port)
    status, out, error = checked(file, capsys, "--redis", address)
    assert (status, error) == (1, "")
    assert len(re.findall(r"^does not work", out, re.MULTILINE)) == 1
    assert re.search(rf"^does not work +redis +.*{seen}", out, re.MULTILINE)
    assert "secret" not in out
