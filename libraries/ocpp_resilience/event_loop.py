"""The event loop: uvloop if installed (extras `server` and `load`), otherwise Python's own."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

HAS_UVLOOP = find_spec("uvloop") is not None


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A new loop, the fastest that there is."""
    if HAS_UVLOOP:
        import uvloop  # noqa: PLC0415 - not everybody has it

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()
