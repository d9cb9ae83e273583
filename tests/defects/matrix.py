"""The output of `grade.py`: on the console, and as a matrix of defects and tests in Markdown.

`python tests/defects/matrix.py results/grade.json` prints `messages.md`: for ten defects of different kinds, the line
in which a test says what is wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ocpp_resilience.report.grade import Grade, GradedDefect, read

SLOWEST = 8
"""Number of the slowest defects that are named."""


REVIEWED = (
    "last_in_first_out",
    "spins_on_an_empty_queue",
    "equal_commands_share_an_answer",
    "leaks_each_correlation",
    "stopped_transactions_stay_active",
    "exits_when_redis_goes",
    "health_says_healthy_without_redis",
    "floods_its_log_without_redis",
    "takes_text_that_is_not_utf8",
    "memory_without_a_bound_at_overload",
)
"""Defects of ten kinds: order, processor time, correlation, memory, state, a crash, health, the log, protocol, load."""


def say(graded: GradedDefect) -> None:
    """One line when a defect is through, and one for each test that did not catch it."""
    verdict = "caught" if graded.found else "OTHERWISE" if graded.for_another_reason else "MISSED"
    print(f"{verdict:9} {graded.requirement:6} {graded.name} ({graded.seconds:.1f} s)", flush=True)
    for each in graded.otherwise:
        print(f"          for another reason: {each.test}: {_cell(each.line)}", flush=True)
    for each in graded.missed:
        print(f"          {each.test}: {_cell(each.message)}", flush=True)
    if graded.problem:
        print(f"          {graded.problem}", flush=True)


def summarise(grade: Grade, table: Path) -> None:
    """The last lines: the slowest, and the counts."""
    slowest = sorted(grade.defects, key=lambda each: -each.seconds)[:SLOWEST]
    print(f"slowest: {', '.join(f'{each.name} {each.seconds:.0f} s' for each in slowest)}")
    print(f"{counts(grade)} {grade.seconds / 60:.1f} minutes; {table}")


def counts(grade: Grade) -> str:
    """The grade in one sentence."""
    return (
        f"{grade.caught} of {len(grade.defects)} defects caught, {grade.otherwise} for another reason,"
        f" {grade.missed} missed; {len(grade.false_alarms)} false alarms"
        f" in {grade.sound_tests} tests ({grade.sound_inconclusive} more inconclusive) of {grade.sound_runs} runs"
        f" of the sound server, with {grade.burners} processes keeping the machine busy; seed {grade.seed}."
    )


def as_markdown(grade: Grade) -> str:
    """The matrix as a table."""
    lines = [
        "# Defects and the tests that catch them",
        "",
        counts(grade),
        "",
        "| requirement | defect | verdict | test | what it said |",
        "|---|---|---|---|---|",
    ]
    for each in grade.defects:
        defect = f"| {each.requirement} | {each.name}: {_cell(each.about)}"
        lines += [f"{defect} | caught | {_cell(one.test)} | {_cell(one.line)} |" for one in each.caught]
        lines += [
            f"{defect} | **{verdict}** | {_cell(one.test)} | {_cell(one.line)} |"
            for verdict, those in (("caught for another reason", each.otherwise), ("missed", each.missed))
            for one in those
        ]
        if each.problem:
            lines.append(f"{defect} | **missed** | | {_cell(each.problem)} |")
    lines += [""] + [f"- False alarm: {_cell(each.test)}: {_cell(each.line)}" for each in grade.false_alarms]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:400]


def as_review(grade: Grade) -> str:
    """The messages of the tests about ten defects of different kinds, for a reader without the code.

    Raises:
        LookupError: one of them was not caught in this grade.
    """
    caught = {each.name: each for each in grade.defects if each.found}
    if lacking := [name for name in REVIEWED if name not in caught]:
        raise LookupError(
            f"{', '.join(lacking)} was not caught in this grade; run make grade ONLY='{' '.join(REVIEWED)}'"
        )
    lines = [
        "# The failing line alone",
        "",
        "What tests said of ten defects of different kinds; written by `tests/defects/matrix.py` from `grade.json`. A",
        "QA engineer sees the name of the test and this line, and has to know what is wrong.",
        "",
        "| requirement | test | what it said | what is wrong with the server |",
        "|---|---|---|---|",
    ]
    for each in (caught[name] for name in REVIEWED):
        first = each.caught[0]
        lines.append(f"| {each.requirement} | {_cell(first.test)} | {_cell(first.line)} | {_cell(each.about)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    found = read(Path(sys.argv[1])) if len(sys.argv) == 2 else None
    if found is None:
        sys.exit("usage: python tests/defects/matrix.py results/grade.json")
    sys.stdout.write(as_review(found))
