"""Faults on the way to a gateway with TLS: each is proven without a certificate, and TLS goes through unchanged."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme

from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.client import FaultProxyProcess, ProxyApi
from ocpp_resilience.faults.fault import Place, Subjects
from ocpp_resilience.faults.injection import Injector
from ocpp_resilience.faults.journal import FaultJournal
from ocpp_resilience.faults.path import FaultyPath
from ocpp_resilience.faults.probe import GatewayAddress
from ocpp_resilience.faults.registry import faults

PATIENCE = 30


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def gateway(authority: trustme.CA) -> Iterator[str]:
    """One that asks for client certificates, which no probe has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            while data := secure.recv(4096):
                secure.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"wss://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


@pytest.fixture(scope="module")
def api() -> Iterator[ProxyApi]:
    with contextlib.closing(FaultProxyProcess("Fault proxy", seed=7)) as process:
        yield process.start()


@pytest.fixture
def path(api: ProxyApi, gateway: str) -> Iterator[FaultyPath]:
    made = FaultyPath("Fault proxy", GatewayAddress(gateway), api)
    yield made
    made.close()


@pytest.fixture
def charge_point(path: FaultyPath, authority: trustme.CA) -> Iterator[ssl.SSLSocket]:
    """One that checks the gateway's certificate through the proxy, and shows its own."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    authority.issue_cert("charge-point").configure_cert(context)
    plain = socket.create_connection((path.host, path.port), PATIENCE)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
        secure.sendall(b"here")
        assert secure.recv(4) == b"here"
        yield secure


@pytest.mark.parametrize("name", faults().names(Place.NETWORK))
def test_each_fault_is_proven_and_healed(
    path: FaultyPath, charge_point: ssl.SSLSocket, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    injector = Injector(FaultJournal(tmp_path_factory.mktemp("faults") / "faults.jsonl"))
    record = injector.inject(faults().make(name, "", Subjects(lambda: path)))
    assert record.proven, record.proof
    injector.heal_all()
    assert path.ping().what == "reply"


def test_the_url_keeps_its_scheme(path: FaultyPath) -> None:
    assert path.url == f"wss://{path.host}:{path.port}"


def test_another_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ws\[s\]://host:port/path, not 'http://h'"):
        GatewayAddress("http://h")
