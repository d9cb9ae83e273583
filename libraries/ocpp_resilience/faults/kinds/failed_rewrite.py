"""A rewrite of the append-only file that fails."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import RedisFilesFault
from ocpp_resilience.faults.fault import Proof


@dataclass(eq=False)
class FailedRewrite(RedisFilesFault):
    """The rewrite of the append-only file fails (BGREWRITEAOF); Redis keeps using the existing file."""

    name = "failed rewrite"
    effect = "none at first; the append-only file grows"
    evidence = "the status of the last rewrite in INFO"

    def begin(self) -> None:
        self.block(self.next_append_only_file("base.rdb"))
        self.redis.run("BGREWRITEAOF")
        self.wait_for("aof_rewrite_in_progress", "0", "aof_last_bgrewrite_status", "err")

    def prove(self) -> Proof:
        status = self.info("aof_last_bgrewrite_status")
        return status == "err", f"aof_last_bgrewrite_status: {status}"

    def end(self) -> None:
        self.unblock()
        self.redis.run("BGREWRITEAOF")
        self.wait_for("aof_rewrite_in_progress", "0", "aof_last_bgrewrite_status", "ok")
