"""The base class of the faults in `kinds`, and the subjects that faults act on."""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from ocpp_resilience.errors import ResilienceError, UsageError
from ocpp_resilience.faults.path import FaultyPath
from ocpp_resilience.faults.redis_admin import RedisAdmin
from ocpp_resilience.redis.services import RedisService
from ocpp_resilience.waiting import seconds

if TYPE_CHECKING:
    from ocpp_resilience.system.server import OcppServer

Proof = tuple[bool, str]
"""Proof of an effect: whether it was seen, and the observation."""


class Place(enum.Enum):
    """Places where a fault acts. The value is the heading of its table in the guide."""

    NETWORK = "On the network"
    TLS = "On the certificate of a proxy with TLS"
    COMMAND = "On one command"
    REDIS = "On Redis itself"
    REDIS_FILES = "On the files of Redis"
    REDIS_PROCESS = "On the Redis process"
    REPLICATION = "On a Redis with a replica"
    SERVER_PROCESS = "On the server process"

    @property
    def needs_redis_of_the_test(self) -> bool:
        """Whether it changes a Redis, which is never done to an external one."""
        return self in {Place.REDIS, Place.REDIS_FILES, Place.REDIS_PROCESS, Place.REPLICATION}


class Direction(enum.Enum):
    """`upstream` is from the client to Redis or the gateway, `downstream` is back."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


def _missing(what: str) -> Callable[[], Any]:
    def missing() -> Any:
        raise UsageError(f"This fault needs {what}, which is missing.")

    return missing


_NO_PATH = _missing("a fault proxy")
_NO_REDIS = _missing("a Redis behind a fault proxy")
_NO_SERVICE = _missing("a Redis of RedisServiceLibrary")
_NO_SERVER = _missing("a server of OcppServerLibrary")


@dataclass(frozen=True)
class Subjects:
    """The subjects of faults. Each is looked up when a fault needs it.

    Attributes:
        path: the way through the fault proxy.
        redis: the Redis behind the proxy, for commands.
        service: the Redis that is stopped, killed or paused.
        server: the server that is stopped, killed or paused.
        profile: name or path of the target profile, which describes the commit.
    """

    path: Callable[[], FaultyPath] = _NO_PATH
    redis: Callable[[], RedisAdmin] = _NO_REDIS
    service: Callable[[], RedisService] = _NO_SERVICE
    server: Callable[[], OcppServer] = _NO_SERVER
    profile: str = "reference"


@dataclass(eq=False)
class InjectableFault(abc.ABC):
    """Something that can be done and undone, with a measurement that proves it.

    A subclass with a `name` is registered. Its fields behind `on` are its arguments, the first of them the value in a
    row of a schedule.

    Attributes:
        name: its name in schedules and in the journal.
        place: where it acts.
        effect: the effect on the system.
        evidence: the proof; completes "Proven by".
        own_proxy_only: a real Toxiproxy cannot do it.
        waits: it takes effect only at its occasion; the proof is looked for later.
        lasts: it lasts until it is healed; one that does not is over at once.
        refuses_writes: Redis answers every write of the system with an error while it lasts.
    """

    name: ClassVar[str] = ""
    place: ClassVar[Place]
    effect: ClassVar[str] = ""
    evidence: ClassVar[str] = ""
    own_proxy_only: ClassVar[bool] = False
    waits: ClassVar[bool] = False
    lasts: ClassVar[bool] = True
    refuses_writes: ClassVar[bool] = False

    on: Subjects

    @property
    @abc.abstractmethod
    def target(self) -> str:
        """The subject of the fault, for example `Redis 'redis'`."""

    @abc.abstractmethod
    def begin(self) -> None:
        """Do it."""

    @abc.abstractmethod
    def prove(self) -> Proof:
        """Measure its effect."""

    def end(self) -> None:  # noqa: B027 - some have nothing to undo
        """Undo it; has to work in any state of the target."""

    def recovered(self) -> str:
        """Measure that the effect is gone."""
        return ""

    def reaches(self) -> Proof:
        """Whether the place of the fault has traffic beside the test's own; a fault without traffic shows nothing."""
        return True, ""

    @property
    def parameters(self) -> dict[str, Any]:
        """Its arguments, for the journal: the first one, and others that were given."""
        values = {argument.name: (getattr(self, argument.name), argument) for argument in self.arguments()}
        return {
            name: _plain(value)
            for number, (name, (value, argument)) in enumerate(values.items())
            if value != _default(argument) or (number == 0 and name != "toxicity")
        }

    @classmethod
    def arguments(cls) -> list[dataclasses.Field[Any]]:
        """The fields that can be given."""
        return [field for field in dataclasses.fields(cls)[1:] if field.init]

    def proven(self) -> Proof:
        """The result of `prove`; an effect that cannot be measured is not proven."""
        try:
            return self.prove()
        except ResilienceError as error:
            return False, str(error)

    def reached(self, proof: str) -> Proof:
        """Whether an observed effect (`proof`) affects any traffic."""
        there, who = self.reaches()
        return there, f"{proof}; {who}" if who else proof


def _default(argument: dataclasses.Field[Any]) -> Any:
    made = argument.default_factory
    return argument.default if made is dataclasses.MISSING else made()


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return f"{seconds(value) * 1000:g} ms"
    return value.value if isinstance(value, enum.Enum) else value
