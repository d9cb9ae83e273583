"""Keywords that make passwords and certificates for gateways with authentication."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from robot.api.types import Secret

from ChargePointLibrary.base import plain
from ocpp_resilience.charge_points.certificates import Certificates, make_certificates
from ocpp_resilience.profile import Capability, target_of_run
from ocpp_resilience.profile.templates import fill
from ocpp_resilience.robot.library import Component, keyword


class Security(Component):
    """OCPP security profiles 1 to 3."""

    @keyword(tags=("charge point", "security"))
    def get_settings_for_passwords(
        self, passwords: Mapping[str, str | Secret], *, target: str | None = None
    ) -> dict[str, str]:
        """Returns server settings that make charge points log in with these passwords (security profile 1).

        The file with the passwords is removed when the suite ends.

        Args:
            passwords: charge point id to password.
            target: the target profile, which describes authentication (`security.basic`); by
                default as at `Start Server`.

        Raises:
            LacksCapability: the target has no `basic_authentication`.

        Example:
        ```robotframework
        VAR    &{passwords}    CP-1=first secret    CP-2=second secret
        &{settings} =    Get Settings For Passwords    ${passwords}
        Start Server    ${redis url}    alias=guarded    &{settings}
        ```
        """
        profile = target_of_run(target)
        profile.require(Capability.BASIC_AUTHENTICATION)
        lines = []
        for charge_point, secret in passwords.items():
            password = plain(secret) or ""
            digest = hashlib.sha256(password.encode()).hexdigest()
            known = {"charge_point_id": charge_point, "password": password, "password_digest": digest}
            lines.append(fill(profile.security.credentials, known))
        file = self._folder() / "credentials"
        file.write_text("\n".join(lines) + "\n", "utf-8")
        file.chmod(0o600)
        return {name: fill(text, {"credentials": str(file)}) for name, text in profile.security.basic.items()}

    @keyword(tags=("charge point", "security"))
    def make_certificates(self, charge_point_id: str) -> Certificates:
        """Creates valid and invalid certificates for a gateway and a charge point.

        All of them are files in PEM, removed when the suite ends: `ca`, `server_certificate`, `server_key`,
        `client_ca`, `client_crl`; and for the charge point `valid`, `foreign` (from an unknown authority), `expired`,
        `not_yet` (valid tomorrow), `revoked` and `other` (another charge point's), each with its key.

        Args:
            charge_point_id: the common name of the charge point's certificates.

        Example:
        ```robotframework
        ${certificates} =    Make Certificates    CP-1
        &{settings} =    Get Settings For Certificates    ${certificates}
        Start Server    ${redis url}    alias=guarded    &{settings}
        ```
        """
        return make_certificates(self._folder(), charge_point_id)

    @keyword(tags=("charge point", "security"))
    def get_settings_for_certificates(
        self, certificates: Certificates, *, clients: bool = True, target: str | None = None
    ) -> dict[str, str]:
        """Returns the settings for a gateway that uses TLS and requires client certificates.

        Args:
            certificates: the result of `Make Certificates`.
            clients: whether charge points need certificates too (security profile 3); else only the gateway has one
                (security profile 2).
            target: the target profile, which describes authentication (`security.tls`, `security.client_certificates`);
                by default as at `Start Server`.

        Raises:
            LacksCapability: the target has no `tls`, or no `client_certificates`.

        Example:
        ```robotframework
        ${certificates} =    Make Certificates    CP-1
        &{settings} =    Get Settings For Certificates    ${certificates}    clients=False
        Start Server    ${redis url}    alias=guarded    &{settings}
        ```
        """
        profile = target_of_run(target)
        profile.require(Capability.TLS)
        settings = dict(profile.security.tls)
        if clients:
            profile.require(Capability.CLIENT_CERTIFICATES)
            settings |= profile.security.client_certificates
        files = {
            "certificate": str(certificates.server_certificate),
            "key": str(certificates.server_key),
            "client_ca": str(certificates.client_ca),
            "client_crl": str(certificates.client_crl),
        }
        return {name: fill(text, files) for name, text in settings.items()}

    def _folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="resilience-"))
        self.cleanup.add(f"the folder {folder}", lambda: shutil.rmtree(folder, ignore_errors=True))
        return folder
