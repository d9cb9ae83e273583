"""The page of a run in a real browser: desktop, phone, print, light and dark, without errors and without a network."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from chromium import PROGRAM, Chromium

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"

pytestmark = pytest.mark.skipif(not PROGRAM, reason="needs Chromium (Debian: apt-get install chromium)")

SUITE = f"""
*** Settings ***
Documentation    A run with everything that the page can show.
Metadata         Target    reference
Metadata         Redis    valkey 9.1.2 (embedded)
Metadata         Protocol    OCPP 1.6
Metadata         Commit    0123abc
Library          EvidenceLibrary
Library          own.py

*** Test Cases ***
A High Volume Is Drained
    [Tags]    R13.5
    Requirement Should Be Met    R13.5    messages    20000
    Requirement Should Be Met    R13.5    drain_rate    ${{RATE}}    samples=20000
    Record Measurement    R13.5    queue_depth_peak    1500    unit=messages    method={EVIL}

The Server Is Slow To Shut Down
    [Tags]    R13.3
    Requirement Should Be Met    R13.3    idle_cpu    0.5    samples=10
    Requirement Should Be Met    R13.3    shutdown    3    message={EVIL}

A Fault Had No Effect
    [Tags]    R16.3
    Skip As Inconclusive    The connection was never cut. {EVIL}

It Needs A Gateway
    [Tags]    R17.10
    Lack    The target has no gateway.

Load With Faults
    [Tags]    R18.5
    ${{latency}}    ${{rate}} =    Watch And Disturb
    Record Chart    Latency {EVIL}    ms    ${{latency}}    requirement=R18.5    limit=${{5000}}    seed=${{42}}
    Record Chart    Messages answered    msg/s    ${{rate}}    requirement=R18.3
    Requirement Should Be Met    R18.5    median_ratio    1.4
    Requirement Should Be Met    R18.5    response_time    812
"""

LIBRARY = f"""
import datetime, json, random, time
from ocpp_resilience.errors import LacksCapability
from ocpp_resilience.evidence.measurements import RUN
from ocpp_resilience.robot.facts import current_test
from pathlib import Path
from robot.libraries.BuiltIn import BuiltIn
def lack(what):
    raise LacksCapability(what)
def watch_and_disturb():
    folder, chance = Path(BuiltIn().get_variable_value("${{OUTPUT DIR}}")), random.Random(42)
    now = time.time()
    def at(seconds):
        return datetime.datetime.fromtimestamp(now + seconds, datetime.timezone.utc).isoformat()
    def fault(number, name, begin, end, proof):
        return {{"op": "end", "run": RUN, "number": number, "fault": name, "target": "Redis 'redis'",
                "test": "Load With Faults", "start": current_test().start, "began": at(begin), "ended": at(end),
                "proven": bool(proof), "proof": proof}}
    faults = [fault(1, "latency", .10, .22, "PING took 102 ms"), fault(2, "killed", .4, .47, "connection refused"),
              fault(3, {EVIL!r}, .7, .8, "")]
    (folder / "faults.jsonl").write_text("".join(json.dumps(each) + "\\n" for each in faults))
    (folder / "divergences.jsonl").write_text(json.dumps(
        {{"case": {EVIL!r}, "expected": "FormationViolation", "actual": "GenericError"}}) + "\\n")
    lines = [{{"op": "begin", "t": now, "writer": "1", "format": 1, "seed": 42}}]
    for number in range(100):
        who = {{"cp": "CP-1", "id": str(number)}}
        lines += [{{"op": "invoke", "t": now, **who, "seq": number}}, {{"op": "ok", "t": now, **who}},
                  {{"op": "answer", "t": now, "kind": "result", **who}}]
    lines.append({{"op": "end", "t": now, "writer": "1"}})
    (folder / "ledger-queue-1.jsonl").write_text("".join(json.dumps(each) + "\\n" for each in lines))
    def line(base, peak):
        return [(now + n / 300, base + chance.random() * base * .3 + (peak if 30 < n < 66 or 120 < n < 141 else 0))
                for n in range(300)]
    latency = {{"median": line(4, 110), "p99": line(9, 380), "maximum": line(20, 700)}}
    return latency, {{"sent": line(100, 0), "answered": line(98, -60)}}
"""

KNOWN = f"""
known:
  - {{requirement: R13.3, reason: "Ticket 17. {EVIL.replace('"', "'")}", since: 2026-10-01}}
  - {{requirement: R13.5, reason: Ticket 18, since: 2026-10-02}}
"""

CONTRAST = """(() => {
  const rgb = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return {r, g, b, a}; };
  const light = c => [c.r, c.g, c.b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.a > 0) return c; } return {r: 255, g: 255, b: 255}; };
  const poor = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), svg = e instanceof SVGElement;
    const [a, b] = [light(rgb(svg ? style.fill : style.color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) poor.push(`${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
})()"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run with every verdict, after several earlier ones and an accepted one."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "own.robot").write_text(dedent(SUITE))
    (folder / "own.py").write_text(LIBRARY)
    (folder / "known.yaml").write_text(KNOWN)
    out = folder / "out"
    command = [sys.executable, "-m", "robot", "--outputdir", str(out), "--pythonpath", str(folder)]
    for number, rate in enumerate((5000, 5400, 5200, 2100)):
        for name in ("measurements.jsonl", "series.jsonl"):
            (out / "evidence" / name).unlink(missing_ok=True)
        done = subprocess.run(
            [*command, "--variable", f"RATE:{rate}", "--variable", "KNOWN DEVIATIONS:known.yaml", "own.robot"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        if number == 1:
            accept = [sys.executable, "-m", "ocpp_resilience.report", str(out / "output.xml"), "--accept"]
            accept += ["--although", "The first of these runs."]
            subprocess.run(accept, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def shots() -> Path:
    """The folder for the screenshots."""
    folder = Path(os.environ.get("SCREENSHOTS", ROOT / "results" / "page"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("name", "size"), [("desktop", (1280, 900)), ("dark", (1280, 900)), ("tablet", (800, 1100)), ("phone", (390, 844))]
)
def test_page_is_whole_and_readable(
    run: Path, browser: Chromium, shots: Path, name: str, size: tuple[int, int]
) -> None:
    browser.resize(*size, mobile=name == "phone")
    browser.emulate(scheme="dark" if name == "dark" else "light")
    browser.open((run / "resilience.html").as_uri())
    browser.screenshot(shots / f"{name}.png", whole=True)
    assert browser.errors == []
    assert [each for each in browser.requests if not each.startswith(("file:", "data:"))] == []
    assert len([each for each in browser.requests if each.startswith("file:")]) == 1
    assert browser.evaluate("document.title").startswith("Resilience: not ready")
    assert browser.evaluate("document.querySelectorAll('script').length") == 1
    assert browser.evaluate("document.querySelectorAll('img,iframe').length") == 0
    assert browser.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert browser.evaluate("document.querySelectorAll('article.requirement').length") == len(
        json.loads((run / "resilience.json").read_text())["requirements"]
    )
    assert browser.evaluate(CONTRAST) == []
    headings = browser.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_two_runs_side_by_side(run: Path, browser: Chromium, shots: Path) -> None:
    (run / "before.json").write_bytes((run / "resilience.json").read_bytes())
    command = [sys.executable, "-m", "ocpp_resilience.report", str(run / "output.xml")]
    command += ["--known", str(run.parent / "known.yaml"), "--compare", str(run / "before.json")]
    subprocess.run(command, check=True, capture_output=True)
    for width in (1280, 800, 390):
        browser.resize(width, 900, mobile=width == 390)
        browser.open((run / "comparison.html").as_uri())
        browser.screenshot(shots / f"comparison-{width}.png", whole=True)
        assert browser.errors == []
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate(CONTRAST) == []


def test_known_deviations_and_the_command_to_repeat_are_on_the_page(run: Path, browser: Chromium) -> None:
    browser.resize(1280, 900)
    browser.open((run / "resilience.html").as_uri())
    known = browser.evaluate("[...document.querySelectorAll('.known')].map(e => e.textContent)")
    assert len(known) == 2
    assert known[0].startswith("Known since 2026-10-01: Ticket 17.")
    assert known[1].startswith("Met, although listed as not met since 2026-10-02: Ticket 18")
    commands = browser.evaluate("[...document.querySelectorAll('pre')].map(e => e.textContent)")
    assert any(each.startswith("robot --test 'The Server Is Slow To Shut Down' ") for each in commands)
    facts = browser.evaluate("document.querySelector('.facts').textContent")
    assert "Protocol: OCPP 1.6; Redis: valkey 9.1.2 (embedded); Commit: 0123abc" in facts
    links = browser.evaluate("[...document.querySelectorAll('#faults ~ .scroll a')].map(a => a.textContent)")
    assert "R18.5 median_ratio" in links
    assert browser.evaluate("document.querySelectorAll('svg.verdicts').length") >= 4


def test_every_link_on_the_page_leads_somewhere(run: Path, browser: Chromium) -> None:
    browser.resize(1280, 900)
    browser.open((run / "resilience.html").as_uri())
    links = browser.evaluate("[...document.querySelectorAll('a')].map(a => a.href)")
    broken = browser.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById("
        "decodeURIComponent(a.hash.slice(1)))).map(a => a.href)"
    )
    assert broken == []
    into_log = sorted({each for each in links if "log.html#" in each})
    assert len(into_log) == 5
    for link in into_log:
        browser.open(link)
        anchor = link.partition("#")[2]
        deadline = time.monotonic() + 20
        while not browser.evaluate(f"document.getElementById({anchor!r}) !== null"):
            assert time.monotonic() < deadline, f"log.html has no {anchor}"


def test_it_prints_on_a4(run: Path, browser: Chromium, shots: Path) -> None:
    browser.resize(1280, 900)
    browser.emulate()
    browser.open((run / "resilience.html").as_uri())
    browser.pdf(shots / "print.pdf")
    pdf = (shots / "print.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/MediaBox [0 0 594.95996 841.91998]" in pdf or b"/MediaBox [0 0 595" in pdf
    browser.emulate(media="print")
    assert browser.evaluate(CONTRAST) == []
    browser.emulate()


def test_charts_in_the_log_are_drawn_in_light_and_dark(run: Path, browser: Chromium, shots: Path) -> None:
    browser.resize(1280, 1200)
    for scheme in ("light", "dark"):
        browser.emulate(scheme=scheme)
        browser.open((run / "log.html").as_uri() + "#s1-t5-k2")
        deadline = time.monotonic() + 20
        while not browser.evaluate("document.querySelectorAll('svg[role=img] polyline').length"):
            assert time.monotonic() < deadline
        browser.screenshot(shots / f"log-{scheme}.png")
        assert browser.evaluate("document.title").count("run") == 0
        assert browser.errors == []
    browser.emulate()


FILTERED = "[...document.querySelectorAll('article.requirement:not([hidden])')].map(e => e.id)"


def test_requirements_are_filtered_and_searched(run: Path, browser: Chromium) -> None:
    browser.resize(1280, 900)
    browser.open((run / "resilience.html").as_uri())
    everything = browser.evaluate(FILTERED)
    fill = "(([name, value]) => { const e = document.querySelector(`.find ${name}`); e.value = value; "
    fill += "e.dispatchEvent(new Event('input', {bubbles: true})); })"
    browser.evaluate(f"{fill}(['[name=verdict]', 'not met'])")
    assert browser.evaluate(FILTERED) == ["R13.3"]
    assert (
        browser.evaluate("document.querySelector('.find output').textContent") == f"1 of {len(everything)} requirements"
    )
    browser.evaluate(f"{fill}(['[name=verdict]', ''])")
    browser.evaluate(f"{fill}(['[name=group]', '17'])")
    assert {each.partition(".")[0] for each in browser.evaluate(FILTERED)} == {"R17"}
    assert browser.evaluate("[...document.querySelectorAll('section.group:not([hidden]) h3')].length") == 1
    browser.evaluate(f"{fill}(['[name=group]', ''])")
    browser.evaluate(f"{fill}(['input', 'DRAINED rate'])")
    assert browser.evaluate(FILTERED) == ["R13.5"]
    browser.evaluate("location.hash = '#R16.3'")
    deadline = time.monotonic() + 10
    while browser.evaluate(FILTERED) != everything:
        assert time.monotonic() < deadline, "a link to what is filtered out shows it"


def test_what_is_folded_is_open_on_paper(run: Path, browser: Chromium) -> None:
    browser.resize(1280, 900)
    browser.open((run / "resilience.html").as_uri())
    closed = "document.querySelectorAll('details:not([open])').length"
    assert browser.evaluate(closed) > 0
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert browser.evaluate(closed) == 0
    browser.evaluate("dispatchEvent(new Event('afterprint'))")
    assert browser.evaluate(closed) > 0


def test_the_main_figures_come_first(run: Path, browser: Chromium) -> None:
    browser.resize(1280, 900)
    browser.open((run / "resilience.html").as_uri())
    figures = browser.evaluate("[...document.querySelectorAll('.headline li')].map(e => e.textContent)")
    assert [each for each in figures if "Queue" in each] == []
    assert browser.evaluate("document.querySelector('.facts .verdicts').getAttribute('aria-label')").startswith(
        "The system: the last 4 runs: 4 not ready"
    )
