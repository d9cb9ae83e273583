"""Connection settings of charge points: address, path, subprotocol, credentials, certificate."""

from __future__ import annotations

import base64
import enum
import ssl
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Origin, Subprotocol

from ocpp_resilience.charge_points.errors import ConnectFailed
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ocpp import Version
from ocpp_resilience.profile import Target
from ocpp_resilience.waiting import in_words


class TlsVersion(enum.Enum):
    """A version of TLS. OCPP asks for 1.2 or newer; the older ones are for gateways that should refuse them."""

    TLS_1_0 = "TLSv1"
    TLS_1_1 = "TLSv1_1"
    TLS_1_2 = "TLSv1_2"
    TLS_1_3 = "TLSv1_3"


class Spelling(enum.Enum):
    """How a charge point writes its id in the path; all of them name the same charge point (RFC 3986 section 2).

    Members:
        ENCODED: everything but letters, digits and `-._~` is percent-encoded.
        PLAIN: only what must be is percent-encoded, so that a `+`, for example, stands for itself.
        ALL: every character is percent-encoded, with hexadecimal digits in lower case.
    """

    ENCODED = "encoded"
    PLAIN = "plain"
    ALL = "all"

    def write(self, charge_point_id: str) -> str:
        """The id as the last part of a path."""
        if self is Spelling.ALL:
            return "".join(f"%{byte:02x}" for byte in charge_point_id.encode())
        return quote(charge_point_id, safe="!$&'()*+,;=@" if self is Spelling.PLAIN else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Options of a connection besides its address.

    Attributes:
        password: for Basic authentication (OCPP security profile 1); `None` sends none.
        user: the user name; the charge point id if not given.
        subprotocols: the subprotocols offered; that of the target if not given, none if empty.
        ca: a file with the certificates that the gateway's is trusted by, for `wss://`.
        certificate: a PEM file with the charge point's certificate and its key (security profile 3); `None` shows none.
        tls: the only version of TLS that is offered; all that are safe if not given.
        origin: the origin of the web page that connects; charge points send none.
        spelling: how the id is written in the path.
    """

    password: str | None = field(default=None, repr=False)
    user: str | None = None
    subprotocols: Sequence[str] | None = None
    ca: Path | None = None
    certificate: Path | None = None
    tls: TlsVersion | None = None
    origin: str | None = None
    spelling: Spelling = Spelling.ENCODED


class Gateway:
    """A WebSocket gateway of a system under test.

    Args:
        url: its base, `ws://host:port` or `wss://host:port`.
        target: the system; it gives path, and the OCPP version with its subprotocol.

    Raises:
        UsageError: the URL cannot be used, or the system has no gateway.
    """

    def __init__(self, url: str, target: Target) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise UsageError(f"'{url}' is not a gateway address (allowed: ws://host:port and wss://host:port).")
        target.gateway_path("")
        self.url = url.rstrip("/")
        self.target = target

    @property
    def version(self) -> Version:
        """The OCPP version that is spoken."""
        return self.target.version

    def speaking(self, protocol: str | None) -> Gateway:
        """The same gateway for charge points of another OCPP version, named by its subprotocol.

        Raises:
            UsageError: the system does not speak it.
        """
        return self if protocol is None else Gateway(self.url, self.target.speaking(protocol))

    def url_of(self, charge_point_id: str, spelling: Spelling = Spelling.ENCODED) -> str:
        """The URL to which this charge point connects."""
        return self.url + self.target.gateway_path(charge_point_id, write=spelling.write)

    async def open(self, charge_point_id: str, login: Login, *, limit: float) -> ClientConnection:
        """Connect.

        Nothing is pinged, compressed or limited on this side, and proxies are not used.

        Args:
            charge_point_id: the charge point.
            login: how.
            limit: the longest wait, in seconds.

        Raises:
            ConnectFailed: the gateway refused, did not choose the subprotocol, or there is none.
        """
        url = self.url_of(charge_point_id, login.spelling)
        wanted = self.target.gateway.subprotocol
        offered = [wanted] if login.subprotocols is None else list(login.subprotocols)
        try:
            connection = await connect(
                url,
                subprotocols=[Subprotocol(name) for name in offered] or None,
                additional_headers=_credentials(charge_point_id, login),
                origin=None if login.origin is None else Origin(login.origin),
                ssl=_context(login) if url.startswith("wss:") else None,
                open_timeout=limit,
                close_timeout=1,
                ping_interval=None,
                compression=None,
                max_size=None,
                proxy=None,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            body = (error.response.body or b"").decode("utf-8", "replace").strip()
            raise ConnectFailed(
                f"{charge_point_id} was refused at {url} with HTTP {status}{f': {body[:200]}' if body else ''}.",
                status=status,
            ) from None
        except TimeoutError:
            raise ConnectFailed(
                f"{charge_point_id} could not connect to {url} within {in_words(limit)}.", status=None
            ) from None
        except (OSError, InvalidHandshake, EOFError, ConnectionClosed) as error:
            raise ConnectFailed(f"{charge_point_id} could not connect to {url}: {error}.", status=None) from None
        except AssertionError:
            # `websockets` does not expect an answer that comes before it has asked, and reads none of it.
            raise ConnectFailed(
                f"{charge_point_id} was refused at {url} during the TLS handshake.", status=None
            ) from None
        if offered and connection.subprotocol not in offered:
            await connection.close()
            raise ConnectFailed(
                f"{url} accepted {charge_point_id} without a subprotocol; '{offered[0]}' was offered.", status=101
            )
        return connection


def _credentials(charge_point_id: str, login: Login) -> dict[str, str]:
    if login.password is None:
        return {}
    user = charge_point_id if login.user is None else login.user
    token = base64.b64encode(f"{user}:{login.password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def _context(login: Login) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if login.ca is None else str(login.ca))
    except OSError:
        raise UsageError(f"There are no certificates in {login.ca}.") from None
    if login.certificate is not None:
        try:
            context.load_cert_chain(login.certificate)
        except OSError as error:
            raise UsageError(f"{login.certificate} holds no certificate with its key ({error}).") from None
    if login.tls is not None:
        # Versions that OpenSSL considers unsafe must be allowed before they can be offered.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = ssl.TLSVersion[login.tls.value]
    return context
