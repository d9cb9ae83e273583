"""The keys that a back end may keep in Redis, each with its type and lifetime, and how to find out whether it does.

Types and lifetimes are those of the wire contract; the names come from the target profile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ocpp_resilience.profile import KEY_PLACEHOLDERS, Target
from ocpp_resilience.redis.connection import RedisClient
from ocpp_resilience.redis.snapshot import SCAN_COUNT

PERSISTENT = 0.0
"""The lifetime of a key that stays."""
UNBOUNDED = float("inf")
EXAMPLES = 5

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_PARTS = {
    "charge_point_id": "[^:]+",
    # A number, or EVSE and connector.
    "connector_id": r"[^:]+(?::\d+)?",
    "transaction_id": "[^:]+",
    "shard": "[^:]+",
}
"""Expressions of placeholders; any other is anything."""
_CHOSEN_BY_CHARGE_POINTS = "own_transaction"


@dataclass(frozen=True, slots=True)
class KeyRule:
    """The rule for a key: its type and lifetime.

    Attributes:
        type: as Redis calls it.
        longest: the longest lifetime in seconds; 0 for a key without one, infinity for one of any length.
    """

    type: str
    longest: float = PERSISTENT

    def lifetime_is_right(self, seconds: float | None) -> bool:
        """Whether a key that lives for so long yet (`None`: for good) is as it should be."""
        return seconds is None if self.longest == PERSISTENT else seconds is not None and seconds <= self.longest

    @property
    def lifetime(self) -> str:
        """The lifetime in words."""
        if self.longest == PERSISTENT:
            return "none"
        return "any, but one" if self.longest == UNBOUNDED else f"up to {self.longest:.0f} s"


RULES: dict[str, KeyRule] = {
    "requests": KeyRule("list"),
    "responses": KeyRule("list", 3600),
    "dead_letters": KeyRule("list"),
    "processing": KeyRule("list"),
    "consumer": KeyRule("string", 120),
    "owner": KeyRule("hash"),
    "shard": KeyRule("list"),
    "shard_owner": KeyRule("hash"),
    "shards": KeyRule("string"),
    "shard_processors": KeyRule("hash", 120),
    "session": KeyRule("hash", UNBOUNDED),
    "connection": KeyRule("string", 3600),
    "gateway": KeyRule("hash", UNBOUNDED),
    "answers": KeyRule("list", UNBOUNDED),
    "connected": KeyRule("set"),
    "correlation": KeyRule("string", 3600),
    "charge_point": KeyRule("string"),
    "charge_points": KeyRule("set"),
    "connector": KeyRule("string"),
    "connectors": KeyRule("set"),
    "transaction": KeyRule("string"),
    "own_transaction": KeyRule("string"),
    "transactions": KeyRule("zset"),
    "active_transactions": KeyRule("set"),
    "transaction_id": KeyRule("string"),
    "configuration": KeyRule("hash"),
    "variables": KeyRule("hash"),
}
"""The documented keys by their name in the target profile."""


@dataclass(slots=True)
class KeyReport:
    """The findings.

    Attributes:
        count: how many keys there are.
        undocumented: keys that match no documented pattern.
        wrong_type: keys of another type, with both types.
        wrong_lifetime: keys with another lifetime, with both lifetimes.
        names: the documented names that were met, each with the number of its keys.
    """

    count: int = 0
    undocumented: list[str] = field(default_factory=list)
    wrong_type: list[str] = field(default_factory=list)
    wrong_lifetime: list[str] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, a line each."""
        return [*(f"{key} is not documented" for key in self.undocumented), *self.wrong_type, *self.wrong_lifetime]

    def __str__(self) -> str:
        problems = self.problems
        if not problems:
            return f"{self.count} keys, all as documented"
        more = f" and {len(problems) - EXAMPLES} more" if len(problems) > EXAMPLES else ""
        return f"{len(problems)} of {self.count} keys: {'; '.join(problems[:EXAMPLES])}{more}"


def check_keys(clients: Sequence[RedisClient], target: Target) -> KeyReport:
    """Look at every key of the databases; this walks over the whole key space, as a check of the tests themselves."""
    patterns = _patterns(target)
    report = KeyReport()
    for client in clients:
        keys = sorted(set(client.scan_iter(count=SCAN_COUNT)))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.type(key)
            pipeline.pttl(key)
        replies = pipeline.execute()
        for key, kind, left in zip(keys, replies[::2], replies[1::2], strict=True):
            if kind != b"none":
                seconds = None if left < 0 else left / 1000
                _judge(report, key.decode("utf-8", "backslashreplace"), kind.decode(), seconds, patterns)
    return report


def _judge(
    report: KeyReport, key: str, kind: str, seconds: float | None, patterns: list[tuple[re.Pattern[str], str]]
) -> None:
    report.count += 1
    name = next((name for pattern, name in patterns if pattern.fullmatch(key)), None)
    if name is None:
        report.undocumented.append(key)
        return
    rule = RULES[name]
    report.names[name] = report.names.get(name, 0) + 1
    if kind != rule.type:
        report.wrong_type.append(f"{key} is a {kind}, documented is a {rule.type}")
    if not rule.lifetime_is_right(seconds):
        found = "none" if seconds is None else f"{seconds:.1f} s"
        report.wrong_lifetime.append(f"{key} has lifetime {found}, documented is {rule.lifetime}")


def _patterns(target: Target) -> list[tuple[re.Pattern[str], str]]:
    """The most particular ones first."""
    named = [(pattern, name) for name in KEY_PLACEHOLDERS if name in RULES and (pattern := _pattern_of(target, name))]
    named.sort(key=lambda each: len(_PLACEHOLDER.sub("", each[0])), reverse=True)
    return [(re.compile(_as_regex(pattern, name)), name) for pattern, name in named]


def _pattern_of(target: Target, name: str) -> str | None:
    pattern: str | None = getattr(target.redis.keys, name)
    return pattern


def _as_regex(pattern: str, name: str) -> str:
    parts = _PLACEHOLDER.split(pattern)
    known = _PARTS | ({"transaction_id": ".+"} if name == _CHOSEN_BY_CHARGE_POINTS else {})
    return "".join(re.escape(part) if index % 2 == 0 else known.get(part, ".+") for index, part in enumerate(parts))
