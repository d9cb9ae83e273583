"""Print how many tests Robot Framework ran, all outputs together, as one closing line; fail for a failure or none."""

from __future__ import annotations

import sys

from robot.api import ExecutionResult


def main(outputs: list[str]) -> int:
    """Count over `outputs`, paths of output.xml files."""
    passed = failed = skipped = 0
    for output in outputs:
        total = ExecutionResult(output).statistics.total
        print(f"{output}: {total.passed} passed, {total.failed} failed, {total.skipped} skipped")
        passed, failed, skipped = passed + total.passed, failed + total.failed, skipped + total.skipped
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
