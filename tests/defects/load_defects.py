"""Test 18: load over time."""

from __future__ import annotations

from typing import Any

from catalogue import defect

from server import messages

SOAK = "Memory Stays Bounded Under Extended Operation"


@defect("R18.4", SOAK, longest_wait=120, variables=("SOAK:45s",))
def leaks_a_kilobyte_a_message() -> None:
    """Of every message that was taken off the queue, 1 KB stays in memory."""
    sound = messages.parse
    kept: list[bytes] = []

    def parse(raw: bytes, **options: Any) -> Any:
        kept.append(bytes([len(kept) % 251]) * 1000)
        return sound(raw, **options)

    messages.parse = parse
