"""The table in which the handlers of OCPP 2.0.1 register; OCPP 2.1 begins with a copy of it."""

from __future__ import annotations

from server.ocpp.version import Actions

ACTIONS = Actions()
