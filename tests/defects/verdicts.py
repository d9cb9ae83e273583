"""The verdict on broken servers, however the suites are run: never "ready", and the broken requirement never met.

    python tests/defects/verdicts.py                          # all defects
    python tests/defects/verdicts.py --only discards_on_error # one of them
    python tests/defects/verdicts.py --fraction 0.1 --seed 7  # a part

Each defect's tests are run with `--skiponfailure`, with `--exitonfailure`, and their results are put over each other by
`rebot --merge`. The exit status is 0 when no verdict is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from catalogue import LONGEST_WAIT, Defect, defects
from runs import HERE, ROOT, SECONDS_PER_RUN, SECONDS_TO_END

from ocpp_resilience.report import JSON_NAME, Report
from ocpp_resilience.report.__main__ import main as write_page
from ocpp_resilience.report.model import Decision, Verdict

WAYS = {
    "--skiponfailure": ["--skiponfailure", "R*"],
    "--exitonfailure": ["--exitonfailure"],
}


def run(defect: Defect, folder: Path, options: list[str]) -> None:
    """Run the tests that have to catch a defect."""
    environment = {name: value for name, value in os.environ.items() if name not in {"DEFECT", "PYTHONPATH"}}
    environment |= {
        "PYTHONPATH": str(HERE / "inject"),
        "DEFECT": defect.name,
        "GRADE_LONGEST_WAIT": str(defect.longest_wait),
        "GRADE_LONGEST_ANSWER": str(LONGEST_WAIT),
    }
    command = [sys.executable, "-m", "robot", "--outputdir", str(folder), "--console", "none", "--report", "NONE"]
    command += ["--settag", "robot:stop-on-failure", *options]
    command += [part for test in defect.caught_by for part in ("--test", test)]
    command += [part for variable in defect.settings for part in ("--variable", variable)]
    process = subprocess.Popen([*command, str(ROOT / "suites")], cwd=ROOT, env=environment)
    try:
        process.wait(SECONDS_PER_RUN)
    except subprocess.TimeoutExpired:
        process.terminate()
    finally:
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wrong(defect: Defect, report: Report) -> str:
    """The problem of a verdict; empty if it is right."""
    [found] = [each for each in report.requirements if each.id == defect.requirement]
    said = f"{report.verdict}, {found.id} {found.verdict}: {found.reason[:160]}"
    allowed = {Decision.NOT_READY} | ({Decision.NOT_RUN, Decision.UNDECIDED} if defect.stops_start else set())
    if report.verdict not in allowed and report.verdict is not Decision.UNDECIDED:
        return f"WRONG {said}"
    if found.verdict in {Verdict.MET, Verdict.NOT_APPLICABLE}:
        return f"WRONG {said}"
    return "" if report.verdict in allowed or not found.group else f"undecided: {said}"


def judge(defect: Defect, folder: Path) -> dict[str, str]:
    """The problems of the verdicts on a defect, by the way of running; empty for right ones."""
    found = {}
    for way, options in WAYS.items():
        out = folder / way.strip("-")
        run(defect, out, options)
        found[way] = _wrong_on_page(defect, out)
    skipped = folder / "skiponfailure" / "output.xml"
    merged = folder / "merge"
    command = [sys.executable, "-m", "robot.rebot", "--merge", "--nostatusrc", "--log", "NONE", "--report", "NONE"]
    command += ["--outputdir", str(merged), "--output", "output.xml", str(folder / "exitonfailure" / "output.xml")]
    subprocess.run([*command, str(skipped)], check=False, stdout=subprocess.DEVNULL)
    write_page([str(merged / "output.xml")])
    found["rebot --merge"] = _wrong_on_page(defect, merged)
    return {way: what for way, what in found.items() if what}


def _wrong_on_page(defect: Defect, folder: Path) -> str:
    page = folder / JSON_NAME
    if not page.is_file():
        return "WRONG no page"
    return wrong(defect, msgspec.json.decode(page.read_bytes(), type=Report))


def main() -> int:
    """The command line; 0 when no verdict is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    known = defects()
    if unknown := sorted(set(options.only) - known.keys()):
        parser.error(f"there is no defect {', '.join(unknown)}")
    count = max(1, round(options.fraction * len(known)))
    names = options.only or random.Random(options.seed).sample(sorted(known), count)
    bad = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="verdicts-") as folder:
            found = judge(known[name], Path(folder))
        bad += any(each.startswith("WRONG") for each in found.values())
        print(f"{name} ({known[name].requirement}): {found or 'right in all ways'}", flush=True)
    print(f"{len(names)} defects, {bad} with a wrong verdict")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
