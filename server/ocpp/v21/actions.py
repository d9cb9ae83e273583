"""The table in which the handlers of OCPP 2.1 register: those of OCPP 2.0.1 and its own."""

from __future__ import annotations

from server.ocpp.v201.version import V201
from server.ocpp.version import Actions

ACTIONS = Actions(V201.actions)
