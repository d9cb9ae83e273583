"""OCPP-J without I/O: frames, and one module a version (`v16`) behind the types in `version`."""

from ocpp_resilience.ocpp.version import DEFAULT_VERSION, Version, ocpp_version, ocpp_versions

__all__ = ["DEFAULT_VERSION", "Version", "ocpp_version", "ocpp_versions"]
