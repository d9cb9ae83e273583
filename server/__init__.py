"""The reference server: an OCPP back end with Redis transport that meets every requirement of the suites."""

from __future__ import annotations

import sys

# structlog imports rich wherever that is installed, which is a quarter of the time that the server takes to start. The
# log is JSON, or text without colours: rich is hidden from it.
if "rich" not in sys.modules and "structlog" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
