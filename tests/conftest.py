"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A machine that does other things is no fault of a test: how long an example takes decides nothing.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")
