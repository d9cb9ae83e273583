"""The verdict on broken servers, however the suites are run: never "ready", and the broken requirement never met.

    python tests/defects/verdicts.py                          # all defects
    python tests/defects/verdicts.py --only discards_on_error # one of them
    python tests/defects/verdicts.py --fraction 0.1 --seed 7  # a part

Each defect's tests are run with `--skiponfailure`, with `--exitonfailure`, and their results are put over each other by
`rebot --merge`. The exit status is 0 when no verdict is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
from catalogue import Defect, defects
from runs import Turns, run_suites

from ocpp_resilience.report import JSON_NAME, Report
from ocpp_resilience.report.__main__ import main as write_page
from ocpp_resilience.report.model import Decision, Verdict

WAYS = {
    "--skiponfailure": ["--skiponfailure", "R*"],
    "--exitonfailure": ["--exitonfailure"],
}


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


class Judge:
    """Runs the tests of defects in each way, several runs side by side.

    Args:
        jobs: how many.
        scratch: where runs leave their output.
    """

    def __init__(self, jobs: int, scratch: Path) -> None:
        self._turns = Turns(jobs)
        self._scratch = scratch
        self.wrong = 0
        self.undecided = 0

    async def all(self, chosen: Iterable[Defect]) -> None:
        """Judge each of them and print what was found."""
        async with asyncio.TaskGroup() as tasks:
            for each in chosen:
                tasks.create_task(self._one(each))

    async def _one(self, defect: Defect) -> None:
        folder = self._scratch / defect.name
        async with self._turns.turn(heavy=defect.heavy):
            found = await self._judge(defect, folder)
        shutil.rmtree(folder, ignore_errors=True)
        self.wrong += any(each.startswith("WRONG") for each in found.values())
        self.undecided += any(each.startswith("undecided") for each in found.values())
        print(f"{defect.name} ({defect.requirement}): {found or 'right in all ways'}", flush=True)

    async def _judge(self, defect: Defect, folder: Path) -> dict[str, str]:
        """The problems of the verdicts on a defect, by the way of running; empty for right ones."""
        found = {}
        for way, options in WAYS.items():
            out = folder / way.strip("-")
            try:
                await run_suites(
                    defect.caught_by,
                    out,
                    longest_wait=defect.longest_wait,
                    defect=defect.name,
                    variables=defect.settings,
                    options=options,
                )
            except RuntimeError as error:
                found[way] = f"undecided: {error}"
                continue
            found[way] = _wrong_on_page(defect, out)
        merged = folder / "merge"
        command = ["-m", "robot.rebot", "--merge", "--nostatusrc", "--log", "NONE", "--report", "NONE"]
        command += ["--outputdir", str(merged), "--output", "output.xml"]
        command += [str(folder / way.strip("-") / "output.xml") for way in reversed(WAYS)]
        rebot = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.DEVNULL)
        await rebot.wait()
        if (merged / "output.xml").is_file():
            await asyncio.to_thread(write_page, [str(merged / "output.xml")])
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
    parser.add_argument("--jobs", type=int, default=3, help="parallel runs (3)")
    options = parser.parse_args()
    known = defects()
    if unknown := sorted(set(options.only) - known.keys()):
        parser.error(f"there is no defect {', '.join(unknown)}")
    count = max(1, round(options.fraction * len(known)))
    names = options.only or random.Random(options.seed).sample(sorted(known), count)
    with tempfile.TemporaryDirectory(prefix="verdicts-") as scratch:
        judge = Judge(options.jobs, Path(scratch))
        asyncio.run(judge.all(known[name] for name in names))
    print(f"{len(names)} defects, {judge.wrong} with a wrong verdict, {judge.undecided} undecided in one way or more")
    return int(judge.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
