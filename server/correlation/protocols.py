"""The version of OCPP that a charge point speaks, for commands to it."""

from __future__ import annotations

import asyncio

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from server.ocpp.version import Version
from server.ocpp.versions import DEFAULT, VERSIONS
from server.store.keys import Keys

CHUNK = 256
"""Charge points in one round trip."""


class _Record(msgspec.Struct):
    """The field of a charge point's record that is needed."""

    protocol: str = DEFAULT.protocol


_LookUps = dict[str, asyncio.Future[Version | None]]
_read_record = msgspec.json.Decoder(_Record).decode


class Protocols:
    """Looks versions up in Redis: all that are asked for at a time in one round trip.

    Args:
        client: for the commands.
        keys: key names.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._asked: _LookUps = {}
        self._looked_up: _LookUps = {}
        self._task: asyncio.Task[None] | None = None

    async def of(self, charge_point_id: str) -> Version | None:
        """The version that a charge point speaks, or spoke last; `None` if nothing is known of it.

        Raises:
            RedisError: Redis did not answer.
        """
        found = self._asked.get(charge_point_id)
        if found is None:
            found = self._asked[charge_point_id] = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._look(), name="protocols")
        # Others may wait for it, too.
        return await asyncio.shield(found)

    async def close(self) -> None:
        """Stop; callers that still wait get an error."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for found in self._looked_up, self._asked:
            _fail(found, RedisConnectionError("the server stops"))

    async def _look(self) -> None:
        try:
            while self._asked:
                chunk = self._looked_up = {each: self._asked.pop(each) for each in list(self._asked)[:CHUNK]}
                try:
                    versions = await self._read(list(chunk))
                except RedisError as error:
                    _fail(chunk, error)
                    continue
                for found, version in zip(chunk.values(), versions, strict=True):
                    found.set_result(version)
        finally:
            self._task = None

    async def _read(self, charge_point_ids: list[str]) -> list[Version | None]:
        keys = self._keys
        async with self._client.pipeline(transaction=False) as pipeline:
            for each in charge_point_ids:
                pipeline.hgetall(keys.session(each))
                pipeline.get(keys.charge_point(each))
            replies = await pipeline.execute(raise_on_error=False)
        return [_version(*replies[number : number + 2]) for number in range(0, len(replies), 2)]


def _version(session: object, record: object) -> Version | None:
    if isinstance(session, dict) and session:
        return VERSIONS.get(session.get(b"protocol", b"").decode(errors="replace"), DEFAULT)
    if isinstance(record, bytes):
        try:
            return VERSIONS.get(_read_record(record).protocol, DEFAULT)
        except msgspec.MsgspecError:
            return DEFAULT
    # A key of another type: the command then fails for lack of a connection.
    return DEFAULT if isinstance(record, RedisError) else None


def _fail(look_ups: _LookUps, error: RedisError) -> None:
    for found in look_ups.values():
        if not found.done():
            found.set_exception(error)
            found.exception()  # it may have no waiting caller any more
    look_ups.clear()
