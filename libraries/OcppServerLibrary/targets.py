"""Keywords that ask what a target can do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ocpp_resilience.errors import LacksCapability, NotPossibleHere
from ocpp_resilience.profile import Capability, Target, Trait
from ocpp_resilience.robot.library import Component, keyword

COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")
"""What pipelines call the commit that they test."""


class Targets(Component):
    """Target profiles."""

    @keyword(tags=("target",))
    def skip_unless_target_supports(self, capability: Capability | Trait, *, target: str = "reference") -> None:
        """Skips the test, with the reason, when the target lacks a capability.

        Args:
            capability: what the test needs, for example `metrics` or `processor inspection`; or what follows from the
                profile without being declared: `chosen command timeouts`, `waiting callers`, `surplus answer records`.
            target: a bundled target profile, or the path of one.

        Raises:
            LacksCapability: the target does not have it; its requirements are not applicable.

        Example:
        ```robotframework
        Skip Unless Target Supports    dead letters    target=${TARGET}
        ```
        """
        Target.load(target).require(capability)

    @keyword(tags=("target", "getter"))
    def target_can_run_twice(self, *, target: str = "reference") -> bool:
        """Returns whether another one of the target can run beside, with a Redis of its own, and be measured.

        That is so when it is started by a command, as a process of the test run, and supports several processors.

        Args:
            target: a bundled target profile, or the path of one.

        Example:
        ```robotframework
        ${beside} =    Target Can Run Twice    target=${TARGET}
        IF    ${beside}    Start Server    ${another redis}    target=${TARGET}    alias=second
        ```
        """
        profile = Target.load(target)
        started = profile.start is not None and profile.start.image is None
        return started and profile.has(Capability.SEVERAL_PROCESSORS)

    @keyword(tags=("target", "getter"))
    def target_can_be_started(self, *, target: str = "reference") -> bool:
        """Returns whether the target is started, and can be stopped, by the test; not so if it runs already.

        Args:
            target: a bundled target profile, or the path of one.

        Example:
        ```robotframework
        ${ours} =    Target Can Be Started    target=${TARGET}
        IF    ${ours}    Restart Server
        ```
        """
        return Target.load(target).running is None

    @keyword(tags=("target", "getter"))
    def target_supports(self, capability: Capability | Trait, *, target: str = "reference") -> bool:
        """Returns whether the target has a capability; for what is prepared only where it is needed.

        Args:
            capability: for example `state keys`; as for `Skip Unless Target Supports`.
            target: a bundled target profile, or the path of one.

        Example:
        ```robotframework
        ${stored}    Target Supports    state keys    target=${TARGET}
        ```
        """
        return Target.load(target).has(capability)

    @keyword(tags=("target", "getter"))
    def get_stop_timeout(self, *, target: str = "reference") -> float:
        """Returns how many seconds the target may take to end in order (`timeouts.stop` in its profile).

        Args:
            target: a bundled target profile, or the path of one.

        Example:
        ```robotframework
        ${seconds} =    Get Stop Timeout    target=${TARGET}
        ```
        """
        return Target.load(target).timeouts.stop

    @keyword(tags=("target", "getter"))
    def target_has_key(self, key: str, *, target: str = "reference") -> bool:
        """Returns whether the profile of a target names a key in Redis (`redis.keys`).

        Args:
            key: the name in the profile, for example `correlation`.
            target: a bundled target profile, or the path of one.

        Raises:
            UsageError: profiles have no key of this name.

        Example:
        ```robotframework
        ${noted} =    Target Has Key    correlation    target=${TARGET}
        IF    ${noted}    Noted Correlations Should Be    0
        ```
        """
        return Target.load(target).has_key(key)

    @keyword(tags=("target", "getter"))
    def describe_target(self, *, target: str = "reference") -> dict[str, str]:
        """Returns what the page says of what was tested, by name.

        Args:
            target: a bundled target profile, or the path of one.

        Returns:
            `System`, its name and what it is; `Protocol`, its subprotocol; `Oracle`, which verdict on the answers to
            invalid messages decides; and `Commit`, where one is known: from the environment of a pipeline
            (`GITHUB_SHA`, `CI_COMMIT_SHA`, `GIT_COMMIT`), or from the folder of the profile.

        Example:
        ```robotframework
        &{about}    Describe Target    target=${TARGET}
        Set Suite Metadata    Protocol    ${about}[Protocol]
        ```
        """
        profile = Target.load(target)
        found = {
            "System": f"{profile.name}: {profile.about}".rstrip(": ."),
            "Protocol": profile.gateway.subprotocol,
            "Oracle": profile.oracle.value,
        }
        if commit := commit_of(profile.directory):
            found["Commit"] = commit
        return found

    @keyword(tags=("target", "getter", "security"))
    def get_token_setting(self, *, target: str = "reference") -> str:
        """Returns the setting of the target that holds the token of its API.

        Args:
            target: a bundled target profile, or the path of one.

        Raises:
            LacksCapability: the target has no `api_token`.

        Example:
        ```robotframework
        ${setting} =    Get Token Setting    target=${TARGET}
        Start Server    ${redis}    ${setting}=secret
        ```
        """
        profile = Target.load(target)
        profile.require(Capability.API_TOKEN)
        return profile.http.token_setting or ""

    @keyword(tags=("target",))
    def skip_unless_redis_of_target_can_fail(self, *, target: str = "reference") -> None:
        """Skips the test, with the reason, when the target has no Redis, or cannot be given one on another way.

        A target has a Redis when its address stands in the start command or the environment.

        Args:
            target: a bundled target profile, or the path of one.

        Raises:
            LacksCapability: it has none; its requirements are not applicable.
            NotPossibleHere: the target runs already; its requirements are inconclusive.

        Example:
        ```robotframework
        Skip Unless Redis Of Target Can Fail    target=${TARGET}
        ```
        """
        self.skip_unless_target_can_be_started(target=target)
        profile = Target.load(target)
        if not profile.uses_redis:
            raise LacksCapability(
                f"Target '{profile.name}' is not given a Redis (no {{redis_url}} in start of {profile.source})."
            )

    @keyword(tags=("target",))
    def skip_unless_target_can_be_started(self, *, target: str = "reference") -> None:
        """Skips the test, with the reason, when the target runs already, so that it cannot be given another Redis.

        Args:
            target: a bundled target profile, or the path of one.

        Raises:
            NotPossibleHere: the target runs already; its requirements are inconclusive.

        Example:
        ```robotframework
        Skip Unless Target Can Be Started    target=${TARGET}
        ```
        """
        profile = Target.load(target)
        if profile.running is not None:
            raise NotPossibleHere(
                f"Target '{profile.name}' runs already: it cannot be started with another way to Redis "
                f"(running in {profile.source})."
            )


def commit_of(folder: Path) -> str:
    """The commit that a pipeline says it tests, or that is checked out in a folder; empty where there is none."""
    given = next((os.environ[name] for name in COMMITS if os.environ.get(name)), "")
    if given:
        return given[:40]
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
