"""Faults that last until they are healed: begun, proven by measurement, recorded, ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

from robot.api import logger

from ocpp_resilience.errors import ResilienceError, WaitTimeout
from ocpp_resilience.faults.fault import InjectableFault, Proof
from ocpp_resilience.faults.journal import CURRENT_TEST, JOURNAL, CurrentTest, FaultJournal, FaultRecord
from ocpp_resilience.waiting import wait_until


class Injector:
    """Begins faults and keeps them until they are healed.

    Args:
        journal: where they are noted.
    """

    def __init__(self, journal: FaultJournal = JOURNAL) -> None:
        self.journal = journal
        self.active: list[tuple[FaultRecord, InjectableFault]] = []

    def inject(self, fault: InjectableFault, *, test: str | CurrentTest | None = CURRENT_TEST) -> FaultRecord:
        """Begin a fault and measure its effect.

        A fault without proof stays, and is noted and logged as unproven: results under it are inconclusive. One that
        does not last is healed immediately.

        Args:
            fault: which one.
            test: to which it belongs, if not to the one that runs.

        Raises:
            ResilienceError: it could not be begun; partial effects are undone.
        """
        began = datetime.now(UTC)
        try:
            fault.begin()
        except BaseException:
            with contextlib.suppress(ResilienceError):
                fault.end()
            raise
        later: Callable[[], Proof] | None = None
        if fault.waits:
            proven, proof, later = False, "not yet", fault.proven
        else:
            proven, proof = fault.proven()
            if proven:
                effect = proof
                proven, proof = fault.reached(effect)
                # Another client may connect while it lasts.
                later = None if proven else lambda: fault.reached(effect)
        record = self.journal.begin(
            fault.name,
            fault.target,
            parameters=fault.parameters,
            proof=proof if proven else "",
            later=later,
            since=began,
            test=test,
        )
        self.active.append((record, fault))
        if proven:
            logger.info(f"{record}: proven, {proof}.")
        elif fault.waits:
            logger.info(f"{record}: waits for its occasion.")
        else:
            record.proof = proof
            logger.warn(f"{record} is not proven, so the test shows nothing: {proof}.")
        return record

    def wait_for_occasion(self, record: FaultRecord, limit: float) -> None:
        """Give a fault that waits for its occasion some time more, when it has not had it yet."""
        if any(record is each and fault.waits for each, fault in self.active):
            with contextlib.suppress(WaitTimeout):  # it is noted as not proven then
                wait_until(
                    lambda: None if record in self.journal.unproven(record.suite, record.test) else True,
                    timeout=limit,
                    failure=lambda: "",
                )

    def heal(self, record: FaultRecord) -> None:
        """End one fault, and check that its effect is gone, unless another fault of the same target is active."""
        for entry in list(self.active):
            if entry[0] is record:
                # First noted as proven or not, since the proof may go with the fault.
                self.journal.unproven(record.suite, record.test)
                self.active.remove(entry)
                self.journal.ending(record)
                entry[1].end()
                others = [fault.name for _, fault in self.active if fault.target == entry[1].target]
                healed = f"not measured beside {', '.join(others)}" if others else entry[1].recovered()
                self.journal.end(record, healed)
                logger.info(f"{record}: ended{f', {healed}' if healed else ''}.")

    def heal_all(self) -> int:
        """End every fault, newest first; returns their number. A fault that cannot be ended is logged as a warning.

        Raises:
            ResilienceError: one of them could not be ended; the others were.
        """
        found = [record for record, _ in reversed(self.active)]
        failed: ResilienceError | None = None
        for record in found:
            try:
                self.heal(record)
            except ResilienceError as error:
                logger.warn(f"{record} could not be ended: {error}")
                failed = error
        if failed is not None:
            raise failed
        return len(found)
