"""Puts mutants of the server before the suites that could see them: how many do they see?

    python tests/defects/mutants.py [--count 20 --seed 7] [--under server/ocpp] [--jobs 2]

A mutant is the server with one small change, drawn by the seed from all changes that `mutations` can make. The suites
that use the changed part run against it until the first test fails. What survives is listed, to be judged: equivalent
to the original, invisible from outside, or a hole in the suites. The server's unit tests are not asked. Exit status 0:
all were seen; 1: some survived.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import copy
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from catalogue import LONGEST_WAIT
from robot.api import ExecutionResult, ResultVisitor
from robot.result import TestCase
from runs import HERE, ROOT

SERVER = ROOT / "server"
SECONDS_FOR_ONE = 600
"""A mutant that takes longer is one that was seen: the sound server needs half of that."""
SECONDS_TO_END = 60
TEARDOWN = "Parent suite teardown failed"
"""The message of all tests of a suite with a failed teardown: a test that failed by itself has a better one."""

SUITES: dict[str, tuple[str, ...]] = {
    "api": ("14", "20", "16", "18"),
    "correlation": ("14", "16"),
    "gateway": ("17", "14", "13", "20", "16", "18"),
    "ocpp": ("13", "17", "15"),
    "processor": ("13", "17", "16"),
    "redis": ("13", "16"),
    "store": ("15", "13"),
    "": ("13", "16", "14"),
}
"""The suites that use each room of the server, the quickest judge first; `` is its top floor."""

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
_NOT_TOLD = {"logger", "structlog"}
"""Log messages for people are not tested by the suites."""


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """One change.

    Attributes:
        file: relative to the root of the project.
        line: of the original.
        what: the code before and after it, in one line.
        source: the whole changed file.
    """

    file: str
    line: int
    what: str
    source: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a mutant.

    Attributes:
        file, line, what: see `Mutation`.
        seen_by: the test that failed first; `None` where it survived.
        message: in which line.
        seconds: how long that took.
    """

    file: str
    line: int
    what: str
    seen_by: str | None
    message: str
    seconds: float


def mutations(path: Path) -> Iterator[Mutation]:
    """Every change that can be made to a file; each is made when it is asked for."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    for node, parent, name, place in _places(tree):
        for changed in _changes(node):
            yield _mutation(path, text, tree, node, (parent, name, place), changed=changed)


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, str, int | None]]:
    """The nodes that may be changed, each with its place; not annotations, docstrings, and logging."""
    for parent in _executed(tree):
        for name, value in ast.iter_fields(parent):
            if name in {"annotation", "returns", "decorator_list", "type_params", "bases"}:
                continue
            for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    yield child, parent, name, place


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    if _is_logging(node) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, ast.ImportFrom | ast.Import | ast.Raise | ast.JoinedStr):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params", "bases"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _executed(child)


def _is_logging(node: ast.AST) -> bool:
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return False
    return isinstance(call.func.value, ast.Name) and call.func.value.id in _NOT_TOLD


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
        yield _with(node, ops=[_COMPARE[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield copy.deepcopy(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield _with(node, op=_ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Constant):
        yield _with(node, test=ast.UnaryOp(ast.Not(), copy.deepcopy(node.test)))
    elif isinstance(node, ast.IfExp):
        yield _with(node, body=copy.deepcopy(node.orelse), orelse=copy.deepcopy(node.body))
    elif isinstance(node, ast.Return) and node.value is not None and not _is_nothing(node.value):
        yield _with(node, value=ast.Constant(None))
    elif isinstance(node, ast.AugAssign) or _is_act(node):
        yield ast.Pass()
    elif isinstance(node, ast.Break):
        yield ast.Continue()
    elif isinstance(node, ast.Continue):
        yield ast.Break()


def _is_act(node: ast.AST) -> bool:
    """Whether it is a call whose result is unused."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await) and not _is_logging(node)


def _is_nothing(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _mutation(
    path: Path,
    text: str,
    tree: ast.Module,
    node: ast.AST,
    where: tuple[ast.AST, str, int | None],
    *,
    changed: ast.AST,
) -> Mutation:
    parent, name, place = where
    before = " ".join(ast.unparse(node).split())
    after = " ".join(ast.unparse(ast.fix_missing_locations(changed)).split())
    _put(parent, name, place, ast.copy_location(changed, node))
    source = ast.unparse(ast.fix_missing_locations(tree))
    _put(parent, name, place, node)
    what = f"{before[:100]}  ->  {after[:100]}"
    line = getattr(node, "lineno", getattr(parent, "lineno", 0))
    return Mutation(file=path.relative_to(ROOT).as_posix(), line=line, what=what, source=source)


def _put(parent: ast.AST, name: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[place] = node


def draw(folders: Sequence[Path], count: int, seed: int) -> list[Mutation]:
    """So many changes, drawn by the seed from all that there are."""
    files = sorted({path for folder in folders for path in (folder.rglob("*.py") if folder.is_dir() else [folder])})
    found = [(file, number) for file in files for number, _ in enumerate(mutations(file))]
    chosen = random.Random(seed).sample(found, min(count, len(found)))
    print(f"{len(chosen)} of {len(found)} mutants, seed {seed}", flush=True)
    made: dict[Path, list[Mutation]] = {}
    for file, _ in chosen:
        if file not in made:
            made[file] = list(mutations(file))
    return [made[file][number] for file, number in chosen]


def suites_of(mutation: Mutation) -> tuple[str, ...]:
    """The suites that use the changed file."""
    room = mutation.file.split("/")[1]
    return SUITES.get(room, SUITES[""])


class _FirstFailure(ResultVisitor):
    def __init__(self) -> None:
        self.test: str | None = None
        self.message = ""

    def visit_test(self, test: TestCase) -> None:
        # What the run left out after the first failure has failed, too.
        message = " ".join(test.message.split())[:300]
        if test.status == "FAIL" and (self.test is None or self.message.startswith(TEARDOWN)):
            self.test, self.message = test.name, message


async def judge(mutation: Mutation, scratch: Path) -> Verdict:
    """Run the suites against one mutant, one after the other, until one fails."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=scratch) as overlay:
        shutil.copytree(SERVER, Path(overlay) / "server", ignore=shutil.ignore_patterns("__pycache__"))
        (Path(overlay) / mutation.file).write_text(mutation.source, encoding="utf-8")
        seen_by, message = None, ""
        for number in suites_of(mutation):
            (suite,) = (ROOT / "suites").glob(f"{number}_*.robot")
            left = SECONDS_FOR_ONE - (time.monotonic() - began)
            seen_by, message = await _first_failure(suite, Path(overlay), left)
            if seen_by is not None:
                break
    return Verdict(
        file=mutation.file,
        line=mutation.line,
        what=mutation.what,
        seen_by=seen_by,
        message=message,
        seconds=round(time.monotonic() - began, 1),
    )


async def _first_failure(suite: Path, overlay: Path, limit: float) -> tuple[str | None, str]:
    environment = {name: value for name, value in os.environ.items() if name != "DEFECT"}
    # The changed server goes before that of the checkout, in the server's processes and in Robot's own.
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(overlay), str(HERE / "inject"), environment.get("PYTHONPATH", "")]),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GRADE_LONGEST_WAIT": str(LONGEST_WAIT),
        "GRADE_LONGEST_ANSWER": str(LONGEST_WAIT),
    }
    output = overlay / f"{suite.stem}.xml"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "robot", "--outputdir", str(overlay), "--output", str(output), "--console", "quiet"),
        *("--log", "NONE", "--report", "NONE", "--exitonfailure", "--settag", "robot:stop-on-failure", str(suite)),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), max(limit, 1))
    except TimeoutError:
        return suite.stem, f"the suites took longer than {SECONDS_FOR_ONE} s"
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), SECONDS_TO_END)
            if process.returncode is None:
                process.kill()
                await process.wait()
    if not output.exists():
        # Robot leaves a result whatever the server does.
        raise RuntimeError(f"{suite.name}: no result; {errors.decode(errors='replace')[-300:]}")
    visitor = _FirstFailure()
    ExecutionResult(str(output), include_keywords=False).visit(visitor)
    return visitor.test, visitor.message


async def run(chosen: Sequence[Mutation], jobs: int, scratch: Path, say: Callable[[Verdict], None]) -> list[Verdict]:
    """Judge all of them, so many at a time."""
    turn = asyncio.Semaphore(jobs)

    async def one(mutation: Mutation) -> Verdict:
        async with turn:
            verdict = await judge(mutation, scratch)
        say(verdict)
        return verdict

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(each)) for each in chosen]
    return [each.result() for each in running]


def _say(verdict: Verdict) -> None:
    place = f"{verdict.file}:{verdict.line}"
    if verdict.seen_by is None:
        print(f"SURVIVED {place} ({verdict.seconds} s)\n         {verdict.what}", flush=True)
    else:
        print(f"seen     {place} ({verdict.seconds} s) by {verdict.seen_by}: {verdict.message[:160]}", flush=True)


def main() -> int:
    """See the module's documentation."""
    parser = argparse.ArgumentParser(description="Runs the suites against mutants of the server.")
    parser.add_argument("--count", type=int, default=20, help="how many mutants (20)")
    parser.add_argument("--seed", type=int, help="of the choice; by chance if not given, and printed")
    parser.add_argument("--under", action="append", type=Path, metavar="PATH", help="only these files or folders")
    parser.add_argument("--jobs", type=int, default=2, help="parallel mutants (2)")
    parser.add_argument("--list", action="store_true", help="show what would be run, and run nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "mutants.json", help="file for the verdicts")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    chosen = draw([(ROOT / each).resolve() for each in options.under or [SERVER]], options.count, seed)
    if options.list:
        for each in chosen:
            print(f"{each.file}:{each.line}  {each.what}")
        return 0
    # Told to end, it ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        verdicts = asyncio.run(run(chosen, options.jobs, Path(scratch), _say))
    survivors = [each for each in verdicts if each.seen_by is None]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    document = {"seed": seed, "seen": len(verdicts) - len(survivors), "verdicts": verdicts}
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))
    print(f"{len(verdicts) - len(survivors)} of {len(verdicts)} seen, {len(survivors)} survived; {options.output}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
