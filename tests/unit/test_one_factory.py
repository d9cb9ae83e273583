"""Clients of Redis are made in one place a side: TLS, users and sentinels work everywhere then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE = re.compile(
    r"\b(redis\.)?(asyncio\.)?(Redis|StrictRedis|Sentinel|(Blocking)?ConnectionPool)(\.from_url)?\(|\.from_url\("
)
"""What makes a client or a pool of the client library."""


@pytest.mark.parametrize(
    ("folder", "factory"),
    [
        ("libraries", "libraries/ocpp_resilience/redis/connection.py"),
        ("benchmarks", "libraries/ocpp_resilience/redis/connection.py"),
        ("server", "server/redis/address.py"),
    ],
)
def test_clients_are_made_in_the_factory_only(folder: str, factory: str) -> None:
    making = {
        str(file.relative_to(ROOT))
        for file in (ROOT / folder).rglob("*.py")
        if any(MADE.search(line) for line in file.read_text("utf-8").splitlines() if "class " not in line)
    }
    # A profile has a structure of this name.
    assert making - {"libraries/ocpp_resilience/profile/target.py"} <= {factory}


def test_a_client_made_elsewhere_is_found() -> None:
    assert MADE.search("client = redis.Redis.from_url(url)")
    assert MADE.search("client = redis.asyncio.Redis(host=host)")
