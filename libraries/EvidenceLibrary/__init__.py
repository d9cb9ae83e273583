"""Keywords that sample a system, compare measured values with the requirements, and keep them as evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from EvidenceLibrary.measurements import Measurements
from EvidenceLibrary.plan import Plan
from EvidenceLibrary.sampling import Sampling
from EvidenceLibrary.variables import Variables
from ocpp_resilience.evidence.requirements import DEFAULT_FILE
from ocpp_resilience.report.listener import REPORTER
from ocpp_resilience.robot.library import KeywordLibrary

__all__ = ["EvidenceLibrary"]


if TYPE_CHECKING:

    class _Keywords(KeywordLibrary, Measurements, Plan, Sampling, Variables):
        """Attributes for editors and type checkers; the keywords are found at run time in the components."""

else:
    _Keywords = KeywordLibrary


class EvidenceLibrary(_Keywords):
    """Measured values beside the requirements that they prove.

    Thresholds are data: they are in `requirements.yaml`, by requirement id (`R13.3`) and name
    (`health_response_time`), and no suite repeats them. A measured value is compared with
    `Requirement Should Be Met`, which logs both in plain words, or only kept with `Record Measurement`.

    Every value is written at once to `measurements.jsonl` in Robot's output folder, one JSON object on a line, so that
    a killed run leaves its measurements. Each line names its run: a later run into the same folder adds to the file.

    With `Requirement Is Proven Later`, the setup of a folder can begin a long measurement of a later test.

    `Start Sampling` watches memory, processor time, the depth of the queue, connections and pending correlations while
    something else goes on; `Stop Sampling` draws them, with the faults of that time shaded.

    `Variables Should Be Numbers` and similar keywords validate, in the setup of a suite, the values of `robot
    --variable`.

    A suite that imports this library also gets the page for decision makers, `resilience.html` beside `log.html`, and
    the same as data, `resilience.json`. Import it in `__init__.robot`, too, so that it sees the end of the whole run.
    Optional variables: `HISTORY` and `BASELINE` (files), `REGRESSION TOLERANCE` (a share, 0.3) and `FAIL ON REGRESSION`
    (`yes`: a test fails when a value that it measures is worse than the accepted baseline).

    Example:

    ```robotframework
    *** Settings ***
    Library    EvidenceLibrary

    *** Test Cases ***
    An Empty Queue Leaves The Processor Idle
        [Tags]    R13.3
        ${cpu} =    Measure Idle CPU
        Requirement Should Be Met    R13.3    idle_cpu    ${cpu}    samples=10
    ```
    """

    def __init__(self, requirements: Path = DEFAULT_FILE, measurements: Path | None = None) -> None:
        """Give other files than the usual ones.

        Args:
            requirements: the requirements and their thresholds; the project's own by default.
            measurements: where measurements are written; `measurements.jsonl` in Robot's output folder by default.
        """
        self._plan = Plan()
        super().__init__([Measurements(requirements, measurements), self._plan, Sampling(), Variables()])
        REPORTER.use_requirements(requirements)

    def _start_suite(self, data: Any, result: Any) -> None:
        self._plan.start_suite(data)
        REPORTER.start_suite(data, result)

    def _start_test(self, _data: Any, result: Any) -> None:
        REPORTER.start_test(result)

    def _start_body_item(self, _data: Any, result: Any) -> None:
        REPORTER.start_item(result)

    def _end_body_item(self, _data: Any, result: Any) -> None:
        REPORTER.end_item(result)

    def _end_test(self, _data: Any, result: Any) -> None:
        REPORTER.end_test(result)

    def _end_suite(self, data: Any, result: Any) -> None:
        super()._end_suite(data, result)
        REPORTER.end_suite(result)
