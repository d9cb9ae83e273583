"""Records that may come by the thousand are counted in full and written in part."""

from __future__ import annotations

from server.rate_limited_log import MOST, WINDOW, LogRateLimit


def test_a_few_of_each_kind_are_written_and_the_others_counted_once() -> None:
    clock = 100.0
    limit = LogRateLimit(lambda: clock)
    assert [limit.allows("a") for _ in range(1000)].count(True) == MOST
    assert [limit.allows("b") for _ in range(MOST)] == MOST * [True]
    assert limit.left_out() == {}
    clock += WINDOW
    assert limit.left_out() == {"a": 1000 - MOST}
    assert limit.left_out() == {}
    assert [limit.allows("a") for _ in range(MOST + 2)].count(True) == MOST
    assert limit.left_out() == {}
    assert limit.left_out(at_the_end=True) == {"a": 2}


def test_nothing_is_forgotten_where_one_window_follows_the_other() -> None:
    clock, written, left_out = 0.0, 0, 0
    limit = LogRateLimit(lambda: clock)
    for number in range(10_000):
        clock = number / 1000
        written += limit.allows("a")
        if number % 777 == 0:
            left_out += sum(limit.left_out().values())
    left_out += sum(limit.left_out(at_the_end=True).values())
    assert written == 10 * MOST
    assert written + left_out == 10_000
