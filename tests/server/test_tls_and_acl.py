"""Redis over TLS, and with a user that may do no more than the server does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from harness import (
    QUEUE,
    QUICK,
    SOON,
    ServerProcess,
    StartRedis,
    StartServer,
    answered_ids,
    call,
    connect,
    push,
    start_transaction,
    until,
)
from websockets.sync.client import connect as plug

from ocpp_resilience.authority import Authority, pem, pem_of_key
from ocpp_resilience.ports import HOST, free_port
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.profile import Target

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "server.md"
ERROR_SECONDS = 5.0
"""Seconds within which an error has to be reported (R16.11)."""
REDIS = shutil.which("redis-server")
needs_tls = pytest.mark.skipif(REDIS is None, reason="no Redis with TLS (Debian: redis-server)")


class Certificates:
    """An authority, and certificates that it signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = Authority("authority")
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(pem(self._authority.certificate))

    def issue(self, name: str, host: str, *, expired: bool = False) -> Path:
        """A file with a certificate for a host, and its key."""
        ends = -timedelta(hours=1) if expired else timedelta(days=1)
        certificate, key = self._authority.issue(name, client=False, ends=ends, hosts=[host])
        file = self.folder / f"{name}.pem"
        file.write_bytes(pem(certificate) + pem_of_key(key))
        return file


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class SecureRedis:
    """A Redis that speaks TLS only, on a port that it keeps."""

    def __init__(self) -> None:
        self._process = ChildProcess("Redis with TLS")
        self.port = free_port()
        self.url = f"rediss://{HOST}:{self.port}/0"

    def start(self, certificates: Certificates, name: str, host: str = HOST, *, expired: bool = False) -> None:
        certificate = certificates.issue(name, host, expired=expired)
        self._process.start(
            [
                str(REDIS),
                "--port",
                "0",
                "--tls-port",
                str(self.port),
                "--bind",
                HOST,
                "--save",
                "",
                "--appendonly",
                "no",
                "--tls-cert-file",
                str(certificate),
                "--tls-key-file",
                str(certificate),
                "--tls-ca-cert-file",
                str(certificates.ca),
                "--tls-auth-clients",
                "no",
            ]
        )
        until(lambda: "Ready to accept" in self._process.output_tail(50), "Redis does not start")

    def stop(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.close()


@pytest.fixture
def secure() -> Iterator[SecureRedis]:
    service = SecureRedis()
    yield service
    service.close()


def wait_for_error(server: ServerProcess, text: str) -> None:
    """Wait until the log has a record with this text: a busy machine may be late for a connection first."""
    until(
        lambda: any(text in str(record["error"]) for record in server.records("redis_unavailable")),
        lambda: f"{text!r} is not said: {server.records('redis_unavailable')}",
        timeout=ERROR_SECONDS,
    )


@needs_tls
def test_everything_works_over_tls(secure: SecureRedis, certificates: Certificates, start_server: StartServer) -> None:
    secure.start(certificates, "right")
    server = start_server(secure.url, REDIS_CA=str(certificates.ca), **QUICK)
    server.wait_healthy()
    with redis.Redis.from_url(secure.url, ssl_ca_certs=str(certificates.ca), protocol=2) as client:
        push(client, [start_transaction("CP-1", f"m{number}", number) for number in range(1, 301)])
        until(lambda: len(answered_ids(client, "CP-1")) == 300, "not answered")
        with plug(f"ws://127.0.0.1:{server.ws_port}/ocpp/CP-2", subprotocols=["ocpp1.6"]) as socket:
            socket.send(json.dumps([2, "a", "Heartbeat", {}]))
            assert json.loads(socket.recv(SOON))[1] == "a"
    assert server.get("/api/v1/chargepoints/CP-1")[0] == 200


@needs_tls
@pytest.mark.parametrize(
    ("host", "expired", "says"),
    [
        ("elsewhere.example", False, "certificate is not valid for '127.0.0.1'"),
        (HOST, True, "certificate has expired"),
    ],
    ids=["another host's", "expired"],
)
def test_a_certificate_that_cannot_be_used_is_an_error_until_it_is_mended(  # noqa: PLR0917
    secure: SecureRedis,
    certificates: Certificates,
    start_server: StartServer,
    host: str,
    expired: bool,
    says: str,
) -> None:
    secure.start(certificates, "wrong", host, expired=expired)
    server = start_server(secure.url, REDIS_CA=str(certificates.ca), **QUICK)
    wait_for_error(server, says)
    assert server.health()["status"] == "degraded"
    secure.stop()
    secure.start(certificates, "right")
    server.wait_healthy()


@needs_tls
def test_an_unknown_authority_is_an_error(
    secure: SecureRedis, certificates: Certificates, start_server: StartServer, tmp_path: Path
) -> None:
    secure.start(certificates, "right")
    server = start_server(secure.url, REDIS_CA=str(Certificates(tmp_path).ca), **QUICK)
    wait_for_error(server, "certificate verify failed")
    assert server.process.alive


@needs_tls
def test_a_redis_without_tls_is_an_error(start_redis: StartRedis, start_server: StartServer) -> None:
    service = start_redis()
    server = start_server(service.url().replace("redis://", "rediss://"), **QUICK)
    wait_for_error(server, "connecting to")


# --- a user of least privilege ----------------------------------------------------------------------------------------


def documented() -> list[str]:
    """The words of the `ACL SETUSER` line in the guide."""
    found = re.search(r"^ACL SETUSER (.+)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    assert found, "the guide has no such line"
    return found[1].split()


def test_the_profile_names_the_documented_privileges() -> None:
    assert Target.load("reference").security.redis_privileges == documented()[3:]


def privileges() -> list[str]:
    return [word for word in documented() if word.startswith("+") and word != "+@all"]


def as_user(url: str) -> str:
    return url.replace("redis://", "redis://ocpp-server:secret@")


def exercise(server: ServerProcess, client: redis.Redis) -> None:
    """Every use that the server makes of Redis, in short."""
    server.wait_healthy()
    boot = call("CP-1", "boot", "BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})
    push(client, [b"{", boot, *[start_transaction("CP-1", f"m{number}", number) for number in range(1, 21)]])
    until(lambda: len(answered_ids(client, "CP-1")) == 21, "not answered")
    with plug(f"ws://127.0.0.1:{server.ws_port}/ocpp/CP-2", subprotocols=["ocpp1.6"]) as socket:
        socket.send(json.dumps([2, "a", "Heartbeat", {}]))
        assert json.loads(socket.recv(SOON))[1] == "a"
        until(lambda: server.get("/clients")[1]["data"], "not listed")
    for path in ("/api/v1/chargepoints", "/api/v1/chargepoints/CP-1/connectors", "/api/v1/transactions"):
        assert server.get(path)[0] == 200, path
    assert server.health()["status"] == "healthy"


@pytest.mark.parametrize("shards", ["1", "2"])
def test_the_documented_user_can_do_everything(
    client: redis.Redis, redis_url: str, start_server: StartServer, shards: str
) -> None:
    client.execute_command("ACL", "SETUSER", *documented())
    try:
        client.execute_command("ACL", "LOG", "RESET")
        server = start_server(as_user(redis_url), QUEUE_SHARDS=shards, REDIS_WAIT_REPLICAS="0", **QUICK)
        exercise(server, client)
        assert not server.records("redis_unavailable")
        assert client.execute_command("ACL", "LOG") == []
    finally:
        client.execute_command("ACL", "DELUSER", "ocpp-server")


def test_the_documented_user_has_no_commands_to_spare(client: redis.Redis) -> None:
    """Each of them stands in the server's code."""
    code = "\n".join(file.read_text("utf-8") for file in GUIDE.parents[2].joinpath("server").rglob("*.py")).lower()
    spare = []
    for privilege in privileges():
        name, _, rest = privilege[1:].partition("|")
        words = [name, rest] if rest else [name]
        spare += [privilege for word in words if not re.search(rf"\b{word}\b", code)]
    assert set(spare) <= {"+client|setinfo", "+select"}, "which the client library sends"


@pytest.mark.parametrize("missing", ["+evalsha", "+lindex", "+subscribe", "+mget"])
def test_a_missing_permission_is_named_until_it_is_given(
    client: redis.Redis, redis_url: str, start_server: StartServer, missing: str
) -> None:
    client.execute_command("ACL", "SETUSER", *[word for word in documented() if word != missing])
    try:
        server = start_server(as_user(redis_url), **QUICK)
        client.lpush(QUEUE, call("CP-1", "m"))
        until(lambda: server.health()["status"] == "degraded", "not noticed", timeout=ERROR_SECONDS)
        wait_for_error(server, f"'{missing[1:]}'")
        client.execute_command("ACL", "SETUSER", "ocpp-server", missing)
        server.wait_healthy()
        until(lambda: answered_ids(client, "CP-1") == ["m"], "not answered")
    finally:
        client.execute_command("ACL", "DELUSER", "ocpp-server")


def test_a_wrong_password_is_an_error_that_does_not_show_it(redis_url: str, start_server: StartServer) -> None:
    server = start_server(redis_url.replace("redis://", "redis://nobody:hidden@"), **QUICK)
    wait_for_error(server, "invalid username-password pair")
    assert "hidden" not in json.dumps(server.records())
    with connect(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "nobody", "on", ">hidden", "~*", "&*", "+@all")
        try:
            server.wait_healthy()
        finally:
            client.execute_command("ACL", "DELUSER", "nobody")
