"""Suites and resources know nothing of a target: no key, no path, no port; all of that is in its profile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ocpp_resilience.profile import Target, bundled_targets

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*(ROOT / "suites").rglob("*.robot"), *(ROOT / "resources").glob("*.resource")])
PROFILES = [*bundled_targets(), str(ROOT / "tests" / "other_server" / "profile.yaml")]
PORTS = re.compile(r"\b(6379|8080|8081)\b")


def particulars(target: Target) -> Iterator[str]:
    """The texts of a profile that stand for the system: the fixed parts of keys and paths, channels, settings."""
    patterns = [
        *msgspec.structs.asdict(target.redis.keys).values(),
        *(value for value in msgspec.structs.asdict(target.http).values() if value and str(value).startswith("/")),
        *(request.path for request in target.commands.requests.values()),
        target.gateway.path,
    ]
    for pattern in patterns:
        for part in re.split(r"\{[a-z_]+\}", pattern or ""):
            # A word alone, such as the second server's `in`, means nothing; with a separator it is a name.
            if len(part) > 1 and re.search(r"[:/ ]\w|\w[:/]", part):
                yield part


@pytest.mark.parametrize("name", PROFILES)
def test_no_suite_names_a_key_or_a_path(name: str) -> None:
    words = sorted(set(particulars(Target.load(name))))
    assert len(words) > 3
    for file in FILES:
        text = file.read_text()
        assert not [word for word in words if word in text], file.name


def test_no_suite_names_a_port() -> None:
    assert FILES
    for file in FILES:
        assert not PORTS.findall(file.read_text()), file.name


def test_no_suite_passes_on_the_target_of_the_run() -> None:
    """Keywords take it by themselves; only another one has to be named."""
    passed_on = [file.name for file in FILES if "target=${TARGET}" in file.read_text()]
    assert passed_on == []
