"""The suites against the server with fifteen known faults (tests/faulty_server): do they name each of them?

    python tests/targets/faulty.py                      # without a fault, each alone, all together
    python tests/targets/faulty.py alone --only hangs_at_stop
    python tests/targets/faulty.py together
    python tests/targets/faulty.py sound
    python tests/targets/faulty.py --table docs/guide/faulty-server.md

Alone, a fault is named when each of the tests that are there for it fails with a message that says what is wrong.
Together,
it is enough that one of them does: some faults hide others. The exit status is 0 when 15 are named alone, at least 13
together, and nothing fails without a fault.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SERVER = ROOT / "tests" / "faulty_server"
sys.path[:0] = [str(HERE), str(SERVER)]

from compare import BUSY, PLUMBING, run_suites  # noqa: E402
from faults import ALL, FAULTS  # noqa: E402

ENOUGH_TOGETHER = 13
LIMITS = {"sound": 1200.0, "alone": 300.0, "together": 2400.0}
"""Seconds for a run of Robot."""
AT_A_TIME = 2


@dataclass(frozen=True)
class Expected:
    """How a fault shows.

    Attributes:
        requirement: what it violates.
        tests: those that are there for it.
        says: a regular expression that the message of such a test fits.
        divergence: whether it shows as another error code, which the tolerant oracle lists and lets pass.
    """

    requirement: str
    tests: tuple[str, ...]
    says: str
    divergence: bool = False


EXPECTED: dict[str, Expected] = {
    "takes_before_handling": Expected(
        "R16.8",
        ("The Server Is Killed Under Traffic And Loses Nothing",),
        r"R16\.8 lost: required == 0 .* measured [1-9]\d* messages?",
    ),
    "dies_of_input": Expected(
        "R17.4",
        (
            "Malformed JSON Is Logged And Set Aside And Stops Nothing Behind It",
            "Messages With Missing Fields Are Refused",
            "Wrong Types And Values Are Refused",
        ),
        r"The server exited after '.*panic",
    ),
    "drops_silently": Expected(
        "R17.4", ("Wrong Shapes And Ids Are Refused At Every Level",), r"[1-9]\d* lost.*lost: .*element"
    ),
    "always_healthy": Expected(
        "R16.6",
        ("Health Says Degraded While Redis Is Away And Healthy When It Is Back",),
        r"R16\.6 degraded: required == 100 %",
    ),
    "matches_by_charge_point": Expected(
        "R14.1", ("A Late Answer Is Not Taken For That Of The Next Command",), r"R14\.1 mixed_up: required == 0"
    ),
    "stuck_after_mass_timeout": Expected(
        "R14.5",
        ("A Thousand Commands Expire At Once And The Next One Is Answered",),
        r"R14\.5 next_answered: required == 100 %",
    ),
    "repeats_transaction_ids": Expected(
        "R15.2",
        ("Five Thousand Charge Points That Start At Once Get Distinct Ids",),
        r"R15\.2 repeated_ids: required == 0|transactionId: \d+ was given",
    ),
    "status_erases_transaction": Expected(
        "R13.8",
        ("A Connector Keeps Its Transaction While Its Status Changes",),
        r"transaction_id is None, expected \d+",
    ),
    "unknown_is_null": Expected(
        "R15.1", ("Things That Do Not Exist Are Not Found",), r"answered 200 .*null.*R15\.1 unknown_found"
    ),
    "hangs_at_stop": Expected(
        "R16.8", ("The Server Is Stopped Under Traffic And Loses Nothing",), r"R16\.8 shutdown: required < 5 s"
    ),
    "confuses_error_codes": Expected(
        "R17.3",
        ("Unknown And Unsupported Actions Are Refused",),
        r"refused with another code.*NotSupported.*NotImplemented",
        divergence=True,
    ),
    "exits_without_redis": Expected(
        "R16.1",
        ("The Server Starts Without Redis And Connects When It Appears",),
        r"exited with status 1 while starting.*fatal: Redis",
    ),
    "keeps_results_to_itself": Expected(
        "R14.7", ("Answers That Another Server Consumed Reach Their Callers",), r"R14\.7 answered: required == 200"
    ),
    "never_forgets_commands": Expected(
        "R14.5", ("Every Way In Which A Command Ends Cleans Up",), r"noted in Redis as waited for, there are [1-9]"
    ),
    "reorders_answers": Expected(
        "R13.4",
        ("Messages Of One Charge Point Are Answered In The Order Queued",),
        r"[1-9]\d* out of order|R13\.4 out_of_order: required == 0",
    ),
}

Outcomes = dict[str, tuple[str, str]]


@dataclass
class Finding:
    """Whether a fault was named.

    Attributes:
        named: whether it was.
        message: the line that names it, or what came in its place.
    """

    named: bool
    message: str


def suites(name: str, faults: str, selection: list[str], limit: float) -> Outcomes:
    """Run suites with faults; the results go to `results/faulty/NAME`."""
    folder = ROOT / "results" / "faulty" / name
    options = ["--variable", f"TARGET:{SERVER / 'profile.yaml'}", *selection]
    return run_suites(folder, options, {"FAULTS": faults}, timeout=limit)


def judged(name: str, outcomes: Outcomes, *, alone: bool) -> Finding:
    """Whether the tests that are there for a fault name it."""
    expected = EXPECTED[name]
    lines = []
    hits = 0
    for test in expected.tests:
        status, message = outcomes.get(test, ("NOT RUN", "it was not run"))
        text = " ".join(message.split())
        right = re.search(expected.says, text) is not None and (status == "FAIL" or expected.divergence)
        hits += right
        lines.append((right, f"{test}: {status}: {text[:400]}"))
    named = hits == len(expected.tests) if alone else hits > 0
    lines.sort(key=lambda line: line[0] != named)
    return Finding(named, lines[0][1])


def tried_alone(name: str) -> Finding:
    """One fault alone, and the tests that are there for it."""
    selection = [word for test in EXPECTED[name].tests for word in ("--test", test)]
    return judged(name, suites(name, name, selection, LIMITS["alone"]), alone=True)


def sound() -> list[str]:
    """What is found where there is nothing to be found, a line each."""
    outcomes = suites("sound", "", [], LIMITS["sound"])
    wrong = [f"{test}: {message[:500]}" for test, (status, message) in outcomes.items() if status == "FAIL"]
    wrong += [
        f"a keyword has failed itself: {test}: {m[:300]}" for test, (_, m) in outcomes.items() if PLUMBING.search(m)
    ]
    busy = [test for test, (status, message) in outcomes.items() if status == "SKIP" and BUSY.search(message)]
    counts = [[status for status, _ in outcomes.values()].count(each) for each in ("PASS", "FAIL", "SKIP")]
    sys.stdout.write("without a fault: {} passed, {} failed, {} skipped\n".format(*counts))
    sys.stdout.write("".join(f"inconclusive on this busy machine: {test}\n" for test in busy))
    return wrong


def table(alone: dict[str, Finding], together: dict[str, Finding]) -> str:
    """The findings for people."""
    rows = ["| fault: the server … | requirement | test | alone | together |", "|---|---|---|---|---|"]
    for name, about in FAULTS.items():
        cells = ["found" if each.get(name, Finding(False, "")).named else "missed" for each in (alone, together)]
        rows.append(f"| {about} | {EXPECTED[name].requirement} | {EXPECTED[name].tests[0]} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """Run, judge, and say what was named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", choices=["sound", "alone", "together", []], help="all three if not given")
    parser.add_argument("--only", action="append", default=[], choices=list(FAULTS), help="only these faults, alone")
    parser.add_argument(
        "--whole", action="store_true", help="all tests with all faults, not only those that are for one"
    )
    parser.add_argument("--table", type=Path, help="a file of documentation whose table is renewed")
    options = parser.parse_args()
    what = options.what or ["sound", "alone", "together"]
    began = time.monotonic()
    alone: dict[str, Finding] = {}
    together: dict[str, Finding] = {}
    wrong: list[str] = []
    if "sound" in what:
        wrong = sound()
        sys.stdout.write("".join(f"found without a fault: {line}\n" for line in wrong))
    if "alone" in what:
        names = options.only or list(FAULTS)
        with ThreadPoolExecutor(AT_A_TIME) as workers:
            alone = dict(zip(names, workers.map(tried_alone, names), strict=True))
        tell("alone", alone)
    if "together" in what:
        # What does not concern a fault would only fail for another one, slowly.
        named = dict.fromkeys(test for each in EXPECTED.values() for test in each.tests)
        selection = [] if options.whole else [word for test in named for word in ("--test", test)]
        outcomes = suites("together", ALL, selection, LIMITS["together"])
        together = {name: judged(name, outcomes, alone=False) for name in FAULTS}
        tell("together", together)
    if options.table:
        renew(options.table, table(alone, together))
    kept = {
        part: {name: vars(each) for name, each in found.items()}
        for part, found in (("alone", alone), ("together", together))
    }
    (ROOT / "results" / "faulty" / "findings.json").write_text(json.dumps(kept, indent=1) + "\n")
    sys.stdout.write(f"in {time.monotonic() - began:.0f} s\n")
    missed = [name for name, each in alone.items() if not each.named]
    few = bool(together) and sum(each.named for each in together.values()) < ENOUGH_TOGETHER
    return int(bool(wrong or missed or few))


def tell(how: str, found: dict[str, Finding]) -> None:
    for name, each in found.items():
        sys.stdout.write(f"{'named' if each.named else 'MISSED'} {how}: {name}: {each.message}\n")
    sys.stdout.write(f"{sum(each.named for each in found.values())} of {len(found)} named {how}\n")


def renew(file: Path, text: str) -> None:
    """Put the table in the place of the one that the file has."""
    kept = file.read_text()
    file.write_text(re.sub(r"(\| fault: .*\n)(\|.*\n)+", lambda _: text, kept))


if __name__ == "__main__":
    sys.exit(main())
