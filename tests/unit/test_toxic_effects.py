"""The effects of toxics as pure functions of pieces and times: exact, independent of the machine."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from ocpp_resilience.faults.proxy.requests import Refused
from ocpp_resilience.faults.proxy.toxics import EFFECTS, NEVER, SEGMENT, Piece, Toxic, ToxicEffect


@dataclass
class Flow:
    """One direction of a connection with a clock that the test sets."""

    dropped: int = 0
    written: int = 0
    time: float = 0.0
    since_last_byte: float = 0.0
    ended: str = ""

    def now(self) -> float:
        return self.time

    def close(self) -> None:
        self.ended = "closed"

    def reset(self) -> None:
        self.ended = "reset"


def effect(kind: str, flow: Flow | None = None, seed: int = 7, **attributes: Any) -> ToxicEffect:
    return Toxic(type=kind, attributes=attributes).checked().effect(flow or Flow(), random.Random(seed))


def passed(made: ToxicEffect, *pieces: Piece) -> list[Piece]:
    """The pieces that come out, each written as soon as it is asked for."""
    found = []
    for data, at in made.through(iter(pieces)):
        made.flow.written += len(data)
        found.append((bytes(data), at))
    return found


def test_latency_is_added_once_to_the_arrival_of_each_piece() -> None:
    pieces = [(b"a" * 1000, 1.0 + number / 1000) for number in range(5)]
    assert [at for _, at in passed(effect("latency", latency=300), *pieces)] == [at + 0.3 for _, at in pieces]


def test_jitter_is_even_around_the_latency() -> None:
    made = effect("latency", latency=20, jitter=15)
    seen = sorted(at * 1000 for _, at in passed(made, *[(b"x", 0.0)] * 10_000))
    for share in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1):
        assert seen[min(9999, int(share * 10_000))] == pytest.approx(5 + 30 * share, abs=0.5)


@pytest.mark.parametrize("rate", [1, 50, 1000, 500_000])
def test_a_line_needs_its_time_for_each_byte_and_no_more(rate: int) -> None:
    made = effect("bandwidth", rate=rate)
    size = rate * 1000
    pieces = passed(made, (b"x" * (size // 2), 1.0), (b"x" * (size - size // 2), 1.0))
    assert sum(len(data) for data, _ in pieces) == size
    assert pieces[-1][1] == pytest.approx(2.0)
    assert pieces[0][1] <= 1.03


def test_a_line_that_was_idle_has_saved_nothing() -> None:
    made = effect("bandwidth", rate=1)
    passed(made, (b"x" * 100, 0.0))
    assert passed(made, (b"x" * 1000, 60.0))[-1][1] == pytest.approx(61.0)


def test_a_line_makes_up_for_a_short_delay_of_the_machine_and_not_for_a_receiver_that_stopped() -> None:
    for late, expected in ((0.1, 1.0), (5.0, 5.0 - 0.2 + 1.0)):
        flow = Flow()
        made = effect("bandwidth", flow, rate=100)
        flow.time = late
        assert passed(made, (b"x" * 100_000, 0.0))[-1][1] == pytest.approx(expected, abs=0.03)


def test_at_rate_0_nothing_is_ever_due() -> None:
    assert passed(effect("bandwidth", rate=0), (b"x", 0.0)) == [(b"x", NEVER)]


def test_slices_have_the_size_and_the_distance_asked_for() -> None:
    made = effect("slicer", average_size=100, size_variation=40, delay=5000)
    pieces = passed(made, (b"x" * 50_000, 0.0), (b"x" * 50_000, 0.0))
    sizes = [len(data) for data, _ in pieces]
    assert sum(sizes) == 100_000
    assert min(sizes[:400]) >= 60
    assert max(sizes) <= 140
    assert sum(sizes) / len(sizes) == pytest.approx(100, rel=0.05)
    assert all(after - before == pytest.approx(0.005) for (_, before), (_, after) in pairwise(pieces))


def test_the_end_of_the_stream_is_late_or_never() -> None:
    assert effect("slow_close", delay=200).end(1.0) == pytest.approx(1.2)
    assert effect("timeout").end(1.0) == NEVER
    assert effect("latency", latency=100).end(1.0) == 1.0


def test_limited_data_is_cut_at_the_byte_and_the_connection_closed_behind_it() -> None:
    flow = Flow(written=5000)
    made = effect("limit_data", flow, bytes=2500)
    assert sum(len(data) for data, _ in passed(made, (b"x" * 1000, 0.0), (b"x" * 1000, 0.0))) == 2000
    assert flow.ended == ""
    assert passed(made, (b"x" * 1000, 0.0)) == [(b"x" * 500, 0.0)]
    assert flow.ended == "closed"


@pytest.mark.parametrize(("kind", "end"), [("timeout", "closed"), ("reset_peer", "reset")])
def test_a_timeout_toxic_ends_the_connection_after_its_time(kind: str, end: str) -> None:
    flow = Flow()
    made = effect(kind, flow, timeout=1500)
    assert passed(made, (b"x" * 10, 0.0)) == []
    assert flow.dropped == 10
    assert made.end(0.0) == NEVER
    assert made.lifetime == 1.5
    made.expire()
    assert flow.ended == end


@pytest.mark.parametrize("loss", [0.01, 0.2, 0.5])
def test_lost_segments_come_late_and_delay_later_ones(loss: float) -> None:
    made = effect("packet_loss", loss=loss, rto=200)
    waits = []
    for number in range(20_000):
        ((_, at),) = passed(made, (b"x", number * 65536.0))
        waits.append(round(at - number * 65536.0, 5))
    assert sum(wait > 0 for wait in waits) / 20_000 == pytest.approx(
        loss, abs=3 * math.sqrt(loss * (1 - loss) / 20_000)
    )
    assert sum(wait > 0.2 for wait in waits) / 20_000 == pytest.approx(loss**2, rel=0.4, abs=0.001)
    assert {wait for wait in waits if wait} <= {round(0.2 * (2**times - 1), 5) for times in range(1, 20)}


def test_a_stream_with_losses_stays_whole_and_in_order() -> None:
    made = effect("packet_loss", loss=0.1, rto=200)
    data = random.Random(1).randbytes(500 * SEGMENT)
    pieces = passed(made, (data[:100_000], 0.0), (data[100_000:], 0.01))
    assert b"".join(piece for piece, _ in pieces) == data
    assert [at for _, at in pieces] == sorted(at for _, at in pieces)
    assert 20 <= len({at for _, at in pieces}) <= 90


def test_no_segment_is_lost_at_a_loss_of_0() -> None:
    assert passed(effect("packet_loss"), (b"x" * 100_000, 1.0)) == [(b"x" * 100_000, 1.0)]


def test_a_connection_that_was_idle_too_long_is_forgotten_for_good() -> None:
    flow = Flow(since_last_byte=9.9)
    made = effect("nat_timeout", flow, timeout=10_000)
    assert passed(made, (b"x", 0.0)) == [(b"x", 0.0)]
    flow.since_last_byte = 10.1
    assert passed(made, (b"x", 0.0)) == []
    assert made.end(0.0) == NEVER
    flow.since_last_byte = 0.1
    assert passed(made, (b"xy", 0.0)) == []
    assert flow.dropped == 3


@pytest.mark.parametrize("kind", EFFECTS)
def test_every_toxic_has_defaults_and_refuses_unknown_attributes(kind: str) -> None:
    known = EFFECTS[kind].attributes
    assert Toxic(type=kind).checked().attributes == known
    with pytest.raises(Refused, match=f"{kind} has no attribute 'wobble'; it has {', '.join(known)}"):
        Toxic(type=kind, attributes={"wobble": 1}).checked()
    for name in known:
        with pytest.raises(Refused, match=f"{name} must not be below 0"):
            Toxic(type=kind, attributes={name: -1}).checked()


def test_a_loss_of_everything_is_refused() -> None:
    with pytest.raises(Refused, match=r"loss .* allowed is 0 to 0.99, not 1"):
        Toxic(type="packet_loss", attributes={"loss": 1}).checked()
    assert math.isinf(NEVER)
