"""Keywords about the capabilities of a target."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ocpp_resilience.errors import LacksCapability, NotPossibleHere
from ocpp_resilience.guardian import run_guarded
from ocpp_resilience.profile import Capability, Trait, target_of_run
from ocpp_resilience.profile.templates import fill
from ocpp_resilience.robot.library import Component, keyword

COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")
"""Variables by which CI systems name the commit under test."""


class Targets(Component):
    """Target profiles."""

    @keyword(tags=("target",))
    def skip_unless_target_supports(self, capability: Capability | Trait, *, target: str | None = None) -> None:
        """Skips the test, with the reason, when the target lacks a capability.

        Args:
            capability: the capability, for example `metrics` or `processor inspection`; or a trait that follows from
                the profile without a declaration, such as `waiting callers` or `gateway stand in`.

        Raises:
            LacksCapability: the target does not have it; its requirements are not applicable.

        Example:
        ```robotframework
        Skip Unless Target Supports    dead letters
        ```
        """
        target_of_run(target).require(capability)

    @keyword(tags=("target", "getter"))
    def target_can_run_twice(self, *, target: str | None = None) -> bool:
        """Returns whether a second instance of the target can run at the same time with its own Redis and be measured.

        That is so when it is started by a command, as a process of the test run, and supports several processors.

        Example:
        ```robotframework
        ${beside} =    Target Can Run Twice
        IF    ${beside}    Start Server    ${another redis}    alias=second
        ```
        """
        profile = target_of_run(target)
        started = profile.start is not None and profile.start.image is None
        return started and profile.has(Capability.SEVERAL_PROCESSORS)

    @keyword(tags=("target", "getter"))
    def target_can_be_started(self, *, target: str | None = None) -> bool:
        """Returns whether the test starts the target and can stop it; false if the target is already running.

        Example:
        ```robotframework
        ${ours} =    Target Can Be Started
        IF    ${ours}    Restart Server
        ```
        """
        return target_of_run(target).running is None

    @keyword(tags=("target", "getter"))
    def target_supports(self, capability: Capability | Trait, *, target: str | None = None) -> bool:
        """Returns whether the target has a capability; for set-up that only some tests need.

        Args:
            capability: for example `state keys`; as for `Skip Unless Target Supports`.

        Example:
        ```robotframework
        ${stored}    Target Supports    state keys
        ```
        """
        return target_of_run(target).has(capability)

    @keyword(tags=("target", "getter"))
    def get_stop_timeout(self, *, target: str | None = None) -> float:
        """Returns how many seconds the target may take to end cleanly (`timeouts.stop` in its profile).

        Example:
        ```robotframework
        ${seconds} =    Get Stop Timeout    target=${TARGET}
        ```
        """
        return target_of_run(target).timeouts.stop

    @keyword(tags=("target", "getter"))
    def target_has_key(self, key: str, *, target: str | None = None) -> bool:
        """Returns whether the profile of a target names a key in Redis (`redis.keys`).

        Args:
            key: the name in the profile, for example `correlation`.

        Raises:
            UsageError: profiles have no key of this name.

        Example:
        ```robotframework
        ${noted} =    Target Has Key    correlation    target=${TARGET}
        IF    ${noted}    Stored Correlations Should Be    0
        ```
        """
        return target_of_run(target).has_key(key)

    @keyword(tags=("target", "getter"))
    def charge_points_choose_transaction_ids(self, *, target: str | None = None) -> bool:
        """Returns whether charge points choose the ids of transactions in the OCPP version of the run.

        They do in OCPP 2.0.1 and 2.1, where an id is unique for its charge point alone.

        Args:
            target: a bundled target profile, or the path of one; by default as at `Start Server`.

        Example:
        ```robotframework
        ${theirs}    Charge Points Choose Transaction Ids
        ```
        """
        return target_of_run(target).version.chooses_ids

    @keyword(tags=("target", "getter"))
    def get_spoken_versions(self, *, target: str | None = None) -> list[str]:
        """Returns the OCPP versions that the system speaks, as subprotocols; the profile lists actions for each.

        Args:
            target: a bundled target profile, or the path of one; by default as at `Start Server`.

        Example:
        ```robotframework
        @{versions}    Get Spoken Versions
        Connect Charge Point    protocol=${versions}[0]
        ```
        """
        return target_of_run(target).protocols

    @keyword(tags=("target", "getter"))
    def get_settings_for_boot_first(self, *, target: str | None = None) -> dict[str, str]:
        """Returns the settings with which the system refuses charge points that have not booted.

        Args:
            target: the target profile (`security.boot_first`); by default as at `Start Server`.

        Raises:
            LacksCapability: it has no such setting; the test is skipped.

        Example:
        ```robotframework
        ${redis}    Get Redis Url
        &{settings}    Get Settings For Boot First
        Start Server    ${redis}    &{settings}
        ```
        """
        profile = target_of_run(target)
        profile.require(Trait.BOOT_FIRST)
        return dict(profile.security.boot_first)

    @keyword(tags=("target", "getter"))
    def describe_target(self, *, target: str | None = None) -> dict[str, str]:
        """Returns the description of the system under test on the page, by field.

        Returns:
            `System`, its name and description; `Protocol`, its subprotocol; `Oracle`, the one that decides the expected
            answers to invalid messages; and `Commit`, if one is known: from the environment of a pipeline
            (`GITHUB_SHA`, `CI_COMMIT_SHA`, `GIT_COMMIT`), or from the folder of the profile.

        Example:
        ```robotframework
        &{about}    Describe Target
        Set Suite Metadata    Protocol    ${about}[Protocol]
        ```
        """
        profile = target_of_run(target)
        found = {
            "System": f"{profile.name}: {profile.about}".rstrip(": ."),
            "Protocol": profile.gateway.subprotocol,
            "Oracle": profile.oracle.value,
        }
        if commit := commit_of(profile.directory):
            found["Commit"] = commit
        return found

    @keyword(tags=("target", "getter", "security"))
    def get_token_setting(self, *, target: str | None = None) -> str:
        """Returns the setting of the target that holds the token of its API.

        Raises:
            LacksCapability: the target has no `api_token`.

        Example:
        ```robotframework
        ${setting} =    Get Token Setting
        Start Server    ${redis}    ${setting}=secret
        ```
        """
        profile = target_of_run(target)
        profile.require(Capability.API_TOKEN)
        return profile.http.token_setting or ""

    @keyword(tags=("target", "getter", "security"))
    def get_settings_for_redis_tls(self, authority: str, *, target: str | None = None) -> dict[str, str]:
        """Returns the settings with which the target checks the certificate of its Redis.

        Args:
            authority: path of a PEM file with the certificate of the authority that Redis' certificate is from.
            target: the profile with the settings (`security.redis_tls`); by default the run's `TARGET`, else
                `reference`.

        Raises:
            LacksCapability: the target has no `secure_redis`.

        Example:
        ```robotframework
        ${authority} =    Get Fault Proxy Authority
        &{settings} =    Get Settings For Redis TLS    ${authority}    target=${TARGET}
        Start Server    ${redis}    &{settings}
        ```
        """
        profile = target_of_run(target)
        profile.require(Capability.SECURE_REDIS)
        return {name: fill(text, {"authority": authority}) for name, text in profile.security.redis_tls.items()}

    @keyword(tags=("target", "getter", "security"))
    def get_redis_privileges(self, *, target: str | None = None) -> list[str]:
        """Returns the permissions that the target needs in Redis, in the syntax of ACL SETUSER.

        Args:
            target: the profile that lists them (`security.redis_privileges`); by default the run's `TARGET`, else
                `reference`.

        Raises:
            LacksCapability: the target has no `secure_redis`.

        Example:
        ```robotframework
        @{privileges} =    Get Redis Privileges    target=${TARGET}
        Redis Command    ACL    SETUSER    server    on    >secret    @{privileges}
        ```
        """
        profile = target_of_run(target)
        profile.require(Capability.SECURE_REDIS)
        return list(profile.security.redis_privileges)

    @keyword(tags=("target",))
    def skip_unless_redis_of_target_can_fail(self, *, target: str | None = None) -> None:
        """Skips the test, with the reason, if the target has no Redis, or its Redis address cannot be changed.

        A target has a Redis when its address stands in the start command or the environment.

        Raises:
            LacksCapability: it has none; its requirements are not applicable.
            NotPossibleHere: the target runs already; its requirements are inconclusive.

        Example:
        ```robotframework
        Skip Unless Redis Of Target Can Fail
        ```
        """
        self.skip_unless_target_can_be_started(target=target)
        profile = target_of_run(target)
        if not profile.uses_redis:
            raise LacksCapability(
                f"Target '{profile.name}' is not given a Redis (no {{redis_url}} in start of {profile.source})."
            )

    @keyword(tags=("target",))
    def skip_unless_target_can_be_started(self, *, target: str | None = None) -> None:
        """Skips the test, with the reason, if the target is already running and cannot be given another Redis.

        Raises:
            NotPossibleHere: the target runs already; its requirements are inconclusive.

        Example:
        ```robotframework
        Skip Unless Target Can Be Started
        ```
        """
        profile = target_of_run(target)
        if profile.running is not None:
            raise NotPossibleHere(
                f"Target '{profile.name}' is already running and cannot be started with another Redis address "
                f"(running in {profile.source})."
            )


def commit_of(folder: Path) -> str:
    """The commit that a pipeline says it tests, or that is checked out in a folder; empty if there is none."""
    given = next((os.environ[name] for name in COMMITS if os.environ.get(name)), "")
    if given:
        return given[:40]
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = run_guarded(command, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
