"""OCPP 2.1 as the server knows it."""

from __future__ import annotations

from server.ocpp.frames import CALL, CALLERROR, CALLRESULT, CALLRESULTERROR, SEND, Dialect
from server.ocpp.v21 import event_streams  # noqa: F401 - its handler registers
from server.ocpp.v21.actions import ACTIONS
from server.ocpp.v201.version import CODES, V201, correct
from server.ocpp.version import Command, Version

COMMANDS = {
    **V201.commands,
    "ClosePeriodicEventStream": Command(
        "POST", "/chargepoints/{id}/event-streams/close", "Close a periodic event stream"
    ),
    "OpenPeriodicEventStream": Command("POST", "/chargepoints/{id}/event-streams/open", "Open a periodic event stream"),
}
"""The CALLs that are sent to charge points."""

V21 = Version(
    dialect=Dialect(
        protocol="ocpp2.1",
        codes=CODES,
        message_types=frozenset({CALL, CALLRESULT, CALLERROR, CALLRESULTERROR, SEND}),
        answers_unreadable=True,
    ),
    name="OCPP 2.1",
    schemas="v21",
    actions=ACTIONS,
    commands=COMMANDS,
    correct=correct,
)
