"""`python -m ocpp_resilience.report results/output.xml`: write the page of a run again."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from robot.api import ExecutionResult
from robot.errors import DataError

from ocpp_resilience.arguments import Parser
from ocpp_resilience.errors import ResilienceError
from ocpp_resilience.report import compare, history
from ocpp_resilience.report.build import TOLERANCE, Settings, build, past
from ocpp_resilience.report.files import write
from ocpp_resilience.report.model import schema
from ocpp_resilience.struct_schema import as_text

REGRESSED = 3


def main(arguments: list[str] | None = None) -> int:
    """The command line.

    Returns:
        0 when the page is written; 1 when it cannot be; 3 for a regression, with `--fail-on-regression`.
    """
    parser = Parser(prog="ocpp-resilience report", description="Write the page of a run.")
    parser.add_argument("output", nargs="?", type=Path, help="output.xml of robot, pabot or rebot")
    parser.add_argument(
        "--evidence", action="append", type=Path, default=[], metavar="FOLDER", help="evidence of a merged run"
    )
    parser.add_argument("--log", help="Robot's log, relative to the page; log.html if it exists")
    parser.add_argument(
        "--requirements", action="append", type=Path, default=[], metavar="FILE", help="further requirements"
    )
    parser.add_argument("--history", type=Path, help="history.jsonl beside output.xml if not given")
    parser.add_argument("--baseline", type=Path, help="baseline.json beside the history if not given")
    parser.add_argument("--known", type=Path, metavar="FILE", help="file of known deviations, which the page shows")
    parser.add_argument("--compare", type=Path, metavar="JSON", help="resilience.json of another run to compare with")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, metavar="SHARE", help="default: %(default)s")
    parser.add_argument("--accept", action="store_true", help="make this run the baseline")
    parser.add_argument(
        "--although", metavar="REASON", default="", help="accept a run that is not ready, for this reason"
    )
    parser.add_argument("--fail-on-regression", action="store_true", help=f"exit with {REGRESSED} after a regression")
    parser.add_argument("--schema", action="store_true", help="print the schema of resilience.json")
    options = parser.parse_args(arguments)
    if options.schema:
        sys.stdout.write(as_text(schema()))
        return 0
    if not 0 <= options.tolerance < math.inf:
        parser.error(f"--tolerance {options.tolerance:g} cannot be used, allowed is a number that is at least 0")
    if options.output is None:
        parser.error("name output.xml")
    if options.although and not options.accept:
        parser.error("--although gives the reason for --accept, which is missing")
    for name, paths in {"--evidence": options.evidence, "--known": [options.known]}.items():
        if missing := next((each for each in paths if each is not None and not each.exists()), None):
            parser.error(f"{name} {missing}: there is no such {'folder' if name == '--evidence' else 'file'}")
    folder = options.output.parent
    log = options.log or _log_beside(options.output)
    settings = Settings(
        output=folder,
        requirements=options.requirements,
        history=options.history,
        baseline=options.baseline,
        tolerance=options.tolerance,
        log=log,
        report=_report_beside(options.output),
        evidence=options.evidence,
        known=options.known,
    )
    try:
        result = ExecutionResult(options.output, include_keywords=False)
        report = build(result.suite, settings)
        history.append(settings.history_file, past(report))
        if options.accept:
            history.accept(settings.baseline_file, past(report), although=options.although)
            report = build(result.suite, settings)
        page = write(report, folder)
        beside = compare.write(report, options.compare, folder) if options.compare else None
    except DataError as error:
        sys.stderr.write(f"{error}. Allowed is the output.xml of a run, such as results/output.xml.\n")
        return 1
    except (ResilienceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{report.sentence}\nPage:    {page}\n")
    if beside is not None:
        sys.stdout.write(f"Beside:  {beside}\n")
    regressions = report.comparison.regressions if report.comparison else []
    for each in regressions:
        sys.stdout.write(
            f"Regression: {each.requirement} {each.name}: {each.measured:g} {each.unit}, was {each.baseline:g}\n"
        )
    return REGRESSED if regressions and options.fail_on_regression else 0


def _log_beside(output: Path) -> str | None:
    """The log that belongs to the results by its name; `None` if there is none, so that no link leads nowhere."""
    return _beside(output, "log")


def _report_beside(output: Path) -> str | None:
    return _beside(output, "report")


def _beside(output: Path, kind: str) -> str | None:
    own = output.stem.replace("output", kind) if "output" in output.stem else f"{output.stem}-{kind}"
    return f"{own}.html" if (output.parent / f"{own}.html").is_file() else None


if __name__ == "__main__":
    sys.exit(main())
