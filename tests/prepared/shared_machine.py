"""Settings of Hypothesis for machines that do other things too; conftest.py of each folder imports it.

A conftest.py in `tests` would put that folder on the path, where `tests/server` hides the package `server`.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes decides nothing.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")
