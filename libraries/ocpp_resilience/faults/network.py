"""Faults on the way to Redis, each with the measurement that proves it."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
from collections.abc import Callable
from typing import Any

from ocpp_resilience.errors import ServiceError, WaitTimeout
from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi
from ocpp_resilience.faults.injection import Fault, Proof
from ocpp_resilience.faults.probe import LIMIT, PROOF_LIMIT, Address, Probe, Seen, look
from ocpp_resilience.waiting import wait_until

HEALED_LIMIT = 5.0
OTHERS_LIMIT = PROOF_LIMIT
"""Seconds in which there has to be a connection of somebody else, for what is done to open connections."""
OWN_ONLY = frozenset({"half-open", "reset connections", "cut mid-reply", "lose commit reply"})
"""Faults of a schedule that only the proxy of this project can do."""


class FaultyPath:
    """A way to Redis on which faults can be put: one proxy of a fault proxy.

    Args:
        name: what it is called in messages.
        redis_url: the Redis behind it.
        api: the fault proxy.
        process: the process to end with it, when it is ours.
        proxy_name: the name of the proxy in the fault proxy's API; made from `name` if not given.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        name: str,
        redis_url: str,
        api: ProxyApi,
        *,
        process: FaultProxyProcess | None = None,
        proxy_name: str | None = None,
    ) -> None:
        self.name = name
        self.address = Address(redis_url)
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
        made = api.create(self.proxy, f"{self.address.host}:{self.address.port}")
        listen = str(made["listen"]).rpartition(":")
        self.host = listen[0].strip("[]") if listen[0] not in {"", "[::]", "0.0.0.0"} else api.host  # noqa: S104
        self.port = int(listen[2])
        self.url = self.address.at(self.host, self.port)

    def close(self) -> None:
        """Remove the proxy, and end its process if it is ours."""
        try:
            if self._process is None:
                self.api.delete(self.proxy)
        finally:
            if self._process is not None:
                self._process.close()

    def _count(self, more: int) -> None:
        with self._lock:
            self._own += more

    def used(self) -> Proof:
        """Whether anybody but the probes here has come through the proxy since it was made.

        A fault on a way that the system does not take shows nothing about the system.
        """
        if not self.api.is_own:
            return True, "who comes through a real Toxiproxy cannot be seen"
        if not self._used:
            own = self._own
            self._used = self.api.connections(self.proxy)["accepted"] > own
        return self._used, "" if self._used else f"nobody but the test itself has come through {self.host}:{self.port}"

    def _wait_for_others(self) -> None:
        """Give those that use the proxy time to come back, when a fault before this one took their connections."""
        if self.used()[0]:
            with contextlib.suppress(WaitTimeout):
                wait_until(
                    lambda: True if self.api.connections(self.proxy)["open"] > 1 else None,
                    timeout=OTHERS_LIMIT,
                    failure=lambda: "",
                )

    def ping(self, *, limit: float = 0.3) -> Seen:
        """PING on a connection of its own, through the proxy."""
        return look(self.address, self.host, self.port, limit=limit, count=self._count)

    def probe(self, *, limit: float = 0.3) -> Probe:
        """A connection through the proxy.

        Raises:
            ServiceError: there is none to be had.
        """
        try:
            return Probe(self.address, self.host, self.port, limit=limit, count=self._count)
        except OSError as error:
            raise ServiceError(f"{self.name} accepts no connection: {error}.") from None

    def healed(self) -> str:
        """Wait until PING is answered at once, and say so; says also when it is not."""
        try:
            return wait_until(
                lambda: f"PING: {seen}" if (seen := self.ping()).what == "reply" and seen.took < 0.1 else None,
                timeout=HEALED_LIMIT,
                failure=lambda: f"PING: {self.ping()}",
            )
        except WaitTimeout as error:
            return str(error)

    def _keeps_silent(self, probe: Probe) -> Seen:
        """PING on a connection: silence only where proxy and Redis were at work and nothing came all the same.

        A program that the machine holds up is as silent as a fault. So both are asked for something else, which ends as
        soon as they are at work again, before silence is believed.
        """
        seen = probe.ask("PING", limit=LIMIT)
        if seen.what != "silence":
            return seen
        self.api.ask("GET", "/version")
        look(self.address, self.address.host, self.address.port, limit=PROOF_LIMIT)
        return Seen("reply", "a late answer", PROOF_LIMIT) if probe.more(LIMIT / 2) else seen

    def _all_slow(self, probe: Probe, least: float, *words: str | bytes) -> bool:
        """Whether a request takes so long each time: a machine that is busy makes one slow, and not all."""
        return all((seen := probe.ask(*words)).what == "reply" and seen.took >= least for _ in range(3))

    # --- toxics ---

    def _toxic(
        self, name: str, kind: str, streams: tuple[str, ...], prove: Callable[[], Proof], **values: Any
    ) -> Fault:
        toxicity = float(values.pop("toxicity", 1.0))
        names = {stream: f"{name.replace(' ', '_')}_{stream}" for stream in streams}

        def begin() -> None:
            for stream, toxic in names.items():
                self.api.remove_toxic(self.proxy, toxic)
                self.api.add_toxic(self.proxy, toxic, kind, stream, toxicity=toxicity, **values)

        def end() -> None:
            for toxic in names.values():
                self.api.remove_toxic(self.proxy, toxic)

        shown = values | ({"toxicity": toxicity} if toxicity < 1 else {})
        return Fault(name, self.name, begin, prove, end, self.healed, shown, reaches=self.used)

    def latency(self, latency: float, jitter: float, stream: str, toxicity: float) -> Fault:
        """Each chunk takes longer, in milliseconds; proven by round trips that are at least that long."""
        least = max(0.0, latency - jitter) / 1000

        def prove() -> Proof:
            limit = least + (latency + jitter) / 1000 + PROOF_LIMIT
            if toxicity == 1:
                seen = [self.ping(limit=limit) for _ in range(3)]
                slow = [each for each in seen if each.what == "reply" and each.took >= least > 0]
                enough = len(slow) == len(seen)
                return enough, f"{len(slow)} of {len(seen)} round trips took at least {least * 1000:.0f} ms ({seen[0]})"
            # Only some connections are slow: one of several has to be, and then in all that it does.
            slow_ones = 0
            for _ in range(16):
                with self.probe(limit=limit) as probe:
                    slow_ones += self._all_slow(probe, least, "PING")
            return slow_ones > 0 < least, f"{slow_ones} of 16 connections took at least {least * 1000:.0f} ms each time"

        return self._toxic("latency", "latency", (stream,), prove, latency=latency, jitter=jitter, toxicity=toxicity)

    def bandwidth(self, rate: int, stream: str, toxicity: float) -> Fault:
        """At most so many KB (1,000 bytes) a second; proven by the time that an ECHO takes."""
        size = max(200, rate * 200)

        def prove() -> Proof:
            least = size / (rate * 1000) * 0.8
            for _ in range(1 if toxicity == 1 else 8):  # with a toxicity below 1 one of several has to be slow
                with self.probe(limit=PROOF_LIMIT) as probe:
                    for _ in range(2):  # a machine that is busy makes one slow, and not both
                        seen = probe.ask("ECHO", b"x" * size)
                        if seen.what != "reply" or seen.took < least:
                            break
                if seen.took >= least:
                    break
            return (
                seen.what == "reply" and seen.took >= least,
                f"{size} bytes: {seen.what} after {seen.took * 1000:.0f} ms (at least {least * 1000:.0f} ms)",
            )

        return self._toxic("bandwidth", "bandwidth", (stream,), prove, rate=rate, toxicity=toxicity)

    def black_hole(self, toxicity: float) -> Fault:
        """Connections are accepted and open ones stay open, and nothing gets through in either direction."""

        def prove() -> Proof:
            seen = []
            for _ in range(1 if toxicity == 1 else 8):
                with self.probe(limit=PROOF_LIMIT) as probe:
                    seen.append(self._keeps_silent(probe))
                if seen[-1].what == "silence":
                    break
            silent = [each for each in seen if each.what == "silence"]
            return bool(silent), f"PING: {(silent or seen)[0]}"

        return self._toxic("black hole", "timeout", ("upstream", "downstream"), prove, timeout=0, toxicity=toxicity)

    def slow_drip(self, size: int, pause: float) -> Fault:
        """Replies arrive a few bytes at a time, with a pause (seconds) after each piece."""
        payload = size * 12

        def prove() -> Proof:
            least = 11 * pause
            with self.probe(limit=12 * pause + PROOF_LIMIT) as probe:
                for _ in range(2):  # a machine that is busy makes one slow, and not both
                    seen = probe.ask("ECHO", b"x" * payload)
                    if seen.took < least:
                        break
            return (
                seen.what == "reply" and seen.took >= least,
                f"{payload} bytes took {seen.took * 1000:.0f} ms (at least {least * 1000:.0f} ms)",
            )

        values = {"average_size": size, "size_variation": 0, "delay": int(pause * 1_000_000)}
        return self._toxic("slow drip", "slicer", ("downstream",), prove, **values)

    def reset_peer(self, after: float) -> Fault:
        """Each connection, open or new, is reset after so many milliseconds."""

        def prove() -> Proof:
            with self.probe(limit=after / 1000 + PROOF_LIMIT) as probe:
                seen = probe.ask("PING")  # a real Toxiproxy resets only where something comes
                if seen.what == "reply":
                    seen = probe.ending(after / 1000 + PROOF_LIMIT)
            return seen.what == "reset", f"{seen}"

        return self._toxic("resets", "reset_peer", ("downstream",), prove, timeout=after)

    def disconnected(self) -> Fault:
        """The proxy does not listen and its connections are closed."""

        def prove() -> Proof:
            seen = self.ping()
            return seen.what == "refused", f"PING: {seen}"

        return Fault(
            "disconnected",
            self.name,
            lambda: self.api.enable(self.proxy, False),
            prove,
            lambda: self.api.enable(self.proxy, True),
            self.healed,
            reaches=self.used,
        )

    # --- open connections ---

    def half_open(self) -> Fault:
        """The connections that are open now are dead without a word; new ones work."""
        probes: list[Probe] = []

        def begin() -> None:
            self.api.needs_own("Leaving connections half-open")
            probes.append(self.probe(limit=PROOF_LIMIT))
            probes[0].ask("PING")
            self._wait_for_others()
            self.api.act(self.proxy, "half_open")

        def prove() -> Proof:
            old, new = self._keeps_silent(probes[0]), self.ping(limit=PROOF_LIMIT)
            dead = self.api.connections(self.proxy)["half_open"]
            return (
                old.what == "silence" and new.what == "reply" and dead > 1,
                f"{dead} connections dead; PING on an old one: {old}, on a new one: {new}",
            )

        def end() -> None:
            for probe in probes:
                probe.close()
            # What was left half-open is closed with the reset, which must not take other faults along.
            if self.api.connections(self.proxy)["half_open"]:
                self.api.act(self.proxy, "close_half_open")

        return Fault("half-open", self.name, begin, prove, end, self.healed, reaches=self.used)

    def reset_connections(self) -> Fault:
        """The connections that are open now are reset, once."""
        probes: list[Probe] = []
        counts: list[int] = []

        def begin() -> None:
            self.api.needs_own("Resetting open connections")
            probes.append(self.probe(limit=PROOF_LIMIT))
            probes[0].ask("PING")
            self._wait_for_others()
            counts.append(self.api.act(self.proxy, "reset"))

        def prove() -> Proof:
            with probes[0]:
                seen = probes[0].ending(PROOF_LIMIT)
            return seen.what == "reset" and counts[0] > 1, f"{counts[0]} connections; ours: {seen}"

        return Fault("connections reset", self.name, begin, prove, reaches=self.used)

    # --- chosen commands ---

    def at_command(self, name: str, **values: Any) -> Fault:
        """A fault at chosen commands; proven when it has hit one."""
        fault_name = f"{name}-{next(self._numbers)}".replace(" ", "-")

        def prove() -> Proof:
            seen = self.api.resp(self.proxy, fault_name)
            hits = int(seen.get("hits", 0))
            text = f"{hits} of {seen.get('seen', 0)} matching commands were hit"
            if not_run := seen.get("not_run", 0):
                text += f"; Redis did not run {not_run} more"
            return hits > 0, text

        def begin() -> None:
            self.api.needs_own("A fault at chosen Redis commands")
            self.api.add_resp(self.proxy, {"name": fault_name, **values})

        return Fault(
            name,
            self.name,
            begin,
            prove,
            lambda: self.api.remove_resp(self.proxy, fault_name),
            self.healed,
            values,
            waits=True,
        )
