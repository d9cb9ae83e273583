"""Test 20: passwords, certificates, tokens and floods."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable

import structlog
from catalogue import defect
from starlette.requests import Request
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request as Handshake

from server.api import http
from server.config import Settings
from server.errors import InvalidMessage
from server.gateway import flow_control, handshakes
from server.gateway.flow_control import Intake, Throttled
from server.gateway.gateway import Gateway
from server.gateway.handshakes import Handshakes
from server.gateway.session import Session

PASSWORD = "A Charge Point Is Accepted With Its Own Password Only"
TLS = "The Gateway Accepts Safe TLS Versions Only"
CERTIFICATE = "A Charge Point Is Accepted With Its Own Certificate Only"
TOKEN = "Commands Need The Token Of The API"
FLOOD = "The Flood Of One Charge Point Does Not Hurt The Others"
BROKEN_FRAMES = "A Flood Of Broken Frames Does Not Hurt The Others"
LONG_MESSAGES = "A Flood Of Long Messages Does Not Hurt The Others"

logger = structlog.get_logger()


@defect("R20.1", PASSWORD, says=r"R20\.1 let_in_wrongly: .*measured 11 connections")
def asks_for_no_password() -> None:
    """The file with the passwords is read, and no password is asked for."""
    Handshakes._authentic = lambda *_: True


@defect("R20.1", PASSWORD, says=r"R20\.1 let_in_wrongly: .*measured 6 connections")
def takes_any_known_password() -> None:
    """The password of any charge point is taken for that of each."""
    sound = Handshakes._authentic

    def authentic(self: Handshakes, charge_point_id: str, request: Handshake) -> bool:
        return any(sound(self, each, _as_user(request, each)) for each in self._credentials or {})

    Handshakes._authentic = authentic


def _as_user(request: Handshake, user: str) -> Handshake:
    given = request.headers.get("Authorization", "")
    password = base64.b64decode(given.partition(" ")[2]).partition(b":")[2]
    changed = Handshake(request.path, request.headers.copy())
    del changed.headers["Authorization"]
    changed.headers["Authorization"] = f"Basic {base64.b64encode(user.encode() + b':' + password).decode()}"
    return changed


def password_is(change: Callable[[bytes], bytes]) -> None:
    """Take what a charge point shows for another password."""
    sound = Handshakes._authentic

    def authentic(self: Handshakes, charge_point_id: str, request: Handshake) -> bool:
        given = base64.b64decode(request.headers.get("Authorization", "").partition(" ")[2])
        if not given:
            return sound(self, charge_point_id, request)
        user, _, password = given.partition(b":")
        changed = Handshake(request.path, request.headers.copy())
        del changed.headers["Authorization"]
        changed.headers["Authorization"] = f"Basic {base64.b64encode(user + b':' + change(password)).decode()}"
        return sound(self, charge_point_id, changed)

    Handshakes._authentic = authentic


@defect("R20.1", PASSWORD, says=r"was refused at \S+ with HTTP 401")
def a_password_ends_at_its_last_colon() -> None:
    """Of a password with a colon, what stands behind it is taken."""
    password_is(lambda password: password.rpartition(b":")[2])


@defect("R20.1", PASSWORD, says=r"was refused at \S+ with HTTP 401")
def a_plus_sign_in_a_password_is_a_space() -> None:
    """Passwords are decoded as in a form."""
    password_is(lambda password: password.replace(b"+", b" "))


@defect("R20.1", PASSWORD, says=r"R20\.1 let_in_wrongly: .*measured 1 connections?")
def the_beginning_of_a_password_is_enough() -> None:
    """What stands behind the first 19 characters of a password is not looked at."""
    _enough(lambda given, right: given[: len(right)] == right)


@defect("R20.1", PASSWORD, says=r"R20\.1 let_in_wrongly: .*measured 1 connections?")
def passwords_without_their_case() -> None:
    """A password in another case is taken."""
    _enough(lambda given, right: given.lower() == right.lower())


def _enough(matches: Callable[[bytes, bytes], bool]) -> None:
    right = b"Right:e1f6*_=:+|@.d2"
    password_is(lambda password: right if matches(password, right) else password)


@defect("R20.1", PASSWORD, says=r"R20\.1 shown: .*measured [1-9]")
def logs_passwords() -> None:
    """A refusal is logged with the password that was given."""
    sound = Handshakes._authentic

    def authentic(self: Handshakes, charge_point_id: str, request: Handshake) -> bool:
        encoded = request.headers.get("Authorization", "").partition(" ")[2]
        logger.info("login", given=base64.b64decode(encoded).decode("utf-8", "replace"))
        return sound(self, charge_point_id, request)

    Handshakes._authentic = authentic


def tls_with(change: str) -> None:
    """Change the TLS settings of the gateway."""
    sound = Settings.tls

    def tls(self: Settings) -> ssl.SSLContext | None:
        context = sound(self)
        if context is not None:
            if change == "versions":
                context.set_ciphers("DEFAULT:@SECLEVEL=0")
                context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            elif change == "revocation":
                context.verify_flags &= ~ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
            else:
                context.verify_mode = ssl.CERT_OPTIONAL if context.verify_mode is ssl.CERT_REQUIRED else ssl.CERT_NONE
        return context

    Settings.tls = tls


@defect("R20.2", TLS, says=r"R20\.2 let_in_wrongly: .*measured [12] connection")
def takes_old_versions_of_tls() -> None:
    """TLS 1.0 and 1.1 are taken."""
    tls_with("versions")


@defect("R20.2", TLS, says=r"R20\.2 let_in_wrongly: .*measured 1 connection ")
def speaks_without_tls() -> None:
    """With certificate and key, the gateway speaks plain WebSocket all the same."""
    Settings.tls = lambda self: None


@defect("R20.3", CERTIFICATE, says=r"R20\.3 let_in_wrongly: .*measured 1 connection ")
def takes_another_charge_points_certificate() -> None:
    """The common name of a certificate is not compared with the charge point id."""
    handshakes._certified = lambda charge_point_id, connection: True


@defect("R20.3", CERTIFICATE, says=r"R20\.3 let_in_wrongly: .*measured 1 connection ")
def does_not_look_at_revocations() -> None:
    """A certificate that was revoked is taken."""
    tls_with("revocation")


@defect("R20.3", CERTIFICATE, says=r"R20\.3 let_in_wrongly: .*measured 1 connection ")
def lets_in_without_a_certificate() -> None:
    """A charge point that shows no certificate is let in."""
    tls_with("optional")


@defect("R20.3", CERTIFICATE, says=r"R20\.3 let_in_wrongly: .*measured 1 connection ")
def compares_the_beginning_of_names() -> None:
    """A common name that begins with the charge point id is taken for it."""

    def certified(charge_point_id: str, connection: ServerConnection) -> bool:
        tls = connection.transport.get_extra_info("ssl_object")
        subject = tls.getpeercert()["subject"] if tls is not None and tls.getpeercert() else ()
        return all(
            value.startswith(charge_point_id) for part in subject for name, value in part if name == "commonName"
        )

    handshakes._certified = certified


@defect("R20.4", TOKEN, says=r"R20\.4 accepted: .*measured ([5-9]|1\d) ")
def asks_for_no_token() -> None:
    """The token is set, and not asked for."""
    http._check_token = lambda request, api_token: None


@defect("R20.4", TOKEN, says=r"R20\.4 accepted: .*measured 1 command ")
def forgets_the_token_on_one_method() -> None:
    """Reading the live configuration needs no token."""
    sound = http._check_token

    def check(request: Request, api_token: str) -> None:
        if request.method != "GET":
            sound(request, api_token)

    http._check_token = check


@defect("R20.4", TOKEN, says=r"R20\.4 accepted: .*measured ([5-9]|1\d) ")
def takes_any_token() -> None:
    """A token is asked for, and not compared."""
    sound = http._check_token

    def check(request: Request, api_token: str) -> None:
        if not request.headers.get("authorization"):
            sound(request, api_token)

    http._check_token = check


NOT_WELL = r"R20\.5 |load 'load' does not begin|has not become healthy"
"""Symptoms of a flood that is not limited: slow answers to others, or none at all."""


@defect("R20.5", FLOOD, says=NOT_WELL, timing=True, heavy=True, alone=True)
def takes_all_that_comes() -> None:
    """Nothing slows down a charge point that sends as fast as it can."""

    def receive(self: Intake, connection: Throttled, data: bytes) -> None:
        connection.feed(data)

    Intake.receive = receive


@defect("R20.5", LONG_MESSAGES, says=NOT_WELL, timing=True, heavy=True, alone=True)
def takes_long_messages_as_one() -> None:
    """A message counts as one however long it is, and all that was read of it is taken in one turn."""
    flow_control.SLICE_BYTES = 1 << 30


@defect("R20.5", BROKEN_FRAMES, says=NOT_WELL, timing=True, heavy=True, alone=True)
def counts_readable_frames_only() -> None:
    """Frames that cannot be read do not count as messages, so that their sender is never slowed down."""
    sound = Gateway._set_aside

    def set_aside(self: Gateway, session: Session, invalid: InvalidMessage, raw: bytes) -> None:
        session.connection._intake.messages -= 1
        sound(self, session, invalid, raw)

    Gateway._set_aside = set_aside
