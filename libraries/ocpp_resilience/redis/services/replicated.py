"""The replicated service: a primary, a replica and three sentinels, private processes of one program."""

from __future__ import annotations

import contextlib
import enum
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from ocpp_resilience.errors import ServiceError, UsageError, WaitTimeout
from ocpp_resilience.ports import HOST, free_port
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.redis.connection import OWN_CLIENTS, open_client
from ocpp_resilience.redis.services.base import AppendOnly, Effect, RedisService
from ocpp_resilience.redis.services.embedded import EmbeddedRedis
from ocpp_resilience.waiting import seconds, wait_until

SERVICE = "ocpp"
"""The name under which the sentinels know the primary."""
SENTINELS = 3
QUORUM = 2
DOWN_AFTER = "down-after-milliseconds"
DOWN_AFTER_MS = 2000
"""Silence after which a sentinel takes a node for dead. A sentinel that itself stands still for so long, as on a busy
machine, distrusts its clock and promotes nobody."""
FAILOVER_TIMEOUT_MS = 3000
"""The longest that a failover takes; sentinels that did not agree on a leader try again after twice this time."""
SETTLED_SECONDS = 60.0
"""The longest that the set may take to have one primary and one replica that follows it."""
DEMOTED_SECONDS = 10.0
"""The longest that the sentinels may take to tell a primary that it is none any more."""
ASK_SECONDS = 2.0
WATCHERS = "watchers"
"""The user of sentinels and replica on the nodes; revoking its permissions cuts off them, and no client."""


class FailoverHow(enum.Enum):
    """Ways to lose a primary.

    `kill` ends it, `demote` has the sentinels replace it, `pause` stops it until it is replaced, `partition` cuts it
    off from the sentinels and the replica while clients still reach it, `stale` pauses it until it is replaced and lets
    it come back cut off.
    """

    KILL = "kill"
    DEMOTE = "demote"
    PAUSE = "pause"
    PARTITION = "partition"
    STALE = "stale"


@dataclass(frozen=True)
class Failover:
    """A primary was replaced.

    Attributes:
        how: the way in which it was lost.
        old: the port of the one that was the primary.
        new: the port of the one that is it now.
        took: seconds until the sentinels named the new one and it said that it is the primary.
        lag: bytes that the replica lacked when the old one was lost.
        proof: ROLE of both nodes and the sentinels' word.
    """

    how: FailoverHow
    old: int
    new: int
    took: float
    lag: int
    proof: str


class ReplicatedRedis(RedisService):
    """A primary with one replica, watched by three sentinels, all on separate ports of 127.0.0.1.

    What is done to the service as a whole (stop, kill, pause, …) is done to both nodes; the sentinels go on. What
    happens to one node only is a failover: `fail_over`, and `heal` afterwards.

    Args:
        name: its name in messages.
        append_only: how the nodes keep their writes.
        binary: the server program, which has to know Sentinel, too.
        settings: further lines of the nodes' configuration; `down-after-milliseconds` is that of the sentinels.
    """

    def __init__(
        self,
        name: str,
        *,
        append_only: AppendOnly = AppendOnly.ALWAYS,
        binary: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name)
        own = dict(settings or {})
        if taken := sorted({"user", "masteruser", "masterauth", "replicaof"} & own.keys()):
            raise UsageError(f"{name}: {', '.join(taken)} cannot be set, the service sets it itself.")
        self._down_after = own.pop(DOWN_AFTER, str(DOWN_AFTER_MS))
        self._secret = secrets.token_hex(16)
        # Without one, a client that is refused as another user may go on as the default user, and could not be cut off.
        own.setdefault("requirepass", secrets.token_hex(8))
        own |= {
            "user": f"{WATCHERS} on >{self._secret} ~* &* +@all",
            "masteruser": WATCHERS,
            "masterauth": self._secret,
            "repl-diskless-sync-delay": "0",
            "repl-timeout": "10",
        }
        self._password = own["requirepass"]
        self._nodes = [
            EmbeddedRedis(f"{name}, node {number}", append_only=append_only, binary=binary, settings=own)
            for number in (1, 2)
        ]
        self._sentinels = [ChildProcess(f"{name}, sentinel {number}") for number in range(1, SENTINELS + 1)]
        self._sentinel_ports: list[int] = []
        self._binary = self._nodes[0].binary
        self._cut_off: EmbeddedRedis | None = None
        self._last_primary: EmbeddedRedis = self._nodes[0]
        self.last_failover: Failover | None = None
        """The last one that `fail_over` brought about."""

    # --- what every service has ---------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        return HOST

    @property
    def port(self) -> int:
        """The primary's; another one after a failover."""
        return self.primary.port

    @property
    def password(self) -> str | None:
        return self._password

    @property
    def pid(self) -> int:
        return self.primary.pid

    @property
    def is_there(self) -> bool:
        return any(node.is_there for node in self._nodes)

    @property
    def is_running(self) -> bool:
        return all(node.is_running for node in self._nodes)

    @property
    def state(self) -> str:
        return ", ".join(f"node {number} {node.state}" for number, node in enumerate(self._nodes, 1))

    @property
    def version(self) -> str:
        return self._nodes[0].version

    @property
    def data_directory(self) -> str:
        return " and ".join(node.data_directory for node in self._nodes)

    @property
    def sentinels(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each sentinel."""
        return tuple((HOST, port) for port in self._sentinel_ports)

    def url(self, database: int | None = None) -> str:
        """The URL of the sentinels, for clients that ask them."""
        login = f":{quote(self._password, safe='')}@"
        hosts = ",".join(f"{HOST}:{port}" for port in self._sentinel_ports)
        return f"redis+sentinel://{login}{hosts}/{SERVICE}" + ("" if database is None else f"/{database}")

    def start(self, timeout: timedelta | float) -> Effect:
        """Start all nodes that do not run, and wait until there is one primary with a connected replica."""
        began = time.monotonic()
        if self._sentinel_ports:
            # A node that sentinels have made a replica knows that after a restart, too.
            first = self.primary
            self._start_node(first, None, timeout)
            self._start_node(self._other(first), first, timeout)
        else:
            for node in self._nodes:
                node.start(timeout)
            first, second = self._nodes
            second.command("REPLICAOF", HOST, str(first.port), timeout=ASK_SECONDS)
            self._sentinel_ports = [self._start_sentinel(process, first.port) for process in self._sentinels]
        proof = self.wait_until_settled()
        return Effect("started", time.monotonic() - began, proof)

    def _start_node(self, node: EmbeddedRedis, primary: EmbeddedRedis | None, timeout: timedelta | float) -> None:
        if node.is_there:
            return
        node.settings.pop("replicaof", None)
        if primary is not None:
            node.settings["replicaof"] = f"{HOST} {primary.port}"
        node.start(timeout)

    def stop(self, timeout: timedelta | float) -> Effect:
        return self._both("stopped", lambda node: node.stop(timeout) if node.is_there else None)

    def kill(self) -> Effect:
        return self._both("killed", lambda node: node.kill() if node.is_there else None)

    def pause(self) -> Effect:
        return self._both("paused", lambda node: node.pause())

    def resume(self, timeout: timedelta | float) -> Effect:
        effect = self._both("resumed", lambda node: node.resume(timeout) if not node.is_running else None)
        return Effect(effect.action, effect.took, f"{effect.proof}; {self.wait_until_settled()}")

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join(f"{node.name}:\n{node.log_tail(lines)}" for node in self._nodes)

    def close(self) -> None:
        """End all nodes, and remove their resources."""
        with contextlib.ExitStack() as ending:
            for process in self._sentinels:
                ending.callback(process.close)
            for node in self._nodes:
                ending.callback(node.close)

    # --- who is what --------------------------------------------------------------------------------------------------

    @property
    def primary(self) -> EmbeddedRedis:
        """The node that most sentinels name as primary; the one that they named last, while none answers.

        Raises:
            ServiceError: it was not started.
        """
        if not self._sentinel_ports:
            raise ServiceError(f"{self.name} was not started, it has no primary yet.")
        if named := [port for port in self.named_primaries() if port]:
            self._last_primary = self._node(max(set(named), key=named.count))
        return self._last_primary

    @property
    def replica(self) -> EmbeddedRedis:
        """The other node."""
        return self._other(self.primary)

    def _other(self, node: EmbeddedRedis) -> EmbeddedRedis:
        return next(each for each in self._nodes if each is not node)

    def _node(self, port: int) -> EmbeddedRedis:
        return next(node for node in self._nodes if node.port == port)

    def named_primaries(self) -> list[int]:
        """The port that each sentinel names; 0 where one does not answer."""
        asked = zip(self._sentinels, self._sentinel_ports, strict=True)
        return [0 if process.paused else self._named_by(port) for process, port in asked]

    def _named_by(self, sentinel: int) -> int:
        with contextlib.suppress(ServiceError):
            return int(self._ask_sentinel(sentinel, "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        return 0

    def role(self, node: EmbeddedRedis) -> str:
        """The role that a node reports: `master`, `slave` with the state of its link, or the reason for no report."""
        if not node.is_running:
            return node.state
        try:
            reply = node.command("ROLE", timeout=ASK_SECONDS)
        except ServiceError as error:
            return str(error)
        return f"slave of {reply[2]} ({reply[3]})" if reply[0] == "slave" else str(reply[0])

    def roles(self) -> str:
        """ROLE of both nodes and the sentinels' word, for a proof."""
        nodes = ", ".join(f"{node.port} says {self.role(node)}" for node in self._nodes)
        return f"{nodes}; the sentinels name {', '.join(map(str, self.named_primaries()))}"

    def lag(self) -> int:
        """Bytes of the primary's writes that the replica does not have."""
        about = self.primary.info("replication")
        replica = dict(part.split("=", 1) for part in about.get("slave0", "offset=0").split(",") if "=" in part)
        return int(about["master_repl_offset"]) - int(replica.get("offset", 0))

    def wait_until_settled(self, timeout: float = SETTLED_SECONDS) -> str:
        """Wait until all sentinels name one node, it is the primary, and the other one follows it; returns the proof.

        Raises:
            WaitTimeout: it did not come to that; the message has the last role of each.
        """
        return wait_until(
            lambda: self.roles() if self._settled() else None,
            timeout=timeout,
            failure=lambda: f"{self.name} has not settled: {self.roles()}",
            longest_pause=0.1,
        )

    def _settled(self) -> bool:
        named = set(self.named_primaries())
        if len(named) != 1 or 0 in named:
            return False
        primary = self._node(named.pop())
        other = next(node for node in self._nodes if node is not primary)
        if self.role(primary) != "master" or self.role(other) != f"slave of {primary.port} (connected)":
            return False
        about = [self._about(port) for port in self._sentinel_ports]
        return all(
            each.get("num-slaves") == "1"
            and each.get("num-other-sentinels") == str(SENTINELS - 1)
            and each.get("flags") == "master"
            for each in about
        ) and all(self._follows(port) for port in self._sentinel_ports)

    def _about(self, sentinel: int) -> dict[str, str]:
        reply = self._ask_sentinel(sentinel, "MASTER", SERVICE)
        return dict(zip(reply[::2], reply[1::2], strict=True))

    def _follows(self, sentinel: int) -> bool:
        """Whether a sentinel knows of a replica that it could promote."""
        replicas = [
            dict(zip(each[::2], each[1::2], strict=True)) for each in self._ask_sentinel(sentinel, "REPLICAS", SERVICE)
        ]
        return all(each["flags"] == "slave" and each["master-link-status"] == "ok" for each in replicas)

    def _ask_sentinel(self, port: int, *words: str) -> Any:
        with contextlib.closing(open_client(f"redis://{HOST}:{port}", socket_timeout=ASK_SECONDS, text=True)) as client:
            client.response_callbacks.clear()
            try:
                return client.execute_command("SENTINEL", *words)
            except Exception as error:  # noqa: BLE001 - whatever it is, this sentinel has not answered
                raise ServiceError(f"{self.name}: the sentinel at {port} did not answer {words[0]}: {error}") from None

    # --- failovers ----------------------------------------------------------------------------------------------------

    def fail_over(self, how: FailoverHow, timeout: timedelta | float = SETTLED_SECONDS) -> Failover:
        """Lose the primary in this way, and return when the other node is it.

        Raises:
            WaitTimeout: the sentinels did not replace it.
        """
        old, new, lag = self.primary, self.replica, self.lag()
        began = time.monotonic()
        match how:
            case FailoverHow.KILL:
                old.kill()
            case FailoverHow.PAUSE:
                old.pause()
            case FailoverHow.PARTITION:
                self._cut(old)
            case FailoverHow.STALE:
                self._cut(old)
                old.pause()
            case FailoverHow.DEMOTE:
                self._ask_sentinel(self._sentinel_ports[0], "FAILOVER", SERVICE)

        def replaced() -> bool | None:
            named = self.named_primaries()
            return (named.count(new.port) >= QUORUM and self.role(new) == "master") or None

        wait_until(
            replaced,
            timeout=timeout,
            failure=lambda: f"{self.name}: the primary was not replaced after {how.value}: {self.roles()}",
            longest_pause=0.05,
        )
        took = time.monotonic() - began
        if how is FailoverHow.STALE:
            old.resume(timeout)
        self.last_failover = Failover(how, old.port, new.port, took, lag, self.roles())
        return self.last_failover

    def _cut(self, node: EmbeddedRedis) -> None:
        """Cut a node off from sentinels and replica.

        Their connections stay, and nothing is answered over them; what the replica is sent has to be cut.
        """
        self._cut_off = node
        node.command("ACL", "SETUSER", WATCHERS, "-@all", timeout=ASK_SECONDS)
        node.command("CLIENT", "KILL", "TYPE", "replica", timeout=ASK_SECONDS)

    def proves(self, failover: Failover) -> tuple[bool, str]:
        """Whether both nodes and the sentinels confirm the failover, and their answers."""
        old = self._node(failover.old)
        follower = f"slave of {failover.new}"
        expected = {
            FailoverHow.KILL: "exited",
            FailoverHow.PAUSE: "is paused",
            FailoverHow.PARTITION: "master",
            FailoverHow.STALE: "master",
            FailoverHow.DEMOTE: follower,
        }[failover.how]
        try:
            wait_until(
                lambda: self.role(old).startswith(expected) or None,
                timeout=DEMOTED_SECONDS,
                failure=self.roles,
                longest_pause=0.05,
            )
        except WaitTimeout:
            return False, self.roles()
        named = self.named_primaries().count(failover.new)
        return named >= QUORUM and self.role(self._node(failover.new)) == "master", self.roles()

    def heal(self, timeout: timedelta | float = SETTLED_SECONDS) -> Effect:
        """Restart lost nodes, and wait until they follow the primary; an old primary returns as a stale one."""
        began = time.monotonic()
        for process in self._sentinels:
            if process.paused:
                process.resume()
        stale = [self.role(node) for node in self._nodes if not node.is_running]
        for node in self._nodes:
            if not node.is_there:
                self._start_node(node, None, timeout)
            elif not node.is_running:
                node.resume(timeout)
        if self._cut_off is not None:
            self._cut_off.command("ACL", "SETUSER", WATCHERS, "+@all", timeout=ASK_SECONDS)
            self._cut_off = None
        proof = self.wait_until_settled(seconds(timeout))
        return Effect("healed", time.monotonic() - began, f"{proof}; before: {', '.join(stale) or 'both ran'}")

    def clients_of(self, port: int) -> list[str]:
        """Connections to a node, as CLIENT LIST shows them, without replica, sentinels and our own."""
        found = []
        for line in str(self._node(port).command("CLIENT", "LIST", timeout=ASK_SECONDS)).splitlines():
            about = dict(part.split("=", 1) for part in line.split(" ") if "=" in part)
            replication = set(about["flags"]) & {"M", "S"}
            if about["user"] != WATCHERS and not replication and not about["name"].startswith(OWN_CLIENTS):
                found.append(line)
        return found

    def lag_replica(self) -> Effect:
        """Stop the replica, so that it lags behind until `heal`."""
        return self.replica.pause()

    def pause_sentinels(self, count: int) -> None:
        """Stop this many sentinels, until `heal`.

        Raises:
            UsageError: there are not this many.
        """
        if not 1 <= count <= SENTINELS:
            raise UsageError(f"{self.name} has {SENTINELS} sentinels: {count} of them cannot be paused.")
        for process in self._sentinels[-count:]:
            process.pause()

    def silent_sentinels(self) -> int:
        """How many sentinels do not name a primary."""
        return self.named_primaries().count(0)

    # ------------------------------------------------------------------------------------------------------------------

    def _both(self, action: str, act: Any) -> Effect:
        began = time.monotonic()
        effects = [effect for node in self._nodes if (effect := act(node)) is not None]
        return Effect(action, time.monotonic() - began, "; ".join(effect.proof for effect in effects))

    def _start_sentinel(self, process: ChildProcess, primary: int) -> int:
        port = free_port()
        file = process.directory / "sentinel.conf"
        file.write_text(
            "\n".join(
                (
                    f"port {port}",
                    f"bind {HOST}",
                    f"dir {process.directory}",
                    f"sentinel monitor {SERVICE} {HOST} {primary} {QUORUM}",
                    f"sentinel auth-user {SERVICE} {WATCHERS}",
                    f"sentinel auth-pass {SERVICE} {self._secret}",
                    f"sentinel {DOWN_AFTER} {SERVICE} {self._down_after}",
                    f"sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MS}",
                    f"sentinel parallel-syncs {SERVICE} 1",
                    "",
                )
            ),
            "utf-8",
        )
        file.chmod(0o600)
        process.start([str(self._binary), str(file), "--sentinel"])
        wait_until(
            lambda: self._named_by(port) or None,
            timeout=SETTLED_SECONDS,
            failure=lambda: f"{process.name} does not answer at {port}. {process.output_tail()}",
            longest_pause=0.05,
        )
        with contextlib.suppress(ServiceError):  # not all versions can be told to look more often than every 10 s
            # One that stood still (`partition sentinels`, a busy machine) does nothing for 30 s otherwise.
            self._ask_sentinel(
                port,
                *("DEBUG", "INFO-PERIOD", "500", "PUBLISH-PERIOD", "250", "PING-PERIOD", "200", "TILT-PERIOD", "2000"),
            )
        return port
