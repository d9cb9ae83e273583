"""Access control of the fault proxy's HTTP API: no web page, no slow client, no large body.

The API opens listeners and connects to any address, so a page that a browser on this machine shows must not reach it.
A browser gives itself away: `Origin`, a `User-Agent` that begins with `Mozilla/` (Toxiproxy's rule), a name in `Host`
that was made to mean 127.0.0.1, a body that is not declared as JSON.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Collection, Iterator
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ocpp_resilience.faults.proxy.requests import Refused, refusal

MAX_BODY_BYTES = 1024 * 1024
REQUEST_SECONDS = 10.0
"""Longest time from the first byte of a request, or from the connection, until all of the request is there."""


class Guard:
    """Refuses requests before the API sees them, and reads their body within bounds.

    Args:
        app: the API.
        hosts: names that may stand in `Host` beside addresses and `localhost`.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the API answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self.check(headers)
            async with asyncio.timeout(REQUEST_SECONDS):
                body = await _body(receive)
            if body and not headers.get("content-type", "").lower().startswith("application/json"):
                raise Refused("the body has to be JSON, with Content-Type: application/json", 415)
        except (Refused, TimeoutError) as error:
            refused = error if isinstance(error, Refused) else Refused("the body arrived too slowly", 408)
            await refusal(refused, {"Connection": "close"})(scope, receive, send)
            return

        whole: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def read() -> Message:
            return next(whole, None) or await receive()

        await self._app(scope, read, send)

    def check(self, headers: Headers) -> None:
        """Check the head of a request before its body.

        Raises:
            Refused: this is a browser, or the body is too large.
        """
        if "origin" in headers or headers.get("user-agent", "").startswith("Mozilla/"):
            raise Refused("web pages may not use this API", 403)
        host = headers.get("host", "")
        if not self._is_allowed(host):
            raise Refused(f"Host '{host[:100]}' is not allowed; use an address, localhost, or --allow-host", 403)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            raise _too_large()

    def _is_allowed(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.lower() in self._hosts
        return True


async def _body(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large() -> Refused:
    return Refused(f"the body is too large; at most {MAX_BODY_BYTES:,} bytes are read", 413)


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose next request does not arrive in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(transport)
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Bytes have come, of a request that may not be whole yet."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        else:
            self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
