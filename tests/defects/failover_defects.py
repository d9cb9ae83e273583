"""Test 16: Redis has a replica, loses its data, refuses commands for a while, or is reached over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from typing import Any

from catalogue import defect
from connection_defects import PARTIAL, at_failure, give_up
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - the client's own
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)

from server.processor.processor import Processor
from server.processor.request_queue import Claim, RequestQueue
from server.redis import script
from server.redis.address import Address, Sentinels
from server.redis.link import RedisLink, RedisWire
from server.store import transaction_ids
from server.store.transaction_ids import TransactionIds

FAILOVER = "The Server Follows The Primary Through Failovers Of Every Kind"
AMNESIA = "A Charge Point Is Served Again When Redis Has Lost What It Kept"
LAG = "Nothing Is Confirmed Before A Replica Has It"
SILENT = "The Server Goes On While Sentinels Are Silent"
SECURED = "Everything Works Over TLS With A User Of Least Privilege"
CLEAR = "A Bad Certificate Or A Missing Permission Is A Clear Error Until It Is Mended"
NOT_TOLD = r"R16\.11 error: required <= 5 s"
UNANSWERED = r"No answer to Heartbeat|Not every message was answered|Still connected"


@defect("R16.10", FAILOVER, says=UNANSWERED, longest_wait=30.0, timing=True)
def the_sentinels_are_asked_once() -> None:
    """The server keeps the primary that the sentinels named first, and connects to nothing else."""
    sound = Sentinels.primary

    async def primary(self: Sentinels) -> tuple[str, int]:
        return self._found if self._found is not None else await sound(self)

    Sentinels.primary = primary


@defect("R16.10", FAILOVER, says=UNANSWERED, longest_wait=30.0, timing=True)
def an_old_primary_that_still_answers_is_kept() -> None:
    """The server does not compare its connections with the primary that the sentinels name."""

    async def compare(self: RedisLink, stop: asyncio.Event) -> None:
        await stop.wait()

    RedisLink._compare = compare


@defect("R16.10", FAILOVER, says=r"R16\.10 lost: required == 0 .*measured [1-9]", longest_wait=30.0, timing=True)
def every_twentieth_answer_is_lost_after_a_failover() -> None:
    """Since Redis was away once, one answer of twenty is not committed."""
    away: list[bool] = []
    at_failure(lambda link, _: away.append(True) if link._was_connected else None)
    sound, turn = Processor._apply, itertools.count(1)

    def apply(self: Processor, message: Any, view: Any, answers: dict[str, list[str]]) -> Any:
        found = sound(self, message, view, answers)
        if away and next(turn) % 20 == 0:
            answers.pop(message.charge_point_id, None)
        return found

    Processor._apply = apply


@defect("R16.10", LAG, says=r"has not become degraded, it is healthy")
def nobody_waits_for_replicas() -> None:
    """WAIT is not sent, whatever `REDIS_WAIT_REPLICAS` says."""

    async def replicated(_wire: RedisWire, _replicas: int) -> None:
        pass

    RedisWire.replicated = replicated


@defect("R16.7", SILENT, says=r"^(\d+\) )?partition sentinels.*: Not every message was answered")
def a_silent_sentinel_is_a_lost_redis() -> None:
    """Connections are dropped when a sentinel does not answer, and made only when all of them do."""
    sound = Sentinels._ask

    async def ask_all(self: Sentinels) -> tuple[str, int]:
        answers = await asyncio.gather(*(sound(self, *each) for each in self._address.sentinels))
        _, host, port = max(answers, key=lambda answer: answer[0])
        return host, port

    async def compare(self: RedisLink, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
            try:
                await self.address.finder(self.reply_timeout).primary()
            except RedisError:
                await self.leave_demoted(ConnectionError("a sentinel does not answer"))

    Sentinels._ask_all = ask_all
    RedisLink._compare = compare


@defect(
    "R16.7",
    PARTIAL,
    says=r"^read-only for .*: (Not every message was answered|\d+ of \d+ messages of the fleet answered)"
    r"|has not become healthy.* read only replica",
)
def unblocked_ends_the_consumer() -> None:
    """The consumer does not come back after UNBLOCKED."""
    give_up(lambda _, error: "UNBLOCKED" in str(error))


@defect("R16.7", PARTIAL, says=r"^read-only for .*: Not every message was answered")
def read_only_is_for_ever() -> None:
    """A Redis that has said READONLY once is not asked again."""
    give_up(lambda _, error: isinstance(error, ReadOnlyError))


@defect("R16.7", PARTIAL, says=r"^out of memory for .*: Not every message was answered")
def out_of_memory_is_for_ever() -> None:
    """A Redis that has said OOM once is believed for ever."""
    give_up(lambda _, error: isinstance(error, OutOfMemoryError))


@defect("R16.7", PARTIAL, says=r"^disturb command .*LOADING.*: Not every message was answered")
def loading_is_for_ever() -> None:
    """A Redis that is loading its data is not asked again."""
    give_up(lambda _, error: isinstance(error, BusyLoadingError))


@defect("R16.7", PARTIAL, says=r"^disturb command .*MASTERDOWN.*: Server 'other' exited with status 1\.")
def dies_when_a_replica_has_lost_its_primary() -> None:
    """MASTERDOWN ends the process."""
    at_failure(lambda _, error: os._exit(1) if isinstance(error, MasterDownError) else None)


def _tls(**wrong: Any) -> None:
    """Have connections over TLS these options."""
    sound = Address.options

    def options(self: Address, reply_timeout: float) -> dict[str, Any]:
        found = sound(self, reply_timeout)
        return found | wrong if self.secure else found

    Address.options = options


@defect("R16.11", CLEAR, says=NOT_TOLD)
def certificates_are_not_checked() -> None:
    """Any certificate of Redis is accepted."""
    _tls(ssl_cert_reqs="none", ssl_check_hostname=False)


@defect("R16.11", CLEAR, says=NOT_TOLD)
def certificates_of_other_hosts_are_accepted() -> None:
    """The certificate of Redis has to be signed by the authority, whatever host it is for."""
    _tls(ssl_check_hostname=False)


@defect("R16.11", CLEAR, says=NOT_TOLD)
def only_the_first_reason_of_an_outage_is_logged() -> None:
    """That the connection was closed is logged, and not why another one cannot be had."""
    sound = RedisLink.failed

    def failed(self: RedisLink, error: RedisError, by: str) -> None:
        self._told = _Everything()
        sound(self, error, by)

    RedisLink.failed = failed


class _Everything(set[str]):
    def __contains__(self, _: object) -> bool:
        return True


@defect("R16.11", CLEAR, says=r"Server 'secured' exited with status 1\.")
def dies_when_a_permission_is_missing() -> None:
    """NOPERM ends the process."""
    at_failure(lambda _, error: os._exit(1) if isinstance(error, NoPermissionError) else None)


@defect("R16.11", SECURED, says=r"R16\.11 refused: required == 0 commands")
def more_is_tried_than_the_user_may() -> None:
    """With each claim of the queue Redis is asked for its INFO, which the documented user may not."""
    sound = RequestQueue.claim

    async def claim(self: RequestQueue) -> Claim:
        with contextlib.suppress(NoPermissionError):
            await self._wire.execute("INFO", "replication")
        return await sound(self)

    RequestQueue.claim = claim


@defect("R16.13", AMNESIA, says=r"ids_given_again: required == 0 transactions.*measured 1")
def transaction_ids_begin_again_when_the_counter_is_gone() -> None:
    """The server does not remember how far the counter was."""

    async def reserve(self: TransactionIds, count: int) -> range:
        self.highest = 0
        return await sound(self, count)

    sound = TransactionIds.reserve
    TransactionIds.reserve = reserve


@defect("R16.13", AMNESIA, says=r"ids_given_again: required == 0 transactions.*measured 1")
def a_counter_that_fell_behind_is_put_back_to_one() -> None:
    """A counter that is lower than before is restarted from 1, as in a new system."""
    transaction_ids._reserve = script.Script(
        transaction_ids._RESERVE.replace("number = highest + ARGV[3]", "number = 0")
    )


@defect("R16.13", AMNESIA, says=r"(StartTransaction|Heartbeat) of .* was not answered within")
def scripts_are_sent_once() -> None:
    """A script that Redis has forgotten is not sent again."""
    known: set[str] = set()
    sound = script.Script.run

    async def run(self: script.Script, execute: Any, keys: Any, arguments: Any) -> Any:
        if self._digest in known:
            return await execute("EVALSHA", self._digest, len(keys), *keys, *arguments)
        reply = await sound(self, execute, keys, arguments)
        known.add(self._digest)
        return reply

    script.Script.run = run
