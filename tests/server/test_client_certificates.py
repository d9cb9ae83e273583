"""OCPP security profiles 2 and 3: admission over TLS."""

from __future__ import annotations

import contextlib
import ssl
import warnings
from pathlib import Path

import pytest
import redis
from harness import ServerProcess, StartServer, soon
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from ocpp_resilience.charge_points.certificates import Certificates, make_certificates
from server.config import SettingError, Settings

pytestmark = pytest.mark.anyio

REFUSED = ["foreign", "expired", "not_yet", "revoked", "other", None]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), "CP-1")


def settings(certificates: Certificates) -> dict[str, str]:
    return {
        "TLS_CERTIFICATE": str(certificates.server_certificate),
        "TLS_KEY": str(certificates.server_key),
        "TLS_CLIENT_CA": str(certificates.client_ca),
        "TLS_CLIENT_CRL": str(certificates.client_crl),
    }


async def outcome(
    server: ServerProcess, certificates: Certificates, client: Path | None, charge_point_id: str = "CP-1"
) -> str:
    """The outcome of a connection: `open`, an HTTP status, or `no connection`."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    if client is not None:
        context.load_cert_chain(client)
    try:
        async with connect(
            f"wss://127.0.0.1:{server.ws_port}/ocpp/{charge_point_id}",
            ssl=context,
            subprotocols=[Subprotocol("ocpp1.6")],
            proxy=None,
        ):
            return "open"
    except InvalidStatus as refused:
        return str(refused.response.status_code)
    except (OSError, EOFError, InvalidHandshake):
        return "no connection"


async def test_only_a_valid_certificate_of_this_charge_point_is_let_in(
    client: redis.Redis, redis_url: str, start_server: StartServer, certificates: Certificates
) -> None:
    server = start_server(redis_url, "gw", **settings(certificates))
    server.wait_healthy()
    found = {
        name: await outcome(server, certificates, name and getattr(certificates, name)) for name in ["valid", *REFUSED]
    }
    assert found == {"valid": "open", **dict.fromkeys(REFUSED, "no connection"), "other": "403"}
    assert await outcome(server, certificates, certificates.valid, "CP-2") == "403"
    await soon(lambda: len(server.records("connection_refused")) >= 2, "not logged")
    reasons = {record["reason"] for record in server.records("connection_refused")}
    assert reasons == {"certificate", "tls"}


async def test_old_versions_of_tls_and_plain_connections_are_refused(
    client: redis.Redis, redis_url: str, start_server: StartServer, certificates: Certificates
) -> None:
    server = start_server(redis_url, "gw", **settings(certificates))
    server.wait_healthy()
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(ValueError):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(certificates.valid)
    for scheme, tls in (("wss", context), ("ws", None)):
        with pytest.raises((OSError, EOFError, InvalidHandshake)):
            await connect(f"{scheme}://127.0.0.1:{server.ws_port}/ocpp/CP-1", ssl=tls, proxy=None)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"TLS_CERTIFICATE": "", "TLS_KEY": ""}, "TLS_CERTIFICATE: ''"),
        ({"TLS_CLIENT_CA": ""}, "TLS_CLIENT_CA: ''"),
        ({"TLS_CLIENT_CA": "server_key"}, "TLS_CLIENT_CA: "),
        ({"TLS_CLIENT_CRL": "client_ca"}, "TLS_CLIENT_CRL: "),
    ],
)
def test_files_that_cannot_be_used_are_named(certificates: Certificates, changed: dict[str, str], named: str) -> None:
    given = settings(certificates) | {
        name: str(getattr(certificates, value)) if value else "" for name, value in changed.items()
    }
    with pytest.raises(SettingError) as refused:
        Settings.from_environment(given).tls()
    assert str(refused.value).startswith(named)
