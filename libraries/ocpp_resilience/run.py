"""Running suites to a decision: `ocpp-resilience run`, a quick check, and `ocpp-resilience run --release`.

The exit status is the verdict of the page: 0 ready, 1 not ready, 2 undecided, 3 nothing could be run. With
`--fail-unless not-missed` a run that is undecided ends with 0, too. Robot Framework's own exit status counts failed
tests, which is something else: a test may fail and decide nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from robot.api import ExecutionResult
from robot.errors import DataError

from ocpp_resilience.arguments import Parser
from ocpp_resilience.errors import ResilienceError, UsageError
from ocpp_resilience.evidence.requirements import load
from ocpp_resilience.guardian import GuardedProcess, run_guarded
from ocpp_resilience.json_lines import no_place_for
from ocpp_resilience.live import LiveServer
from ocpp_resilience.live.server import announce
from ocpp_resilience.ocpp import ocpp_version
from ocpp_resilience.profile import PROTOCOL, Target
from ocpp_resilience.redis.services import ServiceKind
from ocpp_resilience.report import HTML_NAME, JSON_NAME, Report, Settings, build, history, pipeline, write
from ocpp_resilience.report.build import FIRST_RUN, FOLDER, RELEASE, past
from ocpp_resilience.report.model import EXIT_STATUS, Decision
from ocpp_resilience.report.page import pattern
from ocpp_resilience.robot.facts import Kind
from ocpp_resilience.robot.variables import as_duration
from ocpp_resilience.shipped import shipped

NOT_RUN = EXIT_STATUS[Decision.NOT_RUN]
LOAD_LENGTH = "10s"
"""Length of the loads whose rates and response times are judged."""
CONNECTIONS = 20_000
"""Connections in turn that R18.10 requires."""
WORST = [EXIT_STATUS[each] for each in (Decision.READY, Decision.UNDECIDED, Decision.NOT_READY, Decision.NOT_RUN)]
"""The exit statuses; of several runs, the one that stands last here counts."""
SOAK = "605s"
"""Ten minutes under load, and the little that it takes until all charge points are connected."""
LIMIT = 20 * 60.0
"""Time limit of a release in seconds; after it the run is stopped, and the remaining requirements are undecided."""
END_LIMIT = 90.0
"""Seconds for Robot Framework to end in order once it was told to."""
AGAIN = 4 * 60.0
"""Seconds that have to be left for tests that are run once more."""
LONG = 120.0
"""Tests of at least this many seconds are not repeated: repetition would not give them the time that they lack."""
MAY_PASS = {Kind.INCONCLUSIVE, Kind.SKIPPED}
WRONG_FOR_ROBOT = 252
ROBOT_FAILED = 251
"""From here on Robot Framework's exit status says that it could not run at all: wrong options, no suites, stopped."""


def _suites_in(path: Path) -> Path:
    """The suites of a folder that `ocpp-resilience init` made, or the path itself."""
    return path / "suites" if (path / "suites").is_dir() else path


class _Parser(Parser):
    """Its exit statuses are those of a run, of which 2 means that something was run."""

    wrong_use = NOT_RUN
    remedy = " Options of robot come after --, for example: -- --include R13.1"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Returns:
        0 ready, 1 not ready, 2 undecided, 3 nothing could be run; with `--fail-unless not-missed` 0 for undecided.
    """
    parser = _Parser(
        prog="ocpp-resilience run",
        description="Run suites, and say with the exit status whether the system is ready: 0 ready, 1 not ready, "
        "2 undecided, 3 nothing could be run.",
        epilog="Options of robot come after --, for example: ocpp-resilience run suites -- --include R13.1",
    )
    parser.add_argument(
        "suites",
        nargs="*",
        type=Path,
        help="files or folders, also one that `ocpp-resilience init` made; the bundled suites if not given",
    )
    parser.add_argument(
        "--fail-unless",
        choices=("ready", "not-missed"),
        default="ready",
        help="result that exits with 0: `ready` (default), or `not-missed`, which includes undecided runs",
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="JUnit XML with tests and requirements")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="add a summary in Markdown to this file")
    parser.add_argument("--live", action="store_true", help="show the run on a page on 127.0.0.1 while it goes on")
    parser.add_argument("--release", action="store_true", help="full soak and all repetitions, for a decision")
    parser.add_argument(
        "--target", metavar="PROFILE", help="name or path of the profile; that of the bundled server if not given"
    )
    parser.add_argument(
        "--protocol",
        metavar="VERSION",
        help="the OCPP version, such as ocpp2.0.1; if not given, that of the profile, and for a release, one run for "
        "each version that the profile has",
    )
    parser.add_argument("--redis", choices=[each.value for each in ServiceKind], help="embedded if not given")
    parser.add_argument("--redis-url", metavar="URL", help="of an external Redis; implies --redis external")
    parser.add_argument("--outputdir", type=Path, help="results, or results/release")
    parser.add_argument("--history", type=Path, help="earlier runs; results/history.jsonl")
    parser.add_argument("--soak", help=f"length of the soak; of a release {SOAK} if not given")
    parser.add_argument("--limit", default="20 min", help="a run that takes longer is stopped, default %(default)s")
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours, own = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    options = parser.parse_args(ours)
    try:
        _check(options)
        with LiveServer() if options.live else contextlib.nullcontext() as live:
            if live is not None:
                announce(live)
            return max((run.to_its_decision() for run in _runs(options, own, live)), key=WORST.index)
    except (ResilienceError, DataError, OSError) as error:
        sys.stderr.write(f"Not run: {error}\n")
        return NOT_RUN


def _check(options: argparse.Namespace) -> None:
    """Find what would be found only after the run, or be reported by robot in the words of its own options.

    Raises:
        UsageError: an option cannot be used, or makes no sense beside another one.
    """
    as_duration("--limit", options.limit)
    if options.soak is not None:
        as_duration("--soak", options.soak)
    if options.redis_url is not None and options.redis not in {None, ServiceKind.EXTERNAL.value}:
        raise UsageError(
            f"--redis {options.redis} does not use the address of --redis-url. Give --redis external, or leave one of "
            "the two out."
        )
    for name in ("junit", "summary", "history"):
        file: Path | None = getattr(options, name)
        if file is not None and (problem := no_place_for(file)):
            raise UsageError(f"--{name} {file}: {problem}")
    if options.outputdir is not None and (problem := no_place_for(options.outputdir / JSON_NAME)):
        raise UsageError(f"--outputdir {options.outputdir}: {problem}")
    for each in options.suites:
        if not each.exists():
            raise UsageError(f"There is no {each}.")


def _runs(options: argparse.Namespace, own: Sequence[str], live: LiveServer | None) -> Iterator[Run]:
    """One run, or for a release one of each OCPP version that the profile has."""
    profile = Target.load(options.target or "reference")
    if options.protocol is not None:
        yield Run(options, own, profile.speaking(options.protocol).gateway.subprotocol, live=live)
    elif not options.release or len(profile.protocols) == 1:
        yield Run(options, own, live=live)
    else:
        default = profile.gateway.subprotocol
        for protocol in sorted(profile.protocols, key=lambda each: each != default):
            sys.stdout.write(f"\n{ocpp_version(protocol)}\n")
            yield Run(options, own, protocol, apart=protocol != default, live=live)


class Run:
    """A run of robot, perhaps with repetitions, and its verdict.

    Args:
        options: of the command line.
        own: further options for robot.
        protocol: the OCPP version, by its subprotocol; that of the profile if not given.
        apart: whether results and history have a folder of the version's name of their own.
        live: the page that shows the run while it goes on; `None` without one.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        own: Sequence[str],
        protocol: str | None = None,
        *,
        apart: bool = False,
        live: LiveServer | None = None,
    ) -> None:
        self._live = live
        self._suites = [_suites_in(each) for each in options.suites or [shipped("suites")]]
        self._release = options.release
        self._out = (options.outputdir or Path("results") / ("release" if options.release else "")).resolve()
        self._history = (options.history or Path("results") / "history.jsonl").resolve()
        if apart and protocol is not None:
            # Runs of different versions are not compared with each other.
            self._out /= protocol
            self._history = self._history.parent / protocol / self._history.name
        self._deadline = time.monotonic() + as_duration("--limit", options.limit)
        self._environment = dict(os.environ)
        variables = {"HISTORY": self._history}
        if self._release:
            variables |= {
                "RELEASE": "yes",
                "SOAK": options.soak or SOAK,
                "LOAD LENGTH": LOAD_LENGTH,
                "COMINGS AND GOINGS": CONNECTIONS,
            }
        elif options.soak:
            variables["SOAK"] = options.soak
        if options.target:
            variables["TARGET"] = options.target
        if protocol is not None:
            variables[PROTOCOL] = protocol
        if options.redis_url:
            self._environment["REDIS_URL"] = options.redis_url
        if options.redis or options.redis_url:
            variables["REDIS"] = options.redis or "external"
        self._options = [part for name, value in variables.items() for part in ("--variable", f"{name}:{value}")]
        self._options += own
        self._fail_unless = options.fail_unless
        self._junit: Path | None = options.junit
        self._summary: Path | None = options.summary
        self._stopped = False
        self._several = False

    def to_its_decision(self) -> int:
        """Run everything, print the verdict, and return the exit status."""
        began = time.time_ns()
        status = self._robot(self._out)
        page = self._out / JSON_NAME
        if status == WRONG_FOR_ROBOT:
            raise ResilienceError("Robot Framework cannot use these options or suites; its message is above.")
        if status >= ROBOT_FAILED or not page.is_file() or page.stat().st_mtime_ns < began:
            raise ResilienceError(f"robot ended with status {status} and left no page of this run in {self._out}.")
        report = msgspec.json.decode(page.read_bytes(), type=Report)
        if self._release and report.complete and report.verdict is not Decision.NOT_RUN:
            report = self._with_further_runs(report)
        self._say(report)
        if self._junit is not None:
            pipeline.write_junit(report, self._junit)
        if self._summary is not None:
            pipeline.add_summary(report, self._summary, os.path.relpath(self._out / HTML_NAME))
        if self._fail_unless == "not-missed" and report.verdict is Decision.UNDECIDED:
            return 0
        return EXIT_STATUS[report.verdict]

    def _say(self, report: Report) -> None:
        """The decision of several runs, which robot does not print."""
        if self._several:
            sys.stdout.write(f"\n{report.sentence}\nPage:    {self._out / HTML_NAME}\n")

    def _with_further_runs(self, first: Report) -> Report:
        """Repeat tests that a busy machine left undecided, and tests of requirements that ask for repetitions.

        The page is one of all of these runs. A test that decided nothing is replaced by the next one that does; of
        those that are to be run several times, the worst counts.
        """
        main = self._out / "output.xml"
        folders: list[Path] = []
        if (doubtful := _kept_from_deciding(first)) and time.monotonic() + AGAIN < self._deadline:
            sys.stdout.write(f"\nOnce more, since the machine kept them from deciding: {len(doubtful)} tests.\n")
            again = self._out / "again"
            if self._further(again, [part for name in doubtful for part in ("--test", pattern(name))]):
                merged = self._out / "merged.xml"
                _rebot("--merge", "--output", str(merged), "--log", "NONE", str(main), str(again / "output.xml"))
                main, folders = (merged, [again]) if merged.is_file() else (main, [])
        asked = {each.id: each.runs for each in load() if each.runs > 1}
        ran = {each for test in first.tests for each in test.requirements}
        outputs = [main]
        for number in range(2, max(asked.values(), default=1) + 1):
            names = [name for name, runs in asked.items() if runs >= number and name in ran]
            folder = self._out / f"run-{number}"
            if names and self._further(folder, [part for name in names for part in ("--include", name)]):
                outputs.append(folder / "output.xml")
                folders.append(folder)
        if not folders:
            return first
        self._several = True
        files = ["--outputdir", str(self._out), "--output", "release.xml", "--log", "release-log.html"]
        # Whoever writes the page again from this file knows the same of it.
        facts = {RELEASE: "yes", FIRST_RUN: first.seconds, FOLDER: "\n".join(map(str, [self._out, *folders]))}
        known = [part for name, value in facts.items() for part in ("--metadata", f"{name}:{value}")]
        _rebot("--name", "Release", *files, *known, *map(str, outputs))
        suite = ExecutionResult(self._out / "release.xml", include_keywords=False).suite
        settings = Settings(output=self._out, history=self._history, log="release-log.html")
        report = build(suite, settings)
        history.append(self._history, past(report))
        write(report, self._out)
        return report

    def _further(self, folder: Path, options: Sequence[str]) -> bool:
        """Run some of the tests again; whether there are results."""
        if self._stopped:
            return False
        began = time.time_ns()
        self._robot(folder, *options, "--variable", f"HISTORY:{folder / 'history.jsonl'}")
        output = folder / "output.xml"
        return output.is_file() and output.stat().st_mtime_ns >= began

    def _robot(self, folder: Path, *options: str) -> int:
        """Run robot to its end, or until the time is over; signals for this process reach it."""
        command = [sys.executable, "-m", "robot", "--outputdir", str(folder), *self._options, *options]
        if self._live is not None:
            self._live.follow(folder)
            command += self._live.robot_options
        process = GuardedProcess[bytes]([*command, *map(str, self._suites)], alone=True, env=self._environment)

        def forward(number: int, _frame: object) -> None:
            # Ctrl-C in a terminal reaches the whole process group; a second signal would end robot at once.
            self._stopped = True
            if number == signal.SIGTERM:
                process.send_signal(number)

        before = {each: signal.signal(each, forward) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            try:
                return process.wait(timeout=max(0.0, self._deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._stopped = True
                sys.stderr.write("The time limit is over: the run is stopped.\n")
                process.send_signal(signal.SIGTERM)
                return process.wait(timeout=END_LIMIT)
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
            if process.poll() is None:
                process.kill()
                process.wait()


def _kept_from_deciding(report: Report) -> list[str]:
    """The full names of short tests that did not fail, and decided nothing for a reason that may have passed."""
    return [
        each.full_name
        for each in report.tests
        if each.seconds < LONG
        and each.requirements
        and (each.doubts or any(reason.kind in MAY_PASS for reason in each.reasons))
        and each.status in {"PASS", "SKIP"}
    ]


def _rebot(*arguments: str) -> None:
    """Write results again."""
    command = [sys.executable, "-m", "robot.rebot", "--report", "NONE", "--nostatusrc", *arguments]
    sys.stderr.write(run_guarded(command).stderr)


if __name__ == "__main__":
    sys.exit(main())
