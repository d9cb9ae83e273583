"""The differences between OCPP versions, and the known versions.

A version is one module of this package, named `v` and digits (`v16`), whose `VERSION` is a `Version`. Nothing else
names a version's actions, commands, schemas or error codes: a new module is found by its name.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import UsageError

DEFAULT_VERSION = "ocpp1.6"
"""The subprotocol of the version that a profile means which names none."""

LARGEST_INTEGER = 2**31 - 1
"""The largest integer of every OCPP version."""

Payload = dict[str, Any]
TransactionId = int | str


class TransactionName(NamedTuple):
    """The identity of a transaction: if charge points choose the ids, the charge point belongs to it.

    Attributes:
        id: its id; `None` if it is not known.
        charge_point: the id of its charge point.
    """

    id: TransactionId | None
    charge_point: str

    def __str__(self) -> str:
        return f"{self.id} of {self.charge_point}"


class Call(NamedTuple):
    """A CALL without its message id."""

    action: str
    payload: Payload


class Schemas(Protocol):
    """The official JSON schemas of a version."""

    actions: tuple[str, ...]
    """Every action that the version knows, of charge points and of back ends."""

    def request(self, action: str) -> Payload:
        """The schema of a CALL's payload; not to be changed."""
        ...

    def response(self, action: str) -> Payload:
        """The schema of a CALLRESULT's payload; not to be changed."""
        ...


class OfficialSchemas:
    """The schemas that come with the `ocpp` package.

    Args:
        folder: the version's folder in the package, such as `v16`.
        request: how its files with requests are named, with `{}` in the place of the action.
        sends: the actions of SENDs, which have no answer and therefore no schema of one.
        correct: adds to a schema, given with its action, what the specification says in prose only.
    """

    _RESPONSE = "{}Response.json"

    def __init__(
        self,
        folder: str,
        *,
        request: str,
        sends: tuple[str, ...] = (),
        correct: Callable[[str, Payload], None] | None = None,
    ) -> None:
        self._folder = files("ocpp") / folder / "schemas"
        self._request = request
        self._sends = sends
        self._correct = correct
        suffix = request.removeprefix("{}")
        names = [entry.name for entry in self._folder.iterdir()]
        self.actions = tuple(
            sorted(
                name.removesuffix(suffix) for name in names if self._RESPONSE.format(name.removesuffix(suffix)) in names
            )
        )
        self._loaded: dict[str, Payload] = {}

    def request(self, action: str) -> Payload:
        """The schema of the payload of a CALL, or of a SEND; not to be changed."""
        return self._load(f"{action}.json" if action in self._sends else self._request.format(action), action)

    def response(self, action: str) -> Payload:
        """The schema of a CALLRESULT's payload; not to be changed."""
        return self._load(self._RESPONSE.format(action))

    def _load(self, name: str, request_of: str | None = None) -> Payload:
        if name not in self._loaded:
            schema = json.loads((self._folder / name).read_text(encoding="utf-8-sig"))
            if request_of is not None and self._correct is not None:
                self._correct(request_of, schema)
            self._loaded[name] = schema
        return self._loaded[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCodes:
    """The error codes of CALLERRORs by meaning; versions spell them differently.

    Attributes:
        unreadable: no JSON, no OCPP-J array, or no usable message id.
        formation: a wrong number of elements, or a field that the schema does not know.
        missing: a required field is missing.
        wrong_type: a field has the wrong JSON type.
        wrong_value: a value is out of range, too long, or not in its enumeration.
        unknown_action: the version does not know the action.
        unsupported_action: the version knows the action, and the receiver does not handle it.
        message_type: the message type number is unknown.
        others: the further codes of the version.
    """

    unreadable: str
    formation: str
    missing: str
    wrong_type: str
    wrong_value: str
    unknown_action: str
    unsupported_action: str
    message_type: str
    others: tuple[str, ...]

    def __iter__(self) -> Iterator[str]:
        named = (
            self.unknown_action,
            self.unsupported_action,
            self.unreadable,
            self.formation,
            self.wrong_value,
            self.missing,
            self.wrong_type,
            self.message_type,
        )
        return iter(dict.fromkeys((*named, *self.others)))


@dataclass(slots=True)
class Setting:
    """A configuration key of a charge point: its value, and whether the server may change it."""

    value: str
    readonly: bool = False


Settings = dict[str, Setting]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command that back ends send to charge points.

    Attributes:
        fields: fields of a valid one, where it needs some.
        accepted: the payload of an accepting answer.
        rejected: the payload of a refusing answer; `None` where OCPP has none.
        respond: makes the answer from the command's fields and the charge point's settings, in the place of `accepted`.
        refuse: makes the refusing answer from the command's fields, in place of `rejected`.
        then: makes the CALL that a charge point sends when it carries the command out; `None` if there is none.
        restarts: whether it ends the connection when it carries the command out.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    accepted: Mapping[str, Any] = field(default_factory=dict)
    rejected: Mapping[str, Any] | None = None
    respond: Callable[[Mapping[str, Any], Settings], Payload] | None = None
    refuse: Callable[[Mapping[str, Any]], Payload] | None = None
    then: Callable[[Mapping[str, Any]], Call | None] | None = None
    restarts: bool = False

    def accept(self, fields: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
        """The payload of the answer of a charge point that accepts the command."""
        return self.accepted if self.respond is None else self.respond(fields, settings)

    @property
    def refusable(self) -> bool:
        """Whether OCPP has an answer that says no."""
        return self.refuse is not None or self.rejected is not None

    def reject(self, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The payload of the answer that says no; `None` where OCPP has none."""
        return self.rejected if self.refuse is None else self.refuse(fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The command whose answer repeats the requested variable, which identifies it.

    Attributes:
        action: its action.
        names: the names that its fields ask for, whatever shape they have; what is no text is left out.
        answer: makes an answer that names them as unknown, and says a text (its second argument) as a value of its own.
    """

    action: str
    names: Callable[[Mapping[str, Any]], list[str]]
    answer: Callable[[Mapping[str, Any], str], Payload]


class Transaction(Protocol):
    """The life cycle of one transaction, as the charge point sees it."""

    id: TransactionId | None
    """The transaction id, chosen by the side that the version names; `None` while it is unknown."""

    def start(self, meter: int, at: str) -> Call:
        """Begins it; `meter` is the energy register in Wh, `at` is RFC 3339."""
        ...

    def started(self, answer: Mapping[str, Any]) -> bool:
        """Reads the answer to `start`; whether the transaction has an id now."""
        ...

    def meter_values(self, meter: int, at: str) -> Call:
        """Reports the energy register."""
        ...

    def stop(self, meter: int, at: str) -> Call:
        """Ends it."""
        ...


class NewTransaction(Protocol):
    """Creates a transaction that has not begun."""

    def __call__(self, *, connector: int, id_tag: str) -> Transaction:
        """A transaction at a connector, paid by `id_tag`."""
        ...


class Phrases(Protocol):
    """Messages of charge points in all versions, each in the words of its version."""

    @staticmethod
    def boot(vendor: str, model: str) -> Call:
        """A charge point of this vendor and model has started."""
        ...

    @staticmethod
    def status(connector: int, status: str, error_code: str = "NoError") -> Call:
        """The status of a connector; 0 is the charge point itself."""
        ...

    @staticmethod
    def authorize(id_tag: str) -> Call:
        """May `id_tag` charge?"""
        ...

    @staticmethod
    def meter_values(connector: int, meter: int, at: str) -> Call:
        """The energy register in Wh, outside of any transaction."""
        ...

    @staticmethod
    def verdict(answer: Mapping[str, Any]) -> str | None:
        """The status of the id tag in an answer; `None` if it says none."""
        ...

    @staticmethod
    def transaction_id(payload: Mapping[str, Any], answer: Mapping[str, Any]) -> TransactionId | None:
        """The id of the transaction that a message has started, from the message and its answer."""
        ...


@dataclass(frozen=True, kw_only=True)
class Version:
    """An OCPP version.

    Attributes:
        name: the usual name, such as `1.6`.
        subprotocol: its WebSocket subprotocol, such as `ocpp1.6`; names the version in profiles.
        schemas: the official schemas.
        samples: the actions of charge points with the maker of a small valid payload, which takes the time (RFC 3339).
        core: those of `samples` that a back end has unless its profile says otherwise.
        boot: the action that a charge point sends first.
        commands: the commands of back ends.
        question: the command whose answers can be told apart.
        settings: makes the configuration that a charge point starts with.
        codes: its error codes.
        phrases: what charge points of all versions say, in the words of this one.
        transaction: makes the life cycle of a transaction.
        transaction_actions: the actions that a transaction consists of; a back end has all of them, or none.
        lowest: the lowest allowed number of integer fields by action (`""` for all), where the schemas leave it open.
        open_values: values of enumerations, by field, that not every edition of the official schemas has.
        longest_message_id: in characters.
        message_types: the message type numbers (OCPP-J section 4.1.3).
        names: its names of actions that OCPP 1.6 calls otherwise, by the name in 1.6.
        sends: actions of charge points that come in a SEND, which is never answered, with the maker of a small valid
            payload.
        sessions: the module in `ocpp_resilience.ocpp` with its `SessionScript`; empty while there is none.
        cases: what stands behind the name of its files of cases: `invalid_messages{cases}.json`.
        answers_unreadable: whether a frame without a usable message id gets a CALLERROR to `-1`, and one of an unknown
            type a CALLERROR.
    """

    name: str
    subprotocol: str
    schemas: Schemas
    samples: Mapping[str, Callable[[str], Payload]]
    core: tuple[str, ...]
    commands: Mapping[str, Command]
    question: Question
    codes: ErrorCodes
    phrases: Phrases
    transaction: NewTransaction
    transaction_actions: tuple[str, ...]
    settings: Callable[[], Settings] = dict
    lowest: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    open_values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    boot: str = "BootNotification"
    longest_message_id: int = 36
    message_types: tuple[int, ...] = (2, 3, 4)
    names: Mapping[str, str] = field(default_factory=dict)
    sends: Mapping[str, Callable[[str], Payload]] = field(default_factory=dict)
    sessions: str = ""
    cases: str = ""
    answers_unreadable: bool = False

    def __str__(self) -> str:
        return f"OCPP {self.name}"

    def sample(self, action: str) -> Payload:
        """A new small valid payload for `action`; an empty one for an action that charge points do not send."""
        make = self.samples.get(action)
        return make(rfc3339()) if make else {}

    def named(self, action: str) -> str:
        """The name that this version has for an action that OCPP 1.6 calls `action`; any other stays as it is."""
        return self.names.get(action, action)

    @property
    def chooses_ids(self) -> bool:
        """Whether charge points choose the ids of transactions."""
        return self.transaction(connector=1, id_tag="").id is not None

    @property
    def reports_unreadable_answers(self) -> bool:
        """Whether an unreadable answer is answered with a CALLRESULTERROR (OCPP-J 2.1 section 4.2.4)."""
        return 5 in self.message_types

    def unsupported(self, supported: Iterable[str]) -> tuple[str, ...]:
        """The actions that no charge point sends: a back end may handle more of the others than it says."""
        return tuple(sorted(set(self.schemas.actions) - set(supported) - set(self.samples)))

    def lowest_of(self, action: str, name: str) -> int | None:
        """The lowest allowed number of the field `name` of `action`; `None` where everything is allowed."""
        return self.lowest.get(action, {}).get(name, self.lowest.get("", {}).get(name))

    def leaves_open(self, payload: Any) -> bool:
        """Whether a back end may refuse this valid payload, since it has one of `open_values`."""
        if isinstance(payload, list):
            return any(self.leaves_open(each) for each in payload)
        if not isinstance(payload, Mapping):
            return False
        return any(
            (isinstance(value, str) and value in self.open_values.get(name, ())) or self.leaves_open(value)
            for name, value in payload.items()
        )


def protocol_named(version: Version) -> dict[str, str]:
    """The field of an envelope that names its version; the envelopes of OCPP 1.6 have none."""
    return {} if version.subprotocol == DEFAULT_VERSION else {"protocol": version.subprotocol}


@cache
def _found(path: tuple[str, ...]) -> dict[str, Version]:
    names = sorted(info.name for info in pkgutil.iter_modules(path) if re.fullmatch(r"v\d+", info.name))
    found = (importlib.import_module(f"{__package__}.{name}").VERSION for name in names)
    return {each.subprotocol: each for each in found}


def ocpp_versions() -> dict[str, Version]:
    """The versions that there are, by subprotocol."""
    return _found(tuple(importlib.import_module(__package__ or "").__path__))


@cache
def payload_fields() -> frozenset[str]:
    """The names of payload fields in all actions of all versions."""
    schemas = [each.schemas for each in ocpp_versions().values()]
    return frozenset(name for each in schemas for action in each.actions for name in each.request(action)["properties"])


def ocpp_version(subprotocol: str = DEFAULT_VERSION) -> Version:
    """The version with this subprotocol.

    Raises:
        UsageError: there is none.
    """
    found = ocpp_versions()
    if subprotocol not in found:
        raise UsageError(f"Unknown OCPP version '{subprotocol}' (allowed: {', '.join(found)}).")
    return found[subprotocol]
