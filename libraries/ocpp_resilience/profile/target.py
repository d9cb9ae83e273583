"""A system under test as its profile describes it, with the questions that keywords ask."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import msgspec

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import LacksCapability, NotPossibleHere, UsageError
from ocpp_resilience.ocpp import DEFAULT_VERSION, Version, ocpp_version
from ocpp_resilience.ocpp.model.behaviour import Behaviour
from ocpp_resilience.profile import reading, rules
from ocpp_resilience.profile.kept import CHOICES, KEY_PLACEHOLDERS, Redis, State
from ocpp_resilience.profile.sections import (
    REMOTE_ADDRESS,
    Announcement,
    Capability,
    Commands,
    Companion,
    Gateway,
    Http,
    Log,
    MessageFormat,
    Oracle,
    Queue,
    QueueKind,
    Ready,
    Running,
    Section,
    Security,
    SettingValue,
    Start,
    Timeouts,
    Trait,
)
from ocpp_resilience.profile.templates import PLACEHOLDER, fill, listed
from ocpp_resilience.text import did_you_mean

_GLOB_SPECIAL = re.compile(r"([*?\[\]\\])")

_PLACES = {Trait.CONNECTION_EVENTS: "announcement and redis.keys", Trait.BOOT_FIRST: "security.boot_first"}
"""Where a profile says what a trait follows from, if not under `commands`."""


def _encoded(charge_point_id: str) -> str:
    return quote(charge_point_id, safe="")


class Target(Section, frozen=True):
    """A system under test, as its profile describes it.

    Attributes:
        name: its name in messages.
        about: a description in a sentence.
        start: how it is started; nothing, if it runs already.
        running: where it is, if it runs already.
        ready: the way in which a started one reports its addresses.
        timeouts: the longest waits.
        http: its HTTP paths.
        commands: how it is made to send commands.
        announcement: the announcements of a gateway when a charge point connects.
        gateway: how charge points connect.
        security: its settings for authentication of charge points.
        log: the place and the format of its log.
        queue: how messages get from gateways to processors.
        message_format: the format of the messages in its request queue.
        oracle: whether an invalid message has to be refused with the very code of the strict table, or with any, or be
            accepted where the documents leave that open. The page shows both.
        redis: its databases and keys.
        state: the place and the format of its stored state.
        behaviour: its choices where the OCPP specification leaves one.
        actions: the actions of charge points that it handles, of all that its OCPP version has; lists by subprotocol
            where it speaks several versions; the core of the version if not given. No other action is sent as a valid
            message, and none of these as an unsupported one.
        capabilities: its capabilities; tests that need another one are skipped with the reason.
        source: the file that it was read from.
    """

    name: str
    redis: Redis = Redis()
    about: str = ""
    start: Start | None = None
    running: Running | None = None
    ready: Ready = Ready()
    timeouts: Timeouts = Timeouts()
    http: Http = Http()
    commands: Commands = Commands()
    announcement: Announcement = Announcement()
    gateway: Gateway = Gateway()
    security: Security = Security()
    log: Log = Log()
    queue: Queue = Queue()
    message_format: MessageFormat = MessageFormat.BOTH
    oracle: Oracle = Oracle.TOLERANT
    state: State = State()
    behaviour: Behaviour = Behaviour()
    actions: list[str] | dict[str, list[str]] | None = None
    capabilities: list[Capability] = msgspec.field(default_factory=list)
    source: str = ""

    @classmethod
    def load(cls, name: str | Path, *, protocol: str | None = None) -> Target:
        """Read a profile.

        Args:
            name: the name of a bundled profile (`reference`), or the path of a YAML file.
            protocol: the subprotocol of the OCPP version to test; that of the profile's gateway if not given.

        Raises:
            UsageError: there is no such profile, it is invalid, or the system does not speak the version; the message
                names file, line, field and the allowed values.
        """
        file = reading.find(name)
        found = file.stat()
        version = found.st_mtime_ns, found.st_size, found.st_ino
        # A suite asks for its profile hundreds of times. All share what was read: who changes a dictionary in it takes
        # a copy.
        known = _READ.get(file)
        if known is None or known[0] != version:
            known = _READ[file] = version, cls._read(file)
        target = known[1]
        return target if protocol is None else target.speaking(protocol)

    @classmethod
    def _read(cls, file: Path) -> Target:
        document = reading.Document(file)
        target = document.convert(cls)
        for problem in rules.problems(target):
            what = f"field '{reading.in_words(problem.where)}' {problem.what} (allowed: {problem.allowed})"
            found = re.fullmatch(r"is '(\w+)'", problem.what)
            meant = did_you_mean(found[1], problem.allowed.split(", ")) if found else "."
            raise document.mistake(problem.where, f"{what}{meant}")
        return target

    def speaking(self, protocol: str) -> Target:
        """The same system, tested in the OCPP version with this subprotocol.

        Raises:
            UsageError: it does not speak the version.
        """
        if protocol not in self.protocols:
            raise UsageError(
                f"Target '{self.name}' does not support {protocol!r} (allowed: {listed(self.protocols)}; actions in "
                f"{self.source} lists those of each version)."
            )
        return msgspec.structs.replace(self, gateway=msgspec.structs.replace(self.gateway, subprotocol=protocol))

    @property
    def protocols(self) -> list[str]:
        """The subprotocols of the supported OCPP versions, for which the profile lists actions."""
        return list(self.actions) if isinstance(self.actions, dict) else [self.gateway.subprotocol]

    def start_texts(self) -> list[tuple[list[str | int], str]]:
        """Everything in `start` that may hold placeholders, each with the steps to it."""
        if self.start is None:
            return []
        texts: list[tuple[list[str | int], str]] = [
            (["start", "command", index], word) for index, word in enumerate(self.start.command)
        ]
        texts += [(["start", "environment", name], str(value)) for name, value in self.start.environment.items()]
        texts += [(["start", "stop_command", index], word) for index, word in enumerate(self.start.stop_command)]
        if self.start.directory is not None:
            texts.append((["start", "directory"], self.start.directory))
        for index, companion in enumerate(self.start.companions):
            where: list[str | int] = ["start", "companions", index]
            texts += [([*where, "command", place], word) for place, word in enumerate(companion.command)]
            texts += [([*where, "environment", name], str(value)) for name, value in companion.environment.items()]
            texts += [
                ([*where, name], text)
                for name in ("directory", "port")
                if (text := getattr(companion, name)) is not None
            ]
        if isinstance(self.ready.port, str):
            texts.append((["ready", "port"], self.ready.port))
        return texts

    def uses_placeholder(self, name: str) -> bool:
        """Whether `{name}` stands anywhere in the start command, the environment or the directory."""
        return any(name in PLACEHOLDER.findall(text) for _, text in self.start_texts())

    def has(self, capability: Capability | Trait | str) -> bool:
        """Whether the system has `capability`.

        Raises:
            UsageError: there is no capability of this name.
        """
        if isinstance(capability, Trait):
            return self._has_trait(capability)
        try:
            return Capability(capability) in self.capabilities
        except ValueError:
            raise UsageError(f"Unknown capability '{capability}' (allowed: {listed(Capability)}).") from None

    def _has_trait(self, trait: Trait) -> bool:
        match trait:
            case Trait.CHOSEN_COMMAND_TIMEOUTS:
                return self.commands.timeout is None
            case Trait.WAITING_CALLERS:
                return self.commands.accepted is None
            case Trait.GIVEN_REDIS:
                return self.uses_redis
            case Trait.GATEWAY_STAND_IN:
                return not self.why_no_stand_in
            case Trait.SURPLUS_ANSWER_RECORDS:
                return self.has(Capability.LOG_RECORDS) and self.has(Capability.CORRELATION_INSPECTION)
            case Trait.CONNECTION_EVENTS:
                kinds = ("connect", "disconnect")
                described = all(getattr(self.announcement, kind) for kind in kinds)
                return described and all(self.has_key(f"control_{kind}") for kind in kinds)
            case Trait.BOOT_FIRST:
                return bool(self.security.boot_first)

    @property
    def why_no_stand_in(self) -> str:
        """Why nobody can stand in for the gateway of the system; empty if somebody can."""
        if not self.announcement.session and not self.announcement.connect:
            return "nothing defines how a charge point is announced (announcement.session, announcement.connect)"
        lists = self.queue.kind is QueueKind.LIST and self.queue.answers in {None, "list"}
        if not lists or "{charge_point_id}" not in (self.redis.keys.responses or ""):
            return "messages to charge points are not on a list of each (queue, redis.keys.responses)"
        return ""

    def require(self, capability: Capability | Trait) -> None:
        """Continue only with a system that has `capability`.

        Raises:
            LacksCapability: it has not.
        """
        if not self.has(capability):
            wanted = capability.value.replace("_", " ")
            where = _PLACES.get(capability, "commands") if isinstance(capability, Trait) else "capabilities"
            raise LacksCapability(f"Target '{self.name}' does not support {wanted} ({where} in {self.source}).")

    @property
    def forms(self) -> list[str]:
        """The forms of messages that it takes: `envelope`, `flat`, `frame`; the first one is used by default."""
        if self.queue.kind is QueueKind.NONE:
            return ["frame"]
        # The flat form is one of OCPP 1.6.
        of_1_6 = self.gateway.subprotocol == DEFAULT_VERSION
        flat = self.queue.kind is QueueKind.LIST and self.queue.request is None and of_1_6
        both = ["envelope", "flat"] if flat else ["envelope"]
        return both if self.message_format is MessageFormat.BOTH or not of_1_6 else [self.message_format.value]

    @property
    def uses_redis(self) -> bool:
        """Whether the system has a Redis that the suites know."""
        placeholders = ("redis_url", "redis_host", "redis_port")
        return self.running is not None or any(self.uses_placeholder(name) for name in placeholders)

    @property
    def strict(self) -> bool:
        """Whether the strict oracle decides."""
        return self.oracle is Oracle.STRICT

    @property
    def version(self) -> Version:
        """The OCPP version of the messages."""
        return ocpp_version(self.gateway.subprotocol)

    @property
    def handled(self) -> tuple[str, ...]:
        """The actions of charge points that it handles."""
        by_version = self.actions if isinstance(self.actions, dict) else {self.gateway.subprotocol: self.actions}
        actions = by_version.get(self.gateway.subprotocol)
        return self.version.core if actions is None else tuple(actions)

    @property
    def lacking(self) -> list[str]:
        """The actions of the version's core that it does not handle."""
        return [action for action in self.version.core if action not in self.handled]

    def need_actions(self, *actions: str) -> None:
        """Continue only if the system supports these actions of charge points.

        Raises:
            LacksCapability: it lacks one that charge points send. Others are never supported, and no matter.
        """
        for action in actions:
            if action in self.version.samples and action not in self.handled:
                raise LacksCapability(
                    f"Target '{self.name}' does not support the action {action} (actions in {self.source})."
                )

    def key(self, key: str, **values: str | int) -> str:
        """The Redis key called `key` in the profile, with its placeholders filled in.

        Example: `target.key("connector", charge_point_id="CP-001", connector_id=1)`.

        Raises:
            LacksCapability: the profile has no such key.
            UsageError: `values` are not those that its pattern needs.
        """
        pattern = self._key_pattern(key)
        expected = tuple(PLACEHOLDER.findall(pattern)) if key in CHOICES else KEY_PLACEHOLDERS[key]
        if sorted(values) != sorted(expected):
            raise UsageError(f"Key '{key}' needs {listed(expected) or 'no values'}, not {listed(values) or 'nothing'}.")
        return fill(pattern, values)

    def key_glob(self, key: str, **values: str | int) -> str:
        """A pattern for SCAN that matches every key called `key`; placeholders missing from `values` match anything."""
        pattern = self._key_pattern(key)
        allowed = KEY_PLACEHOLDERS[key] or CHOICES.get(key, ())
        if unknown := sorted(values.keys() - set(allowed)):
            raise UsageError(f"Key '{key}' has no {listed(unknown)} (allowed: {listed(allowed)}).")
        parts = PLACEHOLDER.split(pattern)
        for index, part in enumerate(parts):
            literal = index % 2 == 0
            value = part if literal else values.get(part)
            parts[index] = "*" if value is None else _GLOB_SPECIAL.sub(r"\\\1", str(value))
        return "".join(parts)

    def resource_paths(self, ids: Mapping[str, str | int]) -> list[str]:
        """The HTTP paths of a charge point, a connector and a transaction with these ids.

        Raises:
            LacksCapability: the profile has none.
        """
        records = (self.state.charge_point, self.state.connector, self.state.transaction)
        paths = self.http.resources or [each.path for each in records if each is not None and each.path is not None]
        if not paths:
            raise LacksCapability(
                f"Target '{self.name}' has no HTTP paths of charge points and transactions (http.resources in "
                f"{self.source})."
            )
        return [fill(path, ids) for path in paths]

    def has_key(self, key: str) -> bool:
        """Whether the profile names this key.

        Raises:
            UsageError: profiles have no key of this name.
        """
        if key not in KEY_PLACEHOLDERS:
            raise UsageError(f"Unknown key '{key}' (allowed: {listed(KEY_PLACEHOLDERS)}).")
        return getattr(self.redis.keys, key) is not None

    def _key_pattern(self, key: str) -> str:
        if key not in KEY_PLACEHOLDERS:
            raise UsageError(f"Unknown key '{key}' (allowed: {listed(KEY_PLACEHOLDERS)}).")
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
            "protocol": self.gateway.subprotocol,
            "timestamp": rfc3339(),
        }
        return {name: fill(text, values) for name, text in getattr(self.announcement, what).items()}

    def gateway_path(self, charge_point_id: str, *, write: Callable[[str], str] = _encoded) -> str:
        """The path of the WebSocket endpoint for a charge point.

        Args:
            charge_point_id: the charge point.
            write: writes the id as a part of a path; percent-encoded if not given.

        Raises:
            LacksCapability: the system has no gateway.
        """
        if self.gateway.path is None:
            raise LacksCapability(f"Target '{self.name}' has no gateway (gateway.path in {self.source}).")
        return fill(self.gateway.path, {"charge_point_id": write(charge_point_id)})

    def start_command(self, values: Mapping[str, str | int]) -> list[str]:
        """The command that starts the system; `values` are the placeholders' values but `python`'s."""
        return [fill(word, self._with_own(values)) for word in self._started().command]

    def companion_start(
        self, companion: Companion, values: Mapping[str, str | int], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str], Path | None]:
        """Command, environment and directory of a companion.

        Args:
            companion: the companion.
            values: the placeholders' values.
            environment: that of the program.
        """
        filled = self._with_own(values)
        own = dict(environment)
        for name, value in companion.environment.items():
            if value is None:
                own.pop(name, None)
            else:
                own[name] = fill(_as_setting(value), filled)
        directory = None if companion.directory is None else self.directory / fill(companion.directory, filled)
        return [fill(word, filled) for word in companion.command], own, directory

    def stop_command(self, values: Mapping[str, str | int]) -> list[str]:
        """The command that ends the system; empty if a signal does."""
        return [] if self.start is None else [fill(word, self._with_own(values)) for word in self.start.stop_command]

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
        for name, value in {**self._started().environment, **overrides}.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = fill(_as_setting(value), filled)
        return environment

    def start_directory(self, values: Mapping[str, str | int]) -> Path | None:
        """The working directory that the profile asks for, `None` for a private temporary one."""
        directory = self._started().directory
        return None if directory is None else self.directory / fill(directory, self._with_own(values))

    @property
    def directory(self) -> Path:
        """The folder of the profile; relative paths in it start there."""
        return Path(self.source).parent

    def _started(self) -> Start:
        if self.start is None:
            raise NotPossibleHere(f"Target '{self.name}' is already running and cannot be started (see {self.source}).")
        return self.start

    def _with_own(self, values: Mapping[str, str | int]) -> dict[str, str | int]:
        return {"python": sys.executable, "profile_directory": str(self.directory), **values}


def _as_setting(value: SettingValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_READ: dict[Path, tuple[tuple[int, ...], Target]] = {}
"""The profiles that were read, by file, with what shows whether the file has changed since."""
