"""The system under test in the OCPP version of the run."""

from __future__ import annotations

from ocpp_resilience.ocpp import DEFAULT_VERSION, Version, ocpp_version
from ocpp_resilience.profile.target import Target
from ocpp_resilience.robot.variables import robot_variable, target_of

PROTOCOL = "PROTOCOL"
"""The variable of a run that names the subprotocol: `robot --variable PROTOCOL:ocpp2.0.1`."""


def target_of_run(name: str | None, protocol: str | None = None) -> Target:
    """Read a profile.

    Args:
        name: the name of a bundled profile, or the path of a YAML file; that of the run if not given (`target_of`).
        protocol: the subprotocol of the OCPP version; that of the variable `PROTOCOL` if not given, else that of the
            profile.

    Raises:
        UsageError: as `Target.load`.
    """
    return Target.load(target_of(name), protocol=protocol or robot_variable(PROTOCOL))


def version_of_run(protocol: str | None = None) -> Version:
    """The OCPP version with this subprotocol; that of the variable `PROTOCOL` if not given, else 1.6.

    Raises:
        UsageError: there is none.
    """
    return ocpp_version(protocol or robot_variable(PROTOCOL) or DEFAULT_VERSION)
