"""Snapshots that cannot be written."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import RedisFilesFault
from ocpp_resilience.faults.fault import Proof


@dataclass(eq=False)
class FailedSnapshot(RedisFilesFault):
    """Redis cannot write its snapshot (RDB), and refuses writes until it can (stop-writes-on-bgsave-error)."""

    name = "failed snapshot"
    effect = "every write is answered `MISCONF`"
    evidence = "a SET is answered MISCONF"
    refuses_writes = True

    def begin(self) -> None:
        redis = self.redis
        self.block(self.folder() / redis.config("dbfilename"))
        self.change({"save": "3600 1", "stop-writes-on-bgsave-error": "yes"})
        redis.run("BGSAVE")
        self.wait_for("rdb_bgsave_in_progress", "0", "rdb_last_bgsave_status", "err")

    def prove(self) -> Proof:
        return self.redis.refuses_writes("MISCONF")

    def end(self) -> None:
        self.unblock()
        self.redis.run("BGSAVE")
        self.wait_for("rdb_bgsave_in_progress", "0", "rdb_last_bgsave_status", "ok")
        self.change_back()
