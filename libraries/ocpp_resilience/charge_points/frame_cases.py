"""Files of invalid frames, and the outcome of each on a real connection.

    {"description": "...", "kinds": ["elements"], "cases": [
        {"id": "call-2-elements", "title": "A CALL without action and payload.", "kind": "elements",
         "json": [2, "{message_id}"], "reason": "A CALL has 4 elements.",
         "expect": {"callerror": "FormationViolation", "message_id": "{message_id}"}}]}

Exactly one of `text`, `json` (any JSON value, written compactly), `build` (an object with `prefix`, `repeat`, `times`
and `suffix`), `text_hex` (bytes in a text frame), `binary_hex` (a binary frame) and `wire_hex` (bytes below the
WebSocket) is the frame. `before` is a valid CALL that goes in front of it in the same packet. `{message_id}` is
replaced by a fresh id whenever the file is loaded. `expect` has one or more of `callerror` or
`callresulterror` (with `message_id`), `closed` (a list of close codes) and `ignored`; `never_answered` says that not
even the tolerant oracle lets a gateway answer it; `answers` are the message ids of CALLRESULTs that belong to it too.
`"open": true` marks a frame that the tolerant oracle lets a gateway accept. `versions` lists the subprotocols that a
case is for; without it, it is for every version whose file it stands in. `kinds`
lists what `kind` may be; without it, it may be anything.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ocpp_resilience.charge_points.errors import NoAnswer, NotConnected
from ocpp_resilience.charge_points.many import together
from ocpp_resilience.charge_points.point import ChargePoint
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp import Version, ocpp_version, ocpp_versions
from ocpp_resilience.ocpp.frames import Direction, Frame, MessageType
from ocpp_resilience.ocpp.version import protocol_named
from ocpp_resilience.robot.facts import RECORDER, Case
from ocpp_resilience.text import counted, did_you_mean, examples, shortened
from ocpp_resilience.transport.invalid_cases import LARGEST_BUILT, listed_kinds, unknown_kind
from ocpp_resilience.transport.invalid_generated import MAX_MESSAGE_BYTES, UNREADABLE_ID, generate_invalid
from ocpp_resilience.transport.messages import SentMessage

FRAMES_OF = "R17.10"
"""The requirement that invalid frames serve."""
FORMS = ("text", "json", "build", "text_hex", "binary_hex", "wire_hex")
TEXTS = ("id", "title", "kind", "reason")
EXPECTATIONS = ("callerror", "callresulterror", "message_id", "closed", "ignored", "never_answered", "answers")
AT_ONCE = 100
MOST_UNANSWERED = 3
"""After so many valid messages without an answer, a charge point gives up: each costs the whole time limit."""
NOT_SENT = f"nothing: it was not sent, since {MOST_UNANSWERED} messages before went unanswered"
ROOM = 240
"""Maximum number of characters of the problems in a summary."""
GENERATED = "generated"
"""The kind of generated frames."""
GENERATED_FOR = "GENERATED"
"""The charge point id in the envelopes that generated frames are taken out of; it is never sent."""
_ID = "{message_id}"
_TO_ID = re.compile(r" to \S+?(?=,| and |$)")
_CASE_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def frame_file(version: Version) -> str:
    """The name of the file with the invalid frames of a version that comes with the library."""
    return f"invalid_frames{version.cases}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCase:
    """A frame that has to be answered with a CALLERROR, to be ignored, or to cost the connection.

    Attributes:
        id: the name of the case, unique in its file.
        title: the error of the frame, as a sentence.
        kind: the group that it belongs to.
        reason: why that has to become of it, for people.
        form: which of the six forms it has.
        data: the frame.
        before: a valid CALL in front of it, in the same packet.
        error: the message type that has to refuse it: CALLERROR or CALLRESULTERROR.
        code: its code; `None` without one.
        answer_id: its message id.
        closed: the close codes that the connection may end with.
        ignored: whether it may be ignored.
        answers: the message ids of CALLRESULTs that belong to it.
        open: whether the documents leave open that it is accepted: the tolerant oracle allows that.
        never_answered: whether not even the tolerant oracle allows an answer.
    """

    id: str
    title: str
    kind: str
    reason: str
    form: str
    data: str | bytes = field(repr=False)
    before: str | None = None
    code: str | None = None
    answer_id: str | None = None
    closed: tuple[int, ...] = ()
    ignored: bool = False
    answers: tuple[str, ...] = ()
    open: bool = False
    error: MessageType = MessageType.CALLERROR
    never_answered: bool = False

    def __str__(self) -> str:
        return self.id

    def expected(self) -> str:
        """The expected outcome, in words."""
        ways = [f"the {self.error.name} {self.code} to {self.answer_id}"] if self.code is not None else []
        if self.closed:
            ways.append(f"a close with {' or '.join(map(str, self.closed))}")
        if self.ignored:
            ways.append("nothing")
        return " or ".join(ways) + "".join(f" and the answer to {answer}" for answer in self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """The outcome of a frame.

    Attributes:
        case: the frame.
        seen: the observed outcome, in words.
        why: the explanation of the system, in words; empty without one.
        right: whether it is the expected outcome of the case (the strict oracle).
        tolerable: whether it is at least no acceptance: any CALLERROR, any close, or nothing (the tolerant oracle).
        answered_behind: whether the next valid message was answered.
    """

    case: FrameCase
    seen: str
    right: bool
    tolerable: bool
    answered_behind: bool
    why: str = ""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"{self.case.id}: {self.difference}{why}"

    @property
    def difference(self) -> str:
        """The expected and the actual outcome."""
        behind = "" if self.answered_behind else ", and the next message was not answered"
        return f"expected {self.case.expected()}, seen {self.seen}{behind}"

    @property
    def kind(self) -> str:
        """The same without message ids: frames that went wrong in the same way have the same."""
        return _TO_ID.sub("", self.difference)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameReport:
    """The outcome of all frames.

    Attributes:
        reactions: one for each frame.
        count: how many frames there were.
        strict: whether the strict oracle decides, else the tolerant one.
        wrong: those with another reaction than the oracle allows, or whose next valid message was not answered.
        divergences: those that the tolerant oracle allows, and the strict one does not.
        intolerable: those of them that not even a tolerant judge would let pass.
        unexpected: those with another reaction than the strict oracle expects, whichever oracle decides.
        unanswered: how many of the valid messages behind them were not answered.
        summary: all of it in one sentence.
    """

    reactions: Sequence[Reaction] = field(repr=False)
    strict: bool = True

    @property
    def count(self) -> int:
        return len(self.reactions)

    @property
    def wrong(self) -> list[Reaction]:
        """Those that the oracle does not allow."""
        return self.unexpected if self.strict else self.intolerable

    @property
    def unexpected(self) -> list[Reaction]:
        return [each for each in self.reactions if not (each.right and each.answered_behind)]

    @property
    def divergences(self) -> list[Reaction]:
        return [each for each in self.reactions if each.tolerable and not each.right]

    @property
    def intolerable(self) -> list[Reaction]:
        return [each for each in self.reactions if not (each.tolerable and each.answered_behind)]

    @property
    def unanswered(self) -> int:
        return sum(1 for each in self.reactions if not each.answered_behind)

    @property
    def summary(self) -> str:
        """All of it in one sentence, with an example of each of the three most frequent ways to go wrong."""
        text = f"{counted(self.count, 'frame')}: {len(self.wrong)} with another reaction than expected"
        if self.unanswered:
            text += f", {self.unanswered} whose next message was not answered"
        alike: defaultdict[str, list[Reaction]] = defaultdict(list)
        for each in self.wrong:
            alike[each.kind].append(each)
        # A frame that was not sent is a consequence of the others.
        ways = sorted(alike.values(), key=lambda way: (way[0].seen == NOT_SENT, -len(way)))
        shown = [f"{_names([each.case for each in way])}: {way[0].difference}" for way in ways]
        return f"{text}. {examples(shown, room=ROOM)}" if shown else text


def _names(cases: Sequence[FrameCase]) -> str:
    """The id of the first frame, its title if it is generated, and the number of the others."""
    first = cases[0]
    what = f" ({shortened(first.title.removesuffix('.'), 60)})" if first.kind == GENERATED else ""
    return f"{first.id}{what}" + (f" and {len(cases) - 1} more" if len(cases) > 1 else "")


def load_frames(file: Path, *, kind: str | None = None, version: Version | None = None) -> list[FrameCase]:
    """Read a file of cases, and check all of it.

    Args:
        file: the file.
        kind: take only the cases of this kind.
        version: the OCPP version that they are for, and whose error codes they have; 1.6 if not given.

    Raises:
        UsageError: the file cannot be used, or it has no such case; names file, case and field.
    """
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("cases"), list):
        raise UsageError(f"{file}: expected an object with 'description' and the list 'cases'.")
    kinds = listed_kinds(file, document)
    version = version or ocpp_version()
    readers = [_Reader(file, number, data, version, kinds) for number, data in enumerate(document["cases"], start=1)]
    every = [(reader, reader.case()) for reader in readers]
    cases = [case for _, case in every]
    if twice := [case.id for number, case in enumerate(cases) if case.id in {other.id for other in cases[:number]}]:
        raise UsageError(f"{file}: case '{twice[0]}': field 'id' occurs twice in the file.")
    for_version = [case for reader, case in every if reader.is_for_version]
    RECORDER.cases_known(str(file), [Case(case.id, FRAMES_OF, case.kind) for case in for_version])
    chosen = [case for case in for_version if kind in (None, case.kind)]
    if not chosen:
        there = ", ".join(sorted({case.kind for case in cases}))
        meant = did_you_mean(kind or "", {case.kind for case in cases})
        raise UsageError(f"{file}: no case of kind {kind} (there are: {there or 'none'}){meant}")
    return chosen


class _Reader:
    """Reads and checks one case."""

    def __init__(self, file: Path, number: int, data: Any, version: Version, kinds: Sequence[str] | None) -> None:
        self._version = version
        self._kinds = kinds
        self._where = f"{file}: case number {number}"
        if not isinstance(data, dict):
            raise UsageError(f"{self._where}: expected an object.")
        if isinstance(data.get("id"), str):
            self._where = f"{file}: case '{data['id']}'"
        self._data: Mapping[str, Any] = data
        self._id = f"frame-{secrets.token_hex(6)}"

    def refuse(self, name: str, problem: str) -> NoReturn:
        """Raise the error that names file, case and field."""
        raise UsageError(f"{self._where}: field '{name}' {problem}{'' if problem.endswith('?') else '.'}")

    @property
    def is_for_version(self) -> bool:
        """Whether the case is for the version."""
        return self._version.subprotocol in self._data.get("versions", [self._version.subprotocol])

    def case(self) -> FrameCase:
        """The case with a fresh message id."""
        data = self._data
        allowed = {*TEXTS, *FORMS, "before", "expect", "open", "versions"}
        versions = data.get("versions", [])
        if not isinstance(versions, list) or any(each not in ocpp_versions() for each in versions):
            self.refuse("versions", f"is {versions!r} (allowed: a list of {', '.join(ocpp_versions())})")
        if not isinstance(data.get("open", False), bool):
            self.refuse("open", "has to be true or false")
        for name in TEXTS:
            if not isinstance(data.get(name), str) or not data[name].strip():
                self.refuse(name, "has to be text, and not empty")
        if unknown := sorted(data.keys() - allowed):
            self.refuse(unknown[0], f"is unknown (allowed: {', '.join(sorted(allowed))})")
        if not _CASE_ID.fullmatch(data["id"]):
            self.refuse("id", "is not in kebab-case, such as 'call-2-elements'")
        if self._kinds is not None and data["kind"] not in self._kinds:
            self.refuse("kind", unknown_kind(data["kind"], self._kinds))
        given = [name for name in FORMS if name in data]
        if len(given) != 1:
            self.refuse("text", f"is required, or one of {', '.join(FORMS[1:])}: exactly one, not {len(given)}")
        before = data.get("before")
        return FrameCase(
            **{name: data[name] for name in TEXTS},
            form=given[0],
            data=self._frame(given[0]),
            before=None if before is None else self._filled(_compact(before)),
            open=data.get("open", False),
            **self._expectation(),
        )

    def _filled(self, text: str) -> str:
        return text.replace(_ID, self._id)

    def _frame(self, form: str) -> str | bytes:
        value = self._data[form]
        if form == "json":
            return self._filled(_compact(value))
        if form == "build":
            return self._filled(self._built(value))
        if not isinstance(value, str):
            self.refuse(form, "has to be text")
        if form == "text":
            return self._filled(value)
        try:
            return bytes.fromhex(value)
        except ValueError:
            self.refuse(form, "is not hexadecimal")

    def _built(self, value: Any) -> str:
        parts = ("prefix", "repeat", "suffix")
        if not isinstance(value, dict) or value.keys() != {*parts, "times"}:
            self.refuse("build", "has to be an object with prefix, repeat, times and suffix")
        times = value["times"]
        if not all(isinstance(value[part], str) for part in parts) or type(times) is not int or times < 0:
            self.refuse("build", "has to have three texts, and a 'times' of 0 or more")
        if len(value["repeat"]) * times > LARGEST_BUILT:
            self.refuse("build", f"makes more than {LARGEST_BUILT} characters")
        return str(value["prefix"] + value["repeat"] * times + value["suffix"])

    def _expectation(self) -> dict[str, Any]:
        expect = self._data.get("expect")
        if not isinstance(expect, dict) or not {"callerror", "callresulterror", "closed", "ignored"} & expect.keys():
            self.refuse(
                "expect", "has to be an object with callerror or callresulterror and message_id, closed, or ignored"
            )
        if unknown := sorted(expect.keys() - set(EXPECTATIONS)):
            self.refuse("expect", f"has the unknown '{unknown[0]}' (allowed: {', '.join(EXPECTATIONS)})")
        reports = "callresulterror" in expect
        code, answer_id = expect.get("callresulterror" if reports else "callerror"), expect.get("message_id")
        known = tuple(self._version.codes)
        if code is not None and (code not in known or not isinstance(answer_id, str)):
            self.refuse("expect", f"needs a known code and a message_id (allowed codes: {', '.join(known)})")
        codes = expect.get("closed", [])
        if not isinstance(codes, list) or not all(type(each) is int and 1000 <= each < 5000 for each in codes):
            self.refuse("expect", "has a 'closed' that is not a list of close codes")
        return {
            "code": code,
            "answer_id": None if answer_id is None else self._filled(answer_id),
            "closed": tuple(codes),
            "ignored": expect.get("ignored") is True,
            "never_answered": expect.get("never_answered") is True,
            "error": MessageType.CALLRESULTERROR if reports else MessageType.CALLERROR,
            "answers": tuple(self._filled(str(each)) for each in expect.get("answers", [])),
        }


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def generated_frames(
    count: int,
    *,
    seed: int,
    ids: Ids,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    version: Version | None = None,
    actions: Sequence[str] | None = None,
) -> list[FrameCase]:
    """Invalid frames made by chance: valid messages broken in one place, as on the queue.

    An error inside of an envelope's payload becomes that payload as a frame, with the CALLERROR of the queue. A case
    with
    an error in the envelope itself is sent as it is: on a WebSocket, an object is never a message.

    Args:
        count: how many.
        seed: of the random choices.
        ids: gives the message ids.
        max_message_bytes: the size limit of the system under test; some frames are just above it.
        version: the OCPP version; 1.6 if not given.
        actions: the actions that the system under test handles; the core of the version if not given.

    Raises:
        UsageError: `count` is below 1.
    """
    version = version or ocpp_version()
    made: list[FrameCase] = []
    while not made or len(made) < count:
        for message in generate_invalid(
            count,
            [GENERATED_FOR],
            seed=seed + len(made),
            new_message_id=ids.message,
            max_message_bytes=max_message_bytes,
            version=version,
            actions=actions,
        ):
            case = _from_queue(message, len(made) + 1, max_message_bytes, version)
            if case is not None:
                made.append(case)
    return made[:count]


def _from_queue(message: SentMessage, number: int, max_message_bytes: int, version: Version) -> FrameCase | None:
    """The frame that a message for the queue corresponds to; `None` if it would be a valid one."""
    data: str | bytes = message.data
    form, code, answer_id = "text", None, None
    if version.answers_unreadable:
        code, answer_id = version.codes.unreadable, UNREADABLE_ID
    closed: tuple[int, ...] = ()
    try:
        data = message.data.decode()
        value = json.loads(data)
    except UnicodeDecodeError:
        form, closed = "text_hex", (1007,)
    except (ValueError, RecursionError):
        pass
    else:
        if isinstance(value, list) and value and value[0] in version.message_types:
            return None
        whole = isinstance(value, dict) and value.keys() == {"charge_point_id", "payload", *protocol_named(version)}
        if whole and value["charge_point_id"] == GENERATED_FOR and isinstance(value["payload"], list):
            if _compact(value) != data:
                return None  # a key that stands twice: which of the two is the frame?
            frame = value["payload"]
            data = _compact(frame)
            if message.answerable:
                code, answer_id = message.expected_code, message.answer_message_id
            elif frame[:1] != [MessageType.CALL]:
                code = None  # answers and SENDs are not answered
    if len(message.data) > max_message_bytes:
        form, data, closed, code = "text", message.data.decode("utf-8", "replace"), (1009,), None
    return FrameCase(
        id=f"generated-{number}",
        title=f"{message.about}.",
        kind=GENERATED,
        reason=f"{message.about}.",
        form=form,
        data=data,
        code=code,
        answer_id=answer_id,
        closed=closed,
        ignored=code is None and not closed,
        open=message.open,
        error=MessageType.CALLRESULTERROR if message.is_answer else MessageType.CALLERROR,
        never_answered=message.about.startswith("SEND"),
    )


async def send_frames(points: Sequence[ChargePoint], cases: Sequence[FrameCase], *, limit: float) -> FrameReport:
    """Send the frames, distributed over the charge points, at the same time, and record the outcome of each.

    After each, a Heartbeat is sent, on a new connection if the old one was closed. Frames before its answer belong to
    the frame: the messages of one charge point are answered in order.

    Args:
        points: charge points that are not connected.
        cases: the frames.
        limit: the longest wait for a connection and for an answer, in seconds.

    Raises:
        ExpectationFailed: a charge point could not connect, or its first Heartbeat was not answered; names the frames
            behind which that was so.
    """
    share = {point: cases[number :: len(points)] for number, point in enumerate(points)}
    results = await together(points, lambda point: _send_all(point, share[point], limit), at_once=AT_ONCE)
    lost = {point: result for point, result in zip(points, results, strict=True) if isinstance(result, Exception)}
    if lost:
        behind = [result.case for result in lost.values() if isinstance(result, _NoReturn)]
        problem = str(next(iter(lost.values())))
        raise ExpectationFailed(
            f"Last sent: {examples([each.id for each in behind])}. {problem}" if behind else problem
        )
    return FrameReport(reactions=[reaction for result in results if isinstance(result, list) for reaction in result])


class _NoReturn(ExpectationFailed):
    """Behind a frame, its charge point could not connect again."""

    def __init__(self, case: FrameCase, problem: object) -> None:
        super().__init__(str(problem))
        self.case = case


async def _send_all(point: ChargePoint, cases: Sequence[FrameCase], limit: float) -> list[Reaction]:
    await point.connect(limit=limit)
    try:
        (await point.call("Heartbeat", {}, limit=limit)).accepted()
        reactions: list[Reaction] = []
        for case in cases:
            if sum(1 for each in reactions if not each.answered_behind) < MOST_UNANSWERED:
                try:
                    reactions.append(await _send(point, case, limit))
                except ExpectationFailed as problem:
                    raise _NoReturn(case, problem) from problem
            else:
                reactions.append(
                    Reaction(case=case, seen=NOT_SENT, right=False, tolerable=False, answered_behind=False)
                )
        return reactions
    finally:
        await point.disconnect()


async def _send(point: ChargePoint, case: FrameCase, limit: float) -> Reaction:
    if not point.connected:
        await point.connect(limit=limit)
    since, ends = point.last_number, len(point.ends)
    await _put(point, case)
    behind = await _heartbeat(point, limit)
    received = point.seen(direction=Direction.RECEIVED, since=since)
    if len(point.ends) > ends:
        code: int | None = point.ends[ends].code
        await point.connect(limit=limit)
        behind = await _heartbeat(point, limit)
    else:
        code = None
        received = [frame for frame in received if frame.message_id != behind]
    if behind is None:
        await point.disconnect()  # an error of this connection must not count against the next frame
    return judge(case, received, code, answered_behind=behind is not None)


async def _put(point: ChargePoint, case: FrameCase) -> None:
    if case.form == "wire_hex":
        await point.send_bytes(_as_bytes(case.data))
    elif case.form == "text_hex":
        await point.send_as_text(_as_bytes(case.data))
    elif case.before is not None:
        await point.send_together([case.before, str(case.data)])
    else:
        await point.send(case.data)


def _as_bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


async def _heartbeat(point: ChargePoint, limit: float) -> str | None:
    """The message id of a Heartbeat that was answered; `None` if it was not."""
    try:
        answer = await point.call("Heartbeat", {}, limit=limit)
    except (NoAnswer, NotConnected):
        return None
    return answer.message_id if answer.kind is MessageType.CALLRESULT else None


def judge(case: FrameCase, received: Sequence[Frame], code: int | None, *, answered_behind: bool) -> Reaction:
    """The outcome of a frame: the frames received after it, and the close code of the connection."""
    errors = [frame for frame in received if frame.kind in {MessageType.CALLERROR, MessageType.CALLRESULTERROR}]
    results = [str(frame.message_id) for frame in received if frame.kind is MessageType.CALLRESULT]
    others = len(received) - len(errors) - len(results)
    as_expected = sorted(results) == sorted(case.answers) and not others
    accepted = case.open and len(results) == 1 and not others and not errors
    expected_error = (case.error, case.code, case.answer_id)
    refused = len(errors) == 1 and (errors[0].kind, errors[0].code, errors[0].message_id) == expected_error
    if code is not None:
        right = code in case.closed and (refused or not errors)
    elif errors:
        right = refused
    else:
        right = case.ignored
    seen = [f"the {frame}" for frame in errors]
    seen += [f"the answer to {message_id}" for message_id in results]
    seen += [f"{others} other frames"] if others else []
    seen += [f"a close with {code}"] if code is not None else []
    return Reaction(
        case=case,
        seen=" and ".join(seen) or "nothing",
        why="; ".join(frame.description for frame in errors if frame.description),
        right=right and as_expected,
        tolerable=(as_expected or accepted) and code != 1011 and not (case.never_answered and errors),
        answered_behind=answered_behind,
    )
