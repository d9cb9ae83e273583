"""A certificate that no client may accept."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import NetworkFault
from ocpp_resilience.faults.certificates import EXPECTED, Flaw
from ocpp_resilience.faults.fault import Place, Proof


@dataclass(eq=False)
class BadCertificate(NetworkFault):
    """The proxy shows a certificate that has a flaw: it has expired, is another host's, or is of an unknown authority.

    The connections that are open are closed.
    """

    name = "bad certificate"
    place = Place.TLS
    effect = "the certificate is invalid; a client must abort the TLS handshake"
    evidence = "a handshake fails for that reason"
    own_proxy_only = True

    flaw: Flaw = Flaw.EXPIRED

    def begin(self) -> None:
        self.path.show_certificate(self.flaw)

    def prove(self) -> Proof:
        said = self.path.handshake()
        return EXPECTED[self.flaw] in said, said or "the certificate is accepted"

    def end(self) -> None:
        if self.path.tls is not None:
            self.path.show_certificate(None)
