"""Keywords that open and close a state store."""

from __future__ import annotations

from datetime import timedelta

import redis
from robot.api import logger
from robot.api.types import Secret

from ocpp_resilience.errors import ServiceError
from ocpp_resilience.profile import target_of_run
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.waiting import seconds
from server.store.redis_store import Limits
from StateStoreLibrary.base import StateComponent
from StateStoreLibrary.session import StateSession


class Connection(StateComponent):
    """Opening and closing."""

    @keyword(tags=("state", "lifecycle"))
    def open_state_store(
        self,
        redis_url: str | Secret,
        *,
        target: str | None = None,
        alias: str = "state",
        reply_timeout: timedelta = timedelta(seconds=2),
        largest_value: int = 2 * 1024 * 1024,
    ) -> None:
        """Opens the state store of a system under test.

        A store of this alias that is open already is closed first, and the data written through it is removed.

        Args:
            redis_url: where Redis is.
            target: the system under test: a bundled target profile, or the path of one; by default as at `Start
                Server`. Key names and the database come from it.
            alias: the name of this store in the other keywords.
            reply_timeout: how long Redis may take for one operation, until that counts as failed.
            largest_value: the largest record that the store takes, in bytes.

        Raises:
            UsageError: the URL or the target cannot be used.
            ServiceError: Redis cannot be reached.

        Example:
        ```robotframework
        ${redis}    Get Redis Url
        Open State Store    ${redis}
        Open State Store    ${redis}    alias=hasty    reply_timeout=300 ms
        ```
        """
        url = redis_url.value if isinstance(redis_url, Secret) else redis_url
        session = StateSession(
            url,
            target_of_run(target),
            reply_timeout=seconds(reply_timeout),
            limits=Limits(value_bytes=largest_value),
        )
        if self._stores.find(alias) is not None:
            self._stores.remove(alias, self.cleanup)
        self._stores.add(alias, session, self.cleanup)
        try:
            session.client.ping()
        except redis.RedisError as error:
            self._stores.remove(alias, self.cleanup)
            raise ServiceError(f"No state store at {session.address}: {error}") from None
        logger.info(f"Opened the state store at {session.address}.")

    @keyword(tags=("state", "lifecycle"))
    def close_state_store(self, *, alias: str = "state", missing_ok: bool = False) -> None:
        """Closes a state store, and removes all data of the charge points that were written through it.

        Not needed at the end of a suite, where this happens by itself.

        Args:
            missing_ok: accept that it is not open, as in the teardown of a skipped test.

        Raises:
            UsageError: it is not open.

        Example:
        ```robotframework
        Open State Store    ${redis}    alias=other
        Close State Store    alias=other
        ```
        """
        if missing_ok and self._stores.find(alias) is None:
            return
        self._stores.remove(alias, self.cleanup)
