"""The connection through which faults change a Redis and prove their effect."""

from __future__ import annotations

import contextlib
from typing import Any

import redis

from ocpp_resilience.errors import ServiceError
from ocpp_resilience.faults.probe import PROOF_LIMIT, Seen, SentinelAddress, once, redis_address
from ocpp_resilience.redis.connection import OWN_CLIENTS, open_client
from ocpp_resilience.waiting import wait_until

PROBE_KEY = "acceptance-test:fault-probe"
REPLY_LIMIT = 5.0
"""Seconds that Redis may take for a reply."""


class RedisAdmin:
    """Commands to one Redis, through a connection that is opened before a fault and kept until its end.

    Args:
        name: its name in messages.
        url: where it is, not through a proxy.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.address = redis_address(url)
        self._admin: Any = None
        self._nodes: dict[str, RedisAdmin] = {}

    def node(self) -> RedisAdmin:
        """The node that is the primary now, and stays the one that is meant when another one is; else this one."""
        if not isinstance(self.address, SentinelAddress):
            return self
        url = self.address.node
        if url not in self._nodes:
            self._nodes[url] = RedisAdmin(self.name, url)
        return self._nodes[url]

    def close(self) -> None:
        """Close the connections."""
        for node in self._nodes.values():
            node.close()
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def run(self, *words: str | int) -> Any:
        """Run a command and return its plain reply.

        Raises:
            ServiceError: Redis is away, or refused it.
        """
        try:
            try:
                return self.connected().execute_command(*words)
            except redis.ConnectionError:
                # Redis was away since the connection was used last.
                self.close()
                return self.connected().execute_command(*words)
        except redis.RedisError as error:
            raise ServiceError(f"{self.name} did not run {words[0]}: {error}") from None

    def connected(self) -> Any:
        """The client of the connection that is kept."""
        if self._admin is None:
            self._admin = self.client()
        return self._admin

    def client(self, timeout: float | None = REPLY_LIMIT) -> Any:
        """A client with a connection of its own, which is not taken for one of the system."""
        client = open_client(
            self.address.node, socket_timeout=timeout, name=f"{OWN_CLIENTS}-faults", text=True, single=True
        )
        client.response_callbacks.clear()
        return client

    def look(self, *words: str, limit: float = 0.5) -> Seen:
        """One command on a separate connection."""
        address = self.address
        return once(lambda: address.probe(address.host, address.port, limit=limit), lambda probe: probe.ask(*words))

    def says(self, prefix: str, *words: str) -> tuple[bool, str]:
        """Whether the reply to a command begins with `prefix`, and the observation."""
        seen = self.look(*words, limit=PROOF_LIMIT)
        return seen.text.startswith(prefix), f"{' '.join(words)}: {seen}"

    def refuses_writes(self, code: str) -> tuple[bool, str]:
        """Whether a write is refused with this code."""
        return self.says(f"-{code}", "SET", PROBE_KEY, "1")

    def writable(self) -> str:
        """Wait until Redis accepts writes; returns the observation.

        Raises:
            WaitTimeout: it does not.
        """
        words = ("SET", PROBE_KEY, "1", "PX", "1")
        self.look("DEL", PROBE_KEY)
        return wait_until(
            lambda: f"SET: {seen}" if (seen := self.look(*words)).text == "+OK" else None,
            timeout=2 * PROOF_LIMIT,
            failure=lambda: f"{self.name} takes no writes again: {self.look(*words)}",
        )

    def config(self, name: str) -> str:
        """The value of a setting; empty if Redis has no such setting."""
        reply = self.run("CONFIG", "GET", name)
        return str(reply[1]) if reply else ""

    def kill_others(self) -> int:
        """Close the connections of all clients but the test's own; returns how many.

        Replicas and sentinels are no clients: without them there would be a failover.
        """
        killed = 0
        for line in str(self.run("CLIENT", "LIST")).splitlines():
            fields = dict(part.split("=", 1) for part in line.split(" ") if "=" in part)
            if not fields.get("name", "").startswith(OWN_CLIENTS) and not _replicates(fields):
                with contextlib.suppress(ServiceError):
                    killed += int(self.run("CLIENT", "KILL", "ID", fields["id"]))
        return killed


def _replicates(fields: dict[str, str]) -> bool:
    """Whether a line of CLIENT LIST is that of a replica, a primary or a sentinel."""
    return bool({"S", "M"} & set(fields.get("flags", ""))) or fields.get("name", "").startswith("sentinel-")
