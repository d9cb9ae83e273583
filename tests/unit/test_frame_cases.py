"""The file of invalid frames, its parser, and the judgement of outcomes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ChargePointLibrary import ChargePointLibrary
from ocpp_resilience import background
from ocpp_resilience.charge_points.frame_cases import (
    FrameCase,
    FrameReport,
    generated_frames,
    judge,
    load_frames,
    send_frames,
)
from ocpp_resilience.charge_points.gateway import Gateway
from ocpp_resilience.charge_points.point import ChargePoint
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.ocpp import Version, ocpp_version
from ocpp_resilience.ocpp.frames import Direction, Frame, MessageType
from ocpp_resilience.profile import Target

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from fake_gateway import FakeGateway, fake_gateway

PATH = Path(__file__).resolve().parents[2] / "resources" / "invalid_frames.json"
CASES = load_frames(PATH)
PATH_2 = PATH.with_name("invalid_frames_2.json")
VERSIONS_OF_2 = [ocpp_version("ocpp2.0.1"), ocpp_version("ocpp2.1")]
KINDS = {
    "malformed_json",
    "not_a_frame",
    "message_type",
    "message_id",
    "elements",
    "action",
    "payload",
    "answer",
    "deep_nesting",
    "oversized",
    "not_utf8",
    "binary",
    "websocket",
    "added_by_2_1",
}
GOOD: dict[str, Any] = {
    "id": "one",
    "title": "One.",
    "kind": "k",
    "reason": "Because.",
    "json": [2, "{message_id}"],
    "expect": {"callerror": "FormationViolation", "message_id": "{message_id}"},
}


def write(folder: Path, *cases: Any) -> Path:
    file = folder / "frames.json"
    file.write_text(json.dumps({"description": "", "cases": cases}), encoding="utf-8")
    return file


class TestTheFile:
    def test_has_the_cases_that_were_promised(self) -> None:
        assert len(CASES) >= 90
        assert {case.kind for case in CASES} == KINDS
        assert {case.code for case in CASES} >= {
            "FormationViolation",
            "NotImplemented",
            "NotSupported",
            "OccurenceConstraintViolation",
            "TypeConstraintViolation",
            "PropertyConstraintViolation",
        }
        assert {code for case in CASES for code in case.closed} >= {1002, 1007, 1009}

    def test_every_kind_is_in_the_suite(self) -> None:
        suite = (PATH.parents[1] / "suites" / "17_invalid_message_handling.robot").read_text(encoding="utf-8")
        assert all(re.search(rf"R17\.1[01]    {kind}\n", suite) for kind in KINDS)

    def test_has_no_title_and_no_frame_twice(self) -> None:
        titles = [case.title for case in CASES]
        frames = [(case.form, str(case.data).replace(case.answer_id or "-", "")) for case in CASES]
        assert len(set(titles)) == len(titles)
        assert len(set(frames)) == len(frames)

    def test_gives_fresh_ids_whenever_it_is_loaded(self) -> None:
        again = {case.id: case for case in load_frames(PATH)}
        for case in CASES:
            assert "{message_id}" not in str(case.data)
            if case.answer_id is not None and case.answer_id.startswith("frame-"):
                assert again[case.id].data != case.data


class TestTheFileOf2:
    """The frames of OCPP 2.0.1 and 2.1."""

    @pytest.mark.parametrize("version", VERSIONS_OF_2, ids=str)
    def test_has_the_kinds_and_the_codes_of_the_version(self, version: Version) -> None:
        cases = load_frames(PATH_2, version=version)
        assert len(cases) >= 100
        assert {case.kind for case in cases} == KINDS
        assert {case.code for case in cases} - {None} <= set(version.codes)
        titles = [case.title for case in cases]
        assert len(set(titles)) == len(titles)

    def test_has_callresulterrors_for_2_1_alone(self) -> None:
        v201, v21 = (load_frames(PATH_2, version=version) for version in VERSIONS_OF_2)
        assert not any(case.error is MessageType.CALLRESULTERROR or case.never_answered for case in v201)
        reported = [case for case in v21 if case.error is MessageType.CALLRESULTERROR]
        assert len(reported) >= 4
        assert reported[0].expected().startswith("the CALLRESULTERROR FormatViolation to frame-")
        assert len([case for case in v21 if case.never_answered]) >= 10

    def test_a_version_that_nobody_knows_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"field 'versions' is \['ocpp9'\] \(allowed: a list of ocpp1.6, "):
            load_frames(write(tmp_path, {**GOOD, "versions": ["ocpp9"]}))

    def test_a_send_that_is_answered_is_not_tolerable(self) -> None:
        [case] = [case for case in load_frames(PATH_2, version=VERSIONS_OF_2[1]) if case.id == "send-valid"]
        answer = Frame(
            direction=Direction.RECEIVED,
            data="",
            number=1,
            at=0,
            time=0,
            kind=MessageType.CALLERROR,
            message_id="x",
            code="NotSupported",
        )
        assert judge(case, [], None, answered_behind=True).right
        reaction = judge(case, [answer], None, answered_behind=True)
        assert (reaction.right, reaction.tolerable) == (False, False)


class TestReading:
    def test_a_case(self, tmp_path: Path) -> None:
        [case] = load_frames(write(tmp_path, GOOD))
        assert case.data == f'[2,"{case.answer_id}"]'
        assert case.expected() == f"the CALLERROR FormationViolation to {case.answer_id}"
        assert (case.closed, case.ignored, str(case)) == ((), False, "one")

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"title": ""}, "field 'title' has to be text"),
            ({"colour": "red"}, "field 'colour' is unknown"),
            ({"id": "One"}, "field 'id' is not in kebab-case"),
            ({"text": "x"}, "exactly one, not 2"),
            ({"json": ..., "text": 1}, "field 'text' has to be text"),
            ({"json": ..., "wire_hex": "0g"}, "field 'wire_hex' is not hexadecimal"),
            ({"json": ..., "build": {"prefix": ""}}, "has to be an object with prefix, repeat, times and suffix"),
            (
                {"json": ..., "build": {"prefix": "", "repeat": "x", "times": -1, "suffix": ""}},
                "and a 'times' of 0 or more",
            ),
            (
                {"json": ..., "build": {"prefix": "", "repeat": "x", "times": 10**9, "suffix": ""}},
                "makes more than 67108864",
            ),
            (
                {"expect": {}},
                "has to be an object with callerror or callresulterror and message_id, closed, or ignored",
            ),
            ({"expect": {"ignored": True, "colour": 1}}, "has the unknown 'colour'"),
            ({"expect": {"callerror": "Nonsense", "message_id": "x"}}, "needs a known code"),
            ({"expect": {"callerror": "GenericError"}}, "needs a known code and a message_id"),
            ({"expect": {"closed": [7]}}, "is not a list of close codes"),
        ],
    )
    def test_unusable_values_are_named(self, tmp_path: Path, change: dict[str, Any], problem: str) -> None:
        data = {name: value for name, value in {**GOOD, **change}.items() if value is not ...}
        with pytest.raises(UsageError, match=r"frames\.json: case '") as seen:
            load_frames(write(tmp_path, data))
        assert problem in str(seen.value)

    def test_a_file_that_cannot_be_used_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"cannot be read: No such file"):
            load_frames(tmp_path / "none.json")
        file = tmp_path / "bad.json"
        for text, problem in (
            ("{", "is not JSON"),
            ("[]", "expected an object with"),
            ('{"cases":[1]}', "number 1: ex"),
        ):
            file.write_text(text)
            with pytest.raises(UsageError, match=problem):
                load_frames(file)
        with pytest.raises(UsageError, match="field 'id' occurs twice"):
            load_frames(write(tmp_path, GOOD, GOOD))
        with pytest.raises(UsageError, match=r"no case of kind z \(there are: k\)"):
            load_frames(write(tmp_path, GOOD), kind="z")


class TestGenerating:
    def test_the_same_seed_makes_the_same_breaks(self) -> None:
        one, other = (generated_frames(300, seed=7, ids=Ids()) for _ in range(2))
        assert [case.title for case in one] == [case.title for case in other]
        assert one[0].data != other[0].data or one[0].code is None, "but with ids of their own"
        assert len(one) == 300

    def test_each_has_exactly_one_reaction(self) -> None:
        cases = generated_frames(3000, seed=11, ids=Ids())
        for case in cases:
            assert (case.code is not None) + bool(case.closed) + case.ignored == 1, case.title
            assert "GENERATED" not in str(case.data) or case.ignored or case.closed, case.title
        assert {case.closed for case in cases} == {(), (1007,), (1009,)}
        assert len({case.code for case in cases}) >= 7
        assert all(len(str(case.data).encode()) > 256 * 1024 for case in cases if case.closed == (1009,))

    def test_an_answer_is_expected_only_for_a_call_that_can_be_read(self) -> None:
        for case in generated_frames(1000, seed=3, ids=Ids()):
            if case.code is not None:
                frame = json.loads(case.data)
                assert frame[0] == 2
                assert case.answer_id in ("-1", str(frame[1])[:36])

    def test_none_are_refused(self) -> None:
        with pytest.raises(UsageError, match="0 invalid messages"):
            generated_frames(0, seed=1, ids=Ids())


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with fake_gateway() as made:
        yield made
    background.close()


class TestJudgement:
    """The small gateway ignores everything but CALLs, and answers every CALL of any action."""

    def run(self, gateway: FakeGateway, tmp_path: Path, frame: Any, expect: Any) -> FrameReport:
        form, value = next(iter(frame.items()))
        data = {name: value for name, value in GOOD.items() if name != "json"} | {form: value, "expect": expect}
        with ChargePointLibrary() as library:
            library.use_gateway(gateway.url)
            report: FrameReport = library.send_invalid_frames(str(write(tmp_path, data)))
        assert report.count == 1
        return report

    @pytest.mark.parametrize(
        ("frame", "expect"),
        [
            ({"text": "not json"}, {"ignored": True}),
            ({"binary_hex": "00ff"}, {"ignored": True, "closed": [1003]}),
            ({"build": {"prefix": "", "repeat": "x", "times": 300_000, "suffix": ""}}, {"closed": [1009]}),
            ({"text_hex": "ff"}, {"closed": [1007]}),
            ({"wire_hex": "810568656c6c6f"}, {"closed": [1002]}),
            ({"wire_hex": "838000000000"}, {"closed": [1002, 1003]}),
        ],
    )
    def test_the_right_reaction_is_right(self, gateway: FakeGateway, tmp_path: Path, frame: Any, expect: Any) -> None:
        report = self.run(gateway, tmp_path, frame, expect)
        assert report.wrong == [], report.summary
        assert report.summary == "1 frame: 0 with another reaction than expected"

    @pytest.mark.parametrize(
        ("frame", "expect", "seen"),
        [
            ({"text": "not json"}, {"closed": [1007]}, "expected a close with 1007, seen nothing"),
            ({"text_hex": "ff"}, {"ignored": True}, "expected nothing, seen a close with 1007"),
            (
                {"json": [2, "{message_id}", "MakeCoffee", {}]},
                {"callerror": "NotImplemented", "message_id": "{message_id}"},
                "seen the answer to frame-",
            ),
            ({"json": [2, "id", "MakeCoffee", {}]}, {"ignored": True}, "expected nothing, seen the answer to id"),
        ],
    )
    def test_another_reaction_is_wrong(
        self, gateway: FakeGateway, tmp_path: Path, frame: Any, expect: Any, seen: str
    ) -> None:
        report = self.run(gateway, tmp_path, frame, expect)
        [wrong] = report.wrong
        assert seen in str(wrong)
        assert seen in report.summary
        assert len(report.intolerable) == ("json" in frame), "a CALLRESULT is not tolerable, anything else is"

    def test_a_callerror_with_another_code_is_wrong_but_tolerable(self, gateway: FakeGateway, tmp_path: Path) -> None:
        gateway.refused.add("MakeCoffee")
        frame = {"json": [2, "id", "MakeCoffee", {}]}
        right = self.run(gateway, tmp_path, frame, {"callerror": "NotSupported", "message_id": "id"})
        assert right.wrong == []
        for expect in (
            {"callerror": "NotImplemented", "message_id": "id"},
            {"callerror": "NotSupported", "message_id": "-1"},
        ):
            report = self.run(gateway, tmp_path, frame, expect)
            assert (len(report.wrong), len(report.intolerable)) == (1, 0)

    def test_a_next_message_without_an_answer_is_wrong(self, gateway: FakeGateway, tmp_path: Path) -> None:
        gateway.deaf_after = "stop"
        with ChargePointLibrary() as library:
            library.use_gateway(gateway.url)
            stop = GOOD | {"json": "x", "expect": {"ignored": True}}
            del stop["json"]
            file = write(tmp_path, stop | {"text": "stop"})
            report = library.send_invalid_frames(str(file), timeout=timedelta(milliseconds=200))
        assert (report.unanswered, len(report.wrong)) == (1, 1)
        assert str(report.wrong[0]).endswith("seen nothing, and the next message was not answered")

    def test_each_frame_has_a_sound_connection_until_too_many_went_unanswered(self, gateway: FakeGateway) -> None:
        gateway.deaf_after = "stop"
        expected = {"title": "t", "kind": "k", "reason": "r", "form": "text", "ignored": True}
        cases = [FrameCase(id=f"c-{text}", data=text, **expected) for text in ("stop", "fine", "stop", "stop", "fine")]
        point = ChargePoint("CP-1", Gateway(gateway.url, Target.load("reference")))
        report: FrameReport = background.run(send_frames, [point], cases, limit=1)
        assert [each.answered_behind for each in report.reactions] == [False, True, False, False, False]
        assert report.reactions[4].seen.startswith("nothing: it was not sent")

    def test_frames_that_went_wrong_in_the_same_way_are_shown_once(self, gateway: FakeGateway) -> None:
        expected = {"title": "t", "kind": "k", "reason": "r", "form": "json"}
        cases = [
            FrameCase(id=f"c-{each}", data=f'[2,"id-{each}","MakeCoffee",{{}}]', ignored=True, **expected)
            for each in range(3)
        ]
        other = FrameCase(id="g-1", title="a field is missing.", kind="generated", reason="r", form="text", data="x")
        point = ChargePoint("CP-1", Gateway(gateway.url, Target.load("reference")))
        report: FrameReport = background.run(send_frames, [point], [replace(other, closed=(1007,)), *cases], limit=1)
        assert report.summary == (
            "4 frames: 4 with another reaction than expected. "
            "c-0 and 2 more: expected nothing, seen the answer to id-0; "
            "g-1 ('a field is missing'): expected a close with 1007, seen nothing"
        )

    def test_frames_after_which_a_charge_point_cannot_reconnect_are_named(self, gateway: FakeGateway) -> None:
        class Once(ChargePoint):
            async def connect(self, **options: Any) -> Any:
                if self.ends:
                    raise ExpectationFailed("CP-1 could not connect.")
                return await super().connect(**options)

        expected = {"title": "t", "kind": "k", "reason": "r"}
        fatal = FrameCase(
            id="c-fatal", form="wire_hex", data=bytes.fromhex("810568656c6c6f"), closed=(1002,), **expected
        )
        fine = FrameCase(id="c-fine", form="text", data="x", ignored=True, **expected)
        point = Once("CP-1", Gateway(gateway.url, Target.load("reference")))
        with pytest.raises(ExpectationFailed, match=r"^Last sent: c-fatal\. CP-1 could not connect\.$"):
            background.run(send_frames, [point], [fine, fatal, fine], limit=1)

    def test_a_gateway_that_does_not_serve_anybody_is_a_failure(self, gateway: FakeGateway, tmp_path: Path) -> None:
        gateway.refused.add("Heartbeat")
        with pytest.raises(ExpectationFailed, match=r"Heartbeat of CP-.* was answered with the CALLERROR NotSupported"):
            self.run(gateway, tmp_path, {"text": "x"}, {"ignored": True})
