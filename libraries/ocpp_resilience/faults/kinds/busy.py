"""A script that runs on and on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import redis

from ocpp_resilience.errors import ServiceError, WaitTimeout
from ocpp_resilience.faults.bases import RedisSettingsFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.probe import PROOF_LIMIT
from ocpp_resilience.waiting import wait_until

_SCRIPT = "local n = tonumber(ARGV[1]) local i = 0 while true do i = i + 1 end return n"


@dataclass(eq=False)
class Busy(RedisSettingsFault):
    """A script runs on and on: every command is answered BUSY."""

    name = "busy"
    effect = "every command is answered `BUSY`"
    evidence = "a PING is answered BUSY"

    def settings(self) -> Mapping[str, str | int]:
        return {"lua-time-limit": 50}

    def begin(self) -> None:
        super().begin()
        self._thread = threading.Thread(target=self._occupy, name="busy script", daemon=True)
        self._thread.start()

    def _occupy(self) -> None:
        # Its reply is the end of the script, for which `end` waits: just after SCRIPT KILL Redis may still be BUSY.
        with contextlib.suppress(redis.RedisError), contextlib.closing(self.redis.client(None)) as client:
            client.execute_command("EVAL", _SCRIPT, 0, 1)

    def prove(self) -> Proof:
        admin = self.redis
        try:
            return True, wait_until(
                lambda: f"PING: {seen}" if (seen := admin.look("PING")).text.startswith("-BUSY") else None,
                timeout=PROOF_LIMIT,
                failure=lambda: f"PING: {admin.look('PING')}",
            )
        except WaitTimeout as error:
            return False, str(error)

    def end(self) -> None:
        with contextlib.suppress(ServiceError):  # NOTBUSY: it never ran
            self.redis.run("SCRIPT", "KILL")
        if hasattr(self, "_thread"):
            self._thread.join(5)
        super().end()
