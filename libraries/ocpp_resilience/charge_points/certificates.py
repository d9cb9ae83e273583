"""Certificates for a test of OCPP security profiles 2 and 3: authorities, a server, and clients good and bad."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ocpp_resilience.authority import Authority, pem, pem_of_key


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files in PEM. Those of clients hold the certificate and its key.

    Attributes:
        ca: the authority that the server's certificate is trusted by.
        server_certificate: the server's certificate, for 127.0.0.1 and localhost.
        server_key: its key.
        client_ca: the authority of the charge points' certificates.
        client_crl: the revocation list of that authority.
        valid: a client certificate whose common name is the charge point id.
        foreign: the same name, from an authority that the server does not know.
        expired: the same name, not valid any more.
        not_yet: the same name, not valid yet.
        revoked: the same name, on the revocation list.
        other: another charge point's name, valid otherwise.
    """

    ca: Path
    server_certificate: Path
    server_key: Path
    client_ca: Path
    client_crl: Path
    valid: Path
    foreign: Path
    expired: Path
    not_yet: Path
    revoked: Path
    other: Path


def make_certificates(folder: Path, charge_point_id: str) -> Certificates:
    """Write the certificates of one charge point and one server.

    Args:
        folder: where the files go; made if it is not there.
        charge_point_id: the charge point that the certificates of clients are for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    servers, clients, strangers = Authority("Test servers"), Authority("Test clients"), Authority("Strangers")

    def write(name: str, *parts: bytes) -> Path:
        path = folder / f"{name}.pem"
        path.write_bytes(b"".join(parts))
        path.chmod(0o600)
        return path

    def client(name: str, issued: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> Path:
        return write(name, pem(issued[0]), pem_of_key(issued[1]))

    certificate, key = servers.issue("localhost", client=False)
    revoked = clients.issue(charge_point_id, client=True)
    return Certificates(
        ca=write("ca", pem(servers.certificate)),
        server_certificate=write("server-certificate", pem(certificate)),
        server_key=write("server-key", pem_of_key(key)),
        client_ca=write("client-ca", pem(clients.certificate)),
        client_crl=write("client-crl", clients.revoke(revoked[0])),
        valid=client("valid", clients.issue(charge_point_id, client=True)),
        foreign=client("foreign", strangers.issue(charge_point_id, client=True)),
        expired=client("expired", clients.issue(charge_point_id, client=True, ends=-timedelta(hours=1))),
        not_yet=client("not-yet", clients.issue(charge_point_id, client=True, begins=timedelta(hours=1))),
        revoked=client("revoked", revoked),
        other=client("other", clients.issue(f"{charge_point_id}-other", client=True)),
    )
