"""The primary of a replicated Redis stands still until it is replaced."""

from __future__ import annotations

from dataclasses import dataclass

from ocpp_resilience.faults.bases import FailoverFault
from ocpp_resilience.redis.services import FailoverHow


@dataclass(eq=False)
class PausePrimary(FailoverFault):
    """The primary stands still (SIGSTOP) until it is replaced, and runs on at the end."""

    name = "pause primary"
    effect = "connections stay open and nothing is answered until the sentinels elect another primary"
    how = FailoverHow.PAUSE
