"""The list of the oldest pending commands: what an inspection may say of commands that wait."""

from __future__ import annotations

from dataclasses import replace

from ocpp_resilience.system.inspection import Correlations, Pending, Waiting

WAITING = [
    Waiting(message_id=f"id-{number}", charge_point="CP-1", action="Reset", least=9 - number, most=9.5, timeout=16.0)
    for number in range(4)
]
LISTED = [Pending(each.message_id, "CP-1", each.least + 0.05, "Reset", 16.0) for each in WAITING]


def problems(oldest: list[Pending], *, pending: int = 4, others: int = 0) -> str:
    """What is wrong with a list, in one text."""
    return "; ".join(Correlations(pending, oldest, {}).problems(WAITING, others))


def test_the_oldest_are_listed_in_any_order() -> None:
    assert not problems(LISTED)
    assert not problems(LISTED[::-1])
    assert not problems(LISTED[:2])


def test_an_inspection_need_not_say_everything() -> None:
    assert not problems([replace(each, action=None, timeout=None) for each in LISTED])


def test_one_that_waits_longer_is_missing() -> None:
    assert "id-0 waits for 9.0 s at least and is not listed, one of 6.0 s is" in problems(LISTED[1:])


def test_one_whose_time_may_be_up_need_not_be_listed() -> None:
    waiting = [replace(each, timeout=9.5) for each in WAITING]
    listed = [replace(each, timeout=9.5) for each in LISTED[1:]]
    assert not Correlations(3, listed, {}).problems(waiting, 0)


def test_nothing_is_listed() -> None:
    assert "none of the 4 pending commands is listed" in problems([])


def test_each_field_is_compared() -> None:
    first = LISTED[0]
    assert "id-0 is listed for CP-2, expected CP-1" in problems([replace(first, charge_point="CP-2")])
    assert "id-0 is listed as Clear, expected Reset" in problems([replace(first, action="Clear")])
    assert "id-0 is listed with an age of 20.0 s, expected 9.0 to 9.5 s" in problems([replace(first, age=20.0)])
    assert "id-0 is listed with a timeout of 30 s, expected 16 s" in problems([replace(first, timeout=30.0)])


def test_others_may_wait() -> None:
    stranger = Pending("stranger", "CP-9", 25.0)
    assert not problems([stranger, *LISTED], pending=5, others=1)
    assert "stranger is listed as pending and is no command that waits" in problems([stranger, *LISTED])
