"""Periodic event streams."""

from __future__ import annotations

from server.ocpp.frames import Call
from server.ocpp.v21.actions import ACTIONS
from server.ocpp.version import Outcome
from server.store.view import StateView


@ACTIONS.handles("NotifyPeriodicEventStream", send=True)
def notify_periodic_event_stream(_call: Call, _view: StateView) -> Outcome:
    """Use case N12. It comes in a SEND; the values are not kept."""
    return Outcome({})
