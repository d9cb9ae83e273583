"""Bounded polling."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from ocpp_resilience import waiting
from ocpp_resilience.errors import ExpectationFailed, WaitTimeout
from ocpp_resilience.waiting import in_words, seconds, wait_until


def test_returns_the_result_of_the_probe() -> None:
    answers: Iterator[str | None] = iter([None, None, "found"])
    assert wait_until(lambda: next(answers), timeout=5, failure=lambda: "") == "found"


def test_values_that_are_false_count_as_found() -> None:
    assert wait_until(lambda: 0, timeout=5, failure=lambda: "") == 0


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, in seconds; they are made in fact."""
    made: list[float] = []
    sleep = time.sleep

    def pause(length: float) -> None:
        made.append(length)
        sleep(length)

    monkeypatch.setattr(waiting.time, "sleep", pause)
    return made


def test_does_not_pause_when_it_finds_at_once(pauses: list[float]) -> None:
    wait_until(lambda: True, timeout=timedelta(seconds=60), failure=lambda: "")
    assert pauses == []


def test_fails_with_the_last_observation_and_the_waiting_time() -> None:
    with pytest.raises(WaitTimeout, match=r"^the list had 3 entries \(waited 50 ms\)$") as caught:
        wait_until(lambda: None, timeout=timedelta(milliseconds=50), failure=lambda: "the list had 3 entries")
    assert caught.value.waited == pytest.approx(0.05)
    assert caught.value.last_seen == "the list had 3 entries"
    assert isinstance(caught.value, ExpectationFailed)


def test_looks_once_even_without_time() -> None:
    assert wait_until(lambda: "there", timeout=0, failure=lambda: "") == "there"


def test_looks_once_more_when_the_time_is_up() -> None:
    began = time.monotonic()
    assert wait_until(
        lambda: True if time.monotonic() - began >= 0.2 else None,
        timeout=0.2,
        failure=lambda: "",
        longest_pause=10,
    )


def test_pauses_grow_but_not_beyond_the_longest(pauses: list[float]) -> None:
    looks = iter([None] * 7 + [True])
    wait_until(lambda: next(looks), timeout=60, failure=lambda: "", longest_pause=0.02)
    assert pauses == pytest.approx([0.002, 0.004, 0.008, 0.016, 0.02, 0.02, 0.02])


def test_an_error_of_the_probe_ends_the_wait() -> None:
    def probe() -> None:
        raise KeyError("broken")

    with pytest.raises(KeyError):
        wait_until(probe, timeout=60, failure=lambda: "")


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0, "0 seconds"),
        (0.85, "850 ms"),
        (1, "1 second"),
        (2.5, "2.5 seconds"),
        (timedelta(seconds=5), "5 seconds"),
        (timedelta(minutes=2), "120 seconds"),
        (timedelta(milliseconds=1), "1 ms"),
    ],
)
def test_lengths_of_time_in_words(length: timedelta | float, words: str) -> None:
    assert in_words(length) == words


def test_seconds_of_both_kinds() -> None:
    assert seconds(timedelta(milliseconds=1500)) == 1.5
    assert seconds(3) == 3.0
