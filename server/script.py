"""Lua scripts, sent by their digest and as text only where Redis does not know them yet (EVALSHA, EVAL)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from server.redis_link import RedisWire


class Script:
    """One script.

    Args:
        text: the Lua source.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis' name for the script

    async def __call__(self, wire: RedisWire, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run the script over a wire; raises as the wire does."""
        return await self.run(wire.execute, keys, arguments)

    async def run(self, execute: Callable[..., Awaitable[Any]], keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run the script with whatever sends a command; raises as that does."""
        try:
            return await execute("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await execute("EVAL", self._text, len(keys), *keys, *arguments)
