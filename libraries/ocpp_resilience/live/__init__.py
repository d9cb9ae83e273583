"""A page on loopback that shows a run while it goes on: `ocpp-resilience run --live`.

It reads the files that a run writes anyway (`evidence/facts.jsonl`, `faults.jsonl`, `samples-*.jsonl`, the ledgers of
loads), and only while somebody looks. Of Robot Framework it is told which test runs. Nothing in the load generator,
the suites or the system under test knows of it.
"""

from ocpp_resilience.live.server import LiveServer

__all__ = ["LiveServer"]
