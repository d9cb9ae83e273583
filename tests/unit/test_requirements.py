"""The requirements file, its loader, the judgement of measured values, and the check of the suites' tags."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from ocpp_resilience.errors import VIOLATIONS, UsageError
from ocpp_resilience.evidence.measure.times import Spread, response_times
from ocpp_resilience.evidence.requirements import (
    DEFAULT_FILE,
    RequirementsFileError,
    UnknownRequirement,
    load,
    load_with_ours,
    main,
)
from ocpp_resilience.evidence.thresholds import Threshold, in_unit, percent_of, value_of, with_unit
from ocpp_resilience.transport.matching import AnswerReport

GOOD = """
counted: [messages]
requirements:
  - id: R13.3
    test: 13
    title: An empty queue blocks nothing.
    thresholds:
      shutdown: {comparison: "<", value: 2, unit: s, statistic: single, measures: "SIGTERM to the end"}
  - id: R13.5
    test: 13
    title: A high volume is drained.
    thresholds:
      messages: {comparison: "==", value: 20000, unit: messages, statistic: count, measures: "messages answered"}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def _write(text: str) -> Path:
        path = tmp_path / "requirements.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def threshold(comparison: str, value: float, unit: str = "ms") -> Threshold:
    return Threshold(comparison, value, unit, "maximum", "what was measured")  # type: ignore[arg-type]


class TestTheFile:
    def test_has_every_requirement_once(self) -> None:
        ids = [requirement.id for requirement in load()]
        assert len(ids) == len(set(ids))
        tests = list(dict.fromkeys(each.partition(".")[0] for each in ids))
        assert tests == ["R13", "R14", "R15", "R16", "R17", "R18", "R20", "R0"]
        for test in tests:
            numbers = [int(each.partition(".")[2]) for each in ids if each.startswith(f"{test}.")]
            assert numbers == sorted(numbers)

    @pytest.mark.parametrize(
        ("requirement", "name", "text"),
        [
            ("R13.1", "answer_time", "<= 5 s"),
            ("R13.3", "health_response_time", "< 100 ms"),
            ("R13.3", "idle_cpu", "< 2 %"),
            ("R13.3", "answer_after_silence", "< 1 s"),
            ("R13.3", "shutdown", "< 2 s"),
            ("R13.5", "messages", "== 20,000 messages"),
            ("R13.5", "drain_rate", ">= 100 msg/s"),
            ("R14.3", "correlation_size", "<= 5 KB"),
            ("R16.3", "reconnect_time", "<= 30 s"),
            ("R17.8", "recovery_time", "<= 60 s"),
            ("R18.4", "memory_growth", "< 100 MB"),
            ("R0.1", "full_run", "<= 15 min"),
        ],
    )
    def test_the_verdict_follows_from_the_requirements(self, requirement: str, name: str, text: str) -> None:
        assert str(load().threshold(requirement, name)) == text

    def test_every_counted_thing_is_used(self) -> None:
        used = {each.unit for requirement in load() for each in requirement.thresholds.values()}
        raw = yaml.safe_load(DEFAULT_FILE.read_text(encoding="utf-8"))
        assert set(raw["counted"]) <= used

    def test_and_the_load_data_agree(self) -> None:
        data = json.loads((DEFAULT_FILE.parent / "load_test_data.json").read_text(encoding="utf-8"))
        known = load()
        assert data["charge_points"]["count"] == known.threshold("R18.1", "charge_points").value
        assert data["messages"]["rate_per_second"] == known.threshold("R18.3", "message_rate").value
        burst = data["charge_points"]["count"] * data["messages"]["per_charge_point"]
        assert burst == known.threshold("R18.3", "burst_messages").value
        assert data["limits"]["memory_growth_mb"] == known.threshold("R18.4", "memory_growth").value
        assert data["limits"]["response_time_ms"] == known.threshold("R18.5", "response_time").value
        assert data["limits"]["recovery_s"] == known.threshold("R18.6", "recovery_time").value
        assert data["charge_points"]["id_pattern"].format(7) == "LOAD-CP-007"

    def test_the_violations_are_those_that_answers_can_have(self) -> None:
        assert tuple(AnswerReport().violations()) == VIOLATIONS


class TestLoading:
    def test_a_violation_counts_against_one_requirement(self, write: Callable[[str], Path]) -> None:
        twice = GOOD.replace("id: R13.3", "id: R13.3\n    violations: [lost]")
        twice = twice.replace("id: R13.5", "id: R13.5\n    violations: [lost]")
        with pytest.raises(RequirementsFileError, match=r"R13\.5: violation 'lost' already counts against R13\.3\."):
            load(write(twice))

    def test_a_good_file(self, write: Callable[[str], Path]) -> None:
        found = load(write(GOOD))
        assert [each.id for each in found] == ["R13.3", "R13.5"]
        assert found.get("R13.5").thresholds["messages"].value == 20000

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                "requirements:",
                "requirement:",
                "(allowed: counted, headings, headline, requirements); did you mean 'requirements'?",
            ),
            ("counted: [messages]", "counted: messages", "'counted' has to be a list of words"),
            ("counted:", "count:", "2: unknown key 'count' (allowed: counted, headings, headline, requirements); did"),
            ("id: R13.5", "id: R13.3", "R13.3: there are two requirements with this id."),
            (
                "id: R13.5",
                "id: R13.5\n    violations: [out of ordr]",
                "R13.5: field 'violations': unknown violation 'out of ordr' (allowed: lost, still on the queue, ",
            ),
            ("id: R13.5", "id: X13", "9: X13: field 'id' is 'X13' (allowed: a form such as R13.3)."),
            (
                "id: R13.5",
                "name: R13.5",
                "9: requirement number 2: unknown field 'name' (allowed: id, test, title",
            ),
            ("  - id: R13.5\n    test", "  - test", "9: requirement number 2: field 'id' is missing."),
            ("id: R13.5\n    test: 13", "id: R13.5\n    test: 14", "10: R13.5: field 'test' is 14, but the id says 13"),
            ("test: 13", "test: thirteen", "5: R13.3: field 'test' is 'thirteen' (allowed: a whole number)."),
            ("nothing.", "nothing", "6: R13.3: field 'title' has to be a sentence that ends in a full stop."),
            (
                "title: A high",
                "titel: A high",
                "11: R13.5: unknown field 'titel' (allowed: id, test, title",
            ),
            ("value: 2,", "value: two,", "8: R13.3: threshold 'shutdown': field 'value' is 'two' (allowed: a number)."),
            (
                "value: 2,",
                "value: .inf,",
                "R13.3: threshold 'shutdown': field 'value' is inf (allowed: a finite",
            ),
            ("value: 2,", "", "8: R13.3: threshold 'shutdown': field 'value' is missing."),
            (
                'comparison: "<"',
                'comparison: "=<"',
                "threshold 'shutdown': field 'comparison' is '=<' (allowed: <, <=, ==, >=, >).",
            ),
            (
                "unit: s,",
                "unit: sec,",
                "R13.3: threshold 'shutdown': field 'unit': unknown unit 'sec' (allowed: %",
            ),
            (
                "statistic: single",
                "statistic: p100",
                "8: R13.3: threshold 'shutdown': field 'statistic': unknown statistic 'p100' (allowed: maximum",
            ),
            (
                "statistic: single",
                "statistic: maximun",
                "or a percentile such as p95 or p99.9); did you mean 'maximum'?",
            ),
            (
                "unit: messages,",
                "unit: messages/sec,",
                "unknown unit 'messages/sec' (allowed: %, HTTP status, KB, MB, MiB, messages, min, ms, msg/s, s, x; a",
            ),
            (
                "requirements:",
                "headings: {14: Answers}\nrequirements:",
                "3: heading 14: no requirement has this test number (there are: 13).",
            ),
            ("requirements:", "headings: {13: 7}\nrequirements:", "3: heading 13: expected words, got 7."),
            (
                '"SIGTERM to the end"',
                '" "',
                "R13.3: threshold 'shutdown': field 'measures' is empty; describe the measured value",
            ),
            ("shutdown:", "Shut-Down:", "R13.3: threshold 'Shut-Down': a name has lower-case letters"),
            ("  - id: R13.5", "  - 7\n  - id: R13.5", "requirement number 2: expected fields, got 7."),
            ("    test: 13", "    test: 13\n    test: 13", "line 6: field 'test' occurs twice."),
            ("counted: [", "counted: [[", "line 3: expected ',' or ']', but got '<scalar>'."),
        ],
    )
    def test_each_mistake_is_named(self, write: Callable[[str], Path], old: str, new: str, message: str) -> None:
        assert old in GOOD
        path = write(GOOD.replace(old, new, 1))
        with pytest.raises(RequirementsFileError) as caught:
            load(path)
        text = str(caught.value)
        assert text.startswith(f"{path}, line ")
        assert message in text
        assert "\n" not in text

    @pytest.mark.parametrize(
        ("statistic", "percent", "needed"),
        [("p50", 50, 2), ("p95", 95, 20), ("p99", 99, 100), ("p99.9", 99.9, 1000), ("p99.95", 99.95, 2000)],
    )
    def test_percentiles_are_statistics(
        self, write: Callable[[str], Path], statistic: str, percent: float, needed: int
    ) -> None:
        found = load(write(GOOD.replace("statistic: single", f"statistic: {statistic}")))
        assert percent_of(found.threshold("R13.3", "shutdown").statistic) == percent
        assert found.threshold("R13.3", "shutdown").samples_needed == needed

    @pytest.mark.parametrize("statistic", ["p0", "p100", "p101", "P95", "p", "p99.", "95", "p-1"])
    def test_what_is_no_percentile_is_no_statistic(self, write: Callable[[str], Path], statistic: str) -> None:
        with pytest.raises(RequirementsFileError, match="unknown statistic"):
            load(write(GOOD.replace("statistic: single", f'statistic: "{statistic}"')))

    @pytest.mark.parametrize("unit", ["messages/s", "messages/min", "messages/h", "msg/s", "%"])
    def test_rates_of_what_is_counted_and_shares_are_units(self, write: Callable[[str], Path], unit: str) -> None:
        found = load(write(GOOD.replace("unit: messages,", f'unit: "{unit}",')))
        assert str(found.threshold("R13.5", "messages")) == f"== 20,000 {unit}"

    def test_own_requirements_stand_before_ours_and_replace_them(self, write: Callable[[str], Path]) -> None:
        own = write(GOOD.replace("R13.5", "R99.1").replace("13\n    title: A high", "99\n    title: A high"))
        found = load_with_ours([own])
        assert next(iter(found)).id == "R13.3"
        assert found.threshold("R13.3", "shutdown").measures == "SIGTERM to the end"
        assert list(found.get("R13.3").thresholds) == ["shutdown"]
        assert found.get("R99.1")
        assert "R17.9" in found
        assert found.own == {"R13.3", "R99.1"}
        assert load_with_ours([DEFAULT_FILE]).source == DEFAULT_FILE

    @pytest.mark.parametrize("text", ["", "[]", "requirements: []", "requirements: 5"])
    def test_an_empty_file(self, write: Callable[[str], Path], text: str) -> None:
        with pytest.raises(RequirementsFileError, match="expected the key 'requirements'"):
            load(write(text))

    def test_no_thresholds(self, write: Callable[[str], Path]) -> None:
        text = "requirements: [{id: R1.1, test: 1, title: A., thresholds: {}}]"
        with pytest.raises(RequirementsFileError, match=r"line 1: R1\.1: field 'thresholds' is empty"):
            load(write(text))

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(RequirementsFileError, match=r"nosuch\.yaml: cannot be read: .*No such file"):
            load(tmp_path / "nosuch.yaml")

    def test_unknown_names_list_the_known_ones(self) -> None:
        known = load()
        with pytest.raises(
            UnknownRequirement, match=r"no requirement 'R13\.9' in .*mean .*\? Known: R13\.1, .*R13\.8\."
        ):
            known.get("R13.9")
        with pytest.raises(
            UnknownRequirement, match=r"R13\.5 has no threshold 'rate' in .*Known: messages, drain_rate"
        ):
            known.threshold("R13.5", "rate")
        assert "R13.1" in known
        assert len(known) == DEFAULT_FILE.read_text(encoding="utf-8").count("\n  - id: R")


class TestJudging:
    @pytest.mark.parametrize(
        ("comparison", "met", "missed"),
        [
            ("<", [-1, 99.999], [100, 101]),
            ("<=", [0, 100], [100.001]),
            ("==", [100, 100.0], [99, 101]),
            (">=", [100, 1e9], [99.99]),
            (">", [100.01], [100, 0]),
        ],
    )
    def test_comparisons(self, comparison: str, met: list[float], missed: list[float]) -> None:
        limit = threshold(comparison, 100)
        assert [limit.judge(value).met for value in met] == [True] * len(met)
        assert [limit.judge(value).verdict for value in missed] == ["not met"] * len(missed)

    @pytest.mark.parametrize(
        ("comparison", "measured", "margin", "words"),
        [
            ("<", 85, 15, "15 ms (15 %)"),
            ("<", 99.7, 0.3, "0.3 ms (0.3 %)"),
            (">=", 250, 150, "150 ms (150 %)"),
            ("==", 100, 0, "exact"),
            ("<=", 100, 0, "none: exactly the limit"),
            ("==", 98, -2, "-2 ms"),
            ("<", 140, -40, "-40 ms (-40 %)"),
        ],
    )
    def test_margins(self, comparison: str, measured: float, margin: float, words: str) -> None:
        judgement = threshold(comparison, 100).judge(measured)
        assert judgement.margin == margin
        assert judgement.margin_in_words == words

    @pytest.mark.parametrize(
        ("comparison", "limit", "measured", "words"),
        [
            ("<", 100, 140, "missed by 40 ms (40 %)"),
            ("<", 100, 100, "exactly the limit, which is not below it"),
            (">", 100, 100, "exactly the limit, which is not above it"),
            (">=", 100, 60.5, "missed by 39.5 ms (39.5 %)"),
            ("==", 0, 3, "missed by 3 ms"),
            ("<=", 0, 3, "missed by 3 ms"),
        ],
    )
    def test_misses(self, comparison: str, limit: float, measured: float, words: str) -> None:
        assert threshold(comparison, limit).judge(measured).miss_in_words == words

    @pytest.mark.parametrize(
        ("unit", "length", "number"),
        [
            ("ms", timedelta(milliseconds=85), 85),
            ("ms", timedelta(microseconds=300), 0.3),
            ("s", timedelta(minutes=1), 60),
            ("min", timedelta(seconds=90), 1.5),
        ],
    )
    def test_lengths_of_time_are_converted(self, unit: str, length: timedelta, number: float) -> None:
        assert in_unit(length, unit) == number
        assert threshold("==", number, unit).judge(length).met

    def test_limits_of_time_are_lengths_of_time(self) -> None:
        assert threshold("<", 100, "ms").limit == timedelta(milliseconds=100)
        assert threshold("<", 15, "min").limit == timedelta(minutes=15)
        assert threshold("<", 2, "%").limit == 2

    def test_a_length_of_time_is_no_percentage(self) -> None:
        with pytest.raises(UsageError, match=r"A duration \(0:00:01\) cannot be given in '%'"):
            in_unit(timedelta(seconds=1), "%")

    @pytest.mark.parametrize("measured", [True, float("nan"), float("inf"), "85", None])
    def test_a_value_that_is_no_number_is_refused(self, measured: float) -> None:
        with pytest.raises(UsageError, match="has to be a finite number or a duration, not "):
            in_unit(measured, "ms")

    @pytest.mark.parametrize(
        ("value", "unit", "text"),
        [
            (20000, "messages", "20,000 messages"),
            (1, "messages", "1 message"),
            (1, "crashes", "1 crash"),
            (-1, "writes", "-1 write"),
            (5231.2345, "msg/s", "5,231 msg/s"),
            (12.5, "%", "12.5 %"),
            (2.0, "x", "2 x"),
            (0.00004, "ms", "< 0.0001 ms"),
            (0.000013, "s", "0.013 ms"),
            (-0.1026, "min", "-6.16 s"),
            (0.00380508, "s", "3.81 ms"),
            (39.359, "ms", "39.36 ms"),
            (133.14767, "ms", "133.1 ms"),
            (0.000012, "min", "0.72 ms"),
            (0.25, "s", "0.25 s"),
            (0, "keys", "0 keys"),
        ],
    )
    def test_numbers_for_people(self, value: float, unit: str, text: str) -> None:
        assert with_unit(value, unit) == text


class TestTheCheck:
    @pytest.fixture
    def suites(self, tmp_path: Path) -> Path:
        folder = tmp_path / "suites"
        folder.mkdir()
        return folder

    @pytest.fixture
    def requirements_file(self, write: Callable[[str], Path]) -> Path:
        return write(GOOD)

    @pytest.fixture
    def check(
        self, suites: Path, requirements_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., tuple[int, str, list[str]]]:
        def _check(*options: str) -> tuple[int, str, list[str]]:
            status = main(["check", str(suites), "--requirements", str(requirements_file), *options])
            out, err = capsys.readouterr()
            return status, out, err.splitlines()

        return _check

    def put(self, suites: Path, tests: str, name: str = "one.robot") -> Path:
        path = suites / name
        path.write_text(dedent(tests), encoding="utf-8")
        return path

    def test_all_well(self, suites: Path, check: Callable[..., tuple[int, str, list[str]]]) -> None:
        self.put(
            suites,
            """\
            *** Settings ***
            Test Tags    R13.5

            *** Test Cases ***
            First
                No Operation

            Second
                [Tags]    r 13.3    slow    R13.5.1
                No Operation
            """,
        )
        status, out, problems = check("--complete")
        assert (status, problems) == (0, [])
        assert "R13.3            1  An empty queue blocks nothing." in out
        assert "R13.5            2  A high volume is drained." in out
        assert "2 of 2 requirements have a test." in out
        assert "Note" not in out

    def test_an_unknown_tag(self, suites: Path, check: Callable[..., tuple[int, str, list[str]]]) -> None:
        path = self.put(suites, "*** Test Cases ***\nFirst\n    [Tags]    R13.3    R99.1\n    No Operation\n")
        status, _, problems = check()
        assert status == 1
        assert problems == [f"{path}:2: Test 'First' has the tag R99.1, which requirements.yaml does not know."]

    def test_a_test_without_a_tag(self, suites: Path, check: Callable[..., tuple[int, str, list[str]]]) -> None:
        path = self.put(suites, "*** Test Cases ***\nFirst\n    [Tags]    slow\n    No Operation\n")
        status, _, problems = check()
        assert status == 1
        assert problems == [f"{path}:2: Test 'First' has no requirement tag; add one such as R13.1."]

    def test_a_requirement_without_a_test(self, suites: Path, check: Callable[..., tuple[int, str, list[str]]]) -> None:
        self.put(suites, "*** Test Cases ***\nFirst\n    [Tags]    R13.3\n    No Operation\n")
        status, out, problems = check()
        assert (status, problems) == (0, [])
        assert "Note: without a test so far: R13.5." in out
        status, _, problems = check("--complete")
        assert status == 1
        assert problems == ["R13.5: no test proves it (A high volume is drained.)"]

    def test_every_problem_has_its_own_line(
        self, suites: Path, check: Callable[..., tuple[int, str, list[str]]]
    ) -> None:
        self.put(suites, "*** Test Cases ***\nFirst\n    [Tags]    R1.1    R2.2\n    No Operation\n")
        self.put(suites, "*** Test Cases ***\nSecond\n    No Operation\n", "two.robot")
        _, _, problems = check("--complete")
        assert len(problems) == 5

    def test_no_tests_at_all(self, suites: Path, check: Callable[..., tuple[int, str, list[str]]]) -> None:
        status, _, problems = check()
        assert status == 1
        assert problems == [f"No tests in {suites}: nothing was checked."]

    def test_a_broken_requirements_file(
        self, suites: Path, requirements_file: Path, check: Callable[..., tuple[int, str, list[str]]]
    ) -> None:
        self.put(suites, "*** Test Cases ***\nFirst\n    [Tags]    R13.3\n    No Operation\n")
        requirements_file.write_text("requirements: 5", encoding="utf-8")
        status, _, problems = check()
        assert status == 1
        assert problems == [
            f"{requirements_file}, line 1: expected the key 'requirements' with a list of requirements."
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "the following arguments are required: command"),
            (["check"], "the following arguments are required: suites"),
            (["check", "no/such/folder"], "there is no no/such/folder"),
            (["check", ".", "--requirements", "nosuch.yaml"], "there is no nosuch.yaml"),
            (["check", ".", "--wrong"], "there is no option --wrong (allowed: --help, --complete, --requirements)."),
        ],
    )
    def test_wrong_use(self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err

    def test_as_a_command(self, suites: Path) -> None:
        self.put(suites, "*** Test Cases ***\nFirst\n    [Tags]    R13.3    R99.1\n    No Operation\n")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "ocpp_resilience.evidence.requirements", "check", "suites"],
            cwd=suites.parent,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "suites/one.robot:2: Test 'First' has the tag R99.1, which requirements.yaml does not know."
        ]
        assert f"1 of {len(load())} requirements have a test." in done.stdout


class TestManyValues:
    """Of many values, what the statistic of the threshold says is compared."""

    TIMES = tuple(range(1000, 0, -1))

    @pytest.mark.parametrize(
        ("statistic", "value"),
        [
            ("p95", 950),
            ("p99", 990),
            ("p99.9", 999),
            ("p50", 500),
            ("median", 500.5),
            ("mean", 500.5),
            ("maximum", 1000),
            ("minimum", 1),
            ("count", 1000),
        ],
    )
    def test_of_a_list(self, statistic: str, value: float) -> None:
        assert value_of(list(self.TIMES), Threshold("<", 1, "ms", statistic, "times")) == (value, 1000)

    def test_lengths_of_time_are_in_the_unit_of_the_threshold(self) -> None:
        times = [timedelta(seconds=each) for each in (1, 2, 3)]
        assert value_of(times, Threshold("<", 1, "ms", "maximum", "times")) == (3000, 3)

    @pytest.mark.parametrize("statistic", ["share", "rate", "growth", "ratio", "single"])
    def test_what_is_no_statistic_of_a_list(self, statistic: str) -> None:
        limit = Threshold("<", 1, "%", statistic, "what")
        assert value_of([0.5], limit) == (0.5, 1)
        with pytest.raises(UsageError, match=rf"A {statistic} cannot be computed from a list of 2 values: give"):
            value_of([0.5, 0.6], limit)

    @pytest.mark.parametrize(
        ("statistic", "value"), [("p95", 95), ("p99", 99), ("median", 50.5), ("maximum", 100), ("minimum", 1)]
    )
    def test_of_a_spread_as_keywords_return_it(self, statistic: str, value: float) -> None:
        spread = response_times([each / 1000 for each in range(1, 101)])
        found, samples = value_of(spread, Threshold("<", 1, "ms", statistic, "times"))
        assert found == timedelta(milliseconds=value)
        assert samples == 100

    def test_of_the_latency_of_a_load(self) -> None:
        spread = Spread(samples=5000, p50=1.5, p99_9=8.25, max=9)
        for statistic, value in (("p99.9", 8.25), ("median", 1.5), ("maximum", 9)):
            found, _ = value_of(spread, Threshold("<", 1, "s", statistic, "times"))
            assert found == timedelta(milliseconds=value)

    def test_what_a_spread_has_not(self) -> None:
        limit = Threshold("<", 1, "ms", "p97.5", "times")
        with pytest.raises(UsageError, match=r"no p97\.5 \(it has: min, median, p90, p95, p99, max\)\. Give the list"):
            value_of(response_times([0.1]), limit)
        with pytest.raises(UsageError, match="nothing was measured"):
            value_of(Spread(), limit)
        with pytest.raises(UsageError, match="the list is empty"):
            value_of([], limit)
        with pytest.raises(UsageError, match="not 'fast'"):
            value_of("fast", limit)
