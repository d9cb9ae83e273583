"""A version of OCPP as the server sees it: its name, error codes, actions, commands and schemas.

A version is data and handlers in a package of its own (`v16`, `v201`, `v21`). The rest of the server takes a `Version`
and never asks which one it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field

from server.ocpp.frames import Call, Codes, Dialect
from server.store.keys import Keys
from server.store.models import LastCall
from server.store.view import Operation, Record, Starts, StateView

_encode = msgspec.json.Encoder(order="sorted").encode


class Outcome(Struct):
    """The result of handling a message.

    Attributes:
        answer: the payload of the CALLRESULT.
        writes: records by key.
        operations: Redis commands that go with them: entries in indexes, fields of hashes.
        last_call: the memory of the message, if it may be sent again.
    """

    answer: dict[str, Any]
    writes: dict[str, Record] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    last_call: LastCall | None = None


Handler = Callable[[Call, StateView], Outcome]
Reads = Callable[[Call, Keys], Iterable[str | Starts]]


def _reads_nothing(_call: Call, _keys: Keys) -> Iterable[str | Starts]:
    return ()


@dataclass
class Action:
    """A message of charge points that this server handles.

    Attributes:
        handle: takes a validated CALL and a view of the state; returns the answer and the writes. It neither writes nor
            waits, so that handling a message again after a conflict changes nothing.
        reads: the keys and index entries that `handle` will read, as far as the payload names them; prefetching them
            saves round trips.
        repeatable: whether a charge point may send the same frame again, which then counts once.
        takes_id: whether it may need a new transaction id.
        send: whether it comes as a SEND, which is never answered, and not as a CALL.
    """

    handle: Handler
    reads: Reads = _reads_nothing
    repeatable: bool = False
    takes_id: bool = False
    send: bool = False


class Actions(dict[str, Action]):
    """The actions of a version by name; a handler registers itself with `handles`."""

    def handles(
        self,
        name: str,
        *,
        reads: Reads = _reads_nothing,
        repeatable: bool = False,
        takes_id: bool = False,
        send: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Decorate the handler of the action `name`; the arguments are those of `Action`."""

        def register(handle: Handler) -> Handler:
            self[name] = Action(handle, reads, repeatable, takes_id, send)
            return handle

        return register


class Command(NamedTuple):
    """A CALL that this server sends to charge points, and where the HTTP API takes it.

    Attributes:
        method: the HTTP method.
        path: the path behind `/api/v1`; with `{id}` it names the charge point, else the body does.
        summary: the command in one line.
    """

    method: str
    path: str
    summary: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Version:
    """One version of OCPP.

    Attributes:
        dialect: its name on the wire, its frames and its error codes.
        name: its name in a sentence.
        schemas: the folder of the `ocpp` package that has its schemas.
        actions: the messages of charge points that are handled.
        commands: the CALLs that are sent to charge points, by action.
        correct: changes a schema, given with its action, where the published one contradicts the specification.
    """

    dialect: Dialect
    name: str
    schemas: str
    actions: Actions
    commands: Mapping[str, Command]
    correct: Callable[[str, dict[str, Any]], None]

    @property
    def protocol(self) -> str:
        """The WebSocket subprotocol."""
        return self.dialect.protocol

    @property
    def codes(self) -> Codes:
        """The error codes."""
        return self.dialect.codes

    def handle(self, call: Call, view: StateView) -> Outcome:
        """Apply the business rules to `call`, which has a valid action and payload.

        Raises:
            NotLoaded: state is needed that was not read; load it and call again.
            CorruptState: state that is needed cannot be read.
        """
        action = self.actions[call.action]
        return _once(call, view, action.handle) if action.repeatable else action.handle(call, view)

    def reads(self, call: Call, keys: Keys) -> list[str | Starts]:
        """The keys and index entries that handling `call` needs, as far as its payload determines them."""
        return [keys.charge_point(call.charge_point_id), *self.actions[call.action].reads(call, keys)]


def _once(call: Call, view: StateView, handle: Handler) -> Outcome:
    """Handle `call`. A repetition of the last one gets the same answer and changes nothing.

    A charge point that has no answer sends the same frame again, also over a new connection. It has one CALL
    outstanding, so remembering the last one is enough; the memory is part of its record and written with the effects.
    """
    digest = hashlib.sha1(_encode([call.action, call.payload])).hexdigest()  # noqa: S324 - tells frames apart
    last = view.last_call(call.charge_point_id)
    if last is not None and last.message_id == call.message_id and last.digest == digest:
        return Outcome(last.answer)
    outcome = handle(call, view)
    outcome.last_call = LastCall(message_id=call.message_id, digest=digest, answer=outcome.answer)
    return outcome
