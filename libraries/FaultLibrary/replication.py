"""Keywords for faults of a replicated Redis, one after the other, while the test does something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from robot.api import logger
from robot.libraries.BuiltIn import BuiltIn

from FaultLibrary.base import FaultKeywords
from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.fault import InjectableFault
from ocpp_resilience.faults.injection import Injector
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.registry import faults as registry
from ocpp_resilience.faults.schedule import Row, Run
from ocpp_resilience.redis.services import Failover, FailoverHow
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.transport.volume import Order

OLD_PRIMARY_ANSWERS = (FailoverHow.PARTITION, FailoverHow.STALE)
"""Ways to lose a primary that still accepts connections; the server has to leave it before it is demoted."""


@dataclass(frozen=True)
class ReplicationReport:
    """How a system has followed a failover, or gone on without sentinels.

    Attributes:
        fault: its name.
        failover: the failover; `None` if the fault replaces no primary.
        first_answer: seconds until the message that was queued at the new primary was answered.
        messages: how many messages were queued before and after the failover, or during the fault.
        lost: those without an answer.
        answered_twice: those with several answers.
        clients_left: connections of clients to the old primary, while it was cut off or after it was demoted.
    """

    fault: str
    failover: Failover | None
    first_answer: float
    messages: int
    lost: list[Any]
    answered_twice: list[Any]
    clients_left: list[str]

    @property
    def wrong(self) -> bool:
        """Whether something is lost, doubled or left; further faults would show no more."""
        return bool(self.lost or self.answered_twice or self.clients_left)


@dataclass
class ReplicationRun(Run):
    """Faults of replication one after the other in a separate thread, with messages.

    Attributes:
        follow: carries out one.
        reports: those that are over.
    """

    follow: Callable[[Row, ReplicationRun], ReplicationReport] | None = None
    reports: list[ReplicationReport] = field(default_factory=list)

    def inject(self, row: Row) -> FaultRecord:
        """Lose the primary."""
        record = self.injector.inject(self.make(row.action, row.value), test=self._test)
        self.records.append(record)
        return record

    def _run(self) -> None:
        for row in self.rows:
            if self._stop.is_set() or self.errors or any(report.wrong for report in self.reports):
                break

            def follow(row: Row = row) -> None:
                if self.follow is not None:
                    self.reports.append(self.follow(row, self))

            self._attempt(follow)

        def heal() -> None:
            self.injector.heal_all()

        self._attempt(heal)


class ReplicationFaults(FaultKeywords):
    """Faults of replication beside the test."""

    @keyword(tags=("fault", "schedule", "failover"))
    def start_replication_faults(
        self,
        *faults: str,
        alias: str = "faults",
        redis: str = "redis",
        server: str = "server",
        queue: str = "queue",
        messages: int = 500,
        over: timedelta = timedelta(seconds=4),
        mix: dict[str, int] | None = None,
        timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        """Starts faults of a replicated Redis in the background, one after the other, with messages.

        A fault that replaces the primary: messages are queued before it and have to be answered, a Heartbeat is queued
        at the new primary, and the old one comes back; when the Heartbeat is answered, more messages follow. Another
        fault, as `partition sentinels`: messages are queued for a time, and have to be answered before it ends. No
        further fault follows one that the system does not cope with. End it with `Replication Faults Should End`. Until
        then no other keyword may use this queue.

        Args:
            faults: their names, as `kill primary` (see `Inject Fault`).
            redis: the Redis of RedisServiceLibrary, started with `service=sentinel`.
            queue: the queue of RedisQueueLibrary.
            messages: how many are queued before, and after, each failover, or during each other fault.
            over: how long they are queued during a fault that replaces no primary.
            mix: their actions with weights; Heartbeats if not given.
            timeout: the longest wait for the answers.

        Raises:
            UsageError: there is no such fault, or a schedule runs at this proxy.

        Example:
        ```robotframework
        Start Replication Faults    kill primary    demote primary    alias=replicated    redis=replicated
        @{reports}    Replication Faults Should End    alias=replicated
        Should Be Empty    ${reports}[0].lost
        ```
        """
        if alias in self._state.runs:
            raise UsageError("A fault schedule is running already; call `Fault Schedule Should End` first.")
        rows, on = [], self._state.subjects(alias, redis=redis, server=server)
        for fault in faults:
            name, value = registry().split(fault)
            self._state.check(registry().get(name), alias)
            rows.append(Row(0.0, name, value))
        sending: Any = BuiltIn().get_library_instance("RedisQueueLibrary")
        services: Any = BuiltIn().get_library_instance("RedisServiceLibrary")

        def queued() -> Any:
            return sending.queue_generated_messages(
                messages, charge_points=50, mix=mix, order=Order.SHUFFLED, alias=queue
            )

        def answers_to(sent: Any) -> Any:
            """What is lost or doubled is measured; anything else that is wrong ends the faults."""
            drain = sending.wait_for_answers(sent, timeout=timeout, alias=queue)
            if not drain.report.lost and not drain.report.answered_twice:
                sending.all_messages_should_be_answered(sent, timeout=timedelta(0), settle=timedelta(0), alias=queue)
            return drain

        def go_on(row: Row, drill: ReplicationRun) -> ReplicationReport:
            record = drill.inject(row)
            sending.start_queueing_generated_messages(messages, over=over, mix=mix, alias=queue)
            drain = sending.all_messages_should_be_answered(
                sending.queueing_should_end(alias=queue), timeout=timeout, alias=queue
            )
            drill.injector.heal(record)
            return ReplicationReport(row.action, None, 0.0, drain.messages, [], [], [])

        def follow(row: Row, drill: ReplicationRun) -> ReplicationReport:
            how = getattr(registry().get(row.action), "how", None)
            if how is None:
                return go_on(row, drill)
            before = queued()
            sending.all_messages_should_be_answered(before, timeout=timeout, alias=queue)
            record = drill.inject(row)
            heartbeat = sending.queue_message("Heartbeat", alias=queue)
            left: list[str] = []
            if how in OLD_PRIMARY_ANSWERS:
                left += services.get_clients_of_old_primary(alias=redis)
            drill.injector.heal(record)
            answer = sending.message_should_be_answered(heartbeat, timeout=timeout, alias=queue)
            failover = services.get_last_failover(alias=redis)
            drain = answers_to(sending.join_messages(before, queued()))
            if not left:
                left += services.get_clients_of_old_primary(alias=redis)
            report = drain.report
            return ReplicationReport(
                row.action, failover, answer.seconds, drain.messages, report.lost, report.answered_twice, left
            )

        def make(name: str, value: str) -> InjectableFault:
            return registry().make(name, value, on)

        drill = ReplicationRun(rows, Injector(), make, follow=follow)
        drill.belongs_to_later_test()
        self._state.runs[alias] = drill
        drill.start()

    @keyword(tags=("fault", "schedule", "failover", "wait"))
    def replication_faults_should_end(
        self, *, timeout: timedelta = timedelta(minutes=2), alias: str = "faults"
    ) -> list[ReplicationReport]:
        """Waits for the end of `Start Replication Faults`, and returns how the system has coped with each.

        The faults belong to the test that calls this keyword.

        Returns:
            Reports with `fault`, `failover`, `first_answer`, `messages`, `lost`, `answered_twice` and `clients_left`.

        Raises:
            UsageError: no such faults were started.
            ResilienceError: a primary was not replaced, or messages were not answered.

        Example:
        ```robotframework
        Start Replication Faults    stale primary    alias=replicated    redis=replicated    queue=replicated
        @{reports}    Replication Faults Should End    alias=replicated
        Should Be True    ${reports}[0].first_answer < 30
        ```
        """
        drill = self._state.runs.get(alias)
        if not isinstance(drill, ReplicationRun):
            raise UsageError("No faults of replication were started; call `Start Replication Faults` first.")
        del self._state.runs[alias]
        try:
            drill.wait(timeout)
        finally:
            drill.injector.journal.adopt(drill.records)
            for record in drill.records:
                logger.info(f"{record}: {record.proof or 'nothing was seen'}; {record.healed}")
        return drill.reports
