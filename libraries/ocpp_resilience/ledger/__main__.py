"""`python -m ocpp_resilience.ledger check FILE…`: judge saved histories again, as one."""

from __future__ import annotations

import sys

import msgspec

from ocpp_resilience.arguments import Parser
from ocpp_resilience.ledger.checker import Verdict, check
from ocpp_resilience.ledger.records import LedgerError

STATUS = {Verdict.CLEAN: 0, Verdict.VIOLATED: 1, Verdict.INCONCLUSIVE: 3}
UNUSABLE = 2


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: clean; 1: violated; 2: a file cannot be judged; 3: inconclusive."""
    parser = Parser(prog="ocpp-resilience ledger", description="Judge saved message histories.")
    commands = parser.add_subparsers(dest="command", required=True)
    judge = commands.add_parser("check", help="judge the history in one or more files, taken together")
    judge.add_argument("files", nargs="+", metavar="FILE", help="ledger file (JSON lines)")
    judge.add_argument("--json", action="store_true", help="print the judgement as JSON")
    judge.add_argument("--examples", type=int, default=10, metavar="N", help="violations shown of each kind (10)")
    options = parser.parse_args(arguments)
    try:
        report = check(options.files)
    except LedgerError as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report.to_json()), indent=2).decode() + "\n")
    else:
        sys.stdout.write("\n".join([f"{report.verdict.value}: {report.summary}", *report.details(options.examples)]))
        sys.stdout.write("\n")
    return STATUS[report.verdict]


if __name__ == "__main__":
    sys.exit(main())
