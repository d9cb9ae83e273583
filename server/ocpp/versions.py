"""The versions of OCPP that this server speaks, by their WebSocket subprotocol."""

from __future__ import annotations

from server.ocpp.v16.version import V16
from server.ocpp.version import Version

VERSIONS: dict[str, Version] = {version.protocol: version for version in (V16,)}
DEFAULT = V16
"""The version of a message that names none."""
