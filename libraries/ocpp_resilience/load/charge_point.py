"""One charge point of a load: its script, its outstanding message, and its answers to commands."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jsonschema_rs
import msgspec

from ocpp_resilience.charge_points.behaviour import Behaviour
from ocpp_resilience.charge_points.conformance import schema_validator
from ocpp_resilience.load.connection import Connection, Network
from ocpp_resilience.load.plan import Model, Plan, Profile
from ocpp_resilience.load.recorder import Recorder, as_json
from ocpp_resilience.load.scripts import HOLD, RECONNECT, Actor, Script, Session, Step, script_of
from ocpp_resilience.ocpp import ocpp_version
from ocpp_resilience.ocpp.numbers import with_integers
from ocpp_resilience.ocpp.validation import validate_answer

_decode = msgspec.json.decode
_monotonic = time.monotonic
_ENDS_TRANSACTIONS = {Profile.SESSION, Profile.MIX}
_LENGTHS = {3: ("CALLRESULT", 3), 4: ("CALLERROR", 5)}


class FleetCallbacks(Protocol):
    """The charge points of the process, as one of them sees them."""

    def holds(self) -> None:
        """A charge point waits for the others."""

    def finished(self) -> None:
        """A charge point has come to the end of its script."""

    def connected_again(self) -> None:
        """A charge point is back after its connection was lost."""

    def later(self, seconds: float, act: Callable[[float], None], argument: float) -> None:
        """Call `act` with the argument after this many seconds."""


class Outstanding:
    """A message that was sent and not answered yet."""

    __slots__ = ("action", "due", "id", "sent_at", "validator")

    def __init__(
        self, message_id: str, action: str, due: float, sent_at: float, validator: jsonschema_rs.Validator
    ) -> None:
        self.id = message_id
        self.action = action
        self.due = due
        self.sent_at = sent_at
        self.validator = validator


class LoadChargePoint(Actor):
    """A charge point that follows a script, one message outstanding at a time (OCPP-J 1.6, section 4.1.1).

    Args:
        crew: the others.
        network: the state shared by the connections.
        number: its number within the whole fleet.
        cp: its id.
        prefix: the beginning of its message ids, which no other run has.
        validators: the response schemas of the actions that it sends, compiled.
    """

    def __init__(
        self,
        crew: FleetCallbacks,
        network: Network,
        number: int,
        cp: str,
        *,
        prefix: str,
        validators: Mapping[str, jsonschema_rs.Validator],
    ) -> None:
        plan = network.plan
        self.id = cp
        self.connection = Connection(network, self, cp, number)
        self._crew = crew
        self._plan: Plan = plan
        self._validators = validators
        self._recorder: Recorder = network.recorder
        self._open = plan.model is Model.OPEN
        self._name = as_json(cp)
        self._prefix = prefix
        self._script: Script = script_of(
            self,
            plan,
            random.Random(f"{plan.seed}/{number}"),  # noqa: S311 - behaviour, no secret
        )
        self._version = ocpp_version(plan.version)
        self._behaviour = Behaviour(self._version) if plan.commands else None
        self._step: Step | None = None
        self._outstanding: Outstanding | None = None
        self._late: set[str] = set()
        self._backlog: deque[float] = deque()
        self._sequence = 0
        self._finishing = False
        self.stopping = False
        self.finished = False
        self.held = False

    # --- what the fleet asks and says

    @property
    def waiting(self) -> bool:
        """Whether a message is outstanding."""
        return self._outstanding is not None

    @property
    def overdue(self) -> bool:
        """Whether messages are due that were not sent yet."""
        return bool(self._backlog)

    @property
    def oldest_due(self) -> float | None:
        """The due time of the oldest unsent message."""
        return self._backlog[0] if self._backlog else None

    @property
    def gone(self) -> bool:
        """Whether it will do nothing more: its script has ended, or it has no connection and no message."""
        return self.finished or (self._outstanding is None and not self.connection.there)

    def begin(self) -> None:
        """Ask the script for its first message."""
        self._advance(None, first=True)

    def arrival(self, due: float, at: float) -> None:
        """Open model: a message is due."""
        if self._outstanding is None and self._step is not None and self.connection.open and not self._backlog:
            self._fire(due, at)
        else:
            self._backlog.append(due)

    def send_next(self, at: float) -> None:
        """Send the message that is ready, if it is due and there is a connection."""
        if self._outstanding is not None or self._step is None or not self.connection.open:
            return
        if not self._open:
            self._fire(at, at)
        elif self._finishing:
            self._recorder.part.due += 1
            self._fire(at, at)
        elif self._backlog:
            self._fire(self._backlog.popleft(), at)

    def drop_overdue(self) -> None:
        """Drop messages that are due but unsent."""
        if self._backlog:
            self._recorder.failures["not sent"] += len(self._backlog)
            self._backlog.clear()

    def finish(self, at: float) -> None:
        """The schedule is over: end a transaction that runs, one message after the other."""
        self.stopping = self._finishing = True
        if self._plan.profile in _ENDS_TRANSACTIONS and not self.finished:
            self.send_next(at)
        else:
            self.finished = True

    def release(self, at: float) -> None:
        """Continue after the others have arrived."""
        if self._advance(None):
            self.send_next(at)

    def unhold(self) -> None:
        """It no longer waits for the others; `release` follows."""
        self.held = False

    def expire(self, sent_before: float) -> None:
        """Give up a message that was sent before that time."""
        if self._outstanding is not None and self._outstanding.sent_at < sent_before:
            self._give_up("timeout")

    def end(self) -> None:
        """The run is over: nothing is sent any more."""
        if self._outstanding is not None:
            message_id, self._outstanding = self._outstanding.id, None
            self._recorder.unknown(self._name, message_id, "stopped before the answer")
        self.finished = True
        self._step = None
        self._script.close()

    # --- what the connection says

    def connection_lost(self) -> None:
        """Record the outstanding message with an unknown outcome."""
        if self._outstanding is not None:
            self._give_up("connection lost")

    def connected_again(self) -> None:
        """Continue where the connection was lost."""
        self._crew.connected_again()
        if not self.finished:
            self.send_next(_monotonic())

    def received_binary(self, data: bytes) -> None:
        """OCPP-J sends text (section 3.2)."""
        self._recorder.invalid(self._name, None, "binary message", repr(data), answers=False)

    def received(self, data: bytes, at: float) -> None:
        """Process a message of the server; the valid answer to the outstanding message is the first case."""
        try:
            message = _decode(data)
        except (ValueError, RecursionError):
            self._invalid(None, "no JSON", data)
            return
        outstanding = self._outstanding
        if (
            outstanding is not None
            and type(message) is list
            and len(message) == 3
            and message[0] == 3
            and message[1] == outstanding.id
            and outstanding.validator.is_valid(message[2])
        ):
            self._answered(outstanding, message[2], at)
        else:
            self._other(message, data, at)

    def _answered(self, outstanding: Outstanding, payload: dict[str, Any], at: float) -> None:
        self._recorder.timed(outstanding.due, outstanding.sent_at, at)
        self._recorder.answered(self._name, outstanding.id)
        self._outstanding = None
        self.refused = False
        self._done(payload, at)

    def _other(self, message: Any, data: bytes, at: float) -> None:
        """Process any message except the valid answer to the outstanding one."""
        kind = message[0] if isinstance(message, list) and message else None
        if kind == 2:
            self._commanded(message, data)
        elif isinstance(kind, bool) or kind not in (3, 4):
            self._invalid(None, "no OCPP-J message", data)
        else:
            self._answer(message, data, at)

    def _answer(self, message: list[Any], data: bytes, at: float) -> None:
        name, length = _LENGTHS[int(message[0])]
        message_id = message[1] if len(message) > 1 else None
        outstanding = self._outstanding
        if not isinstance(message_id, str):
            self._invalid(None, f"{name} whose message id is not a text", data)
        elif len(message) != length:
            self._invalid(message_id, f"{name} of the wrong length", data, at)
        elif name == "CALLERROR" and not isinstance(message[2], str):
            self._invalid(message_id, "CALLERROR whose code is not a text", data, at)
        elif outstanding is None or message_id != outstanding.id:
            known = message_id in self._late
            self._late.discard(message_id)
            self._recorder.surplus(self._name, message_id, error=name == "CALLERROR", late=known)
        elif name == "CALLRESULT" and outstanding.validator.is_valid(payload := with_integers(message[2])):
            self._answered(outstanding, payload, at)
        elif name == "CALLRESULT":
            problem = validate_answer(self._plan.version, outstanding.action, message[2])[:1]
            text = f"{' '.join(problem)}: {data.decode()}".encode()
            self._invalid(message_id, f"{outstanding.action} answer that its schema forbids", text, at)
        else:
            self._recorder.timed(outstanding.due, outstanding.sent_at, at)
            self._recorder.refused(self._name, message_id, message[2])
            self._outstanding = None
            self.refused = True
            self._done(None, at)

    def _invalid(self, message_id: str | None, kind: str, data: bytes, at: float | None = None) -> None:
        """Count an invalid message; if it has the id of the outstanding message, it counts as its answer."""
        outstanding = self._outstanding
        answers = outstanding is not None and message_id == outstanding.id
        self._recorder.invalid(self._name, message_id, kind, data.decode("utf-8", "replace"), answers=answers)
        if answers:
            self._outstanding = None
            self.refused = False
            self._done(None, _monotonic() if at is None else at)

    def _commanded(self, message: list[Any], data: bytes) -> None:
        """Answer a command of the server, and write down that it was carried out."""
        recorder = self._recorder
        recorder.part.commands += 1
        message_id, action, payload = (*message[1:4], None, None, None)[:3]
        if not isinstance(message_id, str):
            self._invalid(None, "command whose message id is not a text", data)
            return
        answer = None
        if len(message) != 4 or not isinstance(action, str) or not isinstance(payload, dict):
            self._invalid(None, "command that is no CALL", data)
            error, why = self._version.codes.formation, "That is no CALL."
        else:
            error, why = "NotImplemented", "A simulated charge point."
            schema = schema_validator(action, is_response=False, version=self._plan.version)
            if schema is not None and not schema.is_valid(with_integers(payload)):
                self._invalid(None, f"{action} command that its schema forbids", data)
                error, why = self._version.codes.wrong_type, f"The schema of {action} forbids that."
            elif self._behaviour is not None:
                answer = self._behaviour.accept(action, payload)
                question = self._version.question
                if action == question.action and recorder.ledger.on:
                    for name in question.names(payload):
                        recorder.ledger.carried_out(self._name, name)
        reply = [4, message_id, error, why, {}] if answer is None else [3, message_id, answer]
        self.connection.send(msgspec.json.encode(reply))

    # --- one message after the other

    def _give_up(self, reason: str) -> None:
        """The outstanding message has no known outcome."""
        outstanding = self._outstanding
        if outstanding is None:
            return
        self._outstanding = None
        self.refused = False
        self._late.add(outstanding.id)
        self._recorder.unknown(self._name, outstanding.id, reason)
        self._done(None, _monotonic())

    def _advance(self, answer: dict[str, Any] | None, *, first: bool = False) -> bool:
        """Ask the script for the next message; returns whether there is one."""
        self._step = None
        try:
            step = next(self._script) if first else self._script.send(answer)
            if step is RECONNECT:
                self._step = next(self._script)
                self.connection.reconnect()
                return False
        except StopIteration:
            self.finished = True
            self._crew.finished()
            return False
        if step is HOLD:
            self.held = True
            self._crew.holds()
            return False
        self._step = step
        return True

    def _done(self, answer: dict[str, Any] | None, at: float) -> None:
        """The outstanding message is done: send the next one, or wait until it is due."""
        plan = self._plan
        if plan.messages is not None and self._sequence >= plan.messages:
            self.stopping = True
        if not self._advance(answer):
            return
        if plan.pause and not self._open:
            self._crew.later(plan.pause, self._after_pause, at)
        else:
            self.send_next(at)

    def _after_pause(self, since: float) -> None:
        """The pause of the closed model is over."""
        at = _monotonic()
        self._recorder.part.thought += at - since
        self._recorder.times["lag"].add(max(0.0, at - since - self._plan.pause))
        self.send_next(at)

    def _fire(self, due: float, at: float) -> None:
        """Send the message that is ready."""
        step = self._step
        if step is None:
            return
        action, payload = step.action, step.payload
        self._sequence += 1
        self.last_message_id = message_id = f"{self._prefix}{self._sequence}"
        self._recorder.sent(self._name, message_id, self._sequence, step)
        sent_at = _monotonic() if self._open else at
        self._outstanding = Outstanding(message_id, action, due, sent_at, self._validators[action])
        self.connection.send(b'[2,"%b","%b",%b]' % (message_id.encode(), action.encode(), payload))

    # --- what the script reports

    def charging(self, session: Session) -> None:
        """A transaction is active."""
        self._recorder.charges(session)

    def charged(self) -> None:
        """The stop of the transaction is about to be sent."""
        self._recorder.charged()
