"""The table in which the handlers of OCPP 1.6 register."""

from __future__ import annotations

from server.ocpp.version import Actions

ACTIONS = Actions()
