"""A way through the fault proxy, and the measurements on it."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ocpp_resilience.errors import ServiceError, UsageError, WaitTimeout
from ocpp_resilience.faults.certificates import Flaw, ProxyCertificates
from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi
from ocpp_resilience.faults.probe import (
    LIMIT,
    PROOF_LIMIT,
    Address,
    Probe,
    RedisAddress,
    Seen,
    SentinelAddress,
    look,
)
from ocpp_resilience.ports import joined, split
from ocpp_resilience.waiting import wait_until

HEALED_LIMIT = 5.0
AWAY_LIMIT = 15.0
"""Seconds in which a service that another fault has ended is back."""


class FaultyPath:
    """A way to Redis or to a gateway on which faults can be put: one proxy of a fault proxy.

    Before a Redis with sentinels, clients ask the sentinels through a second proxy, in whose replies the nodes are
    found behind the first one.

    Args:
        name: its name in messages.
        address: where Redis or the gateway is.
        api: the fault proxy.
        process: the process to end with it, when it is ours.
        proxy_name: the name of the proxy in the fault proxy's API; made from `name` if not given.
        tls: certificates; clients speak TLS then.

    Attributes:
        tls: as given.

    Raises:
        NotPossibleHere: the fault proxy is a real Toxiproxy, and cannot do that.
        UsageError: TLS before something else than one Redis.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        name: str,
        address: Address,
        api: ProxyApi,
        *,
        process: FaultProxyProcess | None = None,
        proxy_name: str | None = None,
        tls: ProxyCertificates | None = None,
    ) -> None:
        self.name = name
        if tls is not None and (type(address) is not RedisAddress or address.encrypted):
            raise UsageError(
                "A fault proxy with TLS of its own supports a single Redis only, without TLS or sentinels."
            )
        self.address = address
        self._entrance = address if tls is None else RedisAddress(address.url, tls.context())
        self.tls = tls
        self.api = api
        self._process = process
        made_up = f"{name}-{next(self._numbers)}".replace(" ", "-").replace("'", "")
        if process is None:
            # One that runs already may have proxies of other runs, also of some that were broken off. In a process of
            # our own the name stays the same from run to run, since all chance comes from it and the seed.
            made_up += f"-{secrets.token_hex(3)}"
        self.proxy = proxy_name or made_up
        self._own = 0
        self._used = False
        self._lock = threading.Lock()
        servers = address.servers
        shown = None if tls is None else tls.right
        self._listeners = dict(zip(servers, self._create(self.proxy, servers, tls=shown), strict=True))
        if isinstance(address, SentinelAddress):
            known = {joined(*server): joined(*listener) for server, listener in self._listeners.items()}
            self.url = address.at_sentinels(self._create(f"{self.proxy}-sentinels", address.sentinels, known))
        else:
            self.url = address.at(self.host, self.port)
            if tls is not None:
                self.url = self.url.replace("redis://", "rediss://", 1)

    def _create(
        self,
        proxy: str,
        servers: Sequence[tuple[str, int]],
        addresses: Mapping[str, str] | None = None,
        tls: Path | None = None,
    ) -> list[tuple[str, int]]:
        places = [joined(*server) for server in servers]
        made = self.api.create(proxy, *places, addresses=addresses, tls=None if tls is None else str(tls))
        found = map(split, made)
        return [(self.api.host if host in {"::", "0.0.0.0"} else host, port) for host, port in found]  # noqa: S104

    @property
    def host(self) -> str:
        """Where clients connect to."""
        return self._listener[0]

    @property
    def port(self) -> int:
        """Where clients connect to; with sentinels, for the primary of this moment."""
        return self._listener[1]

    @property
    def _listener(self) -> tuple[str, int]:
        server = self.address.servers[0]
        if server not in self._listeners:
            raise ServiceError(f"{self.name} is not a proxy for {joined(*server)}, the current primary.")
        return self._listeners[server]

    def close(self) -> None:
        """Remove the proxy, and end its process if it is ours."""
        try:
            if self._process is None:
                self.api.delete(self.proxy)
                self.api.delete(f"{self.proxy}-sentinels")
        finally:
            if self._process is not None:
                self._process.close()
            if self.tls is not None:
                self.tls.close()

    def _count(self, more: int) -> None:
        with self._lock:
            self._own += more

    def next_name(self, of: str) -> str:
        """A name for something in the proxy that no other has."""
        return f"{of}-{next(self._numbers)}".replace(" ", "-")

    def used(self) -> tuple[bool, str]:
        """Whether a client other than the probes has connected through the proxy since it was made.

        A fault on a way that the system does not take shows nothing about the system.
        """
        if not self.api.is_own:
            return True, "a real Toxiproxy does not list its clients"
        if not self._used:
            own = self._own
            self._used = self.api.connections(self.proxy)["accepted"] > own
        return self._used, "" if self._used else f"only the test itself has connected through {self.host}:{self.port}"

    def ping(self, *, limit: float = LIMIT) -> Seen:
        """PING on a separate connection, through the proxy."""
        return look(self._entrance, self.host, self.port, limit=limit, count=self._count)

    def probe(self, *, limit: float = LIMIT) -> Probe:
        """A connection through the proxy.

        Raises:
            ServiceError: there is none to be had.
        """
        try:
            return self._entrance.probe(self.host, self.port, limit=limit, count=self._count)
        except OSError as error:
            raise ServiceError(f"{self.name} accepts no connection: {error}.") from None

    def canary(self) -> Probe | None:
        """A connection to Redis or the gateway itself, not through the proxy; `None` if it does not accept one."""
        try:
            return self.address.probe(self.address.host, self.address.port, limit=PROOF_LIMIT)
        except (OSError, ServiceError):
            return None

    def service_came_back(self, canary: Probe | None) -> bool:
        """Whether Redis or the gateway itself was away since `canary` was made, and answers now or within a while."""

        def answers() -> bool | None:
            seen = look(self.address, self.address.host, self.address.port, limit=PROOF_LIMIT)
            return True if seen.what == "reply" else None

        if answers():
            return canary is None or canary.ended
        try:
            return wait_until(answers, timeout=AWAY_LIMIT, failure=lambda: "")
        except WaitTimeout:
            return False

    def show_certificate(self, flaw: Flaw | None) -> None:
        """Meet clients with a certificate that has a flaw, or with the right one; open connections are closed.

        Raises:
            UsageError: the proxy speaks no TLS.
        """
        tls = self.certificates
        self.api.show_certificate(self.proxy, str(tls.right if flaw is None else tls.wrong(flaw)))

    @property
    def certificates(self) -> ProxyCertificates:
        """Those that the proxy meets clients with.

        Raises:
            UsageError: the proxy speaks no TLS.
        """
        if self.tls is None:
            raise UsageError(f"{self.name} does not use TLS; start it with `tls=True`.")
        return self.tls

    def handshake(self) -> str:
        """Connect as a client that checks the certificate; returns why it does not accept it, or nothing."""
        strict = RedisAddress(self.address.url, self.certificates.context(strict=True))
        try:
            with strict.probe(self.host, self.port, limit=PROOF_LIMIT, count=self._count):
                return ""
        except OSError as error:
            return str(error)

    def healed(self) -> str:
        """Wait until PING is answered immediately; returns the result."""
        try:
            return wait_until(
                lambda: f"PING: {seen}" if (seen := self.ping()).what == "reply" and seen.took < 0.1 else None,
                timeout=HEALED_LIMIT,
                failure=lambda: f"PING: {self.ping()}",
            )
        except WaitTimeout as error:
            return str(error)

    def keeps_silent(self, probe: Probe) -> Seen:
        """PING on a connection: silence only where proxy and Redis were at work and nothing came all the same.

        A program that the machine holds up is as silent as a fault. So both are asked for something else, which ends as
        soon as they are at work again, before silence is believed.
        """
        seen = probe.ping(LIMIT)
        if seen.what != "silence":
            return seen
        self.api.ask("GET", "/version")
        look(self.address, self.address.host, self.address.port, limit=PROOF_LIMIT)
        return Seen("reply", "a late answer", PROOF_LIMIT) if probe.more(LIMIT / 2) else seen
