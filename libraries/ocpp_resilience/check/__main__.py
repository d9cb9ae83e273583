"""`python -m ocpp_resilience.check`: try a profile against its system, or print the JSON Schema of profiles.

Exit status of `check`: 0 when everything that the profile declares works, 1 when something does not, 2 when the profile
cannot be used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import yaml

from ocpp_resilience.arguments import Parser
from ocpp_resilience.errors import UsageError
from ocpp_resilience.profile.schema import schema
from ocpp_resilience.profile.target import Target
from ocpp_resilience.struct_schema import as_text

if TYPE_CHECKING:
    from ocpp_resilience.check.drafts import Draft


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands; returns the exit status."""
    parser = Parser(prog="ocpp-resilience check", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    trying = commands.add_parser("check", help="check each part of a profile against its system")
    trying.add_argument("profile", help="the path of a profile, or the name of a bundled one")
    trying.add_argument("--redis", metavar="URL", help="the Redis to use instead of a private one")
    trying.add_argument(
        "--protocol", metavar="VERSION", help="the OCPP version, such as ocpp2.0.1; that of the profile if not given"
    )
    trying.add_argument("--only", metavar="PART", action="append", default=[], help="a part to check; all if not given")
    commands.add_parser("schema", help="print the JSON Schema of profiles")
    options = parser.parse_args(arguments)
    if options.command == "check":
        return _check(options.profile, options.redis, options.only, options.protocol)
    sys.stdout.write(as_text(schema()))
    return 0


def _check(profile: str, redis_url: str | None, only: list[str], protocol: str | None) -> int:
    # The check needs many more modules than the schema.
    from ocpp_resilience.check.decided import sentences  # noqa: PLC0415
    from ocpp_resilience.check.drafts import merged  # noqa: PLC0415
    from ocpp_resilience.check.profile_check import Verdict, check  # noqa: PLC0415

    failed = 0
    corrections = []
    try:
        target = Target.load(profile, protocol=protocol)
        sys.stdout.write(f"{target.name}: {target.about}\n" if target.about else f"{target.name}\n")
        for finding in check(target, redis_url, only):
            failed += finding.verdict is Verdict.FAILS
            corrections.append(finding.draft)
            sys.stdout.write(f"{finding.verdict.value:14} {finding.part:23} {finding.sentence}\n")
            sys.stdout.flush()
        _show_draft(merged(corrections))
        if not only:
            sys.stdout.write("".join(f"{line}\n" for line in ["", *sentences(target)]))
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return int(failed > 0)


def _show_draft(draft: Draft) -> None:
    if draft:
        sys.stdout.write("\nDraft of a corrected profile, from what was seen; each line replaces or adds a field:\n\n")
        text = yaml.safe_dump(draft, sort_keys=False, allow_unicode=True)
        sys.stdout.write("".join(f"    {line}\n" for line in text.splitlines()))


if __name__ == "__main__":
    sys.exit(main())
