"""The judgement of the answers of the health check during a fault."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.errors import Inconclusive
from ocpp_resilience.robot.library import Cleanup
from OcppServerLibrary.health_watch import HealthSeen, HealthWatch

SILENCE = "no answer of Server 'server' from 700 ms on until the fault ended"


@dataclass
class EndedFault:
    """A fault that has ended now."""

    ending: str | None = None
    ended: str | None = field(default_factory=rfc3339)


def found(*seen: HealthSeen, exited: str = "", busy: str = "") -> list[str]:
    """What the keyword finds after a watch of five seconds."""
    watch: Any = SimpleNamespace(
        server=SimpleNamespace(
            name="Server 'server'", ended_by_itself=lambda seen: f"{exited} {seen}\nmore" if exited else ""
        ),
        seen=list(seen),
        since=time.time() - 5,
        end=lambda: 5.0,
        close=lambda: None,
        machine_was_busy=lambda: busy,
    )
    component = HealthWatch(cast(Any, None))
    component.library = cast(Any, SimpleNamespace(cleanup=Cleanup()))
    component._watches.add("server", watch, component.cleanup)
    return component.find_wrong_health_during_fault(EndedFault())


def answer(ago: float, status: str | None = "degraded", ready: int | None = 503) -> HealthSeen:
    """An answer that was there some seconds ago."""
    return HealthSeen(time.time() - ago, time.time() - ago, status, ready)


def test_each_answer_other_than_degraded_and_503_is_wrong() -> None:
    assert found(answer(3), answer(2, ready=None)) == []
    assert found(answer(4.9, "healthy"), answer(3)) == [], "a server needs a moment to notice"
    wrong = found(answer(3, "healthy"), answer(2, None), answer(1, ready=200))
    assert [each.partition("there ")[2] for each in wrong] == [
        "health was healthy",
        "health was not told",
        "the ready check was answered 200, expected 503",
    ]


def test_no_answer_at_all_is_wrong_unless_the_machine_was_busy() -> None:
    assert found(answer(4.9)) == [SILENCE]
    assert found(exited="It exited.", busy="busy") == [f"It exited. {SILENCE}"]
    with pytest.raises(Inconclusive, match=f"^Inconclusive: {SILENCE}, and others were busy.$"):
        found(busy="others were busy")
