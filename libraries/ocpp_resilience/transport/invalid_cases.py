"""Files of invalid messages: data that a QA engineer changes without touching code.

    {"description": "...", "kinds": ["malformed_json"], "cases": [
        {"id": "truncated-object", "title": "An object without its closing brace", "requirement": "R17.1",
         "kind": "malformed_json", "raw": "{\\"action\\": \\"Heartbeat\\"", "code": "FormationViolation",
         "reason": "the closing brace is missing", "answer": null}]}

Exactly one of `raw` (text), `raw_base64` (bytes), `json` (any JSON value, written compactly) and `build` (an object
with `prefix`, `repeat`, `times` and `suffix`) is the message. `{charge_point_id}` and `{message_id}` in it are replaced
by fresh ids whenever the file is loaded, `{protocol}` by the subprotocol. `answer` is `null` if no answer can be
addressed, else an object whose `message_id` is the one of the answer, `null` for any; `"callresulterror": true` in it
asks for a CALLRESULTERROR. `"open": true` marks a case that the documents leave open: the tolerant oracle lets a system
accept it and answer it once, or refuse it once. `versions` lists the subprotocols of a case; without it, the case is
for every version of its file. `kinds` lists what `kind` may be; without it, it may be anything.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp.version import DEFAULT_VERSION, Version, ocpp_version, ocpp_versions
from ocpp_resilience.robot.facts import RECORDER, Case
from ocpp_resilience.text import did_you_mean
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.messages import ENVELOPE_BODY, MessageFormat, SentMessage, encode_json, form_of, read


def message_file(version: Version) -> str:
    """The name of the file with the invalid messages of a version that comes with the library."""
    return f"invalid_messages{version.cases}.json"


MESSAGE_FIELDS = ("raw", "raw_base64", "json", "build")
REQUIRED_TEXTS = ("id", "title", "requirement", "kind", "code", "reason")
QUEUED = (MessageFormat.ENVELOPE, MessageFormat.FLAT)
LARGEST_BUILT = 64 * 1024 * 1024

_CHARGE_POINT, _MESSAGE, _PROTOCOL = "{charge_point_id}", "{message_id}", "{protocol}"
_NOT_JSON = object()
_CASE_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_REQUIREMENT = re.compile(r"R\d+\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidCase:
    """A message that has to be refused, with fresh ids.

    Attributes:
        id: the name of the case, unique in its file.
        title: the error of the message, as a sentence.
        requirement: the id of the requirement that it serves.
        kind: the group that it belongs to.
        code: the error code that it has to be set aside, and refused, with.
        reason: why it is invalid, for people.
        raw: the message, byte for byte.
        charge_point_id: the fresh charge point id in it; `None` if there is none.
        message_id: the fresh message id in it; `None` if there is none.
        answerable: whether it has to be answered.
        answer_message_id: the message id of the answer; `None` for any.
        open: whether RFC 8259, the schemas and the specification leave the outcome open.
        is_answer: whether it is a charge point's answer, which a CALLRESULTERROR refuses (OCPP 2.1).
        file: where it is from.
    """

    id: str
    title: str
    requirement: str
    kind: str
    code: str
    reason: str
    raw: bytes = field(repr=False)
    charge_point_id: str | None
    message_id: str | None
    answerable: bool
    answer_message_id: str | None
    open: bool = False
    is_answer: bool = False
    file: str = ""

    def __str__(self) -> str:
        return self.id

    def message(self, forms: Sequence[MessageFormat] = QUEUED, body: Body = ENVELOPE_BODY) -> SentMessage | None:
        """The case as a message to be sent.

        Cases are written as the bodies of the wire contract. Where a target has another body, or none, the frame of the
        case is put into it.

        Args:
            forms: the forms that the target takes.
            body: writes the body of a queued message.

        Returns:
            `None` if the target takes no such message.
        """
        form = form_of(self.raw)
        if MessageFormat.FRAME in forms and form is None:
            document = self._document()
            if isinstance(document, list):
                # Wrong on a queue because it has no envelope. On a WebSocket it is a frame, right or wrong for another
                # reason; those have cases of their own.
                return None
            # Whatever else is JSON is no frame.
            no_frame = None if document is _NOT_JSON else ocpp_version(body.protocol).codes.unreadable
            return self._on_socket(self.raw, no_frame)
        if form is None or (form in forms and (form is MessageFormat.FLAT or body.is_envelope)):
            return self._message(self.raw)
        frame = self._frame()
        if form is MessageFormat.FLAT or frame is None or self.charge_point_id is None:
            return None
        if MessageFormat.FRAME in forms:
            return self._on_socket(encode_json(frame))
        return self._message(encode_json(body.written(self.charge_point_id, frame)))

    def _document(self) -> Any:
        try:
            return json.loads(self.raw)
        except (ValueError, RecursionError):
            return _NOT_JSON

    def _frame(self) -> list[Any] | None:
        """The frame in an envelope that is in order but for its frame; `None` for any other case."""
        document = json.loads(self.raw)
        fields = set(document) <= {"charge_point_id", "payload", "protocol"}
        # What is wrong with the name of the version is not wrong with the frame.
        version = str(document.get("protocol", DEFAULT_VERSION)) in ocpp_versions()
        return document["payload"] if fields and version and isinstance(document.get("payload"), list) else None

    def _on_socket(self, data: bytes, code: str | None = None) -> SentMessage:
        """On a WebSocket, a message without a usable id may be answered with the id -1 (OCPP-J 1.6 errata)."""
        message = self._message(data)
        message.expected_code = code or message.expected_code
        if message.answerable is False:
            message.answerable = None
        return message

    def _message(self, data: bytes) -> SentMessage:
        seen = read(data)
        return SentMessage(
            charge_point=self.charge_point_id,
            message_id=self.message_id if self.message_id is not None else seen.message_id,
            action=seen.action,
            data=data,
            connector=seen.connector,
            answerable=self.answerable,
            answer_message_id=self.answer_message_id,
            valid=False,
            expected_code=self.code,
            about=f"{self.id}: {self.reason}",
            open=self.open,
            is_answer=self.is_answer,
        )


def load_cases(
    file: Path, *, ids: Ids, requirement: str | None = None, kind: str | None = None, version: Version | None = None
) -> list[InvalidCase]:
    """Read a file of cases, and check all of it.

    Args:
        file: the file.
        ids: gives each case its ids.
        requirement: take only the cases of this requirement.
        kind: take only the cases of this kind.
        version: the OCPP version that they are for, and whose error codes they have; 1.6 if not given.

    Raises:
        UsageError: the file cannot be used, or it has no such case; names file, case and field.
    """
    cases: list[InvalidCase] = []
    seen: set[str] = set()
    version = version or ocpp_version()
    kinds, entries = _entries(file)
    for position, data in enumerate(entries, start=1):
        reader = _CaseReader(file, position, data, version, kinds)
        case = reader.case(ids)
        if case.id in seen:
            reader.refuse("id", "occurs twice in the file; ids have to be unique")
        seen.add(case.id)
        if reader.is_for_version:
            cases.append(case)
    RECORDER.cases_known(str(file), [Case(case.id, case.requirement, case.kind) for case in cases])
    chosen = [
        case
        for case in cases
        if (requirement is None or case.requirement == requirement) and (kind is None or case.kind == kind)
    ]
    if not chosen:
        asked = " and ".join(
            f"{name} {value}" for name, value in (("requirement", requirement), ("kind", kind)) if value is not None
        )
        there = ", ".join(sorted({case.requirement if kind is None else case.kind for case in cases}))
        meant = did_you_mean(kind or requirement or "", [case.kind if kind else case.requirement for case in cases])
        raise UsageError(f"{file}: no case{f' of {asked}' if asked else ''} (there are: {there or 'none'}){meant}")
    return chosen


def _entries(file: Path) -> tuple[list[str] | None, list[Any]]:
    """The kinds that are allowed, `None` for any, and the cases as they are written."""
    try:
        document = json.loads(file.read_bytes(), object_pairs_hook=_no_repeated_keys, parse_constant=_no_constant)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON: {error}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("cases"), list):
        raise UsageError(f"{file}: expected an object with 'description' and the list 'cases'.")
    if unknown := sorted(document.keys() - {"description", "kinds", "cases"}):
        raise UsageError(f"{file}: unknown field '{unknown[0]}' (allowed: description, kinds, cases).")
    return listed_kinds(file, document), list(document["cases"])


def listed_kinds(file: Path, document: Mapping[str, Any]) -> list[str] | None:
    """The kinds that a file of cases lists; `None` if it lists none.

    Raises:
        UsageError: it is no list of words.
    """
    kinds = document.get("kinds")
    if kinds is not None and not (isinstance(kinds, list) and all(isinstance(each, str) and each for each in kinds)):
        raise UsageError(f"{file}: field 'kinds' has to be a list of words.")
    return kinds


def unknown_kind(kind: str, kinds: Sequence[str]) -> str:
    """That a case has a kind which its file does not list."""
    return (
        f"is '{kind}', which 'kinds' does not list (allowed: {', '.join(kinds)}; a new kind is added there)"
        f"{did_you_mean(kind, kinds)}"
    ).removesuffix(".")


def _no_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(
                f"the key '{key}' occurs twice in one object; a message with such an object is given as 'raw'"
            )
        made[key] = value
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; a message with it is given as 'raw'")


class _CaseReader:
    """Reads and checks one case."""

    def __init__(self, file: Path, position: int, data: Any, version: Version, kinds: Sequence[str] | None) -> None:
        self._file = file
        self._version = version
        # A message that names no version is refused with the code of 1.6.
        self._codes = tuple(dict.fromkeys((*version.codes, ocpp_version().codes.unreadable)))
        self._kinds = kinds
        self._where = f"number {position}"
        if not isinstance(data, dict):
            raise UsageError(f"{file}: case {self._where}: expected an object.")
        self._data: Mapping[str, Any] = data
        if isinstance(data.get("id"), str):
            self._where = f"'{data['id']}'"

    def refuse(self, name: str, problem: str) -> NoReturn:
        """Raise the error that names file, case and field."""
        end = "" if problem.endswith("?") else "."
        raise UsageError(f"{self._file}: case {self._where}: field '{name}' {problem}{end}")

    @property
    def is_for_version(self) -> bool:
        """Whether the case is for the version."""
        return self._version.subprotocol in self._data.get("versions", [self._version.subprotocol])

    def case(self, ids: Ids) -> InvalidCase:
        """The case with fresh ids."""
        data = self._data
        allowed = {*REQUIRED_TEXTS, *MESSAGE_FIELDS, "answer", "open", "versions"}
        versions = data.get("versions", [])
        if not isinstance(versions, list) or any(each not in ocpp_versions() for each in versions):
            self.refuse("versions", f"is {versions!r} (allowed: a list of {', '.join(ocpp_versions())})")
        if not isinstance(data.get("open", False), bool):
            self.refuse("open", "has to be true or false")
        for name in REQUIRED_TEXTS:
            self._check_text(name)
        for name in data:
            if name not in allowed:
                meant = did_you_mean(name, allowed).removesuffix(".")
                self.refuse(name, f"is unknown (allowed: {', '.join(sorted(allowed))}){meant}")
        if not _CASE_ID.fullmatch(data["id"]):
            self.refuse("id", "is not in kebab-case, such as 'missing-action'")
        if not _REQUIREMENT.fullmatch(data["requirement"]):
            self.refuse("requirement", "is not the id of a requirement, such as 'R17.1'")
        if self._kinds is not None and data["kind"] not in self._kinds:
            self.refuse("kind", unknown_kind(data["kind"], self._kinds))
        if data["code"] not in self._codes:
            meant = did_you_mean(data["code"], self._codes).removesuffix(".")
            self.refuse("code", f"is '{data['code']}' (allowed: {', '.join(self._codes)}){meant}")
        template = self._template()
        charge_point = ids.charge_point() if _CHARGE_POINT.encode() in template else None
        message_id = ids.message() if _MESSAGE.encode() in template else None

        def filled(text: bytes) -> bytes:
            for name, value in (
                (_CHARGE_POINT, charge_point),
                (_MESSAGE, message_id),
                (_PROTOCOL, self._version.subprotocol),
            ):
                text = text.replace(name.encode(), (value or "").encode())
            return text

        answerable, answer_id = self._answer(has_charge_point=charge_point is not None, has_id=message_id is not None)
        return InvalidCase(
            **{name: data[name] for name in REQUIRED_TEXTS},
            raw=filled(template),
            file=str(self._file),
            charge_point_id=charge_point,
            message_id=message_id,
            answerable=answerable,
            open=data.get("open", False),
            is_answer=(data["answer"] or {}).get("callresulterror", False),
            answer_message_id=None if answer_id is None else filled(answer_id.encode()).decode(),
        )

    def _check_text(self, name: str) -> None:
        if name not in self._data:
            self.refuse(name, "is missing")
        if not isinstance(self._data[name], str) or not self._data[name].strip():
            self.refuse(name, "has to be text, and not empty")

    def _template(self) -> bytes:
        given = [name for name in MESSAGE_FIELDS if name in self._data]
        if len(given) != 1:
            self.refuse("raw", f"is required, or one of {', '.join(MESSAGE_FIELDS[1:])}: exactly one, not {len(given)}")
        name = given[0]
        value = self._data[name]
        if name == "raw":
            return self._utf8(name, value)
        if name == "raw_base64":
            return self._base64(value)
        if name == "json":
            try:
                text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            except (ValueError, RecursionError):
                self.refuse(name, "holds a number that JSON cannot say; give the message as 'raw'")
            return self._utf8(name, text)
        return self._built(value)

    def _utf8(self, name: str, value: Any) -> bytes:
        if not isinstance(value, str):
            self.refuse(name, "has to be text")
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError:
            self.refuse(name, "holds half of a surrogate pair; write the escape as text in 'raw', or use 'raw_base64'")

    def _base64(self, value: Any) -> bytes:
        try:
            return base64.b64decode(self._utf8("raw_base64", value), validate=True)
        except binascii.Error:
            self.refuse("raw_base64", "is not base64")

    def _built(self, value: Any) -> bytes:
        parts = ("prefix", "repeat", "suffix")
        if not isinstance(value, dict) or value.keys() != {*parts, "times"}:
            self.refuse("build", "has to be an object with prefix, repeat, times and suffix")
        prefix, repeat, suffix = (self._utf8("build", value[part]) for part in parts)
        times = value["times"]
        if not isinstance(times, int) or isinstance(times, bool) or times < 0:
            self.refuse("build", "has a 'times' that is not a number of 0 or more")
        if len(repeat) * times > LARGEST_BUILT:
            self.refuse("build", f"makes {len(repeat) * times} bytes (allowed: {LARGEST_BUILT})")
        return prefix + repeat * times + suffix

    def _answer(self, *, has_charge_point: bool, has_id: bool) -> tuple[bool, str | None]:
        if "answer" not in self._data:
            self.refuse("answer", "is missing; it is null where no answer can be addressed")
        answer = self._data["answer"]
        if answer is None:
            return False, None
        if not isinstance(answer, dict) or answer.keys() - {"callresulterror"} != {"message_id"}:
            self.refuse("answer", "has to be null, or an object with message_id, and callresulterror where it is one")
        if not isinstance(answer.get("callresulterror", False), bool):
            self.refuse("answer", "has a callresulterror that is neither true nor false")
        if not has_charge_point:
            self.refuse("answer", f"can only be given where the message names the charge point with {_CHARGE_POINT}")
        message_id = answer["message_id"]
        if message_id is not None and not isinstance(message_id, str):
            self.refuse("answer", "has a message_id that is neither text nor null")
        if isinstance(message_id, str) and _MESSAGE in message_id and not has_id:
            self.refuse("answer", f"uses {_MESSAGE}, which is not in the message")
        return True, message_id
