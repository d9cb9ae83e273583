"""Keywords that sample a system, compare measured values with the requirements, and keep them as evidence."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot.libraries.BuiltIn import BuiltIn

from EvidenceLibrary.measurements import Measurements
from EvidenceLibrary.plan import Plan
from EvidenceLibrary.sampling import Sampling
from EvidenceLibrary.variables import Variables
from ocpp_resilience.check.preflight import Given, mistakes, wrong_arguments
from ocpp_resilience.evidence.requirements import FILE_NAME
from ocpp_resilience.json_lines import no_place_for
from ocpp_resilience.report.listener import REPORTER
from ocpp_resilience.robot.data_files import data_file
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

    Every value is written at once to `evidence/measurements.jsonl` in Robot's output folder, one JSON object on a line,
    so that a killed run leaves its measurements. Each line names its run: a later run into the same folder adds to the
    file.

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

    def __init__(self, requirements: Path | None = None, measurements: Path | None = None, **unknown: object) -> None:
        """Give other files than the usual ones.

        Args:
            requirements: the requirements and their thresholds: a path from the folder that the run is started in, or
                from that of the suite. If not given, `resources/requirements.yaml` beside the suites, else the one that
                comes with the library. Requirements that are not in it are looked for in that one.
            measurements: where measurements are written; `evidence/measurements.jsonl` in Robot's output folder by
                default.
            unknown: anything else is a mistake, which stops the run before it begins.
        """
        self._plan = Plan()
        file = data_file(requirements or FILE_NAME)
        super().__init__([Measurements(file, measurements), self._plan, Sampling(), Variables()])
        REPORTER.use_requirements(file)
        REPORTER.announce()
        if measurements is not None and (problem := no_place_for(measurements)):
            REPORTER.add_mistake(f"The library EvidenceLibrary was given measurements={measurements}: {problem}")
        for problem in wrong_arguments(type(self), type(self).__name__, [f"{name}=" for name in unknown]):
            REPORTER.add_mistake(problem)

    def _start_suite(self, data: Any, result: Any) -> None:
        self._plan.start_suite(data)
        REPORTER.start_suite(data, result, _mistakes)

    def _start_test(self, data: Any, result: Any) -> None:
        self._plan.start_test(data)
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


def _mistakes(suite: Any, requirements: list[Path]) -> list[str]:
    """Mistakes of a run, found before its first keyword."""
    variables = BuiltIn().get_variables(no_decoration=True)
    started_as_robot = Path(sys.argv[0]).parent.name == "robot" or Path(sys.argv[0]).stem == "robot"
    command = sys.argv[1:] if started_as_robot else []
    return mistakes(Given(suite, variables, requirements, os.environ, command))
