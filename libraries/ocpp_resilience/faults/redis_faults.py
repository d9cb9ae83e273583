"""Faults that Redis itself can be brought to: read-only, out of memory, busy, full, another password."""

from __future__ import annotations

import contextlib
import secrets
import threading
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ocpp_resilience.errors import ServiceError, WaitTimeout
from ocpp_resilience.faults.injection import Fault, Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT, Address, look
from ocpp_resilience.waiting import wait_until

PROBE_KEY = "acceptance-test:fault-probe"
OWN_CLIENTS = "acceptance-test"
"""How the names of the test's own connections begin; they are left alone."""
CLIENTS_LIMIT = PROOF_LIMIT
"""Seconds in which there have to be clients whose connections can be closed."""
REPLY_LIMIT = 5.0
"""Seconds that Redis may take for a reply."""
_BUSY = "local n = tonumber(ARGV[1]) local i = 0 while true do i = i + 1 end return n"


class RedisFaults:
    """Faults of one Redis, through a connection that is opened before the fault and kept until its end.

    Args:
        name: what it is called in messages.
        url: where it is, not through a proxy.
    """

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.address = Address(url)
        self._admin: Any = None

    def close(self) -> None:
        """Close the connection."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _run(self, *words: str | int) -> Any:
        try:
            try:
                return self._connected().execute_command(*words)
            except redis.ConnectionError:
                # Redis was away since the connection was used last.
                self.close()
                return self._connected().execute_command(*words)
        except redis.RedisError as error:
            raise ServiceError(f"{self.name} did not run {words[0]}: {error}") from None

    def _connected(self) -> Any:
        if self._admin is None:
            self._admin = self._client()
        return self._admin

    def _client(self, timeout: float | None = REPLY_LIMIT) -> Any:
        client: Any = redis.Redis.from_url(
            self.address.url,
            protocol=2,
            decode_responses=True,
            single_connection_client=True,
            client_name=f"{OWN_CLIENTS}-faults",
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout,
        )
        client.response_callbacks.clear()
        return client

    def _look(self, *words: str, limit: float = 0.5) -> tuple[str, str]:
        seen = look(self.address, self.address.host, self.address.port, *words, limit=limit)
        return seen.text, str(seen)

    def _says(self, prefix: str, *words: str) -> Proof:
        text, seen = self._look(*words, limit=PROOF_LIMIT)
        return text.startswith(prefix), f"{' '.join(words)}: {seen}"

    def _writable(self) -> str:
        self._look("DEL", PROBE_KEY)
        return wait_until(
            lambda: f"SET: {seen[1]}" if (seen := self._look("SET", PROBE_KEY, "1", "PX", "1"))[0] == "+OK" else None,
            timeout=2 * PROOF_LIMIT,
            failure=lambda: f"{self.name} takes no writes again: {self._look('SET', PROBE_KEY, '1', 'PX', '1')[1]}",
        )

    def _config(self, name: str) -> str:
        reply = self._run("CONFIG", "GET", name)
        return str(reply[1]) if reply else ""

    def read_only(self) -> Fault:
        """Redis becomes the replica of nobody (REPLICAOF): it answers reads and refuses writes."""
        return Fault(
            "read-only",
            self.name,
            lambda: self._run("REPLICAOF", "127.0.0.1", "1"),
            lambda: self._says("-READONLY", "SET", PROBE_KEY, "1"),
            lambda: self._run("REPLICAOF", "NO", "ONE"),
            self._writable,
        )

    def out_of_memory(self) -> Fault:
        """Redis has used all memory that it may (maxmemory): it refuses what needs more."""
        before: dict[str, str] = {}

        def begin() -> None:
            before.update({name: self._config(name) for name in ("maxmemory", "maxmemory-policy")})
            self._run("CONFIG", "SET", "maxmemory-policy", "noeviction")
            self._run("CONFIG", "SET", "maxmemory", "1")

        def end() -> None:
            for name, value in before.items():
                self._run("CONFIG", "SET", name, value)

        return Fault(
            "out of memory", self.name, begin, lambda: self._says("-OOM", "SET", PROBE_KEY, "1"), end, self._writable
        )

    def busy(self) -> Fault:
        """A script runs on and on: every command is answered BUSY."""
        before: list[str] = []
        threads: list[threading.Thread] = []

        def occupy() -> None:
            # Its reply is the end of the script, for which `end` waits: just after SCRIPT KILL Redis may still be BUSY.
            with contextlib.suppress(redis.RedisError), contextlib.closing(self._client(None)) as client:
                client.execute_command("EVAL", _BUSY, 0, 1)

        def begin() -> None:
            before.append(self._config("lua-time-limit"))
            self._run("CONFIG", "SET", "lua-time-limit", 50)
            threads.append(threading.Thread(target=occupy, name="busy script", daemon=True))
            threads[0].start()

        def prove() -> Proof:
            try:
                return True, wait_until(
                    lambda: f"PING: {seen[1]}" if (seen := self._look("PING"))[0].startswith("-BUSY") else None,
                    timeout=PROOF_LIMIT,
                    failure=lambda: f"PING: {self._look('PING')[1]}",
                )
            except AssertionError as error:
                return False, str(error)

        def end() -> None:
            with contextlib.suppress(ServiceError):  # NOTBUSY: it never ran
                self._run("SCRIPT", "KILL")
            for thread in threads:
                thread.join(5)
            for value in before:
                self._run("CONFIG", "SET", "lua-time-limit", value)

        return Fault("busy", self.name, begin, prove, end, self._writable)

    def max_clients(self) -> Fault:
        """No more clients are let in, and those that there are have to come again."""
        before: list[str] = []

        def begin() -> None:
            before.append(self._config("maxclients"))
            self._run("CONFIG", "SET", "maxclients", 1)
            self._kill_others()

        def end() -> None:
            for value in before:
                self._run("CONFIG", "SET", "maxclients", value)

        return Fault(
            "too many clients",
            self.name,
            begin,
            lambda: self._says("-ERR max number of clients", "PING"),
            end,
            self._writable,
        )

    def wrong_password(self) -> Fault:
        """Redis asks for another password than the one that its clients have, and they have to log in again."""
        before: list[str] = []

        def begin() -> None:
            before.append(self._config("requirepass"))
            self._run("CONFIG", "SET", "requirepass", secrets.token_hex(8))
            self._kill_others()

        def prove() -> Proof:
            text, seen = self._look("PING", limit=PROOF_LIMIT)
            return text.startswith(("-NOAUTH", "-WRONGPASS")), f"PING: {seen}"

        def end() -> None:
            for value in before:
                self._run("CONFIG", "SET", "requirepass", value)

        return Fault("wrong password", self.name, begin, prove, end, self._writable)

    def kill_clients(self) -> Fault:
        """Redis closes the connections of its clients (CLIENT KILL), those of the test excepted, once."""
        counts: list[int] = []

        def begin() -> None:
            # After another fault they may only be on their way back.
            with contextlib.suppress(WaitTimeout):
                wait_until(lambda: self._kill_once(counts), timeout=CLIENTS_LIMIT, failure=lambda: "")

        return Fault(
            "clients killed",
            self.name,
            begin,
            lambda: (counts[0] > 0, f"{counts[0]} connections closed"),
        )

    def _kill_once(self, counts: list[int]) -> bool | None:
        counts[:] = [self._kill_others()]
        return True if counts[0] else None

    def _kill_others(self) -> int:
        killed = 0
        for line in str(self._run("CLIENT", "LIST")).splitlines():
            fields = dict(part.split("=", 1) for part in line.split(" ") if "=" in part)
            if not fields.get("name", "").startswith(OWN_CLIENTS):
                with contextlib.suppress(ServiceError):
                    killed += int(self._run("CLIENT", "KILL", "ID", fields["id"]))
        return killed
