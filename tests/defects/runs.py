"""Runs of Robot Framework over the suites, with a defect or without, and processes that keep the machine busy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from catalogue import LONGEST_WAIT
from robot.api import ExecutionResult, ResultVisitor
from robot.result import TestCase

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SECONDS_PER_RUN = 420
"""A run that takes longer is ended: some defects make everything slow."""
SECONDS_TO_END = 60
"""Time limit for Robot to end its processes after it was stopped."""

Outcomes = dict[str, tuple[str, str]]
"""Status and message by the name of a test."""


class Turns:
    """Runs side by side, at most one of them with a load that needs the machine.

    Args:
        jobs: how many; each has its own server, Redis, ports and folder.
    """

    def __init__(self, jobs: int) -> None:
        self._turn = asyncio.Semaphore(jobs)
        self._heavy = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def turn(self, *, heavy: bool = False) -> AsyncIterator[None]:
        """Wait until a run may begin."""
        async with self._heavy if heavy else contextlib.nullcontext(), self._turn:
            yield


class _Outcomes(ResultVisitor):
    def __init__(self) -> None:
        self.outcomes: Outcomes = {}

    def visit_test(self, test: TestCase) -> None:
        self.outcomes[test.name] = (test.status, test.message)


async def run_suites(
    tests: Iterable[str],
    folder: Path,
    *,
    longest_wait: float,
    defect: str | None = None,
    variables: Iterable[str] = (),
    options: Sequence[str] = (),
) -> Outcomes:
    """Run these tests.

    Args:
        tests: their names.
        folder: for the output of the run.
        longest_wait: seconds that a keyword waits at most, whatever it was told.
        defect: which one the server has; none for the sound server.
        variables: of the suites, as `NAME:value`.
        options: more options of Robot Framework.

    Raises:
        RuntimeError: the run left no result.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {"DEFECT", "PYTHONPATH"}}
    environment |= {
        "PYTHONPATH": str(HERE / "inject"),
        "GRADE_LONGEST_WAIT": str(longest_wait),
        "GRADE_LONGEST_ANSWER": str(LONGEST_WAIT),
    }
    if defect:
        environment["DEFECT"] = defect
    # A template goes through all of its rows, unless its test has this tag; with a defect the first failure decides.
    options = [*options, *(["--settag", "robot:stop-on-failure"] if defect else [])]
    for test in tests:
        options += ["--test", test]
    for variable in variables:
        options += ["--variable", variable]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "robot", "--outputdir", str(folder), "--console", "quiet", "--log", "NONE"),
        *("--report", "NONE", *options, str(ROOT / "suites")),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        try:
            _, errors = await asyncio.wait_for(process.communicate(), SECONDS_PER_RUN)
        except TimeoutError:
            # Robot ends what it started on the first signal.
            process.terminate()
            try:
                _, errors = await asyncio.wait_for(process.communicate(), SECONDS_TO_END)
            except TimeoutError:
                text = f"the run did not end within {SECONDS_PER_RUN} s, nor {SECONDS_TO_END} s after it was told to"
                raise RuntimeError(text) from None
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), SECONDS_TO_END)
            if process.returncode is None:
                process.kill()
                await process.wait()
    output = folder / "output.xml"
    if not output.exists():
        raise RuntimeError(f"no result; {errors.decode(errors='replace')[-300:]}")
    visitor = _Outcomes()
    ExecutionResult(str(output), include_keywords=False).visit(visitor)
    return visitor.outcomes


@contextlib.asynccontextmanager
async def burning(count: int) -> AsyncIterator[None]:
    """Keep so many processors busy."""
    # Each ends by itself when this process, whatever becomes of it, leaves it alone.
    program = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100000))"
    burners = [await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            with contextlib.suppress(ProcessLookupError):
                burner.kill()
            await burner.wait()
