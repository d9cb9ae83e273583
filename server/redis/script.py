"""Lua scripts, sent by their digest and as text only where Redis does not know them yet (EVALSHA, EVAL)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from server.redis.link import RedisWire

_NAMES_KEYS = """
-- Redis says that a key has the wrong type, and not which one.
local redis = setmetatable({call = function(command, key, ...)
    local reply = redis.pcall(command, key, ...)
    if type(reply) ~= 'table' or not reply.err then return reply end
    if not string.find(reply.err, 'WRONGTYPE', 1, true) then return redis.call(command, key, ...) end
    error('WRONGTYPE ' .. command .. ' ' .. tostring(key) .. ': ' .. redis.call('TYPE', key).ok .. ' stands there', 0)
end}, {__index = redis})
"""


class Script:
    """One script. Its error for a key of the wrong type names the command and the key.

    Args:
        text: the Lua source.
    """

    def __init__(self, text: str) -> None:
        self._text = _NAMES_KEYS + text
        self._digest = hashlib.sha1(self._text.encode()).hexdigest()  # noqa: S324 - Redis' name for the script

    async def __call__(self, wire: RedisWire, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run the script over a wire; raises as the wire does."""
        return await self.run(wire.execute, keys, arguments)

    async def run(self, execute: Callable[..., Awaitable[Any]], keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run the script with `execute`, any function that sends a command; raises as that function does."""
        try:
            return await execute("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await execute("EVAL", self._text, len(keys), *keys, *arguments)

    async def behind(
        self,
        wire: RedisWire,
        command: Sequence[str | float],
        keys: Sequence[str],
        arguments: Sequence[Any],
    ) -> Any:
        """Run the script after `command`, whose reply is dropped; raises as the wire does."""
        ran: list[bool] = []

        async def execute(*words: Any) -> Any:
            if ran:  # and the script was not known
                return await wire.execute(*words)
            ran.append(True)
            return await wire.execute(*words, behind=command)

        return await self.run(execute, keys, arguments)
