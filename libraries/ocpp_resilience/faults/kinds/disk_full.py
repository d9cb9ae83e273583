"""A disk that is full."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import RedisFilesFault
from ocpp_resilience.faults.fault import Proof
from ocpp_resilience.faults.redis_admin import PROBE_KEY


@dataclass(eq=False)
class DiskFull(RedisFilesFault):
    """The append-only file cannot be written: no space is left on the device.

    Its next part is /dev/full, which needs no root. Redis flushes once a second meanwhile: with a flush after each
    command it ends itself when the disk is full, which is `kill redis`.
    """

    name = "disk full"
    effect = "every write is answered `MISCONF` once Redis has failed to write to disk"
    evidence = "a SET is answered MISCONF because no space is left"
    refuses_writes = True

    def begin(self) -> None:
        redis = self.redis
        self.change({"appendfsync": "everysec"})
        self.fill(self.next_append_only_file("incr.aof"))
        redis.run("BGREWRITEAOF")
        self.wait_for("aof_rewrite_in_progress", "0", "aof_last_bgrewrite_status", "ok")
        redis.look("SET", PROBE_KEY, "1", "PX", "1")
        self.wait_for("aof_last_write_status", "err")

    def prove(self) -> Proof:
        return self.redis.refuses_writes("MISCONF Errors writing to the AOF file")

    def end(self) -> None:
        self.unblock()
        # A rewrite alone would write what the full disk did not take behind a copy of the data that has it already; at
        # the next start Redis would do it twice. Switched off, Redis drops it.
        self.redis.run("CONFIG", "SET", "appendonly", "no")
        self.redis.run("CONFIG", "SET", "appendonly", "yes")
        self.wait_for(
            *("aof_enabled", "1", "aof_rewrite_scheduled", "0", "aof_rewrite_in_progress", "0"),
            *("aof_last_bgrewrite_status", "ok", "aof_last_write_status", "ok"),
        )
        self.change_back()
