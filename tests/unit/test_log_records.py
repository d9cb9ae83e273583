"""Reading a growing JSON-lines log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocpp_resilience.errors import WaitTimeout
from ocpp_resilience.system.log_records import LogRecords


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stdout.log"


def write(file: Path, *records: dict[str, Any] | str | bytes) -> None:
    with file.open("ab") as log:
        for record in records:
            text = json.dumps(record) + "\n" if isinstance(record, dict) else record
            log.write(text if isinstance(text, bytes) else text.encode())


def test_a_log_that_does_not_exist_yet_is_empty(file: Path) -> None:
    assert LogRecords(file).matching() == []


def test_reads_on_where_it_was(file: Path) -> None:
    log = LogRecords(file)
    write(file, {"event": "ready"})
    assert log.position() == 1
    write(file, {"event": "stopping"}, {"event": "stopped"})
    assert [record["event"] for record in log.matching(since=1)] == ["stopping", "stopped"]
    assert log.position() == 3


def test_a_half_written_line_waits_for_its_end(file: Path) -> None:
    log = LogRecords(file)
    write(file, '{"event": "rea')
    assert log.matching() == []
    write(file, 'dy"}\n')
    assert log.matching() == [{"event": "ready"}]


def test_a_character_cut_in_two_is_put_together(file: Path) -> None:
    log = LogRecords(file)
    line = '{"event": "käse"}\n'.encode()
    middle = line.index("ä".encode()) + 1
    write(file, line[:middle])
    assert log.matching() == []
    write(file, line[middle:])
    assert log.matching() == [{"event": "käse"}]


@pytest.mark.parametrize(
    "text", ["Traceback (most recent call last):", "17", "null", '["a"]', '{"event": ', "[" * 100_000]
)
def test_a_line_that_is_no_json_object_is_kept_as_text(file: Path, text: str) -> None:
    write(file, f"{text}\n", {"event": "next"})
    assert LogRecords(file).matching() == [{"event": None, "text": text}, {"event": "next"}]


def test_empty_lines_are_no_records(file: Path) -> None:
    write(file, "\n\n", {"event": "ready"}, "\r\n")
    assert LogRecords(file).position() == 1


def test_bytes_that_are_no_text_do_not_hurt(file: Path) -> None:
    write(file, b"\xff\xfe oops\n", {"event": "next"})
    first, second = LogRecords(file).matching()
    assert first["event"] is None
    assert first["text"].endswith(" oops")
    assert second == {"event": "next"}


def test_half_a_character_can_be_written_to_a_report(file: Path) -> None:
    write(file, r'{"event": "x", "raw": ["\ud800", {"\udfff": "\ud83d\ude00"}]}' + "\n")
    (record,) = LogRecords(file).matching()
    assert json.dumps(record, ensure_ascii=False).encode("utf-8")
    assert record["raw"][1] == {"\ufffd": "😀"}


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 4),
        ({"event": "invalid_message"}, 3),
        ({"event": "invalid_message", "code": "NotImplemented"}, 2),
        ({"code": "NotImplemented", "charge_point_id": "CP-1"}, 1),
        ({"charge_point_id": None}, 3),
        ({"size": "7"}, 1),
        ({"size": 7}, 1),
        ({"cut": "True"}, 0),
        ({"cut": "true"}, 1),
        ({"cut": True}, 1),
        ({"event": "nothing"}, 0),
        ({"message_id": "None"}, 0),
    ],
)
def test_filtering_by_fields(file: Path, fields: dict[str, Any], count: int) -> None:
    write(
        file,
        {"event": "ready"},
        {"event": "invalid_message", "code": "NotImplemented", "charge_point_id": "CP-1", "message_id": None},
        {"event": "invalid_message", "code": "NotImplemented", "charge_point_id": None, "size": 7},
        {"event": "invalid_message", "code": "FormationViolation", "cut": True},
    )
    assert len(LogRecords(file).matching(fields)) == count


def test_names_of_another_system_are_translated(file: Path) -> None:
    log = LogRecords(file, fields={"event": "kind", "code": "why"}, events={"invalid_message": "rubbish"})
    write(file, {"kind": "rubbish", "why": "NotSupported", "extra": 1}, {"kind": "other"})
    assert log.matching({"event": "invalid_message", "code": "NotSupported"}) == [
        {"event": "invalid_message", "code": "NotSupported", "extra": 1}
    ]
    assert log.matching({"event": "other"})


def test_waiting_returns_every_record_that_matches(file: Path) -> None:
    log = LogRecords(file)
    write(file, {"event": "a"}, {"event": "b", "n": 1}, {"event": "b", "n": 2})
    assert [record["n"] for record in log.wait_for({"event": "b"}, timeout=1, count=2)] == [1, 2]


def test_a_timeout_shows_the_records_that_were_there(file: Path) -> None:
    log = LogRecords(file)
    write(file, {"event": "a"}, {"event": "b"}, {"event": "c", "n": 1})
    with pytest.raises(WaitTimeout) as caught:
        log.wait_for({"event": "b", "n": 5}, timeout=0.05, count=2, since=1)
    assert str(caught.value) == (
        "Expected 2 records with event=b, n=5 in the log, found 0 "
        '(the last of 2 records: {"event": "c", "n": 1}) (waited 50 ms)'
    )


def test_waiting_in_vain_in_an_empty_log(file: Path) -> None:
    with pytest.raises(WaitTimeout, match=r"found 0 \(no record\)"):
        LogRecords(file).wait_for({}, timeout=0)
