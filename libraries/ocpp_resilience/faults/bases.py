"""The parts that faults of one place share; a fault itself is a file in `kinds`."""

from __future__ import annotations

import abc
import functools
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ocpp_resilience.errors import LacksCapability, NotPossibleHere
from ocpp_resilience.faults.fault import InjectableFault, Place, Proof
from ocpp_resilience.faults.path import AWAY_LIMIT, FaultyPath
from ocpp_resilience.faults.probe import PROOF_LIMIT, Probe, Seen
from ocpp_resilience.faults.redis_admin import RedisAdmin
from ocpp_resilience.ports import HOST, wait_until_refused
from ocpp_resilience.profile import Target
from ocpp_resilience.profile.kept import WRITES, Commit
from ocpp_resilience.redis.services import Effect, FailoverHow, ReplicatedRedis
from ocpp_resilience.redis.services.base import PATIENT_PING_LIMIT, PING_LIMIT
from ocpp_resilience.waiting import wait_until

PROCESS_LIMIT = 15.0
"""Seconds that ending, starting and resuming a process may take."""
OTHERS_LIMIT = PROOF_LIMIT
"""Seconds within which another client has to be connected, for faults that act on open connections."""
LOOK_EVERY = 0.02
HEALING_LIMIT = 60.0
"""Seconds in which a replica is promoted, and in which nodes and sentinels agree again."""
COMMIT = "commit"
MEASUREMENTS = 5
"""Measurements of an effect at most; each but the first because the service behind the proxy was away during the one
before: another schedule may end it several times in a row."""
TRIES = 8
"""Connections that are tried with a toxicity below 1, until one feels it."""


def commit_of(profile: Target) -> Commit:
    """How a target's commit is recognised among its commands.

    Raises:
        LacksCapability: the target profile does not say so.
    """
    if profile.redis.commit is None:
        raise LacksCapability(
            f"Target '{profile.name}' does not describe its commit (redis.commit in {profile.source})."
        )
    return profile.redis.commit


class NetworkFault(InjectableFault):
    """A fault on the way to Redis or to a gateway."""

    place = Place.NETWORK

    @property
    def path(self) -> FaultyPath:
        """The way that it is put on."""
        return self.on.path()

    @property
    def target(self) -> str:
        return self.path.name

    def recovered(self) -> str:
        return self.path.healed()

    def proven(self) -> Proof:
        if self.waits:
            # Its proof is a count of the proxy, which does not depend on the service.
            return super().proven()
        found, undisturbed = self._measured()
        for _ in range(MEASUREMENTS - 1):
            if found[0] or undisturbed:
                break
            self.repeat()
            found, undisturbed = self._measured()
        return found

    def _measured(self) -> tuple[Proof, bool]:
        """The result of `prove`, and whether it says something.

        Nothing was measured if the service behind the proxy was away meanwhile, by another fault perhaps. When this
        returns, it is back, or does not come back.
        """
        canary = self.path.canary()
        try:
            found = super().proven()
            return found, found[0] or not self.path.service_came_back(canary)
        finally:
            if canary is not None:
                canary.close()

    def repeat(self) -> None:
        """Do again what was over at once, and may have hit nothing."""

    def reaches(self) -> Proof:
        return self.path.used()


class ToxicFault(NetworkFault):
    """A fault that a toxic of the proxy makes."""

    toxic: ClassVar[str]
    own_toxic: ClassVar[bool] = False

    @abc.abstractmethod
    def attributes(self) -> Mapping[str, float]:
        """The attributes of the toxic."""

    def streams(self) -> tuple[str, ...]:
        """The directions that it works on."""
        return ("downstream",)

    def _names(self) -> dict[str, str]:
        return {stream: f"{self.name.replace(' ', '_')}_{stream}" for stream in self.streams()}

    def begin(self) -> None:
        if self.own_proxy_only:
            self.path.api.needs_own(self.name.capitalize())
        for stream, name in self._names().items():
            self.path.api.remove_toxic(self.path.proxy, name)
            self.path.api.add_toxic(
                self.path.proxy,
                name,
                self.toxic,
                stream,
                toxicity=getattr(self, "toxicity", 1.0),
                **self.attributes(),
            )

    def end(self) -> None:
        for name in self._names().values():
            self.path.api.remove_toxic(self.path.proxy, name)

    def takes_at_least(self, limit: float, least: Callable[[Seen], float], request: Callable[[Probe], Seen]) -> Proof:
        """Whether a request takes its time, twice on one connection: a busy machine makes one slow, and not both.

        Args:
            limit: seconds without an answer that count as silence.
            least: seconds that such a reply has to take.
            request: the request.
        """
        whole = getattr(self, "toxicity", 1.0) == 1
        seen = Seen("silence")
        for _ in range(1 if whole else TRIES):
            with self.path.probe(limit=limit) as probe:
                slow = all((seen := request(probe)).what == "reply" and seen.took >= least(seen) > 0 for _ in range(2))
            if slow:
                break
        text = f"{seen.size} bytes: {seen.what} after {seen.took * 1000:.1f} ms"
        return slow, f"{text} (at least {least(seen) * 1000:.1f} ms)"


class OpenConnectionsFault(NetworkFault):
    """A fault of the connections that are open when it begins."""

    own_proxy_only = True
    action: ClassVar[str]
    probe: Probe

    def begin(self) -> None:
        self.path.api.needs_own(f"'{self.name}'")
        self._connect()
        began = time.monotonic()
        # It hits a connection of the test together with others, or waits: another fault may have ended either.
        until = began + (OTHERS_LIMIT if self.path.used()[0] else 0.0)
        while not (hit := self.path.api.act(self.path.proxy, self.action, beside=self.probe.address)):
            if time.monotonic() > until:
                hit = self.path.api.act(self.path.proxy, self.action)
                break
            time.sleep(LOOK_EVERY)
            if self.probe.ended:
                # The service behind the proxy was away. The others need time to come back, too.
                self._connect()
                until = min(began + AWAY_LIMIT, time.monotonic() + OTHERS_LIMIT)
        self.hit = hit

    def _connect(self) -> None:
        if hasattr(self, "probe"):
            self.probe.close()
        self.probe = self.path.probe(limit=PROOF_LIMIT)
        self.probe.settle()

    def repeat(self) -> None:
        self.end()
        self.begin()

    def end(self) -> None:
        if hasattr(self, "probe"):
            self.probe.close()


class CommandFault(NetworkFault):
    """A fault at chosen Redis commands; proven when it has hit one."""

    place = Place.COMMAND
    own_proxy_only = True
    waits = True
    evidence = "the number of commands that the fault has hit"

    @abc.abstractmethod
    def rule(self) -> dict[str, Any]:
        """The affected commands and the fault on them, in the format of the proxy."""

    def begin(self) -> None:
        self.path.api.needs_own("A fault at chosen Redis commands")
        self._rule = self.path.next_name(self.name)
        self.path.api.add_resp(self.path.proxy, {"name": self._rule, **self.rule()})

    def prove(self) -> Proof:
        seen = self.path.api.resp(self.path.proxy, self._rule)
        hits = int(seen.get("hits", 0))
        text = f"{hits} of {seen.get('seen', 0)} matching commands were hit"
        if not_run := seen.get("not_run", 0):
            text += f"; Redis did not run {not_run} more"
        return hits > 0, text

    def end(self) -> None:
        if hasattr(self, "_rule"):
            self.path.api.remove_resp(self.path.proxy, self._rule)

    def reaches(self) -> Proof:
        return True, ""

    def selected(self, command: str, keys: list[str]) -> dict[str, Any]:
        """The selected requests: a command, or the name of a write in the target profile.

        These are `commit` (`redis.commit`) and the names in `redis.writes`. A write by script is selected whether it is
        sent by its digest or as text.

        Raises:
            LacksCapability: the target profile does not name its commit, or has no such write.
        """
        name = command.lower()
        if name != COMMIT and name not in WRITES:
            return {"command": command, "keys": keys}
        profile = Target.load(self.on.profile)
        named = commit_of(profile) if name == COMMIT else profile.redis.writes.get(name)
        if named is None:
            raise LacksCapability(
                f"Target '{profile.name}' does not describe its {name} (redis.writes.{name} in {profile.source})."
            )
        return {
            "command": _in_both_forms(named.command),
            "keys": keys or [profile.key_glob(key) for key in named.keys],
            "arguments": named.arguments,
        }


def _in_both_forms(command: str) -> str:
    """A script is sent by its digest, and as text where Redis does not know it yet: the same write."""
    forms = {"EVALSHA": "EVALSHA|EVAL", "EVAL": "EVALSHA|EVAL", "EVALSHA_RO": "EVALSHA_RO|EVAL_RO"}
    return forms.get(command.upper(), command)


class RedisFault(InjectableFault):
    """A fault of Redis itself, made by commands to it."""

    place = Place.REDIS

    @functools.cached_property
    def redis(self) -> RedisAdmin:
        """The Redis that it changes; with sentinels the node that was the primary when it began."""
        return self.on.redis().node()

    @property
    def target(self) -> str:
        return self.on.redis().name

    def recovered(self) -> str:
        return self.on.redis().writable()

    def change(self, settings: Mapping[str, str | int]) -> None:
        """Change settings of Redis, and remember the old values."""
        redis = self.redis
        self._before: dict[str, str] = {}
        for name, value in settings.items():
            self._before[name] = redis.config(name)
            redis.run("CONFIG", "SET", name, value)

    def change_back(self) -> None:
        """Put the settings back that were changed."""
        for name, value in getattr(self, "_before", {}).items():
            self.redis.run("CONFIG", "SET", name, value)


class RedisSettingsFault(RedisFault):
    """A fault that settings of Redis make; they are put back at its end."""

    @abc.abstractmethod
    def settings(self) -> Mapping[str, str | int]:
        """The settings, in the order in which they are made."""

    def begin(self) -> None:
        self.change(self.settings())

    def end(self) -> None:
        self.change_back()


class RedisFilesFault(RedisFault):
    """A fault of the files of a Redis on this machine; no rights are needed but those of the user of Redis.

    A folder in the place of a file makes its writing fail, and /dev/full is a disk without space.
    """

    place = Place.REDIS_FILES

    def folder(self) -> Path:
        """The folder of Redis.

        Raises:
            NotPossibleHere: it is not on this machine.
        """
        found = Path(self.redis.config("dir"))
        if not found.is_dir():
            raise NotPossibleHere(f"{self.redis.name} has its files in {found}, which is not on this machine.")
        return found

    def next_append_only_file(self, kind: str) -> Path:
        """The file of this kind (`base.rdb`, `incr.aof`) that the next rewrite makes.

        Raises:
            NotPossibleHere: Redis keeps no append-only file of several parts.
        """
        redis = self.redis
        name, folder = redis.config("appendfilename"), self.folder() / redis.config("appenddirname")
        manifest = folder / f"{name}.manifest"
        if redis.config("appendonly") != "yes" or not manifest.is_file():
            raise NotPossibleHere(f"{redis.name} has no append-only file, which '{self.name}' needs.")
        letter = "b" if kind.startswith("base") else "i"
        numbers = [int(each[1]) for each in re.findall(r"(seq (\d+) type " + letter + ")", manifest.read_text())]
        return folder / f"{name}.{max(numbers, default=0) + 1}.{kind}"

    def block(self, file: Path) -> None:
        """Put a folder in the place of a file that Redis is going to write."""
        self._set_aside(file)
        (file / "in the way").mkdir(parents=True)

    def fill(self, file: Path) -> None:
        """Have a file that Redis is going to write be on a full disk."""
        self._set_aside(file)
        file.symlink_to("/dev/full")

    def unblock(self) -> None:
        """Remove the substitute of the file, and restore the original."""
        file: Path | None = getattr(self, "_blocked", None)
        if file is None:
            return
        if file.is_symlink():
            file.unlink()
        elif (file / "in the way").is_dir():
            shutil.rmtree(file)
        kept = file.with_name(f"{file.name}.kept")
        if kept.exists():
            kept.rename(file)

    def _set_aside(self, file: Path) -> None:
        self._blocked = file
        if file.exists():
            file.rename(file.with_name(f"{file.name}.kept"))

    def info(self, name: str) -> str:
        """A field of INFO."""
        found = re.search(rf"^{name}:(.*?)\r?$", str(self.redis.run("INFO", "persistence")), re.MULTILINE)
        return found[1] if found else ""

    def wait_for(self, *fields: str) -> None:
        """Wait until fields of INFO have these values: names and values in turn.

        Raises:
            WaitTimeout: they do not.
        """
        wanted = dict(zip(fields[::2], fields[1::2], strict=True))
        wait_until(
            lambda: True if all(self.info(name) == value for name, value in wanted.items()) else None,
            timeout=PROCESS_LIMIT,
            failure=lambda: f"{self.redis.name} has { {name: self.info(name) for name in wanted} }, not {wanted}",
        )


@dataclass(eq=False)
class RedisProcessFault(InjectableFault):
    """Redis as a process: stopped, killed or paused, and started or resumed at the end."""

    place = Place.REDIS_PROCESS
    evidence = "a PING is refused or not answered"

    @property
    def target(self) -> str:
        return self.on.service().name

    @abc.abstractmethod
    def bring_down(self) -> Effect:
        """Do it."""

    def begin(self) -> None:
        self._effect = self.bring_down()

    def prove(self) -> Proof:
        # One that still runs has to show that it answers; the machine may hold it up for a moment.
        service = self.on.service()
        seen = service.ping(PATIENT_PING_LIMIT if service.is_running else PING_LIMIT)
        return not seen.answered, f"PING: {seen.seen}"

    def end(self) -> None:
        if not self.on.service().is_there:
            self._effect = self.on.service().start(PROCESS_LIMIT)

    def recovered(self) -> str:
        return self._effect.proof


@dataclass(eq=False)
class ReplicationFault(InjectableFault):
    """A fault of a Redis with a replica and sentinels."""

    place = Place.REPLICATION

    @property
    def target(self) -> str:
        return self.on.service().name

    @property
    def replicated(self) -> ReplicatedRedis:
        """The Redis that it acts on.

        Raises:
            NotPossibleHere: it has no replica.
        """
        service = self.on.service()
        if not isinstance(service, ReplicatedRedis):
            raise NotPossibleHere(
                f"'{self.name}' needs a Redis with a replica, which {service.name} has not: start it with "
                "`service=sentinel`."
            )
        return service

    def end(self) -> None:
        self._effect = self.replicated.heal(HEALING_LIMIT)

    def recovered(self) -> str:
        return self._effect.proof


class FailoverFault(ReplicationFault):
    """The primary is lost, and begins when the sentinels have promoted the replica."""

    evidence = "ROLE on both nodes, and the primary that the sentinels name"
    how: ClassVar[FailoverHow]

    def begin(self) -> None:
        self.failover = self.replicated.fail_over(self.how, HEALING_LIMIT)

    def prove(self) -> Proof:
        return self.replicated.proves(self.failover)


@dataclass(eq=False)
class ServerProcessFault(InjectableFault):
    """The server as a process: stopped, killed or paused, and started or resumed at the end."""

    place = Place.SERVER_PROCESS
    evidence = "the exit status, and the HTTP port refuses connections"

    @property
    def target(self) -> str:
        return self.on.server().name

    @abc.abstractmethod
    def bring_down(self) -> None:
        """Do it."""

    def begin(self) -> None:
        self._port = self.on.server().http_port
        self.bring_down()

    def prove(self) -> Proof:
        server = self.on.server()
        seen = wait_until_refused(server.name, self._port, host=HOST, timeout=2)
        return True, f"ended with status {server.process.exit_status}; HTTP port: {seen}"

    def end(self) -> None:
        if not self.on.server().process.alive:
            self.on.server().start(PROCESS_LIMIT)

    def recovered(self) -> str:
        return f"listens at {self.on.server().url}"
