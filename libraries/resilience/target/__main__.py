"""`python -m resilience.target`: try a profile against its system, or print the JSON Schema of profiles.

Exit status: 0 when everything that the profile declares works, 1 when something does not, 2 when the profile cannot be
used.
"""

from __future__ import annotations

import argparse
import sys

from resilience.target.schema import as_text


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m resilience.target", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("schema", help="print the JSON Schema of profiles")
    options = parser.parse_args(arguments)
    if options.command == "schema":
        sys.stdout.write(as_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
