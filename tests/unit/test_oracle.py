"""The strict and the tolerant oracle: the profile of a target says which verdict on invalid messages decides."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ocpp_resilience.charge_points.frame_cases import FrameReport
from ocpp_resilience.errors import UsageError
from ocpp_resilience.ids import Ids
from ocpp_resilience.profile import Oracle, Target
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.queue_keys import QueueKeys

LEAST = {
    "name": "mine",
    "running": {"redis_url": "redis://127.0.0.1:6379"},
    "redis": {"keys": {"requests": "in", "responses": "out:{charge_point_id}"}},
}


def profile(folder: Path, **fields: object) -> Target:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(LEAST | fields))
    return Target.load(path)


def test_a_foreign_target_is_judged_tolerantly_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert profile(tmp_path).oracle is Oracle.TOLERANT
    assert profile(tmp_path, oracle="strict").oracle is Oracle.STRICT
    assert Target.load("reference").oracle is Oracle.STRICT
    with pytest.raises(UsageError, match="oracle"):
        profile(tmp_path, oracle="lenient")


def test_the_oracle_decides_which_frames_count(tmp_path: Path) -> None:
    class Some(FrameReport):
        unexpected = ["another code"]  # noqa: RUF012
        intolerable = []  # noqa: RUF012

    assert Some(reactions=[], strict=True).wrong == ["another code"]
    assert Some(reactions=[], strict=False).wrong == []


@pytest.mark.parametrize(("oracle", "checked"), [("strict", True), ("tolerant", False)])
def test_the_oracle_decides_whether_codes_are_checked(tmp_path: Path, oracle: str, checked: bool) -> None:
    client = QueueClient(
        "redis://127.0.0.1:1",
        QueueKeys(requests="r", responses="a:{charge_point_id}"),
        ids=Ids(),
        target=profile(tmp_path, oracle=oracle),
    )
    assert client.strict is checked
