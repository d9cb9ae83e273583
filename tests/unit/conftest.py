"""Settings of the unit tests."""

from __future__ import annotations

import shared_machine  # noqa: F401
