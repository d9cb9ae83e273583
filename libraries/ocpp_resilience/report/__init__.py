"""The page for decision makers: a verdict for each requirement, from Robot's results and the evidence beside them.

`python -m ocpp_resilience.report results/output.xml` writes `resilience.json` and `resilience.html` next to it; during
a run EvidenceLibrary does so by itself.
"""

from ocpp_resilience.report.build import Settings, build
from ocpp_resilience.report.files import HTML_NAME, JSON_NAME, write
from ocpp_resilience.report.model import Report

__all__ = ["HTML_NAME", "JSON_NAME", "Report", "Settings", "build", "write"]
