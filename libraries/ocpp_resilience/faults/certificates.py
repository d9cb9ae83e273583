"""The certificates of a fault proxy that speaks TLS: the right one, and those that no client may accept."""

from __future__ import annotations

import enum
import shutil
import ssl
import tempfile
from datetime import timedelta
from pathlib import Path

from ocpp_resilience.authority import LOOPBACK, Authority, pem, pem_of_key


class Flaw(enum.Enum):
    """The flaw of a certificate: expired, for another host, or from an unknown authority."""

    EXPIRED = "expired"
    ANOTHER_HOST = "another host"
    UNKNOWN_AUTHORITY = "unknown authority"


EXPECTED = {
    Flaw.EXPIRED: "certificate has expired",
    Flaw.ANOTHER_HOST: "certificate is not valid for",
    Flaw.UNKNOWN_AUTHORITY: "unable to get local issuer certificate",
}
"""What OpenSSL says of each flaw."""


class ProxyCertificates:
    """Files in PEM, each with a certificate and its key, in a separate folder.

    Attributes:
        authority: the file with the certificate of the authority that the right one is from.
        right: the file with the certificate that a client has to accept.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="resilience-"))
        known, unknown = Authority("Test Redis"), Authority("Strangers")
        self.authority = self._write("authority", pem(known.certificate))
        self.right = self._issue(known, "right")
        self._wrong = {
            Flaw.EXPIRED: self._issue(known, "expired", ends=-timedelta(hours=1)),
            Flaw.ANOTHER_HOST: self._issue(known, "another-host", hosts=("redis.example",)),
            Flaw.UNKNOWN_AUTHORITY: self._issue(unknown, "unknown-authority"),
        }

    def _issue(
        self,
        authority: Authority,
        name: str,
        *,
        ends: timedelta = timedelta(days=1),
        hosts: tuple[str, ...] = LOOPBACK,
    ) -> Path:
        certificate, key = authority.issue("localhost", client=False, ends=ends, hosts=hosts)
        return self._write(name, pem(certificate), pem_of_key(key))

    def _write(self, name: str, *parts: bytes) -> Path:
        path = self._folder / f"{name}.pem"
        path.write_bytes(b"".join(parts))
        path.chmod(0o600)
        return path

    def wrong(self, flaw: Flaw) -> Path:
        """The file with a certificate that has this flaw."""
        return self._wrong[flaw]

    def context(self, *, strict: bool = False) -> ssl.SSLContext:
        """For clients; with `strict` one that checks the certificate."""
        made = ssl.create_default_context(cafile=self.authority)
        if not strict:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        return made

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)
