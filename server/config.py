"""Settings from the environment, each checked before anything starts."""

from __future__ import annotations

import os
import platform
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from server.ids import usable_charge_point_id
from server.processor.sharding import MOST_SHARDS
from server.redis.address import Address
from server.redis.link import REPLY_TIMEOUT
from server.store.keys import Keys

T = TypeVar("T")


class SettingError(ValueError):
    """A setting is invalid; the message names it, its value and the allowed values, in one line."""


class Role(StrEnum):
    """Parts of the server that a process can run."""

    ALL = "all"
    GATEWAY = "gateway"
    PROCESSOR = "processor"


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """Formats of log records."""

    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the server, one field for each setting of the contract.

    Attributes:
        redis_url: where Redis is.
        redis_ca: PEM file with the authorities that may sign Redis' certificate; the system's when empty.
        redis_wait_replicas: replicas that must have a commit before its effects are published.
        redis_timeout: seconds without an answer after which Redis counts as away; connecting may take half of them.
        queue_name: the list that requests come from.
        queue_shards: how many lists the messages are spread over, by charge point; with 1 there are none beside
            `queue_name`.
        key_prefix: the prefix of all other keys.
        http_host: the address that the HTTP API binds.
        http_port: its port; 0 takes a free one.
        http_timeout: seconds that a request may take to come, and that its answer may take to be read.
        role: which parts of the server run: the gateway, the processor, or both.
        max_message_bytes: the longest message that is looked at.
        allowed_origins: web origins whose pages may use the API and the gateway; none when empty.
        allowed_hosts: host names that requests to the API may name; see `Origins` for the default when empty.
        api_token: the token for `/inspect` and commands; none when empty.
        require_boot: refuse everything but BootNotification from a charge point that was not accepted yet.
        server_id: the name of this instance, unique among the instances of a system.
        ws_host, ws_port: where the gateway listens; port 0 takes a free one.
        ws_message_rate: messages, or KiB, a second that one charge point may send for long; 0 for no limit.
        ping_interval: seconds of silence after which a charge point is pinged; after the same again it is closed.
        ws_credentials: file with a line for each charge point, its id, a colon and the SHA-256 of its password in hex;
            with it charge points must show their password (HTTP Basic authentication). None when empty.
        tls_certificate, tls_key: PEM files; with them the gateway speaks `wss` only. None when empty.
        tls_client_ca: PEM file with the authorities of charge points' certificates; with it each charge point must show
            one whose common name is its id (security profile 3). None when empty.
        tls_client_crl: PEM file with the revocation lists of those authorities. None when empty.
        correlation_timeout: default timeout of a command in seconds.
        lease_seconds: how long a processor that stopped answering keeps the queue to itself.
        log_level: the lowest level that is logged.
        log_format: how log records are written.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_ca: str = ""
    redis_wait_replicas: int = 0
    redis_timeout: float = REPLY_TIMEOUT
    queue_name: str = "ocpp:requests"
    queue_shards: int = 1
    key_prefix: str = "ocpp"
    http_host: str = "127.0.0.1"
    http_port: int = 8081
    http_timeout: float = 30.0
    role: Role = Role.ALL
    max_message_bytes: int = 256 * 1024
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    api_token: str = ""
    require_boot: bool = False
    server_id: str = ""
    ws_host: str = "127.0.0.1"
    ws_port: int = 8080
    ws_message_rate: float = 500.0
    ping_interval: float = 30.0
    ws_credentials: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    tls_client_crl: str = ""
    correlation_timeout: float = 30.0
    lease_seconds: float = 3.0
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.JSON

    def redis_address(self) -> Address:
        """Address of Redis, and the TLS settings that authenticate it."""
        return Address.parse(self.redis_url, self.redis_ca)

    @property
    def has_gateway(self) -> bool:
        """Whether this process takes charge points' connections."""
        return self.role in {Role.ALL, Role.GATEWAY}

    @property
    def has_processor(self) -> bool:
        """Whether this process takes messages off the request queue."""
        return self.role in {Role.ALL, Role.PROCESSOR}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        Args:
            environment: names to values; the process's own when left out. An empty value counts as not set.

        Raises:
            SettingError: a value cannot be used.
        """
        given = os.environ if environment is None else environment
        values: dict[str, Any] = {"server_id": f"{platform.node() or 'server'}-{os.getpid()}"}
        for name, (read, allowed) in _READERS.items():
            text = given.get(name, "").strip()
            if not text:
                continue
            try:
                values[name.lower()] = read(text)
            except ValueError:
                shown = "(not shown)" if name == "API_TOKEN" else repr(_without_secrets(text))
                raise SettingError(f"{name}: {shown} cannot be used, allowed is {allowed}") from None
        settings = cls(**values)
        taken = Keys(settings.key_prefix, settings.queue_name).reserved
        if settings.queue_name in taken:
            raise SettingError(
                f"QUEUE_NAME: {settings.queue_name!r} cannot be used, allowed is a key that the server does not use"
                f" for something else, as it does {', '.join(taken)}"
            ) from None
        if settings.redis_ca:
            if not settings.redis_url.startswith("rediss"):
                raise SettingError(
                    f"REDIS_CA: {settings.redis_ca!r} cannot be used, allowed is a file where REDIS_URL is rediss"
                )
            try:
                ssl.create_default_context(cafile=settings.redis_ca)
            except (OSError, ValueError) as error:
                raise SettingError(
                    f"REDIS_CA: {settings.redis_ca!r} cannot be used ({error}), allowed are certificates in PEM"
                ) from None
        for one, other in (("TLS_CERTIFICATE", "TLS_KEY"), ("TLS_KEY", "TLS_CERTIFICATE")):
            if getattr(settings, one.lower()) and not getattr(settings, other.lower()):
                raise SettingError(f"{other}: '' cannot be used, allowed is a file that can be read: {one} is set")
        for one, other in (("TLS_CLIENT_CA", "TLS_CERTIFICATE"), ("TLS_CLIENT_CRL", "TLS_CLIENT_CA")):
            if getattr(settings, one.lower()) and not getattr(settings, other.lower()):
                raise SettingError(f"{other}: '' cannot be used, allowed is a file that can be read: {one} is set")
        return settings

    def credentials(self) -> dict[str, bytes] | None:
        """Charge point ids and the SHA-256 digests of their passwords; `None` if none are asked for.

        Raises:
            SettingError: the file cannot be used; names the line, and shows nothing of it.
        """
        if not self.ws_credentials:
            return None
        found: dict[str, bytes] = {}
        allowed = "lines of charge point id, colon and SHA-256 of the password in hex"
        try:
            lines = Path(self.ws_credentials).read_text("utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            why = type(error).__name__
            raise SettingError(
                f"WS_CREDENTIALS: {self.ws_credentials!r} cannot be read ({why}), allowed are {allowed}"
            ) from None
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            charge_point_id, _, digest = line.strip().partition(":")
            if not usable_charge_point_id(charge_point_id) or not re.fullmatch("[0-9a-fA-F]{64}", digest):
                raise SettingError(
                    f"WS_CREDENTIALS: line {number} of {self.ws_credentials!r} cannot be used, allowed are {allowed}"
                )
            found[charge_point_id] = bytes.fromhex(digest)
        return found

    def tls(self) -> ssl.SSLContext | None:
        """TLS settings of the gateway; `None` for a gateway without TLS.

        Raises:
            SettingError: certificate and key cannot be used.
        """
        if not self.tls_certificate:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.tls_certificate, self.tls_key)
        except (OSError, ValueError) as error:
            raise SettingError(
                f"TLS_CERTIFICATE: {self.tls_certificate!r} with TLS_KEY {self.tls_key!r} cannot be used"
                f" ({error}), allowed are a certificate and its key in PEM"
            ) from None
        if self.tls_client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            _trust(context, "TLS_CLIENT_CA", self.tls_client_ca, "certificates")
        if self.tls_client_crl:
            _trust(context, "TLS_CLIENT_CRL", self.tls_client_crl, "revocation lists")
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        return context


def _trust(context: ssl.SSLContext, setting: str, file: str, what: str) -> None:
    before = context.cert_store_stats()
    try:
        context.load_verify_locations(cafile=file)
    except (OSError, ValueError) as error:
        raise SettingError(f"{setting}: {file!r} cannot be used ({error}), allowed are {what} in PEM") from None
    kind = "crl" if setting.endswith("CRL") else "x509_ca"
    if context.cert_store_stats()[kind] == before[kind]:
        raise SettingError(f"{setting}: {file!r} cannot be used (it holds none), allowed are {what} in PEM")


def _without_secrets(text: str) -> str:
    """`text` with every possible user name and password removed, also where a URL is misspelt."""
    scheme, _, rest = text.rpartition("@")[0].partition("://")
    shown = f"{scheme}://***@{text.rpartition('@')[2]}" if rest else f"***@{text.rpartition('@')[2]}"
    if "@" not in text:
        # The part behind the first colon, unless it is a port, is a password whose host is missing.
        shown = re.sub(r"^(\w*:/*(?:\[[^\]]*\]|[^/:\[]*)):(?!\d{1,5}(?:[/?#]|$)).*", r"\1:***", text)
    return re.sub(r"(pass\w*|user\w*)=[^&]*", r"\1=***", shown, flags=re.IGNORECASE)


def _redis_url(text: str) -> str:
    Address.parse(text)
    return text


def _replicas(text: str) -> int:
    count = int(text) if re.fullmatch(r"[0-9]", text) else -1
    if not 0 <= count <= 9:
        raise ValueError(text)
    return count


def _port(text: str) -> int:
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else -1
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def _shards(text: str) -> int:
    count = int(text) if re.fullmatch(r"[0-9]{1,2}", text) else 0
    if not 1 <= count <= MOST_SHARDS:
        raise ValueError(text)
    return count


_UNITS = {"": 1, "B": 1, "KIB": 1024, "MIB": 1024**2, "KB": 1000, "MB": 1000**2}


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)\s*([KM]?I?B?)", text.upper())
    if match is None or match[2] not in _UNITS:
        raise ValueError(text)
    size = int(match[1]) * _UNITS[match[2]]
    if not 1024 <= size <= 64 * 1024**2:
        raise ValueError(text)
    return size


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|)", text)
    if match is None:
        raise ValueError(text)
    length = float(match[1]) * {"ms": 0.001, "s": 1, "": 1, "m": 60}[match[2]]
    if not 1 <= length <= 3600:
        raise ValueError(text)
    return length


def _rate(text: str) -> float:
    rate = float(text) if re.fullmatch(r"\d{1,7}(\.\d+)?", text) else -1.0
    if rate != 0 and not 1 <= rate <= 1_000_000:
        raise ValueError(text)
    return rate


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _one_of(choices: Callable[[str], T]) -> Callable[[str], T]:
    return lambda text: choices(text.lower())


def _text(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text or len(text) > 200:
        raise ValueError(text)
    return text


def _origins(text: str) -> tuple[str, ...]:
    found = tuple(each.strip() for each in text.split(","))
    if not all(re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", each) for each in found):
        raise ValueError(text)
    return found


def _hosts(text: str) -> tuple[str, ...]:
    found = tuple(each.strip() for each in text.split(","))
    if not all(re.fullmatch(r"[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\]", each) for each in found):
        raise ValueError(text)
    return found


def _file(text: str) -> str:
    try:
        with Path(text).open("rb"):
            return text
    except OSError:
        raise ValueError(text) from None


def _key_part(text: str) -> str:
    if not usable_charge_point_id(text):
        raise ValueError(text)
    return text


def _raise_value_error(read: Callable[[str], T]) -> Callable[[str], T]:
    def checked(text: str) -> T:
        try:
            return read(text)
        except KeyError:
            raise ValueError(text) from None

    return checked


_PORTS = "a port number from 0 to 65535 (0 takes a free one)"
_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "REDIS_URL": (
        _redis_url,
        "redis:// or rediss://[user:password@]host:port/db, unix:///path?db=0 or redis+sentinel://host:port,…/service/db",
    ),
    "REDIS_CA": (_file, "a file that can be read"),
    "REDIS_WAIT_REPLICAS": (_replicas, "a whole number from 0 (do not wait) to 9"),
    "REDIS_TIMEOUT": (_duration, "a time from 1s to 3600s"),
    "QUEUE_NAME": (_text, "a key name of up to 200 printable ASCII characters without spaces"),
    "QUEUE_SHARDS": (_shards, f"a whole number from 1 (no shards) to {MOST_SHARDS}"),
    "KEY_PREFIX": (_key_part, "1 to 48 printable characters without ':' and spaces"),
    "HTTP_HOST": (_text, "a host name or address"),
    "HTTP_PORT": (_port, _PORTS),
    "HTTP_TIMEOUT": (_duration, "a time from 1s to 3600s"),
    "WS_HOST": (_text, "a host name or address"),
    "WS_PORT": (_port, _PORTS),
    "WS_MESSAGE_RATE": (_rate, "messages a second from 1 to 1000000, or 0 for no limit"),
    "PING_INTERVAL": (_duration, "a time from 1s to 3600s"),
    "WS_CREDENTIALS": (_file, "a file that can be read"),
    "TLS_CERTIFICATE": (_file, "a file that can be read"),
    "TLS_KEY": (_file, "a file that can be read"),
    "TLS_CLIENT_CA": (_file, "a file that can be read"),
    "TLS_CLIENT_CRL": (_file, "a file that can be read"),
    "CORRELATION_TIMEOUT": (_duration, "a time from 1s to 3600s"),
    "ROLE": (_one_of(Role), ", ".join(Role)),
    "MAX_MESSAGE_BYTES": (_size, "a size from 1 KiB to 64 MiB, in bytes or with KiB or MiB"),
    "API_TOKEN": (_text, "up to 200 printable ASCII characters without spaces"),
    "ALLOWED_ORIGINS": (_origins, "origins separated by commas, such as https://console.example:8443"),
    "ALLOWED_HOSTS": (_hosts, "host names or addresses without port, separated by commas"),
    "REQUIRE_BOOT": (_raise_value_error(_flag), "true or false"),
    "SERVER_ID": (_key_part, "1 to 48 printable characters without ':' and spaces"),
    "LEASE_SECONDS": (_duration, "a time from 1s to 3600s"),
    "LOG_LEVEL": (_one_of(LogLevel), ", ".join(LogLevel)),
    "LOG_FORMAT": (_one_of(LogFormat), " or ".join(LogFormat)),
}
