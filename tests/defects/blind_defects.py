"""Defects that were written from the requirements and the server alone, by who had not seen the tests.

Of 24 such defects, these were not seen at first. Each is a change of the source, as somebody might make it.
"""

from __future__ import annotations

import inspect
import textwrap
from functools import partial
from typing import Any

import catalogue
from catalogue import defect
from queue_defects import replaced

from server.api import state
from server.correlation import commands
from server.gateway import session_registry
from server.gateway.command_queue import CommandQueue
from server.gateway.gateway import Gateway
from server.gateway.handshakes import Handshakes
from server.ocpp import readings
from server.ocpp.v16 import transactions
from server.ocpp.v201 import transactions as transactions_201
from server.processor import request_queue
from server.processor.processor import Processor
from server.processor.request_queue import RequestQueue
from server.redis.script import Script

SHAPES = "The State After Sessions Of Every Shape Equals The Model"
SOCKETS = "The State After Sessions Over WebSockets Equals The Model"
FIFTY = "Messages Of Fifty Charge Points Are Answered In The Order Of Each"
NEXT = "A Command That Is Not Answered Holds Up The Next Ones Until Its Time Is Up"
MOVED = "A Command Follows Its Charge Point To Another Gateway"
OLDER = "Commands For Older Connections Do Not Come Over The Newer Ones"
HANGS = "The Server Starts While Redis Hangs And Connects When It Answers"
PARTIAL = "Every Partial Failure Is Survived And Recovered From"
LOST_COMMIT = "A Commit Whose Reply Is Lost Is Neither Lost Nor Applied Twice"
LOST_COMMAND = "A Command Or A Stored Key Whose Reply Is Lost Happens Once At Most"
IDLE = "Idle Charge Points Are Registered Again After Redis Has Lost Its Data"
PASSWORDS = "A Charge Point Is Accepted With Its Own Password Only"


def rewritten(owner: Any, name: str, *changes: tuple[str, str]) -> None:
    """Change the source of a function of a module, or of a method; what decorates it happens anew."""
    function = getattr(owner, name)
    text = textwrap.dedent(inspect.getsource(function))
    for old, new in changes:
        text = replaced(text, old, new)
    made: dict[str, Any] = {}
    exec(f"from __future__ import annotations\n{text}", function.__globals__, made)
    setattr(owner, name, made[name])


@defect("R13.8", SHAPES, SOCKETS, says=r"differences? in the state: .*connector \d+: (version|transaction_id) is ")
def a_stop_frees_the_connector_of_another_transaction() -> None:
    """A StopTransaction clears the transaction of its connector, also where another one runs there by now."""
    check = "if connector.transaction_id == transaction.id:"
    rewritten(transactions, "stop_transaction", (check, "if connector.transaction_id is not None:"))


@partial(catalogue.defect, protocol="ocpp2.0.1")(
    "R13.8", SHAPES, SOCKETS, says=r"differences? in the state: .*connector [\d:]+: (updated_at|transaction_id) is "
)
def an_end_frees_the_connector_of_another_transaction() -> None:
    """The same with an Ended event of OCPP 2.0.1."""
    check = "if not is_on and connector.transaction_id != record.id:"
    rewritten(transactions_201, "_move_connector", (check, "if not is_on and connector.transaction_id is None:"))


@defect("R13.8", SHAPES, SOCKETS, says=r"transaction \d+: meter_current is \d+, expected \d+")
def a_reading_counts_again_in_another_zone() -> None:
    """A reading of the energy register at an instant that is written in another zone counts as a newer one."""
    rewritten(readings, "newest_reading", ("            newer = instant != latest or instant == 0.0\n", ""))


@defect("R13.1", FIFTY, says=r"Of a queue that shrinks, \d{1,3}\.0 were reported, and \d{4} waited")
def the_depth_is_that_of_a_batch() -> None:
    """The queue's depth is the number of messages that were handed out."""
    rewritten(RequestQueue, "_batch", ("self.depth = reply[0]", "self.depth = len(reply[1])"))


@defect("R14.2", NEXT, says=r"A command was sent whose caller had been told that its time was up")
def overdue_commands_are_sent() -> None:
    """A command that waited behind another one is sent, although its caller has given up."""
    CommandQueue._send = staticmethod(_send_anyway)


def _send_anyway(session: Any, command: Any) -> None:
    if session.connection.push(command.frame):
        session.command, session.command_until = command.message_id, command.until


@defect("R14.9", MOVED, says=r"[1-9]\d* cut without a closing handshake")
def connections_that_moved_are_cut() -> None:
    """A connection whose charge point has connected at another gateway is cut without a close frame."""
    Gateway._replaced = lambda self, session: self._sessions.abort(session)


@defect("R14.9", OLDER, says=r"The list with a command for \S+ is kept for \d\.\d+ s more")
def the_next_command_renews_no_lifetime() -> None:
    """Only the first command in a list of answers sets its lifetime."""
    renew = "redis.call('EXPIRE', command[5], work[7])"
    commands._round = Script(replaced(commands._ROUND, renew, f"if pushed == 1 then {renew} end"))


@defect("R16.6", HANGS, says=r"Not a 503 within a second: GET \S+/connectors/\S+ was answered 503 after [1-9]")
def one_path_does_not_look_whether_redis_is_there() -> None:
    """A connector is read without a look at the health of Redis, so that it takes the time limit of a reply."""
    sound = state.need_redis

    def need_redis(link: Any) -> None:
        if inspect.stack()[1].function != "connector":
            sound(link)

    state.need_redis = need_redis


@defect("R16.7", PARTIAL, says=r"out of memory")
def writes_that_are_refused_are_taken_for_wrong_types() -> None:
    """Writes that Redis refuses are left out, as those to a key of a wrong type are, and the messages are lost."""
    check = "            if not written and not wrong_type then return redis.error_reply(reply.err) end\n"
    request_queue._commit = Script(replaced(request_queue._COMMIT, check, ""))


@defect("R16.9", LOST_COMMIT, says=r"\d+ invalid messages, [1-9]\d* without a log record")
def what_a_lost_commit_set_aside_is_not_logged() -> None:
    """The log records and counts of a commit whose reply was lost are forgotten."""
    Processor._settle = lambda _self, _last_commit: None


@defect("R16.9", LOST_COMMAND, says=r"The charge point has answered, and the reply to the commit was lost")
def an_answer_in_a_lost_commit_reaches_nobody() -> None:
    """The answers to commands in a commit whose reply was lost are forgotten."""
    sound = Processor._settle

    def settle(self: Processor, last_commit: int | None) -> None:
        if self._uncertain is not None:
            self._uncertain[1].answers.clear()
        sound(self, last_commit)

    Processor._settle = settle


@defect(
    "R16.13",
    IDLE,
    says=r"The session of a connected charge point lives for \d+\.?\d* s, since its lifetime",
    longest_wait=15,
)
def the_lifetime_of_sessions_is_not_renewed() -> None:
    """A session expires 30 s after its charge point has connected, and comes back some seconds later."""
    renew = "        redis.call('PEXPIRE', ARGV[i], ARGV[1])\n        ids[#ids + 1] = ARGV[i + 1]\n"
    session_registry._renew = Script(replaced(session_registry._RENEW, renew, "        ids[#ids + 1] = ARGV[i + 1]\n"))


@defect("R20.1", PASSWORDS, says=r"R20\.1 let_in_wrongly: .* measured 2 connections")
def the_user_name_is_not_compared() -> None:
    """With the password of the charge point in the path, any user name is let in."""
    rewritten(
        Handshakes,
        "_authentic",
        ("hmac.compare_digest(user, charge_point_id.encode()) and right", "bool(user) and right"),
    )
