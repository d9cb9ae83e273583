"""What `grade.py` says: on the console, and as a matrix of defects and tests in Markdown."""

from __future__ import annotations

from pathlib import Path

from resilience.report.grade import Grade, GradedDefect

SLOWEST = 8
"""How many of the slowest defects are named."""


def say(graded: GradedDefect) -> None:
    """One line when a defect is through, and one for each test that missed it."""
    verdict = "caught" if graded.found else "MISSED"
    print(f"{verdict:7} {graded.requirement:6} {graded.name} ({graded.seconds:.1f} s)", flush=True)
    for each in graded.missed:
        print(f"        {each.test}: {_cell(each.message)}", flush=True)
    if graded.problem:
        print(f"        {graded.problem}", flush=True)


def summarise(grade: Grade, folder: Path) -> None:
    """The last lines: the slowest, and the counts."""
    slowest = sorted(grade.defects, key=lambda each: -each.seconds)[:SLOWEST]
    print(f"slowest: {', '.join(f'{each.name} {each.seconds:.0f} s' for each in slowest)}")
    print(f"{counts(grade)} {grade.seconds / 60:.1f} minutes; {folder / 'grade.md'}")


def counts(grade: Grade) -> str:
    """The grade in one sentence."""
    return (
        f"{grade.caught} of {len(grade.defects)} defects caught, {grade.missed} missed; {len(grade.false_alarms)} false"
        f" alarms in {grade.sound_tests} tests of {grade.sound_runs} runs of the sound server, with {grade.burners}"
        f" processes keeping the machine busy; seed {grade.seed}."
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
        lines += [f"{defect} | **missed** | {_cell(one.test)} | {_cell(one.line)} |" for one in each.missed]
        if each.problem:
            lines.append(f"{defect} | **missed** | | {_cell(each.problem)} |")
    lines += [""] + [f"- False alarm: {_cell(each.test)}: {_cell(each.line)}" for each in grade.false_alarms]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:400]
