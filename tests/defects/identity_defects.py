"""Who a message, a connection, a command or a request is from: ids that are nearly the same, ids used again, tokens."""

from __future__ import annotations

import base64
import os
import re
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, unquote_plus

from catalogue import defect
from queue_defects import replaced

from server import api, ids
from server.api import http
from server.correlation.commands import Commands
from server.correlation.manager import CallErrorReceived
from server.gateway import handshakes, response_delivery
from server.gateway.call_queue import CallQueue
from server.gateway.command_queue import CommandQueue
from server.gateway.handshakes import Handshakes
from server.gateway.session import PendingCommand, Session
from server.ocpp import envelope
from server.ocpp.version import Version
from server.origins import Origins
from server.processor import processor, request_queue
from server.redis import tail
from server.redis.script import Script
from server.store.keys import Keys
from server.store.view import StateCache

SIMILAR = "Charge Points Whose Ids Are Nearly The Same Are Kept Apart"
NEWEST = "The Newest Thousand Dead Letters Are Kept"
AT_GATEWAY = "Commands To Charge Points At The Gateway Are Sent One After The Other"
TOLD = "A Caller Gets The Error Of The Charge Point"


def kept_under(change: Callable[[str], str]) -> None:
    """Keep the records of a charge point under another id."""
    for name in ("charge_point", "connectors", "transactions", "active_transactions"):
        sound = getattr(Keys, name)
        setattr(Keys, name, lambda self, charge_point_id, sound=sound: sound(self, change(charge_point_id)))
    connector = Keys.connector
    Keys.connector = lambda self, charge_point_id, number: connector(self, change(charge_point_id), number)


@defect(
    "R13.8",
    SIMILAR,
    says=r"\d+ differences in the state.*wrong_fields: required == 0",
)
def ids_without_their_case() -> None:
    """Charge points whose ids differ only by case are treated as one."""
    kept_under(str.lower)


@defect(
    "R13.8",
    SIMILAR,
    says=r"\d+ differences in the state.*wrong_fields: required == 0",
)
def ids_of_forty_characters() -> None:
    """Of an id, 40 characters count."""
    kept_under(lambda charge_point_id: charge_point_id[:40])


@defect(
    "R13.8",
    SIMILAR,
    says=r"\d+ differences in the state.*wrong_fields: required == 0",
)
def ids_in_one_unicode_form() -> None:
    """Ids are brought into one Unicode form, in which some that differ are the same."""
    kept_under(lambda charge_point_id: unicodedata.normalize("NFC", charge_point_id))


@defect(
    "R13.8",
    SIMILAR,
    says=r"\d+ differences in the state.*wrong_fields: required == 0",
)
def ids_are_decoded_once_more() -> None:
    """Percent-encoded characters in an id are decoded again, as they were in the URL already."""
    kept_under(unquote)


@defect("R13.2", NEWEST, says=r"Dead letters that are kept: .*100 != 1000")
def a_hundred_dead_letters() -> None:
    """The list of dead letters is cut at 100."""
    envelope.DEAD_LETTERS = 100


@defect("R13.2", NEWEST, says=r"No dead letter|Dead letters that are kept")
def the_oldest_dead_letters() -> None:
    """The list of dead letters is cut at its new end: once it is full, new dead letters are lost."""
    sound = processor.Processor._dead_letter_operations

    def operations(self: Any, dead_letters: list[str]) -> list[Any]:
        made = sound(self, dead_letters)
        return [["LTRIM", each[1], -envelope.DEAD_LETTERS, -1] if each[0] == "LTRIM" else each for each in made]

    processor.Processor._dead_letter_operations = operations


@defect("R14.1", AT_GATEWAY, says=r"came while the answer to .* was outstanding")
def commands_overtake_each_other() -> None:
    """The gateway sends a command although the one before was not answered."""

    def take(self: CommandQueue, session: Any, message_id: str, frame: bytes, due: float | None) -> None:
        self._send(session, PendingCommand(message_id, frame, float("inf")))

    CommandQueue.take = take


@defect("R14.1", AT_GATEWAY, says=r"\d+ of 50 callers have no outcome")
def commands_behind_the_first_are_forgotten() -> None:
    """Of several commands to one charge point the gateway keeps one."""

    def following(self: CommandQueue, session: Any) -> None:
        session.command = None
        if session.commands:
            self._send(session, session.commands.pop())
            session.commands.clear()

    CommandQueue._next = following


@defect("R14.1", TOLD, says=r"does not contain 'Door 17 is open'")
def errors_without_their_description() -> None:
    """A caller is told the code of a CALLERROR, and not its description."""
    sound: Any = CallErrorReceived.__init__

    def init(self: Any, *arguments: Any) -> None:
        *others, _, details = arguments
        sound(self, *others, "", details)

    CallErrorReceived.__init__ = init


@defect("R14.1", TOLD, says=r"does not contain 'SecurityError'")
def every_error_is_generic() -> None:
    """A caller gets GenericError, whatever the error code of the charge point."""
    sound: Any = CallErrorReceived.__init__

    def init(self: Any, *arguments: Any) -> None:
        *others, _, description, details = arguments
        sound(self, *others, "GenericError", description, details)

    CallErrorReceived.__init__ = init


# --- charge points at the gateway -------------------------------------------------------------------------------------

AT_THE_GATEWAY = "Charge Points At The Gateway Whose Ids Are Nearly The Same Are Kept Apart"
REACH = "Commands Reach The Charge Point Whose Id They Name"
USED_AGAIN = "A Message Id That Comes Again Over A New Connection Is Another Message"
OTHER_TYPE = "A Key Of Another Type Affects Only Its Charge Point"
TOKEN = "Commands Need The Token Of The API"


def connected_under(change: Callable[[str], str]) -> None:
    """Let charge points in under another id than that of their path."""
    sound = Handshakes.check

    def check(self: Handshakes, connection: Any, request: Any) -> Any:
        refused = sound(self, connection, request)
        connection.gateway_id = change(connection.gateway_id)
        return refused

    Handshakes.check = check


NOT_APART = (
    r"charge points? .*not answered|differences? in the state|not connected|wrong_fields|could not|OCPP-J was violated"
)


@defect("R13.8", AT_THE_GATEWAY, says=NOT_APART)
def connections_without_the_case_of_ids() -> None:
    """A charge point whose id differs by case takes a connection over."""
    connected_under(str.lower)


@defect("R13.8", AT_THE_GATEWAY, says=NOT_APART)
def connections_of_forty_characters() -> None:
    """Of the id in the path, 40 characters count."""
    connected_under(lambda charge_point_id: charge_point_id[:40])


@defect("R13.8", AT_THE_GATEWAY, says=NOT_APART)
def connections_in_one_unicode_form() -> None:
    """Ids in the path are brought into one Unicode form."""
    connected_under(lambda charge_point_id: unicodedata.normalize("NFC", charge_point_id))


@defect("R13.8", AT_THE_GATEWAY, says=NOT_APART)
def paths_are_decoded_twice() -> None:
    """What looks percent-encoded in an id is decoded once more."""
    connected_under(unquote)


@defect("R13.8", AT_THE_GATEWAY, says=r"was refused at .* with HTTP 400|could not be connected")
def ids_end_at_forty_seven_characters() -> None:
    """An id of 48 characters is refused."""
    sound = ids.usable_charge_point_id
    handshakes.usable_charge_point_id = lambda value: len(value) < 48 and sound(value)


@defect("R13.8", AT_THE_GATEWAY, says=r"was refused at .* with HTTP 400|could not be connected")
def ids_are_ascii() -> None:
    """An id with an accent is refused."""
    sound = ids.usable_charge_point_id
    handshakes.usable_charge_point_id = lambda value: value.isascii() and sound(value)


def commands_for(change: Callable[[str], str]) -> None:
    """Send commands to another charge point than the one that the path names."""
    sound = Commands.send

    async def send(self: Commands, charge_point_id: str, *arguments: Any, **options: Any) -> Any:
        return await sound(self, change(charge_point_id), *arguments, **options)

    Commands.send = send


NOT_REACHED = r"The charge point got \d+ commands, expected 2|Expected each command to get its own answer"


@defect("R14.1", REACH, says=NOT_REACHED)
def commands_without_the_case_of_ids() -> None:
    """A command goes to the charge point whose id is the same but for its case."""
    commands_for(str.lower)


@defect("R14.1", REACH, says=NOT_REACHED)
def command_paths_are_decoded_twice() -> None:
    """In the path of a command, what looks percent-encoded in an id is decoded once more."""
    commands_for(unquote)


@defect("R14.1", REACH, says=NOT_REACHED)
def command_ids_end_at_a_slash() -> None:
    """Of the id that a command is for, what follows a slash is left out."""
    commands_for(lambda charge_point_id: charge_point_id.partition("/")[0])


# --- message ids ------------------------------------------------------------------------------------------------------


@defect("R13.7", USED_AGAIN, says=r"should have received an answer to used-again|does not contain any of 'idTagInfo'")
def message_ids_are_remembered_for_ever() -> None:
    """A message id that a charge point has used counts as under way on its later connections, too."""
    used: set[tuple[str, str]] = set()
    sound = CallQueue.under_way

    def under_way(session: Session, message_id: str) -> bool:
        key = session.charge_point_id, message_id
        known = key in used
        used.add(key)
        return known or sound(session, message_id)

    CallQueue.under_way = staticmethod(under_way)


@defect("R13.7", USED_AGAIN, says=r"does not contain any of 'idTagInfo'|should have received an answer")
def the_same_message_id_gets_the_same_answer() -> None:
    """What a charge point sends under a message id that it used last gets the answer of that time."""
    outcomes: dict[tuple[str, str], Any] = {}
    sound = Version.handle

    def handle(self: Version, call: Any, view: Any) -> Any:
        key = call.charge_point_id, call.message_id
        if key not in outcomes:
            outcomes[key] = sound(self, call, view)
        return outcomes[key]

    Version.handle = handle


# --- keys of another type ---------------------------------------------------------------------------------------------


@defect("R15.7", OTHER_TYPE, says=r"^\w+: .*(not answered|No answer|could not)", longest_wait=20)
def a_key_of_another_type_stops_the_queue() -> None:
    """A write that meets a key of another type counts as a failure of Redis, and the batch is tried again for ever."""
    request_queue._commit = Script(
        replaced(request_queue._COMMIT, "if not written and not wrong_type then", "if true then")
    )


@defect("R15.7", OTHER_TYPE, says=r"^\w+: .*(exited|not answered|not connected|could not)")
def a_key_of_another_type_ends_the_process() -> None:
    """What nobody expected in Redis ends the process."""
    sound = processor.Processor._conflicted

    def conflicted(self: Any, conflict: Any) -> None:
        if conflict.wrong_type:
            os._exit(1)
        sound(self, conflict)

    processor.Processor._conflicted = conflicted


@defect("R15.7", OTHER_TYPE, says=r"^charge_point: .*(not answered|InternalError|refused)")
def an_unreadable_record_is_remembered() -> None:
    """A record that could not be read once counts as unreadable, also when it was mended."""
    sound = StateCache.forget

    def forget(self: StateCache, keys: Any = None) -> None:
        if not isinstance(keys, set):
            sound(self, keys)

    StateCache.forget = forget


@defect("R15.7", OTHER_TYPE, says=r"^responses: .*(not answered|No answer|could not)")
def a_list_of_another_type_stops_the_gateway() -> None:
    """Answers that stand in no list make each look for answers fail."""
    text = replaced(tail.TAIL, "look = {}, 0, 0, redis.pcall", "look = {}, 0, 0, redis.call")
    response_delivery._take = Script(response_delivery._TAKE.replace(tail.TAIL, text))
    # Answers that come with the wake-up would not need that look.
    delivery = response_delivery.ResponseDelivery
    delivery.offer = lambda self, session, *_, **__: self.wake(session)


# --- the token of the API ---------------------------------------------------------------------------------------------

LET_IN = r"requests that have to be refused were accepted: .*"


def check_tokens(right: Callable[[Any, str], bool]) -> None:
    """Ask for the token in another way."""
    sound = http._check_token

    def check(request: Any, api_token: str) -> None:
        if not right(request, api_token):
            sound(request, api_token)

    http._check_token = check


@defect("R20.4", TOKEN, says=LET_IN + "inspect")
def inspections_need_no_token() -> None:
    """What waits and what is in hand can be read by anybody."""
    check_tokens(lambda request, _: request.url.path.startswith("/inspect"))


@defect("R20.4", TOKEN, says=LET_IN + "HEAD")
def head_needs_no_token() -> None:
    """A HEAD is let in, and carried out like a GET."""
    check_tokens(lambda request, _: request.method == "HEAD")


@defect("R20.4", TOKEN, says=LET_IN + "with the token in capitals")
def tokens_without_their_case() -> None:
    """A token in capitals is the same token."""
    check_tokens(lambda request, token: request.headers.get("authorization", "").lower() == f"Bearer {token}".lower())


@defect("R20.4", TOKEN, says=LET_IN + "with (the beginning of the|an empty) token")
def the_beginning_of_a_token_is_enough() -> None:
    """What is given is compared as far as it goes."""

    def right(request: Any, token: str) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return bool(given) and token.startswith(given)

    check_tokens(right)


@defect("R20.4", TOKEN, says=LET_IN + "with more than the token")
def more_than_the_token_is_enough() -> None:
    """What follows the token is not looked at."""
    check_tokens(
        lambda request, token: bool(token) and request.headers.get("authorization", "").startswith(f"Bearer {token}")
    )


@defect("R20.4", TOKEN, says=LET_IN + "with the token in the query")
def the_token_may_stand_in_the_query() -> None:
    """The token is taken from the query too, which stands in the logs of every proxy."""
    check_tokens(lambda request, token: bool(token) and request.query_params.get("token") == token)


@defect("R20.4", TOKEN, says=LET_IN + "with the token as a password")
def the_token_is_a_password_too() -> None:
    """Basic authentication with the token as password is let in."""

    def right(request: Any, token: str) -> bool:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        try:
            return scheme == "Basic" and base64.b64decode(encoded).decode().endswith(f":{token}")
        except ValueError:
            return False

    check_tokens(right)


# --- web pages --------------------------------------------------------------------------------------------------------

PAGES = "A Web Page Of Another Origin Is Refused"


@defect("R20.4", PAGES, says=r"R20\.4 accepted: .*measured 3")
def web_pages_may_connect() -> None:
    """A page of any origin may open the WebSocket of a charge point."""
    Handshakes._refuse_page = lambda *_: None


@defect("R20.4", PAGES, says=r"R20\.4 accepted: .*measured [12] ")
def pages_of_the_same_host_may_connect() -> None:
    """Of an origin the host is compared, and not scheme and port."""
    sound = Origins.refuse_origin

    def refuse(self: Origins, origin: str | None) -> str | None:
        return None if origin is not None and "127.0.0.1" in origin else sound(self, origin)

    Origins.refuse_origin = refuse


@defect("R20.4", PAGES, says=r"R20\.4 accepted: .*measured 1 ")
def pages_without_an_origin_may_connect() -> None:
    """The origin `null`, which a sandboxed frame has, counts as none."""
    sound = Origins.refuse_origin
    Origins.refuse_origin = lambda self, origin: None if origin == "null" else sound(self, origin)


@defect("R20.4", PAGES, says=LET_IN + "of a page of http://elsewhere.example: [2-5]")
def web_pages_may_send_commands() -> None:
    """The API takes requests of pages of any origin."""
    api._Checked.__init__ = _without_origins(api._Checked.__init__)


def _without_origins(sound: Any) -> Any:
    class Anybody:
        def refuse_origin(self, _: Any) -> None:
            return None

        refuse_host = refuse_origin

    def init(self: Any, application: Any, _origins: Any) -> None:
        sound(self, application, Anybody())

    return init


@defect("R20.4", PAGES, says=LET_IN + "as text/plain")
def forms_may_send_commands() -> None:
    """A body is read as JSON whatever its content type says."""
    sound = http._body

    async def body(operation: Any, request: Any) -> Any:
        headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
        request.scope["headers"] = [*headers, (b"content-type", b"application/json")]
        request.__dict__.pop("_headers", None)
        return await sound(operation, request)

    http._body = body


# --- found by writing defects without looking at the tests ------------------------------------------------------------


@defect("R20.4", TOKEN, says=LET_IN + "with two wrong tokens")
def two_tokens_are_as_good_as_one() -> None:
    """A request with the header Authorization twice is let in."""
    check_tokens(lambda request, _: len(request.headers.getlist("authorization")) > 1)


@defect("R13.8", AT_THE_GATEWAY, says=NOT_APART)
def a_plus_sign_is_a_space() -> None:
    """A plus sign in the path is read as in a form, and left out."""
    connected_under(lambda charge_point_id: charge_point_id.replace("+", ""))


PATH_REFUSED = r"was refused at \S+ with HTTP 40[04]"


@defect("R13.8", AT_THE_GATEWAY, says=PATH_REFUSED)
def a_literal_plus_sign_is_a_space() -> None:
    """A plus sign that stands for itself in the path is read as in a form; an encoded one is read rightly."""
    handshakes.unquote = lambda text, **_: unquote_plus(text)


@defect("R13.8", SIMILAR, says=r"GET \S+\+1\S* answered 404.* wrong_over_http: required == 0")
def a_plus_sign_in_a_path_of_the_api_is_a_space() -> None:
    """In the paths of the HTTP API a plus sign is read as in a form; an encoded one is read rightly."""
    http.unquote = lambda text, **_: unquote_plus(text)


@defect("R13.8", AT_THE_GATEWAY, says=PATH_REFUSED)
def plain_characters_in_paths_are_refused() -> None:
    """A path is refused for characters that need not be percent-encoded in it."""
    handshakes.unquote = lambda text, **_: "" if set("+*?[]") & set(text) else unquote(text)


@defect(
    "R13.8", AT_THE_GATEWAY, says=PATH_REFUSED + "|not connected|have not been answered|should have|differences? in"
)
def only_capital_digits_encode() -> None:
    """Percent-encoding with digits in lower case is not decoded."""

    def decoded(text: str, **_: Any) -> str:
        return unquote(re.sub("%(?=[0-9A-F]?[a-f])", "%25", text))

    handshakes.unquote = decoded


@defect("R13.7", USED_AGAIN, says=r"should have received an answer to (case|CASE)")
def message_ids_without_their_case() -> None:
    """Two message ids that differ by case are one."""
    taken = CallQueue.take

    def take(self: CallQueue, session: Session, entry: Any) -> None:
        entry.message_id = entry.message_id and entry.message_id.lower()
        if self.under_way(session, entry.message_id or ""):
            return
        taken(self, session, entry)

    CallQueue.take = take
