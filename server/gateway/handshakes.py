"""Admission of charge points to the gateway; refused handshakes and their reasons."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import unquote

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.http11 import Request, Response

from server.errors import shown
from server.gateway.websocket import Refusal, Socket, address_of
from server.ids import LONGEST_CHARGE_POINT_ID, usable_charge_point_id
from server.metrics import Metrics
from server.origins import Origins
from server.rate_limited_log import LogRateLimit

logger = structlog.get_logger()

PATH = "/ocpp/"


class Handshakes:
    """Checks connection requests, and counts and logs failed handshakes.

    Each of these is counted. Of each reason a few within a second have a record of their own, `connection_refused`; of
    the others `connections_refused` gives the number: a client that tries by the thousand must not fill the log.

    Args:
        credentials: charge point id to the SHA-256 digest of its password; `None` if none are asked for.
        metrics: totals for `/metrics`.
        origins: which web pages are refused.
    """

    def __init__(self, credentials: Mapping[str, bytes] | None, metrics: Metrics, origins: Origins) -> None:
        self._credentials = credentials
        self._metrics = metrics
        self._origins = origins
        self._sparing = LogRateLimit()

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """The HTTP response that refuses a connection; `None` if the handshake may proceed."""
        assert isinstance(connection, Socket)  # noqa: S101 - for the type checker
        if (why := self._refuse_page(request)) is not None:
            connection.refusal = Refusal.ORIGIN
            return connection.respond(HTTPStatus.FORBIDDEN, f"{why}.\n")
        path = request.path.partition("?")[0]
        if not path.startswith(PATH) or "/" in path[len(PATH) :]:
            connection.refusal = Refusal.PATH
            return connection.respond(HTTPStatus.NOT_FOUND, f"There is nothing here. Connect to {PATH}{{id}}.\n")
        try:
            charge_point_id = unquote(path[len(PATH) :], errors="strict")
        except UnicodeDecodeError:
            charge_point_id = ""
        if not usable_charge_point_id(charge_point_id):
            connection.refusal = Refusal.CHARGE_POINT_ID
            return connection.respond(
                HTTPStatus.BAD_REQUEST,
                f"A charge point id has 1 to {LONGEST_CHARGE_POINT_ID} printable characters"
                " without ':' and white space.\n",
            )
        connection.gateway_id = charge_point_id
        if not _certified(charge_point_id, connection):
            connection.refusal = Refusal.CERTIFICATE
            return connection.respond(HTTPStatus.FORBIDDEN, "The certificate is another charge point's.\n")
        if self._credentials is not None and not self._authentic(charge_point_id, request):
            connection.refusal = Refusal.CREDENTIALS
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "Wrong credentials.\n")
            response.headers["WWW-Authenticate"] = 'Basic realm="ocpp", charset="UTF-8"'
            return response
        _prefer_subprotocols_of(connection, request)
        return None

    def _refuse_page(self, request: Request) -> str | None:
        given = request.headers.get_all("Origin")
        return next((why for origin in given if (why := self._origins.refuse_origin(origin))), None)

    def _authentic(self, charge_point_id: str, request: Request) -> bool:
        """HTTP Basic authentication, OCPP security profile 1: the user is the charge point id."""
        given = request.headers.get_all("Authorization")
        scheme, _, encoded = (given[0] if len(given) == 1 else "").partition(" ")
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        expected = (self._credentials or {}).get(charge_point_id, b"")
        # Both are looked at in any case, so that the time taken tells nothing.
        right = hmac.compare_digest(hashlib.sha256(password).digest(), expected)
        return hmac.compare_digest(user, charge_point_id.encode()) and right and scheme.lower() == "basic"

    def refused(self, connection: Socket) -> None:
        """A handshake came to nothing."""
        reason, error = connection.why_refused
        self._metrics.handshake_refused(reason)
        if self._sparing.allows(reason):
            logger.warning(
                "connection_refused",
                reason=reason,
                status=connection.response.status_code if connection.response else None,
                remote_addr=address_of(connection),
                charge_point_id=connection.gateway_id or None,
                path=shown(connection.request.path.partition("?")[0]) if connection.request else None,
                error=error,
            )

    def report(self, *, at_the_end: bool = False) -> None:
        """Log how many were left out of the log."""
        for reason, count in self._sparing.left_out(at_the_end=at_the_end).items():
            logger.warning("connections_refused", reason=reason, left_out=count)


def _prefer_subprotocols_of(connection: Socket, request: Request) -> None:
    """Let the client's order decide: `websockets` takes the first of the server's subprotocols that is offered.

    A function of ours that selects one would make a cycle of references that keeps each connection in memory.
    """
    try:
        offered = [
            each for value in request.headers.get_all("Sec-WebSocket-Protocol") for each in parse_subprotocol(value)
        ]
    except InvalidHeader:
        return  # `websockets` refuses it
    if known := [each for each in offered if each in (connection.protocol.available_subprotocols or ())]:
        connection.protocol.available_subprotocols = known


def _certified(charge_point_id: str, connection: ServerConnection) -> bool:
    """Whether the client certificate, where one was asked for, is that of this charge point (security profile 3)."""
    tls = connection.transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert() if tls is not None else None
    if not certificate:
        return True
    names = [value for part in certificate["subject"] for name, value in part if name == "commonName"]
    return names == [charge_point_id]
