"""Simulated charge points on real WebSockets, and the frames that they exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ChargePointLibrary.commands import Commands
from ChargePointLibrary.connection import Connection
from ChargePointLibrary.events import Events
from ChargePointLibrary.fleet import Fleets
from ChargePointLibrary.frames import Frames
from ChargePointLibrary.messages import Messages
from ChargePointLibrary.security import Security
from ChargePointLibrary.takeover import Takeover
from ChargePointLibrary.volume import Volume
from ocpp_resilience.charge_points.gateway import Gateway
from ocpp_resilience.charge_points.many import ChargePoints
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp.version import payload_fields
from ocpp_resilience.robot.library import KeywordLibrary
from ocpp_resilience.robot.registry import Registry

__all__ = ["ChargePointLibrary"]


if TYPE_CHECKING:

    class _Keywords(KeywordLibrary, Commands, Connection, Events, Fleets, Frames, Messages, Security, Takeover, Volume):
        """Attributes for editors and type checkers; the keywords are found at run time in the components."""

else:
    _Keywords = KeywordLibrary


class ChargePointLibrary(_Keywords):
    """Charge points that connect to the WebSocket gateway of a system under test: OCPP 1.6, 2.0.1 and 2.1.

    `Use Gateway` sets the address; path and subprotocol come from the target profile. The OCPP version is that of the
    target profile, of the run (`robot --variable PROTOCOL:ocpp2.0.1`), or of the argument `protocol`; charge points of
    several versions can be connected at the same time. `Connect Charge Point` connects a charge point, by default with
    a new id. It is disconnected at the end of the suite that connected it, also after a failure.

    Several charge points have an `alias` each; the keywords use `charge point` by default. In the place of an alias the
    charge point id can stand too. Keywords with `charge_points` take a list of them, and have all of them act at the
    same time.

    # Messages

    `Boot`, `Send Heartbeat` and so on send one CALL, wait for its answer and return its payload. They fail on a
    CALLERROR and without an answer; the message then shows other received frames. A charge point has one CALL
    outstanding at a time. `Send Call` returns any answer as an object with `charge_point`, `message_id`, `action`,
    `kind.name` (CALLRESULT or CALLERROR), `payload`, `code`, `description`, `details` and `seconds`.

    The words are those of OCPP 1.6 where a version has the same thing: in OCPP 2.x, a connector is an EVSE with one
    connector, an id tag is an idToken, and `Charge Whole Session` sends TransactionEvents. `Send Transaction Event`
    sends them one by one, and `Go Offline For` after a time without a connection.

    Fields are sent with the type that they have in Robot Framework: `connectorId=${2}` is a number, `connectorId=2` is
    text.

    # Commands

    While Robot Framework runs other keywords, each charge point answers the commands that it gets: sensibly, with its
    own configuration for GetConfiguration and ChangeConfiguration (GetVariables and SetVariables in OCPP 2.x), or as
    set by `Let Charge Points Answer`: rejected, with a CALLERROR, late, never, twice, or by disconnecting.

    # Bad networks

    `Repeat Last Call` sends the last CALL once more, `Reconnect As Ghost` connects while the older connection is still
    open, `Take Over Connections` does both with many charge points, and `Cross Calls` has CALLs and commands cross.

    # Frames on the wire

    Everything that was sent and received is kept, the newest 10,000 frames of each charge point. A frame has
    `direction.value` (sent or received), `text`, `number`, `timestamp`, `kind`, `message_id`, `action`, `payload`,
    `code` and `description`.

    ```robotframework
    *** Settings ***
    Library         RedisServiceLibrary
    Library         OcppServerLibrary
    Library         ChargePointLibrary
    Suite Setup     Start Everything

    *** Test Cases ***
    A Charge Point Boots And Charges
        Connect Charge Point
        ${answer}    Boot
        Should Be Equal    ${answer}[status]    Accepted
        ${session}    Charge Whole Session    energy=2500
        Should Be True    ${session.transaction_id} > 0

    *** Keywords ***
    Start Everything
        ${redis}    Start Redis
        Start Server    ${redis}
        ${url}    Get Gateway Url
        Use Gateway    ${url}
    ```
    """

    free_names = staticmethod(payload_fields)

    def __init__(self) -> None:
        gateways: Registry[Gateway] = Registry("gateway", starter="Use Gateway", close=lambda _: None)
        self.points = points = ChargePoints()
        ids = Ids()
        super().__init__(
            [
                Connection(points, gateways, ids),
                Messages(points),
                Events(points),
                Volume(points, gateways, ids),
                Fleets(points, gateways, ids),
                Commands(points),
                Frames(points),
                Security(),
                Takeover(points, gateways, ids),
            ]
        )
