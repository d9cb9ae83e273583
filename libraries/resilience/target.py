"""The target profile: the one place that knows what a system under test looks like from outside.

A profile is a YAML file. Bundled profiles (`resources/targets/*.yaml`) are named by their stem, others by their path:

    target = Target.load("reference")
    target.key("responses", charge_point_id="CP-001")     # ocpp:responses:CP-001

Field names that are not in the structures below are refused, and so are key patterns without their placeholders: a
typing error in a profile must not turn into a test that looks at the wrong thing.
"""

from __future__ import annotations

import enum
import re
import sys
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec
import yaml

from resilience.errors import LacksCapability, UsageError

PROFILES = Path(__file__).resolve().parents[2] / "resources" / "targets"

SettingValue = str | int | float | bool | None
"""A setting as a profile or a keyword gives it; `None` takes the variable out of the environment."""

START_PLACEHOLDERS = (
    "python",
    "profile_directory",
    "alias",
    "redis_url",
    "redis_host",
    "redis_port",
    "http_port",
    "ws_port",
)
"""What may stand in braces in the start command and environment; `http_port` and `ws_port` are free ports."""

REMOTE_ADDRESS = "127.0.0.1:0"
"""The address that an announced charge point is said to have."""

ANNOUNCEMENT_PLACEHOLDERS = ("charge_point_id", "gateway", "remote_address", "timestamp")
"""What may stand in braces in what a gateway writes when a charge point connects."""

KEY_PLACEHOLDERS: dict[str, tuple[str, ...]] = {
    "requests": (),
    "responses": ("charge_point_id",),
    "dead_letters": (),
    "processing": ("consumer",),
    "consumer": ("consumer",),
    "owner": (),
    "control_connect": (),
    "control_disconnect": (),
    "session": ("charge_point_id",),
    "gateway": ("instance",),
    "answers": ("instance",),
    "connected": (),
    "correlation": ("message_id",),
    "charge_point": ("charge_point_id",),
    "charge_points": (),
    "connector": ("charge_point_id", "connector_id"),
    "connectors": ("charge_point_id",),
    "transaction": ("transaction_id",),
    "transactions": ("charge_point_id",),
    "active_transactions": ("charge_point_id",),
    "transaction_id": (),
    "configuration": ("charge_point_id",),
}
"""Every key that a profile can name, with the placeholders that its pattern has to contain."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_TEMPLATE_FIELD = re.compile(r"\{([A-Za-z_]+)\}")
_GLOB_SPECIAL = re.compile(r"([*?\[\]\\])")


class Capability(enum.StrEnum):
    """What a system under test can do. What it lacks is skipped with the reason, never passed."""

    QUEUE = "queue"
    SEVERAL_PROCESSORS = "several_processors"
    DEAD_LETTERS = "dead_letters"
    LOG_RECORDS = "log_records"
    HEALTH = "health"
    METRICS = "metrics"
    PROCESSOR_INSPECTION = "processor_inspection"
    STATE_KEYS = "state_keys"
    STATE_API = "state_api"
    GATEWAY = "gateway"
    COMMANDS = "commands"
    CORRELATION_INSPECTION = "correlation_inspection"
    CORRELATION_MANAGER = "correlation_manager"


class MessageFormat(enum.StrEnum):
    """The form of the messages that the system takes off its request queue."""

    FLAT = "flat"
    ENVELOPE = "envelope"
    BOTH = "both"


class Stream(enum.StrEnum):
    """Where the system writes its log."""

    STDOUT = "stdout"
    STDERR = "stderr"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a profile."""


class Start(_Section, frozen=True):
    """How the system is started.

    Attributes:
        command: program and arguments.
        environment: variables on top of those of the test run; `null` takes one out.
        directory: the working directory, relative to the profile; a private temporary one if not given.
    """

    command: list[str]
    environment: dict[str, SettingValue] = {}
    directory: str | None = None


class Ready(_Section, frozen=True):
    """How a started system tells where it listens.

    Attributes:
        record: the log event that says so; `null` if there is none: then HTTP has to answer at `{http_port}`.
        http_port: the field of that record with the HTTP port.
        ws_port: the field of that record with the WebSocket port.
    """

    record: str | None = "ready"
    http_port: str = "http_port"
    ws_port: str = "ws_port"


class Timeouts(_Section, frozen=True):
    """The longest waits, in seconds.

    Attributes:
        start: from the start of the process until it listens.
        ready: until it says that it is ready for work.
        stop: from SIGTERM until the process has ended.
        http: for one HTTP answer.
        answer: for the answer to a queued message.
        reconnect: until it works again after Redis is back.
    """

    start: float = 15
    ready: float = 30
    stop: float = 5
    http: float = 2
    answer: float = 5
    reconnect: float = 30


class Http(_Section, frozen=True):
    """HTTP paths, and where in the documents the answer stands; `null` for what the system has not got.

    Attributes:
        health: says whether the system is healthy or degraded; 200 in both cases.
        ready: 200 when the system is ready for work.
        metrics: Prometheus metrics.
        processor: the inspection of the processor.
        correlations: the inspection of the commands that wait for their answers.
        health_field: the field of the health document with its state.
        healthy: the state with Redis.
        degraded: the state without.
        inspection_field: the field with an inspection's data; `null` if the document itself is it.
        token_setting: the setting whose value has to be sent as bearer token, if it is set.
    """

    health: str | None = None
    ready: str | None = None
    metrics: str | None = None
    processor: str | None = None
    correlations: str | None = None
    health_field: str = "status"
    healthy: str = "healthy"
    degraded: str = "degraded"
    inspection_field: str | None = "data"
    token_setting: str | None = None


class CommandRequest(_Section, frozen=True):
    """The HTTP request that makes the system send one command; texts may hold placeholders.

    `{charge_point_id}` and `{timeout}` (seconds) are filled in for every command, the others with the fields that the
    caller gives. An entry of `query` or `body` whose value is a placeholder alone takes the type of what is given, and
    is left out when nothing is.

    Attributes:
        path: the path.
        method: the HTTP method.
        query: parameters of the query.
        body: the fields of the JSON body; none is sent if this is `null`.
        mark: the field that a text of the caller's own fits in, by which its answer is told from others.
        echo: where the answer's data carry that text again: names, separated by dots.
    """

    path: str
    method: Literal["GET", "POST", "PUT", "DELETE"] = "POST"
    query: dict[str, str] = {}
    body: dict[str, Any] | None = None
    mark: str | None = None
    echo: str | None = None


class Inspection(_Section, frozen=True):
    """Where the inspection of correlations says what: names, separated by dots.

    Attributes:
        pending: how many commands wait for their answers.
        oldest: a list of those that wait longest.
        totals: the counters, by name.
        message_id: the message id of an entry of that list.
        charge_point_id: its charge point.
        age: how long it waits, in seconds.
    """

    pending: str = "pending"
    oldest: str = "oldest"
    totals: str = "totals"
    message_id: str = "message_id"
    charge_point_id: str = "charge_point_id"
    age: str = "age"


class Commands(_Section, frozen=True):
    """Commands to charge points.

    Attributes:
        requests: OCPP action to the request that sends it.
        data: the field of the answer to a request with what the charge point said.
        message: the field with the reason of a failure.
        default_timeout: seconds that the system waits for an answer when nothing else is asked for.
        inspection: where `http.correlations` says what.
    """

    requests: dict[str, CommandRequest] = {}
    data: str = "data"
    message: str = "message"
    default_timeout: float = 30
    inspection: Inspection = Inspection()


class Announcement(_Section, frozen=True):
    """What a gateway writes when a charge point connects; texts may hold placeholders.

    The placeholders are `{charge_point_id}`, `{gateway}` (the id of the gateway), `{remote_address}` and `{timestamp}`
    (RFC 3339, UTC).

    Attributes:
        required: whether the system listens to a charge point only once it was announced; what is put on the queue is
            then announced first.
        session: the fields of the hash `redis.keys.session`.
        connect: the event on the channel `redis.keys.control_connect`, as JSON.
        disconnect: the event on the channel `redis.keys.control_disconnect`, as JSON.
    """

    required: bool = False
    session: dict[str, str] = {}
    connect: dict[str, str] = {}
    disconnect: dict[str, str] = {}


class Gateway(_Section, frozen=True):
    """How charge points connect.

    Attributes:
        path: the path of the WebSocket endpoint, with the percent-encoded id in it; `null` without a gateway.
        subprotocol: the WebSocket subprotocol that is offered, and that has to be chosen.
    """

    path: str | None = None
    subprotocol: str = "ocpp1.6"


class LogFields(_Section, frozen=True):
    """The names of the fields of a log record."""

    event: str = "event"
    level: str = "level"
    timestamp: str = "timestamp"
    code: str = "code"
    reason: str = "reason"
    charge_point_id: str = "charge_point_id"
    message_id: str = "message_id"


class LogEvents(_Section, frozen=True):
    """What the system calls its events."""

    ready: str = "ready"
    invalid_message: str = "invalid_message"
    unknown_answer: str = "unknown_answer"
    late_answer: str = "late_answer"
    duplicate_answer: str = "duplicate_answer"
    redis_connected: str = "redis_connected"
    redis_unavailable: str = "redis_unavailable"
    stopping: str = "stopping"
    stopped: str = "stopped"


class LogPattern(_Section, frozen=True):
    """How a line of a text log is recognised.

    Attributes:
        event: what such a line means, one of the names in `LogEvents`.
        pattern: a regular expression that is found in the line; its named groups, such as `(?P<code>\\S+)`, become
            the record's fields `code`, `reason`, `charge_point_id`, `message_id` and `level`.
    """

    event: str
    pattern: str


class Log(_Section, frozen=True):
    """The log: one JSON object a line, or text.

    Attributes:
        format: `json` or `text`.
        stream: where it is written.
        fields: of a JSON log: what its fields are called.
        events: of a JSON log: what its events are called.
        records: of a text log: which lines are records of which event; the first pattern that fits counts.
    """

    format: Literal["json", "text"] = "json"
    stream: Stream = Stream.STDOUT
    fields: LogFields = LogFields()
    events: LogEvents = LogEvents()
    records: list[LogPattern] = []


class Databases(_Section, frozen=True):
    """The numbers of the Redis databases."""

    queue: int = 0
    state: int = 0


class Keys(_Section, frozen=True):
    """Patterns of the Redis keys; `null` for what the system has not got. Use them through `Target.key`."""

    requests: str
    responses: str
    dead_letters: str | None = None
    processing: str | None = None
    consumer: str | None = None
    owner: str | None = None
    control_connect: str | None = None
    control_disconnect: str | None = None
    session: str | None = None
    gateway: str | None = None
    answers: str | None = None
    connected: str | None = None
    correlation: str | None = None
    charge_point: str | None = None
    charge_points: str | None = None
    connector: str | None = None
    connectors: str | None = None
    transaction: str | None = None
    transactions: str | None = None
    active_transactions: str | None = None
    transaction_id: str | None = None
    configuration: str | None = None


class Commit(_Section, frozen=True):
    """How the system's commit can be told from its other commands, for faults that fall on it.

    Attributes:
        command: the Redis command that makes the effects of messages last.
        keys: names in `redis.keys`; the command has such a key for each of them.
    """

    command: str
    keys: list[str] = []


class Redis(_Section, frozen=True):
    """What the system keeps in Redis."""

    keys: Keys
    databases: Databases = Databases()
    commit: Commit | None = None


class Target(_Section, frozen=True):
    """A system under test, as its profile describes it.

    Attributes:
        name: the name of the profile.
        source: the file that it was read from.
    """

    name: str
    start: Start
    redis: Redis
    about: str = ""
    ready: Ready = Ready()
    timeouts: Timeouts = Timeouts()
    http: Http = Http()
    commands: Commands = Commands()
    announcement: Announcement = Announcement()
    gateway: Gateway = Gateway()
    log: Log = Log()
    message_format: MessageFormat = MessageFormat.BOTH
    capabilities: list[Capability] = []
    source: str = ""

    @classmethod
    def load(cls, name: str | Path) -> Target:
        """Read a profile.

        Args:
            name: the name of a bundled profile (`reference`), or the path of a YAML file.

        Raises:
            UsageError: there is no such profile, or it cannot be used; the message names file, field and what is
                allowed.
        """
        file = _find(name)
        data = _read_yaml(file)
        if not isinstance(data, dict):
            raise UsageError(f"Target profile {file}: expected fields such as 'name' and 'start', found {_kind(data)}.")
        if "source" in data:
            raise UsageError(f"Target profile {file}: unknown field 'source' (allowed: {_field_names(cls)}).")
        try:
            target = msgspec.convert(data | {"source": str(file)}, type=cls)
        except msgspec.ValidationError as error:
            raise UsageError(f"Target profile {file}: {_explain(str(error))}") from None
        target.check()
        return target

    def check(self) -> None:
        """Check what the types cannot say.

        Raises:
            UsageError: a placeholder is unknown or missing, or a value is out of range.
        """
        if not self.start.command:
            self._refuse("start.command", "is empty", "the program and its arguments")
        for where, text in self._start_texts():
            for placeholder in _PLACEHOLDER.findall(text):
                if placeholder not in START_PLACEHOLDERS:
                    self._refuse(where, f"has the unknown placeholder '{{{placeholder}}}'", _listed(START_PLACEHOLDERS))
        if self.ready.record is None and not self.uses_placeholder("http_port"):
            self._refuse("ready.record", "is null", "a log event, or '{http_port}' in the command or the environment")
        for field in msgspec.structs.fields(Timeouts):
            if getattr(self.timeouts, field.name) <= 0:
                self._refuse(f"timeouts.{field.name}", "is not above 0", "seconds above 0")
        for name in ("health", "ready", "metrics", "processor", "correlations"):
            path = getattr(self.http, name)
            if path is not None and not path.startswith("/"):
                self._refuse(f"http.{name}", f"is {path!r}", "a path that starts with '/'")
        for action, request in self.commands.requests.items():
            if not request.path.startswith("/"):
                self._refuse(f"commands.requests.{action}.path", f"is {request.path!r}", "a path that starts with '/'")
            if (request.mark is None) != (request.echo is None):
                self._refuse(f"commands.requests.{action}.mark", "goes with echo", "both or neither")
        if self.commands.default_timeout <= 0:
            self._refuse("commands.default_timeout", "is not above 0", "seconds above 0")
        for name in ("session", "connect", "disconnect"):
            for field_name, text in getattr(self.announcement, name).items():
                for placeholder in _PLACEHOLDER.findall(text):
                    if placeholder not in ANNOUNCEMENT_PLACEHOLDERS:
                        where = f"announcement.{name}.{field_name}"
                        problem = f"has the unknown placeholder '{{{placeholder}}}'"
                        self._refuse(where, problem, _listed(ANNOUNCEMENT_PLACEHOLDERS))

        self._check_log()
        path = self.gateway.path
        if path is not None and (not path.startswith("/") or _PLACEHOLDER.findall(path) != ["charge_point_id"]):
            self._refuse("gateway.path", f"is {path!r}", "a path that starts with '/', with {charge_point_id} in it")
        for key, expected in KEY_PLACEHOLDERS.items():
            pattern = getattr(self.redis.keys, key)
            if pattern is not None and sorted(_PLACEHOLDER.findall(pattern)) != sorted(expected):
                wanted = _listed(f"{{{name}}}" for name in expected) if expected else "no placeholder"
                self._refuse(f"redis.keys.{key}", f"is {pattern!r}", f"a key with {wanted}")

    def _check_log(self) -> None:
        if self.log.records and self.log.format != "text":
            self._refuse("log.records", "goes with a text log", "log.format: text")
        for index, record in enumerate(self.log.records):
            where = f"log.records[{index}]"
            if record.event not in LogEvents.__struct_fields__:
                self._refuse(f"{where}.event", f"is {record.event!r}", _listed(LogEvents.__struct_fields__))
            try:
                groups = re.compile(record.pattern).groupindex
            except re.error as error:
                self._refuse(f"{where}.pattern", f"is no regular expression ({error})", "Python's syntax")
            allowed = [name for name in LogFields.__struct_fields__ if name != "event"]
            if unknown := sorted(set(groups) - set(allowed)):
                self._refuse(f"{where}.pattern", f"has the unknown group '{unknown[0]}'", _listed(allowed))

    def _refuse(self, field: str, problem: str, allowed: str) -> typing.NoReturn:
        raise UsageError(f"Target profile {self.source}: {field} {problem} (allowed: {allowed}).")

    def _start_texts(self) -> list[tuple[str, str]]:
        texts = [(f"start.command[{index}]", word) for index, word in enumerate(self.start.command)]
        texts += [(f"start.environment.{name}", str(value)) for name, value in self.start.environment.items()]
        if self.start.directory is not None:
            texts.append(("start.directory", self.start.directory))
        return texts

    def uses_placeholder(self, name: str) -> bool:
        """Whether `{name}` stands anywhere in the start command, the environment or the directory."""
        return any(name in _PLACEHOLDER.findall(text) for _, text in self._start_texts())

    def has(self, capability: Capability | str) -> bool:
        """Whether the system has `capability`.

        Raises:
            UsageError: there is no capability of this name.
        """
        try:
            return Capability(capability) in self.capabilities
        except ValueError:
            raise UsageError(f"Unknown capability '{capability}' (allowed: {_listed(Capability)}).") from None

    def key(self, key: str, **values: str | int) -> str:
        """The Redis key called `key` in the profile, with its placeholders filled in.

        Example: `target.key("connector", charge_point_id="CP-001", connector_id=1)`.

        Raises:
            LacksCapability: the profile has no such key.
            UsageError: `values` are not those that its pattern needs.
        """
        pattern = self._key_pattern(key)
        expected = KEY_PLACEHOLDERS[key]
        if sorted(values) != sorted(expected):
            raise UsageError(
                f"Key '{key}' needs {_listed(expected) or 'no values'}, not {_listed(values) or 'nothing'}."
            )
        return _fill(pattern, values)

    def key_glob(self, key: str, **values: str | int) -> str:
        """A pattern for SCAN that matches every key called `key`; what `values` does not name matches anything."""
        pattern = self._key_pattern(key)
        if unknown := sorted(values.keys() - set(KEY_PLACEHOLDERS[key])):
            raise UsageError(f"Key '{key}' has no {_listed(unknown)} (allowed: {_listed(KEY_PLACEHOLDERS[key])}).")
        parts = _PLACEHOLDER.split(pattern)
        for index, part in enumerate(parts):
            literal = index % 2 == 0
            value = part if literal else values.get(part)
            parts[index] = "*" if value is None else _GLOB_SPECIAL.sub(r"\\\1", str(value))
        return "".join(parts)

    def _key_pattern(self, key: str) -> str:
        if key not in KEY_PLACEHOLDERS:
            raise UsageError(f"Unknown key '{key}' (allowed: {_listed(KEY_PLACEHOLDERS)}).")
        pattern = getattr(self.redis.keys, key)
        if pattern is None:
            raise LacksCapability(f"Target '{self.name}' has no key '{key}' (redis.keys in {self.source}).")
        return str(pattern)

    def announced(
        self, what: Literal["session", "connect", "disconnect"], charge_point_id: str, *, gateway: str
    ) -> dict[str, str]:
        """The session's fields or the event with which a gateway of this name announces a charge point."""
        values = {
            "charge_point_id": charge_point_id,
            "gateway": gateway,
            "remote_address": REMOTE_ADDRESS,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        return {name: _fill(text, values) for name, text in getattr(self.announcement, what).items()}

    def gateway_path(self, charge_point_id: str) -> str:
        """The path of the WebSocket endpoint for a charge point; its id is percent-encoded.

        Raises:
            LacksCapability: the system has no gateway.
        """
        if self.gateway.path is None:
            raise LacksCapability(f"Target '{self.name}' has no gateway (gateway.path in {self.source}).")
        return _fill(self.gateway.path, {"charge_point_id": quote(charge_point_id, safe="")})

    def start_command(self, values: Mapping[str, str | int]) -> list[str]:
        """The command that starts the system; `values` are the placeholders' values but `python`'s."""
        return [_fill(word, self._with_own(values)) for word in self.start.command]

    def start_environment(
        self,
        values: Mapping[str, str | int],
        overrides: Mapping[str, SettingValue],
        inherited: Mapping[str, str],
    ) -> dict[str, str]:
        """The environment of the system: `inherited`, then the profile's, then `overrides`.

        Args:
            values: the placeholders' values; they are filled in in the overrides too.
            overrides: settings of this one start; `None` takes a variable out.
            inherited: the environment of the test run.
        """
        environment = dict(inherited)
        filled = self._with_own(values)
        for name, value in {**self.start.environment, **overrides}.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = _fill(_as_setting(value), filled)
        return environment

    def start_directory(self, values: Mapping[str, str | int]) -> Path | None:
        """The working directory that the profile asks for, `None` for a private temporary one."""
        if self.start.directory is None:
            return None
        return Path(self.source).parent / _fill(self.start.directory, self._with_own(values))

    def _with_own(self, values: Mapping[str, str | int]) -> dict[str, str | int]:
        return {"python": sys.executable, "profile_directory": str(Path(self.source).parent), **values}


def fill_template(template: Any, values: Mapping[str, Any]) -> Any:
    """A template of a profile (text, list or mapping) filled in.

    A text that is one placeholder alone becomes the value itself, whatever its type; where `values` has none, the entry
    of the mapping or list that it stands in is left out.

    Example: `fill_template({"key": "{key}", "timeout": "{timeout}"}, {"key": ["a"]})` gives `{"key": ["a"]}`.
    """
    filled = _fill_value(template, values)
    return None if filled is _ABSENT else filled


_ABSENT = object()


def _fill_value(template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, str):
        if whole := _TEMPLATE_FIELD.fullmatch(template):
            return values.get(whole[1], _ABSENT)
        return _TEMPLATE_FIELD.sub(lambda match: str(values.get(match[1], match[0])), template)
    if isinstance(template, dict):
        filled = {name: _fill_value(part, values) for name, part in template.items()}
        return {name: part for name, part in filled.items() if part is not _ABSENT}
    if isinstance(template, list):
        parts = [_fill_value(part, values) for part in template]
        return [part for part in parts if part is not _ABSENT]
    return template


def bundled_targets() -> list[str]:
    """The names of the profiles that come with the project."""
    return sorted(file.stem for file in PROFILES.glob("*.yaml"))


def _find(name: str | Path) -> Path:
    text = str(name)
    path = Path(text).expanduser()
    if isinstance(name, Path) or "/" in text or path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise UsageError(f"There is no target profile {path.resolve()}.")
        return path.resolve()
    bundled = PROFILES / f"{text}.yaml"
    if text and bundled.is_file():
        return bundled
    raise UsageError(
        f"There is no bundled target profile '{text}' (there are: {_listed(bundled_targets())}). "
        f"For a file of your own give its path, ending in .yaml."
    )


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key that stands twice: YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"field '{key.value}' stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_yaml(file: Path) -> object:
    try:
        return yaml.load(file.read_text("utf-8"), Loader=_StrictLoader)  # noqa: S506 - derived from SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise UsageError(f"Target profile {file}: {where}{error.problem}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"Target profile {file} cannot be read: {error}.") from None


def _explain(problem: str) -> str:
    """msgspec's message in the words of the other messages: which field, and what is allowed."""
    text, _, path = problem.partition(" - at `$")
    steps = re.findall(r"\.?([a-z_]+)|\[(?:\d+|\.\.\.)\]", path.rstrip("`"))
    where = path.rstrip("`").lstrip(".").replace("[...]", ".*")
    kind = _type_at(Target, steps)
    if match := re.fullmatch(r"Object contains unknown field `(.+)`", text):
        unknown = f"{where}.{match[1]}".lstrip(".")
        return f"unknown field '{unknown}' (allowed: {_field_names(kind)})."
    if match := re.fullmatch(r"Object missing required field `(.+)`", text):
        missing = f"{where}.{match[1]}".lstrip(".")
        return f"field '{missing}' is missing."
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"field '{where}': {text[0].lower()}{text[1:]} (allowed: {_listed(kind)})."
    if typing.get_origin(kind) is Literal:
        return f"field '{where}': {text[0].lower()}{text[1:]} (allowed: {_listed(typing.get_args(kind))})."
    return f"field '{where}': {text[0].lower()}{text[1:]}.".replace("`", "")


def _type_at(kind: Any, steps: list[str]) -> Any:
    """The type that a path in msgspec's message leads to; an empty step is an element of a list or mapping."""
    for step in steps:
        if typing.get_origin(kind) in {typing.Union, types.UnionType}:
            kind = next(part for part in typing.get_args(kind) if part is not type(None))
        kind = typing.get_type_hints(kind)[step] if step else typing.get_args(kind)[-1]
    return kind


def _field_names(kind: type[_Section]) -> str:
    return _listed(name for name in kind.__struct_fields__ if name != "source")


def _as_setting(value: SettingValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fill(text: str, values: Mapping[str, str | int]) -> str:
    """Fill in the placeholders; other braces, those of a JSON value for example, stay as they are."""
    return _PLACEHOLDER.sub(lambda match: str(values.get(match[1], match[0])), text)


def _listed(words: typing.Iterable[str]) -> str:
    return ", ".join(words)


def _kind(data: object) -> str:
    return "nothing" if data is None else f"a {type(data).__name__}"
