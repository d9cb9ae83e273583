"""The versions of OCPP that this server speaks, by their WebSocket subprotocol."""

from __future__ import annotations

from server.ocpp.v16.version import V16
from server.ocpp.v21.version import V21
from server.ocpp.v201.version import V201
from server.ocpp.version import Version

VERSIONS: dict[str, Version] = {version.protocol: version for version in (V21, V201, V16)}
DEFAULT = V16
"""The version of a message that names none."""
