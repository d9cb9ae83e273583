"""Certificates for a test of OCPP security profiles 2 and 3: authorities, a server, and clients good and bad.

Keys are on the curve P-256, the smallest that OCPP allows (OCPP 2.0.1 part 2, A00). Nothing here is meant for more than
the life of a test.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=1)


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


class Authority:
    """A certificate authority of a test.

    Args:
        name: its common name.
    """

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._now = datetime.now(UTC)
        self.certificate = (
            self._builder(self._name, self._key, self._now - LIFETIME, self._now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(
        self, name: str, *, client: bool, begins: timedelta = -LIFETIME, ends: timedelta = LIFETIME
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate and its key.

        Args:
            name: the common name.
            client: whether it is for a client; one for a server is for this machine's loopback interface.
            begins: when its validity begins, counted from now.
            ends: when its validity ends.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            self._builder(_name(name), key, self._now + begins, self._now + ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if not client:
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            names = x509.SubjectAlternativeName([loopback, x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()), key

    def revoke(self, *certificates: x509.Certificate) -> bytes:
        """A revocation list with these certificates, in PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(self._now - LIFETIME)
            .next_update(self._now + LIFETIME)
        )
        for certificate in certificates:
            revoked = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(revoked.revocation_date(self._now - LIFETIME).build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


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
        return write(name, _pem(issued[0]), _pem_of_key(issued[1]))

    certificate, key = servers.issue("localhost", client=False)
    revoked = clients.issue(charge_point_id, client=True)
    return Certificates(
        ca=write("ca", _pem(servers.certificate)),
        server_certificate=write("server-certificate", _pem(certificate)),
        server_key=write("server-key", _pem_of_key(key)),
        client_ca=write("client-ca", _pem(clients.certificate)),
        client_crl=write("client-crl", clients.revoke(revoked[0])),
        valid=client("valid", clients.issue(charge_point_id, client=True)),
        foreign=client("foreign", strangers.issue(charge_point_id, client=True)),
        expired=client("expired", clients.issue(charge_point_id, client=True, ends=-timedelta(hours=1))),
        not_yet=client("not-yet", clients.issue(charge_point_id, client=True, begins=timedelta(hours=1))),
        revoked=client("revoked", revoked),
        other=client("other", clients.issue(f"{charge_point_id}-other", client=True)),
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
