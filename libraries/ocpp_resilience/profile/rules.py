"""Rules that the types of a profile cannot express: placeholders, and fields that need or exclude each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ocpp_resilience.ocpp import Version, ocpp_versions
from ocpp_resilience.profile.kept import (
    API_VIEWS,
    CHOICES,
    KEY_PLACEHOLDERS,
    STATE_FIELDS,
    VARIABLE_PLACEHOLDERS,
    WRITES,
    Commit,
)
from ocpp_resilience.profile.sections import (
    ANNOUNCEMENT_PLACEHOLDERS,
    PORTS,
    SECURITY_PLACEHOLDERS,
    START_PLACEHOLDERS,
    Capability,
    LogEvents,
    LogFields,
    QueueKind,
    Running,
    Section,
    Start,
)
from ocpp_resilience.profile.templates import PLACEHOLDER, listed

if TYPE_CHECKING:
    from ocpp_resilience.profile.target import Target


LARGEST_PORT = 65535
MAY_BE_EMPTY = {"environment", "query", "body", "request", "answer", "session", "connect", "disconnect"}
"""Mappings to texts that are handed on as they are: variables and what is sent."""
RESOURCE_PLACEHOLDERS = ("charge_point_id", "connector_id", "transaction_id")


@dataclass(frozen=True)
class Problem:
    """An error of a field.

    Attributes:
        where: the steps to the field.
        what: the problem, in words that follow the field's name.
        allowed: the allowed values.
    """

    where: list[str | int]
    what: str
    allowed: str


def problems(target: Target) -> Iterator[Problem]:
    """Everything that is wrong with a profile."""
    yield from _blank(target, [])
    yield from _how_it_is_run(target)
    yield from _placeholders(target)
    yield from _actions(target)
    yield from _statuses(target)
    yield from _queue(target)
    yield from _capabilities(target)
    versions = [ocpp_versions()[each] for each in target.protocols if each in ocpp_versions()]
    commands = sorted({name for version in versions for name in version.commands})
    for action, request in target.commands.requests.items():
        if versions and action not in commands:
            yield Problem(["commands", "requests", action], "is no command of OCPP", listed(commands))
        if (request.mark is None) != (request.echo is None):
            yield Problem(["commands", "requests", action], "has only one of mark and echo", "both or neither")
    yield from _accepted(target)
    yield from _resources(target)
    yield from _log(target)
    yield from _keys(target)
    yield from _announcement(target)
    yield from _security(target)
    yield from _state(target)


def _blank(section: Section, where: list[str | int]) -> Iterator[Problem]:
    """Texts without a character where a name, a path or a pattern is needed; what is sent may be empty."""
    for field in msgspec.structs.fields(section):
        value, there = getattr(section, field.name), [*where, field.name]
        if value == field.default:
            continue
        if isinstance(value, Section):
            yield from _blank(value, there)
            continue
        entries: Iterable[tuple[list[str | int], object]] = [(there, value)]
        if isinstance(value, list):
            entries = [([*there, index], each) for index, each in enumerate(value)]
        elif isinstance(value, dict):
            entries = [([*there, name], each) for name, each in value.items() if field.name not in MAY_BE_EMPTY]
        for at, each in entries:
            if isinstance(each, Section):
                yield from _blank(each, at)
            elif isinstance(each, str) and not each.strip():
                yield Problem(at, f"is {each!r}", "text that is not empty")


def _how_it_is_run(target: Target) -> Iterator[Problem]:
    start, running = target.start, target.running
    if (start is None) == (running is None):
        what = "is missing" if start is None else "stands beside running"
        yield Problem(["start"], what, "either start (a command or an image), or running (where it is)")
    elif running is not None:
        yield from _running(running)
    elif start is not None:
        yield from _start(start)
        yield from _ready(target)


def _ready(target: Target) -> Iterator[Problem]:
    ready = target.ready
    given = [name for name in ("path", "port", "log") if getattr(ready, name) is not None]
    if ready.record is not None:
        for name in given:
            yield Problem(
                ["ready", name], "stands beside ready.record", f"one of them: record: null, or no ready.{name}"
            )
        return
    if ready.path is not None and not target.uses_placeholder("http_port"):
        yield Problem(["ready", "path"], "is given, and '{http_port}' is not used", "the port of the HTTP API in start")
    if ready.port is not None and not _is_port(ready.port):
        yield Problem(["ready", "port"], f"is {ready.port!r}", f"a port, or one of {_port_names()}")
    if ready.log is not None:
        yield from _expression(["ready", "log"], ready.log)
    if not given and not any(map(target.uses_placeholder, ("http_port", "ws_port"))):
        what = "is null, and neither '{http_port}' nor '{ws_port}' is used"
        yield Problem(["ready", "record"], what, "a log event, ready.port, ready.log, or a port in start")


def _is_port(text: str | int) -> bool:
    if isinstance(text, str) and (whole := PLACEHOLDER.fullmatch(text)):
        return whole[1] in PORTS
    return str(text).isdigit() and 0 < int(text) <= LARGEST_PORT


def _port_names() -> str:
    return listed(f"{{{name}}}" for name in PORTS)


def _expression(where: list[str | int], pattern: str) -> Iterator[Problem]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield Problem(where, f"is no regular expression ({error})", "Python's syntax")


def _running(running: Running) -> Iterator[Problem]:
    addresses = {
        "redis_url": ("redis", "rediss"),
        "http_url": ("http",),
        "gateway_url": ("ws", "wss"),
    }
    for name, schemes in addresses.items():
        url = getattr(running, name)
        if url is not None and not _is_address(url, schemes):
            allowed = f"an address that starts with {schemes[0]}://, such as {schemes[0]}://127.0.0.1:8080"
            yield Problem(["running", name], f"is {url!r}", allowed)


def _is_address(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        # Asking for a port that is no number, or none that can be, is an error.
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _start(start: Start) -> Iterator[Problem]:
    if not start.command and start.image is None:
        yield Problem(["start", "command"], "is empty", "the program and its arguments, or an image")
    if start.image is not None and start.directory is not None:
        yield Problem(["start", "directory"], "stands beside image", "the working directory is the image's")
    for index, companion in enumerate(start.companions):
        where: list[str | int] = ["start", "companions", index]
        if not companion.command:
            yield Problem([*where, "command"], "is empty", "the program and its arguments")
        if companion.port is not None and not _is_port(companion.port):
            yield Problem([*where, "port"], f"is {companion.port!r}", f"a port, or one of {_port_names()}")
        if companion.log is not None:
            yield from _expression([*where, "log"], companion.log)


def _placeholders(target: Target) -> Iterator[Problem]:
    for steps, text in target.start_texts():
        yield from _unknown(steps, text, START_PLACEHOLDERS)
    for name in ("session", "connect", "disconnect"):
        for field, text in getattr(target.announcement, name).items():
            yield from _unknown(["announcement", name, field], text, ANNOUNCEMENT_PLACEHOLDERS)
    path = target.gateway.path
    if path is not None and PLACEHOLDER.findall(path) != ["charge_point_id"]:
        allowed = "a path that starts with '/', with {charge_point_id} in it"
        yield Problem(["gateway", "path"], f"is {path!r}", allowed)


def _actions(target: Target) -> Iterator[Problem]:
    known = ocpp_versions()
    if target.gateway.subprotocol not in known:
        yield Problem(["gateway", "subprotocol"], f"is {target.gateway.subprotocol!r}", listed(known))
        return
    if isinstance(target.actions, dict):
        for subprotocol, actions in target.actions.items():
            if subprotocol not in known:
                yield Problem(["actions", subprotocol], "is no OCPP version", listed(known))
            else:
                yield from _actions_of(known[subprotocol], actions, ["actions", subprotocol])
        if target.gateway.subprotocol not in target.actions:
            yield Problem(
                ["actions"], f"lacks {target.gateway.subprotocol}", "the version that gateway.subprotocol names"
            )
    elif target.actions is not None:
        yield from _actions_of(target.version, target.actions, ["actions"])


def _statuses(target: Target) -> Iterator[Problem]:
    """The statuses in `behaviour`, of the versions that the profile has."""
    versions = [ocpp_versions()[each] for each in target.protocols if each in ocpp_versions()]
    for name in ("registration", "authorization", "data_transfer"):
        schemas = [
            each.schemas.response({"registration": each.boot, "authorization": "Authorize"}.get(name, "DataTransfer"))
            for each in versions
        ]
        known = {status for schema in schemas for status in _statuses_of(schema, schema)}
        given = getattr(target.behaviour, name)
        if not given:
            yield Problem(["behaviour", name], "is empty", f"at least one of {listed(sorted(known))}")
        for index, status in enumerate(given):
            if known and status not in known:
                yield Problem(["behaviour", name, index], f"is {status!r}", listed(sorted(known)))


def _statuses_of(part: object, schema: Mapping[str, Any]) -> Iterator[str]:
    """The values of the fields `status` in a schema."""
    if isinstance(part, list):
        for each in part:
            yield from _statuses_of(each, schema)
    elif isinstance(part, Mapping):
        for name, each in part.items():
            yield from _statuses_of(each, schema)
            if name == "status" and isinstance(each, Mapping):
                named = schema.get("definitions", {}).get(str(each.get("$ref", "")).rpartition("/")[2], {})
                yield from each.get("enum", named.get("enum", ()))


def _actions_of(version: Version, actions: list[str], where: list[str | int]) -> Iterator[Problem]:
    seen = set()
    for index, action in enumerate(actions):
        if action not in version.samples:
            yield Problem([*where, index], f"is {action!r}", listed(sorted(version.samples)))
        if action in seen:
            yield Problem([*where, index], f"is {action} for the second time", "each action once")
        seen.add(action)
    needed = [version.boot, "Heartbeat"]
    if missing := [each for each in needed if each not in seen]:
        yield Problem(where, f"lacks {missing[0]}", f"at least {' and '.join(needed)}: all suites send them")
    transaction = version.transaction_actions
    if 0 < len(seen & set(transaction)) < len(transaction):
        yield Problem(where, f"has only one of {' and '.join(transaction)}", "both or neither")


def _capabilities(target: Target) -> Iterator[Problem]:
    """Check that each claimed capability is described; otherwise its tests would be skipped silently."""
    needs = {
        Capability.QUEUE: ("redis.keys.requests", target.redis.keys.requests),
        Capability.DEAD_LETTERS: ("redis.keys.dead_letters", target.redis.keys.dead_letters),
        Capability.HEALTH: ("http.health", target.http.health),
        Capability.METRICS: ("http.metrics", target.http.metrics),
        Capability.PROCESSOR_INSPECTION: ("http.processor", target.http.processor),
        Capability.CORRELATION_INSPECTION: ("http.correlations", target.http.correlations),
        Capability.GATEWAY: ("gateway.path", target.gateway.path),
        Capability.COMMANDS: ("commands.requests", target.commands.requests),
        Capability.API_TOKEN: ("http.token_setting", target.http.token_setting),
        Capability.BASIC_AUTHENTICATION: ("security.basic", target.security.basic),
        Capability.TLS: ("security.tls", target.security.tls),
        Capability.CLIENT_CERTIFICATES: ("security.client_certificates", target.security.client_certificates),
        Capability.SECURE_REDIS: (
            "security.redis_tls or security.redis_privileges",
            target.security.redis_tls and target.security.redis_privileges,
        ),
    }
    for index, capability in enumerate(target.capabilities):
        field, value = needs.get(capability, ("", True))
        if not value:
            yield Problem(
                ["capabilities", index], f"is {capability}, and {field} is missing", f"{capability} with {field}"
            )
    for name in target.redis.writes:
        if name not in WRITES:
            yield Problem(["redis", "writes", name], "is no write that has a name", listed(WRITES))
    marked: dict[tuple[str, ...], Commit | None] = {("redis", "commit"): target.redis.commit}
    marked |= {("redis", "writes", name): write for name, write in target.redis.writes.items()}
    for where, write in marked.items():
        for index, key in enumerate(write.keys if write else ()):
            if key not in KEY_PLACEHOLDERS:
                yield Problem([*where, "keys", index], f"is {key!r}", listed(KEY_PLACEHOLDERS))


def _security(target: Target) -> Iterator[Problem]:
    for part, allowed in SECURITY_PLACEHOLDERS.items():
        for name, text in getattr(target.security, part).items():
            yield from _unknown(["security", part, name], text, allowed)
    line = target.security.credentials
    yield from _unknown(["security", "credentials"], line, ("charge_point_id", "password", "password_digest"))


def _unknown(steps: list[str | int], text: str, allowed: tuple[str, ...]) -> Iterator[Problem]:
    for placeholder in PLACEHOLDER.findall(text):
        if placeholder not in allowed:
            yield Problem(steps, f"has the unknown placeholder '{{{placeholder}}}'", listed(allowed))


def _accepted(target: Target) -> Iterator[Problem]:
    accepted = target.commands.accepted
    if accepted is None:
        return
    where: list[str | int] = ["commands", "accepted"]
    if PLACEHOLDER.findall(accepted.path) != ["command_id"]:
        yield Problem([*where, "path"], f"is {accepted.path!r}", "a path that starts with '/', with {command_id} in it")
    if 200 not in accepted.statuses.values():
        yield Problem([*where, "statuses"], "has no state for 200", "the state of an answered command: 200")
    if both := sorted(set(accepted.pending) & accepted.statuses.keys()):
        yield Problem([*where, "pending"], f"has {both[0]!r}, as statuses has", "a state in one of them")


def _resources(target: Target) -> Iterator[Problem]:
    for index, path in enumerate(target.http.resources):
        yield from _unknown(["http", "resources", index], path, RESOURCE_PLACEHOLDERS)
        if not PLACEHOLDER.findall(path):
            allowed = f"a path with one of {listed(f'{{{name}}}' for name in RESOURCE_PLACEHOLDERS)}"
            yield Problem(["http", "resources", index], f"is {path!r}", allowed)


def _log(target: Target) -> Iterator[Problem]:
    log = target.log
    for part, names in (("fields", log.fields), ("events", log.events)):
        ours: dict[str, str] = {}
        for name in names.__struct_fields__:
            theirs = getattr(names, name)
            if theirs in ours:
                yield Problem(["log", part, name], f"is {theirs!r}, as {ours[theirs]} is", "a name for each of them")
            ours[theirs] = name
    if log.records and log.format != "text":
        yield Problem(["log", "records"], "goes with a text log", "log.format: text")
    for index, record in enumerate(log.records):
        where: list[str | int] = ["log", "records", index]
        if record.event not in LogEvents.__struct_fields__:
            yield Problem([*where, "event"], f"is {record.event!r}", listed(LogEvents.__struct_fields__))
        try:
            groups = re.compile(record.pattern).groupindex
        except re.error as error:
            yield Problem([*where, "pattern"], f"is no regular expression ({error})", "Python's syntax")
            continue
        allowed = [name for name in LogFields.__struct_fields__ if name != "event"]
        if unknown := sorted(set(groups) - set(allowed)):
            yield Problem([*where, "pattern"], f"has the unknown group '{unknown[0]}'", listed(allowed))


def _keys(target: Target) -> Iterator[Problem]:
    for key, choices in CHOICES.items():
        pattern = getattr(target.redis.keys, key)
        found = PLACEHOLDER.findall(pattern or "")
        braces = (pattern or "").count("{") + (pattern or "").count("}")
        if len(found) > 1 or set(found) - set(choices) or braces != 2 * len(found):
            wanted = " or ".join(f"{{{name}}}" for name in choices)
            yield Problem(["redis", "keys", key], f"is {pattern!r}", f"a key with {wanted}, or without a placeholder")
    for key, expected in KEY_PLACEHOLDERS.items():
        pattern = getattr(target.redis.keys, key)
        if key not in CHOICES and pattern is not None and sorted(PLACEHOLDER.findall(pattern)) != sorted(expected):
            wanted = listed(f"{{{name}}}" for name in expected) if expected else "no placeholder"
            yield Problem(["redis", "keys", key], f"is {pattern!r}", f"a key with {wanted}")


BODY_PLACEHOLDERS = (
    "frame",
    "frame_text",
    "charge_point_id",
    "message_id",
    "message_type",
    "action",
    "payload",
    "payload_text",
    "protocol",
    "timestamp",
    "timestamp_ms",
    "gateway",
)
ANSWER_PLACEHOLDERS = (*BODY_PLACEHOLDERS, "code", "description")


def _queue(target: Target) -> Iterator[Problem]:
    queue, keys = target.queue, target.redis.keys
    if queue.kind is QueueKind.NONE:
        if target.gateway.path is None:
            allowed = "gateway.path: charge points' WebSockets carry the messages"
            yield Problem(["queue", "kind"], "is none, but there is no gateway", allowed)
        if keys.requests is not None or Capability.QUEUE in target.capabilities:
            what = "is none, but redis.keys.requests or the capability queue is given"
            yield Problem(["queue", "kind"], what, "list, stream or pubsub with a queue")
        return
    for name in ("requests", "responses"):
        if getattr(keys, name) is None:
            yield Problem(["redis", "keys", name], "is missing", "the queue of the system, or queue.kind: none")
    for name, known in (("request", BODY_PLACEHOLDERS), ("answer", ANSWER_PLACEHOLDERS)):
        template = getattr(queue, name)
        if template is None:
            continue
        found = PLACEHOLDER.findall(repr(template))
        for placeholder in found:
            if placeholder not in known:
                yield Problem(["queue", name], f"has the unknown placeholder '{{{placeholder}}}'", listed(known))
        if not {"frame", "frame_text"} & set(found) and not {"message_id"} <= set(found):
            yield Problem(["queue", name], "does not say where the message is", "{frame}, {frame_text}, or its parts")
    if queue.group is not None and queue.kind is not QueueKind.STREAM:
        yield Problem(["queue", "group"], f"stands beside kind {queue.kind}", "a group with kind: stream")
    for index, other in enumerate(target.redis.other):
        if not other.keys:
            yield Problem(["redis", "other", index, "keys"], "is empty", "patterns of keys")


def _announcement(target: Target) -> Iterator[Problem]:
    announcement = target.announcement
    if not announcement.required:
        return
    if not announcement.session and not announcement.connect:
        allowed = "session (fields of a hash), connect (an event), or both"
        yield Problem(["announcement", "required"], "is true, but nothing defines the announcement", allowed)
    for name, key in (("session", "session"), ("connect", "control_connect"), ("disconnect", "control_disconnect")):
        if getattr(announcement, name) and getattr(target.redis.keys, key) is None:
            yield Problem(["announcement", name], "has no place in Redis", f"a key redis.keys.{key}")


def _has_placeholders(path: str, wanted: Iterable[str], *, optional: bool) -> bool:
    """Whether a path has these placeholders, each once; where it is optional, the charge point's besides."""
    found = sorted(PLACEHOLDER.findall(path))
    return found == sorted(wanted) or (optional and found == sorted([*wanted, "charge_point_id"]))


def _state(target: Target) -> Iterator[Problem]:
    for kind, fields in STATE_FIELDS.items():
        record = getattr(target.state, kind)
        if record is None:
            continue
        for part in ("fields", "values"):
            for name in getattr(record, part):
                if name not in fields:
                    yield Problem(["state", kind, part, name], "is not a field of the suites", listed(fields))
        expected = KEY_PLACEHOLDERS[kind]
        if record.path is None and getattr(target.redis.keys, kind) is None:
            yield Problem(["state", kind, "path"], "is missing", f"an HTTP path, or a key redis.keys.{kind}")
        elif record.path is not None and not _has_placeholders(record.path, expected, optional=kind == "transaction"):
            wanted = listed(f"{{{name}}}" for name in expected)
            yield Problem(["state", kind, "path"], f"is {record.path!r}", f"a path with {wanted}")
    yield from _state_api(target)
    configuration = target.state.configuration
    if configuration is not None and configuration.path is None and target.redis.keys.configuration is None:
        where: list[str | int] = ["state", "configuration", "path"]
        yield Problem(where, "is missing", "an HTTP path, or a key redis.keys.configuration")
    if Capability.CONFIGURATION in target.capabilities and configuration is None:
        what = "has 'configuration', and state.configuration is missing"
        yield Problem(["capabilities"], what, "where configuration is stored")
    if (variables := target.state.variables) is not None:
        if target.redis.keys.variables is None:
            yield Problem(["state", "variables"], "has no place in Redis", "a key redis.keys.variables")
        if sorted(PLACEHOLDER.findall(variables.field)) != sorted(VARIABLE_PLACEHOLDERS):
            wanted = listed(f"{{{name}}}" for name in VARIABLE_PLACEHOLDERS)
            yield Problem(["state", "variables", "field"], f"is {variables.field!r}", f"a name with {wanted}")
    if Capability.STATE in target.capabilities and target.state.transaction is None:
        yield Problem(["capabilities"], "has 'state', and state.transaction is missing", "where transactions are read")


def _state_api(target: Target) -> Iterator[Problem]:
    api = target.state.api
    if Capability.STATE_API in target.capabilities and api is None:
        yield Problem(["capabilities"], "has 'state_api', and state.api is missing", "the paths that give state")
    if api is None:
        return
    for name, (kind, placeholders) in API_VIEWS.items():
        view = getattr(api, name)
        if view is None:
            continue
        for part in ("fields", "values"):
            for field in getattr(view, part):
                if field not in STATE_FIELDS[kind]:
                    yield Problem(
                        ["state", "api", name, part, field], "is not a field of the suites", listed(STATE_FIELDS[kind])
                    )
        found = PLACEHOLDER.findall(view.path or "")
        if name == "transaction" and "charge_point_id" in found:
            found.remove("charge_point_id")
        if view.path is None or sorted(found) != sorted(placeholders):
            wanted = f" with {listed(f'{{{each}}}' for each in placeholders)}" if placeholders else ""
            yield Problem(["state", "api", name, "path"], f"is {view.path!r}", f"a path{wanted}")
