"""The rates at which `Find Capacity` looks for the limit."""

from LoadLibrary.capacity import rising


def test_last_stage_is_at_the_highest_rate_and_twice_as_long() -> None:
    stages = rising(400, 2, 50_000, 1)
    assert [(stage.seconds, stage.rate) for stage in stages[-3:]] == [(1, 12_800), (1, 25_600), (2, 50_000)]


def test_single_rate_is_one_stage() -> None:
    assert [(stage.seconds, stage.rate) for stage in rising(100, 1.5, 100, 1)] == [(2, 100)]
