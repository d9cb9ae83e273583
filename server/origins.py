"""Web origins that may use the server: checks `Origin` and `Host` against an allow list.

A browser lets any page open a WebSocket to any address, and post a form to it; it names the page in `Origin`. Charge
points and programs send none. With DNS rebinding a page reaches a server on the loopback interface under a name of its
own, without an `Origin` for GET, so the API checks `Host` as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Origins:
    """The allow lists of one listener.

    Args:
        origins: origins that may be named, such as `https://console.example`; none when empty.
        hosts: host names that may be asked for, without port. When empty, a listener on the loopback interface takes
            the names of that interface and its own, and any other listener takes every name.
        bound_to: the address that the listener binds.
    """

    def __init__(self, *, origins: Collection[str] = (), hosts: Collection[str] = (), bound_to: str) -> None:
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        own = bound_to if ":" not in bound_to else f"[{bound_to}]"
        if hosts:
            self._hosts: frozenset[str] | None = frozenset(host.lower() for host in hosts)
        else:
            self._hosts = LOOPBACK_NAMES | {own.lower()} if _is_loopback(bound_to) else None

    def refuse_origin(self, origin: str | None) -> str | None:
        """The reason to refuse a request with this `Origin` header; `None` if it is allowed."""
        if origin is None or origin.lower().rstrip("/") in self._origins:
            return None
        return "requests of web pages of this origin are refused; ALLOWED_ORIGINS lists the allowed ones"

    def refuse_host(self, host: str | None) -> str | None:
        """The reason to refuse a request with this `Host` header; `None` if it is allowed."""
        if self._hosts is None or _name(host or "") in self._hosts:
            return None
        return "this host name is refused; ALLOWED_HOSTS lists the allowed ones"


def _name(host: str) -> str:
    """The name in a `Host` header, without its port; an IPv6 address keeps its brackets."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
    return f"[{name}]" if ":" in name else name


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"
