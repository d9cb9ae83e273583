"""A snapshot of the keys of a Redis, to prove later that nothing was left behind and no foreign key was touched.

This is the one place that walks over the key space: it is a check of the tests themselves, not a part of their work.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.redis.connection import RedisClient

SCAN_COUNT = 1000
EXAMPLES = 3


_DATABASE = re.compile(r"^\[\d+\] ")


@dataclass(frozen=True, slots=True)
class KeySnapshot:
    """Keys with their types, and digests of their values where these were asked for.

    Attributes:
        types: key to type; keys of a second database begin with its number in brackets.
        values: key to a digest of its value; empty where values were not looked at.
        count: how many keys there are.
    """

    types: dict[str, str]
    values: dict[str, str]

    @property
    def count(self) -> int:
        return len(self.types)

    def __str__(self) -> str:
        return f"<{self.count} keys{' with values' if self.values else ''}>"


@dataclass(slots=True)
class KeyDifference:
    """The differences between the keys of two snapshots.

    Attributes:
        added: keys that are new.
        removed: keys that are gone.
        changed: keys with another type, or with another value where values were looked at.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        parts = []
        for what, keys in (("added", self.added), ("removed", self.removed), ("changed", self.changed)):
            if keys:
                more = f" and {len(keys) - EXAMPLES} more" if len(keys) > EXAMPLES else ""
                parts.append(f"{len(keys)} {what} ({', '.join(keys[:EXAMPLES])}{more})")
        return ", ".join(parts) or "no difference"


def take_snapshot(clients: Sequence[RedisClient], *, values: bool) -> KeySnapshot:
    """Look at every key.

    Args:
        clients: one for each database.
        values: whether to look at the values too.
    """
    types: dict[str, str] = {}
    digests: dict[str, str] = {}
    for place, client in enumerate(clients):
        prefix = f"[{client.connection_pool.connection_kwargs.get('db', 0)}] " if place else ""
        keys = sorted(set(client.scan_iter(count=SCAN_COUNT)))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.type(key)
        # A key whose lifetime ended in between has no type.
        kinds = {key: kind.decode() for key, kind in zip(keys, pipeline.execute(), strict=True) if kind != b"none"}
        names = {key: prefix + key.decode("utf-8", "backslashreplace") for key in kinds}
        types.update({names[key]: kind for key, kind in kinds.items()})
        if values:
            digests.update({names[key]: digest for key, digest in _digests(client, kinds)})
    return KeySnapshot(types, digests)


def _digests(client: RedisClient, kinds: dict[bytes, str]) -> Iterable[tuple[bytes, str]]:
    keys = list(kinds)
    for start in range(0, len(keys), SCAN_COUNT):
        some = keys[start : start + SCAN_COUNT]
        pipeline = client.pipeline(transaction=False)
        for key in some:
            read = _READ.get(kinds[key], _exists)
            read(pipeline, key)
        # A key may have got another type in between; that is a difference, not an error.
        for key, value in zip(some, pipeline.execute(raise_on_error=False), strict=True):
            unordered = kinds[key] in {"set", "hash"} and not isinstance(value, Exception)
            text = repr(sorted(value.items() if isinstance(value, dict) else value) if unordered else value)
            yield key, hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _exists(pipe: Any, key: bytes) -> Any:
    return pipe.exists(key)


_READ: dict[str, Callable[[Any, bytes], Any]] = {
    "string": lambda pipe, key: pipe.get(key),
    "list": lambda pipe, key: pipe.lrange(key, 0, -1),
    "set": lambda pipe, key: pipe.smembers(key),
    "zset": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
    "hash": lambda pipe, key: pipe.hgetall(key),
    "stream": lambda pipe, key: pipe.xrange(key),
}


def compare(before: KeySnapshot, after: KeySnapshot, *, ignore: Iterable[str] = ()) -> KeyDifference:
    """Compare two snapshots; keys that match a pattern in `ignore` are left out."""
    patterns = list(ignore)

    def counts(name: str) -> bool:
        plain = _DATABASE.sub("", name)
        return not any(fnmatch.fnmatchcase(plain, pattern) for pattern in patterns)

    old, new = before.types, after.types
    both_with_values = bool(before.values) and bool(after.values)
    return KeyDifference(
        added=[name for name in new if name not in old and counts(name)],
        removed=[name for name in old if name not in new and counts(name)],
        changed=[
            name
            for name in new
            if name in old
            and counts(name)
            and (old[name] != new[name] or (both_with_values and before.values.get(name) != after.values.get(name)))
        ],
    )
