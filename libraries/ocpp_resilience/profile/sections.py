"""The sections of a target profile: one structure each, with every field explained. The system's data in Redis has a
module of its own, `kept`.

Field names that are not in the structures are refused: a typing error in a profile must not turn into a test that looks
at the wrong thing. The explanations are also those of the JSON Schema (`resources/targets/target.schema.json`).
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
"""A time, at most a day; 0 would be no wait at all."""

Path = Annotated[str, msgspec.Meta(pattern="^/")]
"""A path of the system's HTTP API."""

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
    "port_a",
    "port_b",
    "port_c",
)
"""Placeholders in the start command and environment; the ports are free ones."""

PORTS = tuple(name for name in START_PLACEHOLDERS if "port" in name and name != "redis_port")
"""The placeholders that are free ports."""

REMOTE_ADDRESS = "127.0.0.1:0"
"""The address that an announced charge point is said to have."""

ANNOUNCEMENT_PLACEHOLDERS = ("charge_point_id", "gateway", "remote_address", "protocol", "timestamp")
"""Placeholders in the announcements of a gateway when a charge point connects."""


class Capability(enum.StrEnum):
    """Capabilities of a system under test. Tests of a missing one are skipped with the reason, never passed."""

    QUEUE = "queue"
    SEVERAL_PROCESSORS = "several_processors"
    SHARDED_QUEUE = "sharded_queue"
    DEAD_LETTERS = "dead_letters"
    LOG_RECORDS = "log_records"
    HEALTH = "health"
    METRICS = "metrics"
    PROCESSOR_INSPECTION = "processor_inspection"
    STATE_KEYS = "state_keys"
    STATE_STORE = "state_store"
    STATE = "state"
    STATE_API = "state_api"
    CONFIGURATION = "configuration"
    GATEWAY = "gateway"
    COMMANDS = "commands"
    CORRELATION_INSPECTION = "correlation_inspection"
    CORRELATION_MANAGER = "correlation_manager"
    API_TOKEN = "api_token"  # noqa: S105 - a name
    BASIC_AUTHENTICATION = "basic_authentication"
    TLS = "tls"
    CLIENT_CERTIFICATES = "client_certificates"
    ORIGIN_CHECKS = "origin_checks"
    FAILOVER = "failover"
    SECURE_REDIS = "secure_redis"


class Trait(enum.StrEnum):
    """Features that follow from a profile without being declared as capabilities."""

    CHOSEN_COMMAND_TIMEOUTS = "chosen_command_timeouts"
    """Callers of commands choose how long the system waits (`commands.timeout` is not given)."""
    WAITING_CALLERS = "waiting_callers"
    """Callers of commands wait for the result (`commands.accepted` is not given)."""
    GIVEN_REDIS = "given_redis"
    """Its start command or environment has the address of a Redis."""
    GATEWAY_STAND_IN = "gateway_stand_in"
    """Somebody can stand in for its gateway: charge points are announced in Redis, and each has a list of its own."""
    SURPLUS_ANSWER_RECORDS = "surplus_answer_records"
    """It logs, and counts, answers that nobody waits for."""
    CONNECTION_EVENTS = "connection_events"
    """Its gateway publishes an event for each charge point that connects or disconnects (`announcement`)."""
    BOOT_FIRST = "boot_first"
    """It can be told to refuse charge points until they have booted (`security.boot_first`)."""


class StopSignal(enum.StrEnum):
    """A signal that asks a program to end cleanly."""

    SIGTERM = "SIGTERM"
    SIGINT = "SIGINT"
    SIGQUIT = "SIGQUIT"
    SIGHUP = "SIGHUP"


class MessageFormat(enum.StrEnum):
    """The form of the messages that the system takes off its request queue; without a queue there are only frames."""

    FLAT = "flat"
    ENVELOPE = "envelope"
    BOTH = "both"


class QueueKind(enum.StrEnum):
    """Transports of messages between gateways and processors."""

    LIST = "list"
    STREAM = "stream"
    PUBSUB = "pubsub"
    NONE = "none"


class Oracle(enum.StrEnum):
    """Oracles for the answer to an invalid message: one of the two decides; the page shows both."""

    STRICT = "strict"
    """The code, or the reaction, of the specification's table."""
    TOLERANT = "tolerant"
    """Any refusal once, no crash, and the next message answered: servers in the field disagree on codes."""


class Stream(enum.StrEnum):
    """The source of the system's log."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a profile."""


class Companion(Section, frozen=True):
    """A further process of the system, such as a gateway beside the processors.

    It is started before the program, and ends after it, when the system is removed. To stop, kill or pause the system
    is to do so to the program; a companion that ends by itself is a crash of the system.

    Attributes:
        name: what it is called in messages.
        command: program and arguments.
        environment: variables on top of those of the test run and of `start.environment`; `null` takes one out.
        directory: the working directory, relative to the profile; a private temporary one if not given.
        port: a port that has to take connections before the next process is started, such as `{ws_port}`.
        log: a regular expression that has to be found in its output before the next process is started.
        stop_signal: what asks it to end cleanly.
    """

    name: str
    command: list[str]
    environment: dict[str, SettingValue] = {}
    directory: str | None = None
    port: str | None = None
    log: str | None = None
    stop_signal: StopSignal = StopSignal.SIGTERM


class Start(Section, frozen=True):
    """The way to start the system: a program, or a container.

    Attributes:
        command: program and arguments; with an image, the arguments that the container gets.
        image: the image of a container that is run on the network of the host, with `docker`.
        environment: variables: a program's on top of those of the test run (`null` takes one out), a container's own.
        directory: the working directory, relative to the profile; a private temporary one if not given.
        stop_command: a program and its arguments that ends the system in the place of a signal, such as
            `docker compose down`; the command that starts it has to stay until then, as `docker compose up` does.
        stop_signal: what asks it to end cleanly, a container's program too; SIGKILL ends it at once.
        companions: further processes of the system, in the order in which they are started.
    """

    command: list[str] = []
    image: str | None = None
    environment: dict[str, SettingValue] = {}
    directory: str | None = None
    stop_command: list[str] = []
    stop_signal: StopSignal = StopSignal.SIGTERM
    companions: list[Companion] = []


class Running(Section, frozen=True):
    """Addresses of a running system: it is neither started nor stopped, and tests that need that are skipped.

    Attributes:
        redis_url: its Redis, `redis://host:port/0`; the suites have to use it too (`REDIS:external`, `REDIS_URL`).
        http_url: the base of its HTTP API, `http://host:port`; `null` without one.
        gateway_url: the base of its WebSocket gateway, `ws://host:port`; `null` without one.
        log_file: the file that it writes its log to, relative to the profile; `null` if there is none to read.
    """

    redis_url: str
    http_url: str | None = None
    gateway_url: str | None = None
    log_file: str | None = None


class Ready(Section, frozen=True):
    """Ways in which a started system reports its addresses.

    Attributes:
        record: the log event that says so; `null` if there is none: then HTTP has to answer at `{http_port}`, or, where
            that is not used, `{ws_port}` has to take connections.
        path: without a record: the HTTP path that has to answer with a status below 400, where any answer of
            `http.health` or `/` does not mean that it listens for work.
        port: without a record: a port that has to take connections, such as `{ws_port}` or 9000, in the place of HTTP.
        log: without a record: a regular expression that has to be found in its log since this start.
        http_port: the field of that record with the HTTP port.
        ws_port: the field of that record with the WebSocket port.
    """

    record: str | None = "ready"
    path: Path | None = None
    port: str | int | None = None
    log: str | None = None
    http_port: str = "http_port"
    ws_port: str = "ws_port"


class Timeouts(Section, frozen=True):
    """The longest waits, in seconds.

    Attributes:
        start: from the start of the process until it listens.
        ready: until it reports that it is ready for work.
        stop: from the signal that asks it to end until the process has ended.
        http: for one HTTP answer.
        answer: for the answer to a queued message.
    """

    start: Seconds = 15
    ready: Seconds = 30
    stop: Seconds = 5
    http: Seconds = 2
    answer: Seconds = 5


class Counts(Section, frozen=True):
    """The places where the system reports processed and waiting messages; `null` for missing ones.

    Attributes:
        processed: the counter, among the metrics, of messages that were processed.
        processed_label: the label of that counter with the action.
        invalid: the counter of messages that were set aside.
        invalid_label: the label of that counter with the error code.
        connections: the gauge of charge points that are connected.
        depth: the gauge of messages that wait on the request queue.
        health_depth: the field of the health document with the same; names within objects are separated by dots.
        health_time: the field of the health document with the time.
        health_reconnects: the field of the health document that counts how often Redis came back.
        health_since: the field of the health document with the time since when Redis is there, or away. It needs
            `health_time`, which is by the same clock.
    """

    processed: str | None = None
    processed_label: str = "action"
    invalid: str | None = None
    invalid_label: str = "code"
    connections: str | None = None
    depth: str | None = None
    health_depth: str | None = None
    health_time: str | None = None
    health_reconnects: str | None = None
    health_since: str | None = None


class Http(Section, frozen=True):
    """HTTP paths, and the fields of the responses; `null` for paths that the system does not have.

    Attributes:
        health: says whether the system is healthy (200) or degraded (`degraded_status`).
        ready: 200 when the system is ready for work.
        metrics: Prometheus metrics.
        processor: the inspection of the processor.
        correlations: the inspection of the commands that wait for their answers.
        health_field: the field of the health document with its state; names within objects are separated by dots.
        healthy: the state with Redis.
        degraded: the state without.
        degraded_status: the HTTP status of a system that is degraded.
        inspection_field: the field with an inspection's data; `null` if the document itself is it.
        resources: paths of charge points, connectors and transactions, with `{charge_point_id}`, `{connector_id}` and
            `{transaction_id}`; each has to answer 404 for what does not exist. The paths in `state` if not given.
        token_setting: the setting whose value has to be sent as bearer token, if it is set.
        counts: where metrics and health say how much was done.
    """

    health: Path | None = None
    ready: Path | None = None
    metrics: Path | None = None
    processor: Path | None = None
    correlations: Path | None = None
    health_field: str = "status"
    healthy: str = "healthy"
    degraded: str = "degraded"
    degraded_status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    inspection_field: str | None = "data"
    resources: list[Path] = []
    token_setting: str | None = None
    counts: Counts = Counts()


class CommandRequest(Section, frozen=True):
    """The HTTP request that makes the system send one command; texts may hold placeholders.

    `{charge_point_id}` and `{timeout}` (seconds) are filled in for every command, the others with the fields that the
    caller gives. An entry of `query` or `body` whose value is a placeholder alone takes the type of what is given, and
    is left out when nothing is.

    Attributes:
        path: the path.
        method: the HTTP method.
        query: parameters of the query.
        body: the fields of the JSON body; none is sent if this is `null`.
        mark: the field that a text of the caller's own fits in, by which its answer is told from others: its name, or
            names and places in lists (from 0), separated by dots.
        echo: where the answer's data carry that text again, likewise.
    """

    path: Path
    method: Literal["GET", "POST", "PUT", "DELETE"] = "POST"
    query: dict[str, str] = {}
    body: dict[str, Any] | None = None
    mark: str | None = None
    echo: str | None = None


class Accepted(Section, frozen=True):
    """Where a system that first only accepts a command reports its result later. Names are separated by dots.

    Attributes:
        path: the path that is asked for the result, with `{command_id}`.
        status: the HTTP status with which a command is accepted.
        id: where the answer to the command has the id for the path.
        state: where the result says how far the command is.
        pending: the states of a command that is not over.
        statuses: each state of a command that is over, with the HTTP status that it stands for: 200 answered by the
            charge point, 408 not answered in time, 503 the charge point is gone, any other one refused.
        data: where the result has what the charge point said.
        message: where it has the reason of a failure.
    """

    path: Path
    id: str
    statuses: dict[str, Annotated[int, msgspec.Meta(ge=200, le=599)]]
    status: Annotated[int, msgspec.Meta(ge=200, le=299)] = 202
    state: str = "state"
    pending: list[str] = msgspec.field(default_factory=lambda: ["pending"])
    data: str = "data"
    message: str = "message"


class Inspection(Section, frozen=True):
    """Fields of the inspection of correlations: names, separated by dots.

    Attributes:
        pending: how many commands wait for their answers.
        oldest: a list of those that wait longest.
        totals: the counters, by name.
        message_id: the message id of an entry of that list.
        charge_point_id: its charge point.
        age: how long it waits, in seconds.
        action: its OCPP action; `null` if it is not given.
        timeout: how long its answer is waited for, in seconds; `null` if it is not given.
    """

    pending: str = "pending"
    oldest: str = "oldest"
    totals: str = "totals"
    message_id: str = "message_id"
    charge_point_id: str = "charge_point_id"
    age: str = "age"
    action: str | None = None
    timeout: str | None = None


class Commands(Section, frozen=True):
    """Commands to charge points.

    Attributes:
        requests: OCPP action to the request that sends it.
        data: the field of the answer to a request with what the charge point said.
        message: the field with the reason of a failure.
        default_timeout: seconds that the system waits for an answer when nothing else is asked for.
        timeout: seconds that it waits for every answer, where the caller cannot choose; `null` if he can.
        at_once: how many commands to one charge point may be under way at the same time; `null` for any number.
        accepted: where the result of a command is found that is only accepted at first; `null` if the caller waits.
        not_sent: texts in the reason of a failure with which the system promises that the charge point has not got the
            command and never will; after any other reason but bad input that counts as unknown.
        inspection: where `http.correlations` says what.
    """

    requests: dict[str, CommandRequest] = {}
    data: str = "data"
    message: str = "message"
    default_timeout: Seconds = 30
    timeout: Seconds | None = None
    at_once: Annotated[int, msgspec.Meta(ge=1)] | None = None
    accepted: Accepted | None = None
    not_sent: list[str] = []
    inspection: Inspection = Inspection()

    def waits(self, asked: float | None) -> float:
        """Seconds that the system waits for an answer when it is asked to wait so long."""
        if self.timeout is not None:
            return self.timeout
        return self.default_timeout if asked is None else asked


class Announcement(Section, frozen=True):
    """The announcements of a gateway when a charge point connects; texts may contain placeholders.

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


class Gateway(Section, frozen=True):
    """Connection settings of charge points.

    Attributes:
        path: the path of the WebSocket endpoint, with the percent-encoded id in it; `null` without a gateway.
        subprotocol: the WebSocket subprotocol that is offered, and that has to be chosen; it names the OCPP version,
            that of messages on the queue too.
    """

    path: Path | None = None
    subprotocol: str = "ocpp1.6"


class Security(Section, frozen=True):
    """The system's settings for authentication of charge points and for a secure Redis; they are added to `start`.

    Texts may hold placeholders, each the path of a file that the test makes.

    Attributes:
        basic: for HTTP Basic authentication (OCPP security profile 1): `{credentials}`.
        credentials: a line of that file for one charge point: `{charge_point_id}`, and `{password}` or
            `{password_digest}` (its SHA-256 in hex).
        tls: for TLS with a server certificate (security profile 2): `{certificate}`, `{key}`.
        client_certificates: for certificates of charge points, on top of `tls` (security profile 3): `{client_ca}`,
            `{client_crl}`.
        redis_tls: for a Redis whose certificate the authority in a file has signed: `{authority}`.
        redis_privileges: the keys, channels and commands that the system needs, in the words of ACL SETUSER.
        boot_first: for a system that refuses everything but BootNotification from a charge point that was not accepted
            yet.
    """

    basic: dict[str, str] = {}
    credentials: str = "{charge_point_id}:{password_digest}"
    tls: dict[str, str] = {}
    client_certificates: dict[str, str] = {}
    redis_tls: dict[str, str] = {}
    redis_privileges: list[str] = []
    boot_first: dict[str, str] = {}


SECURITY_PLACEHOLDERS: dict[str, tuple[str, ...]] = {
    "basic": ("credentials",),
    "tls": ("certificate", "key"),
    "client_certificates": ("client_ca", "client_crl"),
    "redis_tls": ("authority",),
    "boot_first": (),
}
"""The placeholders that the settings of each part of `Security` may hold."""


class Queue(Section, frozen=True):
    """The transport of messages from gateways to processors, and of the answers.

    `redis.keys.requests` and `redis.keys.responses` name the lists, streams or channels. A name of the answers with
    `{charge_point_id}` stands for one of each charge point, with `{message_id}` for one of each message, with
    `{gateway}` for one of each gateway, and without a placeholder for one of all; a name of the requests may have
    `{charge_point_id}`.

    `request` and `answer` are templates: an entry whose value is a placeholder alone is the value itself. The
    placeholders are `{frame}` (the OCPP-J array), `{frame_text}` (the array as JSON text), `{charge_point_id}`,
    `{message_id}`, `{message_type}`, `{action}`, `{payload}`, `{payload_text}`, `{protocol}` (the subprotocol),
    `{timestamp}` (RFC 3339), `{timestamp_ms}` (milliseconds since 1970) and `{gateway}`. In a stream, each entry of the
    template is a field, and what is no text is written as JSON.

    Attributes:
        kind: `list`, `stream`, `pubsub`, or `none`: there is no queue, and charge points' WebSockets carry everything.
        push: the end of the list that requests are pushed at; they are taken from the other one.
        answers: what the answers are in; the same as the requests if not given.
        answer_push: the end of a list that answers are pushed at.
        request: the body of a request; the envelope of the wire contract if not given.
        answer: where the body of an answer says what; the envelope of the wire contract, or the OCPP-J array alone, if
            not given.
        group: of a stream: the consumer group whose work counts as done; all groups if not given.
    """

    kind: QueueKind = QueueKind.LIST
    push: Literal["left", "right"] = "left"
    answers: Literal["list", "stream", "pubsub"] | None = None
    answer_push: Literal["left", "right"] = "left"
    request: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    group: str | None = None


class LogFields(Section, frozen=True):
    """The names of the fields of a log record.

    Attributes:
        event: what happened.
        level: how bad it is.
        timestamp: when it was written.
        code: the OCPP error code of an invalid message.
        reason: why a message is invalid.
        charge_point_id: the charge point that it is about.
        message_id: the message that it is about.
    """

    event: str = "event"
    level: str = "level"
    timestamp: str = "timestamp"
    code: str = "code"
    reason: str = "reason"
    charge_point_id: str = "charge_point_id"
    message_id: str = "message_id"


class LogEvents(Section, frozen=True):
    """The system's names of its log events.

    Attributes:
        ready: it listens; its ports are fields of the record.
        invalid_message: a message was refused.
        unknown_answer: a charge point answered a command that nobody knows.
        late_answer: a charge point answered after the time was up.
        duplicate_answer: a charge point answered for the second time.
        redis_connected: Redis is there (again).
        redis_unavailable: Redis is missed.
        stopping: it was told to end.
        stopped: it has ended.
    """

    ready: str = "ready"
    invalid_message: str = "invalid_message"
    unknown_answer: str = "unknown_answer"
    late_answer: str = "late_answer"
    duplicate_answer: str = "duplicate_answer"
    redis_connected: str = "redis_connected"
    redis_unavailable: str = "redis_unavailable"
    stopping: str = "stopping"
    stopped: str = "stopped"


class LogPattern(Section, frozen=True):
    """The pattern of a line in a text log.

    Attributes:
        event: what such a line means, one of the names in `LogEvents`.
        pattern: a regular expression that is found in the line; its named groups, such as `(?P<code>\\S+)`, become
            the record's fields `code`, `reason`, `charge_point_id`, `message_id` and `level`.
    """

    event: str
    pattern: str


class Log(Section, frozen=True):
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
