"""Keywords that start the fault proxy, heal, and ask for proof."""

from __future__ import annotations

import enum
import random
from datetime import timedelta

from robot.api import logger

from FaultLibrary.state import FaultState, registry_of
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.faults.certificates import ProxyCertificates
from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi
from ocpp_resilience.faults.journal import JOURNAL, FaultRecord
from ocpp_resilience.faults.path import FaultyPath
from ocpp_resilience.faults.probe import Address, GatewayAddress, redis_address
from ocpp_resilience.ports import joined
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.variables import chosen_for_the_run
from ocpp_resilience.waiting import in_words, wait_until

PROXY_VARIABLE = "FAULT_PROXY"


class ProxiedService(enum.Enum):
    """`redis`: between the system and Redis. `gateway`: between charge points and the gateway."""

    REDIS = "redis"
    GATEWAY = "gateway"


class Lifecycle(Component):
    """Proxies, healing, proofs."""

    def __init__(self, state: FaultState) -> None:
        self._state = state

    @keyword(tags=("fault", "lifecycle"))
    def start_fault_proxy(
        self,
        url: str | None = None,
        *,
        before: ProxiedService = ProxiedService.REDIS,
        alias: str = "faults",
        server: str = "server",
        proxy: str | None = None,
        seed: int | None = None,
        tls: bool = False,
        timeout: timedelta = timedelta(seconds=15),
    ) -> str:
        """Puts a fault proxy before a Redis or a gateway and returns the URL that leads through it.

        The proxy is a process of its own and keeps its port until it is removed. Before a gateway, charge points get
        the URL that it returns; faults at Redis commands and of Redis itself are not possible there. The TLS of a
        gateway (`wss://`) goes through unchanged, so that its certificate and those of charge points are checked as
        without the proxy.

        Args:
            url: the URL of Redis or of the gateway; without it the gateway of `server`.
            before: which of the two it is.
            alias: the name of this proxy in the other keywords.
            server: the server of OcppServerLibrary whose gateway is meant without a URL.
            proxy: the HTTP address of a running fault proxy, ours or a real Toxiproxy; by default the run's
                `FAULT_PROXY` (`robot --variable FAULT_PROXY:…`, or the environment), and without that a new one is
                started.
            seed: of the random choices (jitter, toxicity); chosen and logged if not given.
            tls: clients speak TLS with it; `Get Fault Proxy Authority` returns the authority of its certificate.
            timeout: the longest wait until it listens.

        Returns:
            For example `redis://127.0.0.1:23457/0` or `ws://127.0.0.1:23457`; the rest is that of `url`.

        Raises:
            UsageError: the alias is taken, or the URL cannot be used.
            ServiceError: the proxy cannot be started or reached.

        Example:
        ```robotframework
        ${redis}    Start Redis
        ${through proxy}    Start Fault Proxy    ${redis}    seed=42
        Start Server    ${through proxy}
        ${gateway}    Start Fault Proxy    before=gateway    alias=edge
        ```
        """
        upstream = self._address(url, before, server)
        if self._state.paths.find(alias) is not None:
            raise UsageError(f"{self._state.paths.title(alias)} exists already. Use another alias for a second one.")
        name = self._state.paths.title(alias)
        address = proxy or chosen_for_the_run(PROXY_VARIABLE)
        process = None
        chosen = random.randrange(2**32) if seed is None else seed  # noqa: S311 - not secret
        if address:
            try:
                api = ProxyApi(address)
            except UsageError as error:
                raise error if proxy else UsageError(f"{PROXY_VARIABLE}: {error}") from None
        else:
            process = FaultProxyProcess(name, seed=chosen)
            try:
                api = process.start(timeout)
            except BaseException:
                process.close()
                raise
        certificates = ProxyCertificates() if tls else None
        try:
            path = FaultyPath(name, upstream, api, process=process, tls=certificates)
        except BaseException:
            if process is not None:
                process.close()
            if certificates is not None:
                certificates.close()
            raise
        self._state.paths.add(alias, path, self.cleanup)
        what = "a proxy that runs already" if address else f"seed {chosen}"
        logger.info(
            f"{name} listens on {joined(path.host, path.port)}, before {joined(upstream.host, upstream.port)} ({what})."
        )
        return path.url

    def _address(self, url: str | None, before: ProxiedService, server: str) -> Address:
        if before is ProxiedService.GATEWAY:
            return GatewayAddress(url or registry_of("OcppServerLibrary", "servers").get(server).gateway_url)
        if url is None:
            raise UsageError("A fault proxy for Redis needs the URL of Redis, as returned by `Get Redis Url`.")
        return redis_address(url)

    @keyword(tags=("fault", "getter"))
    def get_fault_proxy_url(self, *, alias: str = "faults") -> str:
        """Returns the URL of Redis or of the gateway through a fault proxy.

        Example:
        ```robotframework
        ${through proxy}    Get Fault Proxy Url
        ```
        """
        return self._state.paths.get(alias).url

    @keyword(tags=("fault", "getter", "security"))
    def get_fault_proxy_authority(self, *, alias: str = "faults") -> str:
        """Returns the path of the certificate authority of a fault proxy with TLS, a file in PEM.

        The fault `bad certificate` has the proxy show a certificate that is not right.

        Raises:
            UsageError: it speaks no TLS.

        Example:
        ```robotframework
        ${secure}    Start Fault Proxy    ${redis}    tls=True
        ${authority}    Get Fault Proxy Authority
        Start Server    ${secure}    REDIS_CA=${authority}
        ```
        """
        return str(self._state.paths.get(alias).certificates.authority)

    @keyword(tags=("fault", "lifecycle"))
    def remove_fault_proxy(self, *, alias: str = "faults") -> None:
        """Heals everything and ends a fault proxy; the alias is free then.

        Not needed at the end of a suite, where this happens by itself.

        Example:
        ```robotframework
        Remove Fault Proxy
        ```
        """
        self._state.paths.remove(alias, self.cleanup)

    @keyword(tags=("fault", "lifecycle"))
    def heal_all(self, *, alias: str | None = None) -> int:
        """Ends all active faults and running schedules, and returns the number of faults.

        For teardowns: it does nothing where there is nothing to heal.

        Args:
            alias: a fault proxy; faults and schedules at other ones go on then. All end if it is not given.

        Raises:
            ResilienceError: a fault could not be ended; the others were.

        Example:
        ```robotframework
        Black Hole
        Heal All
        ```
        """
        return self._state.heal(alias)

    @keyword(tags=("fault", "lifecycle"))
    def heal_fault(self, fault: FaultRecord) -> None:
        """Ends one fault.

        Args:
            fault: the result of the keyword that began it.

        Example:
        ```robotframework
        ${slow}    Add Latency    100 ms
        Heal Fault    ${slow}
        ```
        """
        self._state.heal_one(fault)

    @keyword(tags=("fault", "getter"))
    def get_faults(self) -> list[FaultRecord]:
        """Returns all faults of this run so far, oldest first.

        Returns:
            Records with `fault`, `target`, `parameters`, `began`, `ended`, `proven`, `proof` and `healed`.

        Example:
        ```robotframework
        ${faults}    Get Faults
        Log    ${faults[-1].proof}
        ```
        """
        return list(JOURNAL.records)

    @keyword(tags=("fault", "check"))
    def fault_should_take_effect(self, fault: FaultRecord, *, timeout: timedelta = timedelta(seconds=10)) -> None:
        """Waits until a fault has taken effect, for faults that wait for a command, such as `Lose The Reply To`.

        Args:
            fault: the result of the keyword that began it.

        Raises:
            WaitTimeout: it has not.
            ExpectationFailed: it has ended without.

        Example:
        ```robotframework
        ${lost}    Lose The Reply To    commit
        Fault Should Take Effect    ${lost}
        ```
        """
        if fault.ended is not None and not fault.proven:
            raise ExpectationFailed(f"{fault} has ended and never took effect: {fault.proof}.")
        wait_until(
            lambda: None if fault in JOURNAL.unproven(fault.suite, fault.test) else True,
            timeout=timeout,
            failure=lambda: f"{fault} has not taken effect: {fault.proof}",
        )
        logger.info(f"{fault}: proven, {fault.proof} (limit {in_words(timeout)}).")
