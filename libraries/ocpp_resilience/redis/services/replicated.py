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

from ocpp_resilience.errors import ServiceError, UsageError
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
DOWN_AFTER_MS = 1000
"""Silence after which a sentinel takes a node for dead."""
FAILOVER_TIMEOUT_MS = 6000
SETTLED_SECONDS = 60.0
"""The longest that the set may take to have one primary and one replica that follows it."""
ASK_SECONDS = 2.0
WATCHERS = "watchers"
"""The user of sentinels and replica on the nodes; revoking its permissions cuts off them, and no client."""


class FailoverHow(enum.Enum):
    """Ways to lose a primary.

    `kill` ends it, `demote` has the sentinels replace it, `pause` stops it until it is replaced, `partition` cuts it
    off from the sentinels and the replica while clients still reach it.
    """

    KILL = "kill"
    DEMOTE = "demote"
    PAUSE = "pause"
    PARTITION = "partition"


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
    """A primary with one replica, watched by three sentinels, all on 127.0.0.1 with ports of their own.

    What is done to the service as a whole (stop, kill, pause, …) is done to both nodes; the sentinels go on. What
    happens to one node only is a failover: `fail_over`, and `heal` afterwards.

    Args:
        name: its name in messages.
        append_only: how the nodes keep their writes.
        binary: the server program, which has to know Sentinel, too.
        settings: further lines of the nodes' configuration.
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

    def url(self, database: int | None = None) -> str:
        """The URL of the sentinels, for clients that ask them."""
        login = f":{quote(self._password, safe='')}@"
        hosts = ",".join(f"{HOST}:{port}" for port in self._sentinel_ports)
        return f"redis+sentinel://{login}{hosts}/{SERVICE}" + ("" if database is None else f"/{database}")

    def start(self, timeout: timedelta | float) -> Effect:
        """Start all nodes that do not run, and wait until there is one primary with a connected replica."""
        began = time.monotonic()
        for node in self._nodes:
            if not node.is_there:
                node.start(timeout)
        if not self._sentinel_ports:
            first, second = self._nodes
            second.command("REPLICAOF", HOST, str(first.port), timeout=ASK_SECONDS)
            self._sentinel_ports = [self._start_sentinel(process, first.port) for process in self._sentinels]
        proof = self.wait_until_settled()
        return Effect("started", time.monotonic() - began, proof)

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
        """The node that most sentinels name as primary.

        Raises:
            ServiceError: no sentinel answers.
        """
        named = [port for port in self.named_primaries() if port]
        if not named:
            raise ServiceError(f"{self.name}: no sentinel names a primary.")
        return self._node(max(set(named), key=named.count))

    @property
    def replica(self) -> EmbeddedRedis:
        """The other node."""
        primary = self.primary
        return next(node for node in self._nodes if node is not primary)

    def _node(self, port: int) -> EmbeddedRedis:
        return next(node for node in self._nodes if node.port == port)

    def named_primaries(self) -> list[int]:
        """The port that each sentinel names; 0 where one does not answer."""
        return [self._named_by(port) for port in self._sentinel_ports]

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
                self._cut_off = old
                # Their connections stay open without replies; the replica's connection must be closed.
                old.command("ACL", "SETUSER", WATCHERS, "-@all", timeout=ASK_SECONDS)
                old.command("CLIENT", "KILL", "TYPE", "replica", timeout=ASK_SECONDS)
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
        return Failover(how, old.port, new.port, time.monotonic() - began, lag, self.roles())

    def heal(self, timeout: timedelta | float = SETTLED_SECONDS) -> Effect:
        """Restart lost nodes, and wait until they follow the primary; an old primary returns as a stale one."""
        began = time.monotonic()
        stale = [self.role(node) for node in self._nodes if not node.is_running]
        for node in self._nodes:
            if not node.is_there:
                node.start(timeout)
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
                    f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
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
            self._ask_sentinel(port, "DEBUG", "INFO-PERIOD", "1000", "PUBLISH-PERIOD", "500", "PING-PERIOD", "200")
        return port
