"""The fault proxy from outside: its process, and its HTTP API, which a real Toxiproxy has too."""

from __future__ import annotations

import http.client
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from ocpp_resilience.errors import NotPossibleHere, ServiceError, UsageError
from ocpp_resilience.ports import HOST
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.waiting import wait_until

HTTP_LIMIT = 5.0


class ProxyApi:
    """Toxiproxy's HTTP API, and the extensions of our own proxy.

    Args:
        url: where the API is, for example `http://127.0.0.1:8474`.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url if "//" in url else f"//{url}")
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is none, half an IPv6 address
            host = port = None
        if not host or not port:
            raise UsageError(
                f"'{url}' is not the address of a fault proxy; expected a form such as http://127.0.0.1:8474."
            )
        self.host, self.port = host, port
        self._own: bool | None = None

    def ask(self, method: str, path: str, body: Any = None, *, missing_ok: bool = False) -> Any:
        """Send one request and return the JSON of its answer.

        Raises:
            ServiceError: no answer, or an error from the proxy.
        """
        connection = http.client.HTTPConnection(self.host, self.port, timeout=HTTP_LIMIT)
        try:
            raw = None if body is None else json.dumps(body)
            connection.request(method, path, raw, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            data = reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(f"The fault proxy at {self.host}:{self.port} does not answer: {error}.") from None
        finally:
            connection.close()
        if reply.status == 404 and missing_ok:
            return None
        if reply.status >= 300:
            text = data.decode("utf-8", "replace").strip()
            raise ServiceError(f"The fault proxy refused {method} {path} ({reply.status}): {text}")
        return json.loads(data) if data else None

    @property
    def is_own(self) -> bool:
        """Whether it is the proxy of this project, which can do more than a real Toxiproxy."""
        if self._own is None:
            self._own = self.ask("GET", "/fault-proxy", missing_ok=True) is not None
        return self._own

    def needs_own(self, what: str) -> None:
        """Check that it is the proxy of this project.

        Raises:
            LacksCapability: it is a real Toxiproxy.
        """
        if not self.is_own:
            raise NotPossibleHere(
                f"{what} needs the proxy of this project; it is not possible with the Toxiproxy at "
                f"{self.host}:{self.port}."
            )

    def create(
        self,
        name: str,
        upstream: str,
        *further: str,
        listen: str = f"{HOST}:0",
        addresses: Mapping[str, str] | None = None,
        tls: str | None = None,
    ) -> list[str]:
        """Put a proxy in front of one or several servers; returns its address for each of them.

        Args:
            name: of the proxy.
            upstream: `host:port` of the server.
            further: more servers; faults of the proxy fall on the ways to all of them.
            listen: where the proxy listens for the first one.
            addresses: addresses in replies of sentinels, and those that clients read instead.
            tls: path of a certificate with its key; clients speak TLS then.

        Raises:
            NotPossibleHere: it is a real Toxiproxy, which has one server behind each proxy and no TLS.
        """
        wanted: dict[str, Any] = {"name": name, "upstream": upstream, "listen": listen}
        if further or addresses:
            self.needs_own("A proxy before a Redis with sentinels")
            wanted |= {"further": [{"upstream": each} for each in further], "addresses": dict(addresses or {})}
        if tls is not None:
            self.needs_own("A proxy that speaks TLS")
            wanted["tls"] = {"certificate": tls, "key": tls}
        made: dict[str, Any] = self.ask("POST", "/proxies", wanted)
        return [str(made["listen"]), *(str(way["listen"]) for way in made.get("further", ()))]

    def show_certificate(self, name: str, certificate: str) -> None:
        """Meet clients of a proxy with another certificate, with its key; connections that are open are closed."""
        self.ask("POST", f"/proxies/{quote(name)}", {"tls": {"certificate": certificate, "key": certificate}})

    def delete(self, name: str) -> None:
        """Remove a proxy."""
        self.ask("DELETE", f"/proxies/{quote(name)}", missing_ok=True)

    def enable(self, name: str, enabled: bool) -> None:
        """Let a proxy listen, or refuse connections."""
        self.ask("POST", f"/proxies/{quote(name)}", {"enabled": enabled})

    def add_toxic(
        self, proxy: str, name: str, kind: str, stream: str, *, toxicity: float = 1.0, **attributes: float
    ) -> None:
        """Add a toxic. For a real Toxiproxy values are rounded up, since it accepts only whole numbers."""
        values = {
            key: value if self.is_own and not float(value).is_integer() else math.ceil(value)
            for key, value in attributes.items()
        }
        self.ask(
            "POST",
            f"/proxies/{quote(proxy)}/toxics",
            {"name": name, "type": kind, "stream": stream, "toxicity": toxicity, "attributes": values},
        )

    def remove_toxic(self, proxy: str, name: str) -> None:
        """Remove a toxic, if it exists."""
        self.ask("DELETE", f"/proxies/{quote(proxy)}/toxics/{quote(name)}", missing_ok=True)

    def add_resp(self, proxy: str, fault: Mapping[str, Any]) -> None:
        """Add a fault at chosen Redis commands."""
        self.needs_own("A fault at chosen Redis commands")
        self.ask("POST", f"/proxies/{quote(proxy)}/resp", dict(fault))

    def resp(self, proxy: str, name: str) -> dict[str, Any]:
        """One command fault, with its counts `seen` and `hits`."""
        faults: list[dict[str, Any]] = self.ask("GET", f"/proxies/{quote(proxy)}/resp")
        return next((fault for fault in faults if fault["name"] == name), {})

    def remove_resp(self, proxy: str, name: str) -> None:
        """Remove one of these faults, if it exists."""
        self.ask("DELETE", f"/proxies/{quote(proxy)}/resp/{quote(name)}", missing_ok=True)

    def connections(self, proxy: str) -> dict[str, int]:
        """The numbers of `open`, `half_open` and `accepted` connections."""
        self.needs_own("Looking at connections")
        seen: dict[str, int] = self.ask("GET", f"/proxies/{quote(proxy)}/connections")
        return seen

    def act(self, proxy: str, action: str, *, beside: str | None = None) -> int:
        """Do something (`reset`, `close`, `half_open`) to all open connections; returns how many had both ends.

        Args:
            proxy: the proxy.
            action: what is done.
            beside: `host:port` of a client; nothing is done, and 0 returned, unless its connection and another one have
                both ends.
        """
        self.needs_own(f"'{action}' on open connections")
        condition = "" if beside is None else f"?beside={quote(beside)}"
        return int(self.ask("POST", f"/proxies/{quote(proxy)}/connections/{action}{condition}")["connections"])

    def reset(self) -> None:
        """Remove every fault of every proxy, and let all listen."""
        self.ask("POST", "/reset")


class FaultProxyProcess:
    """The fault proxy of this project as a child process.

    Args:
        name: its name in messages.
        seed: of its random choices.
        options: more options of its command line.

    Attributes:
        api: its HTTP API, once it has started.
    """

    api: ProxyApi

    def __init__(self, name: str, *, seed: int, options: Sequence[str] = ()) -> None:
        self.seed = seed
        self.process = ChildProcess(name)
        self._options = options

    def start(self, timeout: timedelta | float = 15) -> ProxyApi:
        """Start it and wait until its API answers.

        Raises:
            ServiceError: it ended again.
            WaitTimeout: it did not start in time.
        """
        command = [sys.executable, "-m", "ocpp_resilience.faults.proxy", "--port", "0", "--seed", str(self.seed)]
        self.process.start([*command, *self._options, "--parent", str(os.getpid())])

        def ready() -> ProxyApi | None:
            if not self.process.alive:
                raise ServiceError(f"{self.process.name} has ended: {self.process.output_tail()}")
            line = self.process.stdout.read_text("utf-8").partition("\n")
            return ProxyApi(f"http://{HOST}:{json.loads(line[0])['port']}") if line[1] else None

        self.api = wait_until(ready, timeout=timeout, failure=lambda: f"{self.process.name} does not start")
        self.api.ask("GET", "/version")
        return self.api

    def close(self) -> None:
        """End it."""
        self.process.close()
