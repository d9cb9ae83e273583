"""The examples of the guide work: its suites pass, its YAML is accepted, its commands and links exist."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import prepared
import pytest
import yaml
from robot import api

from ocpp_resilience.evidence.requirements import load
from ocpp_resilience.profile import Capability, Target

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


SUITES = [
    (page, number) for page in [ROOT / "README.md", *PAGES] for number, _ in enumerate(blocks(page, "robotframework"))
]


@pytest.mark.parametrize(("page", "number"), SUITES, ids=[f"{page.name}-{number}" for page, number in SUITES])
def test_suite_passes(page: Path, number: int, tmp_path: Path) -> None:
    (tmp_path / "example.robot").write_text(blocks(page, "robotframework")[number])
    for name, text in re.findall(r"`([\w/-]+\.(?:yaml|json))`:\n\n```\w+\n(.*?)```", page.read_text(), re.DOTALL):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "robot", "--outputdir", "out", "--console", "dotted", "example.robot"]
    done = prepared.run(command, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no such" not in done.stderr.lower()


def test_the_profile_is_a_profile_also_with_each_addition(tmp_path: Path) -> None:
    profile, *additions = (yaml.safe_load(block) for block in blocks(GUIDE / "own-target.md", "yaml"))
    assert len(additions) >= 4
    for addition in ({}, *additions):
        kept = {name: value for name, value in profile.items() if name != "start" or "running" not in addition}
        (tmp_path / "my-system.yaml").write_text(yaml.safe_dump(_merged(kept, addition)))
        target = Target.load(str(tmp_path / "my-system.yaml"))
        assert target.name == "my-system"
    named = set(re.findall(r"^\| `([a-z_]+)` \|", (GUIDE / "own-target.md").read_text(), re.MULTILINE))
    assert named == {each.value for each in Capability}


def _merged(profile: dict[str, Any], addition: dict[str, Any]) -> dict[str, Any]:
    """A profile with a reader's additions."""
    merged = dict(profile)
    for name, value in addition.items():
        kept = merged.get(name)
        merged[name] = _merged(kept, value) if isinstance(kept, dict) and isinstance(value, dict) else value
    return merged


def test_the_requirement_is_a_requirement(tmp_path: Path) -> None:
    text, versions = blocks(GUIDE / "own-requirements.md", "yaml")
    own = tmp_path / "own.yaml"
    own.write_text(text)
    assert load(own).threshold("R99.1", "drain_rate").value == 500
    own.write_text(text + versions)
    plain = load(own)
    for version, wording in yaml.safe_load(versions)["versions"].items():
        worded = plain.in_version(version)
        assert worded.get("R99.1").title == wording["title"] != plain.get("R99.1").title
        for name, measures in wording["measures"].items():
            assert worded.threshold("R99.1", name).measures == measures
            assert measures != plain.threshold("R99.1", name).measures


def test_pipelines_are_yaml() -> None:
    for text in blocks(GUIDE / "pipelines.md", "yaml"):
        assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_and_pictures_exist(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_is_in_the_index() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (GUIDE / "README.md").read_text()))
    assert listed == {page.name for page in PAGES} - {"README.md"}


def test_commands_of_the_guide_know_their_options() -> None:
    seen = set()
    for page in PAGES:
        for module, rest in re.findall(r"python -m (ocpp_resilience[.\w]*)([^\n`|)]*)", page.read_text()):
            helped = (
                [module, "check"]
                if module in {"ocpp_resilience.evidence.requirements", "ocpp_resilience.ledger"}
                else [module]
            )
            text = subprocess.run(
                [sys.executable, "-m", *helped, "--help"],
                capture_output=True,
                text=True,
                timeout=180,
                check=True,
                env=os.environ | {"COLUMNS": "200"},
            ).stdout
            for option in re.findall(r"--[a-z-]+", rest):
                assert option in text, f"{page.name}: {module} has no {option}"
            seen.add(module)
    assert "ocpp_resilience.report" in seen


def test_make_targets_of_the_guide_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"


def test_pictures_are_wellformed_and_titled() -> None:
    pictures = sorted((GUIDE / "pictures").glob("*.svg"))
    assert pictures
    for picture in pictures:
        root = ET.fromstring(picture.read_text())
        title = root.find("{http://www.w3.org/2000/svg}title")
        assert title is not None, picture.name
        assert title.text, picture.name


def test_the_settings_for_editors_name_existing_folders() -> None:
    settings = tomllib.loads((ROOT / "robot.toml").read_text())
    profiles = [settings, *settings["profiles"].values()]
    for path in [each for profile in profiles for key in ("paths", "python-path") for each in profile.get(key, [])]:
        assert (ROOT / path).is_dir(), path


def test_keyword_documentation_is_made_without_a_warning(tmp_path: Path) -> None:
    script = ROOT / "docs" / "make_keyword_docs.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    index = (tmp_path / "index.md").read_text()
    for name in set(re.findall(r"\]\(([^)#]+)", index)):
        assert (tmp_path / name).is_file(), name
    assert "EvidenceLibrary.html#Requirement%20Should%20Be%20Met" in index


LIBRARIES = sorted(path.parent for path in (ROOT / "libraries").glob("*Library/__init__.py"))


@pytest.mark.parametrize("folder", LIBRARIES, ids=[folder.name for folder in LIBRARIES])
def test_editors_know_every_keyword_of_a_library_in_python(folder: Path) -> None:
    library = getattr(importlib.import_module(folder.name), folder.name)()
    topics = {type(method.__self__).__name__ for method in library.keywords.values()} - {folder.name, "Removed"}
    tree = ast.parse((folder / "__init__.py").read_text())
    [told] = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "_Keywords"]
    assert {ast.unparse(base) for base in told.bases} == topics | {"KeywordLibrary"}


USE = """
from datetime import timedelta
from EvidenceLibrary import EvidenceLibrary
from LoadLibrary import LoadLibrary
from RedisQueueLibrary import RedisQueueLibrary

with RedisQueueLibrary() as queue, EvidenceLibrary() as evidence, LoadLibrary() as load:
    sent = queue.queue_message("Heartbeat")
    reveal_type(queue.message_should_be_answered(sent, timeout=timedelta(seconds=2)).payload)
    reveal_type(load.run_load(rate=100).latency.p99)
    reveal_type(evidence.stop_sampling("server").summary)
    reveal_type(evidence.stop_sampling())
    queue.queue_message(7)
    queue.queue_mesage("Heartbeat")
    load.wait_for_load(timeout="5 s")
"""


def test_a_type_checker_knows_keywords_their_arguments_and_results(tmp_path: Path) -> None:
    """As in an editor, outside this repository: with the installed packages, and no settings of ours."""
    (tmp_path / "use.py").write_text(USE)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file=",
            "--strict",
            "--follow-imports=silent",
            "--cache-dir=cache",
            "use.py",
        ],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT / "libraries")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = [line.partition("use.py:")[2] for line in done.stdout.splitlines() if line.startswith("use.py:")]
    expected = [
        '9: note: Revealed type is "dict[str, Any]"',
        '10: note: Revealed type is "float"',
        '11: note: Revealed type is "str"',
        '12: note: Revealed type is "None"',
        '13: error: Argument 1 to "queue_message" ',
        '14: error: "RedisQueueLibrary" has no attribute "queue_mesage"',
        '15: error: Argument "timeout" to "wait_for_load" ',
    ]
    for line, start in zip(said, expected, strict=False):
        assert line.startswith(start), done.stdout
    assert len(said) == len(expected), done.stdout


def test_keywords_are_made_by_the_decorator_that_keeps_their_types() -> None:
    """Robot Framework's own has no types: a type checker would accept everything for a decorated method."""
    others = [each for each in (ROOT / "libraries").rglob("*.py") if "robot.api.deco" in each.read_text()]
    assert others == []


@pytest.mark.parametrize("folder", [*LIBRARIES, ROOT / "libraries" / "ocpp_resilience"], ids=lambda folder: folder.name)
def test_each_package_says_that_it_has_types(folder: Path) -> None:
    assert (folder / "py.typed").is_file()


def test_the_load_runs_alone_and_nothing_else_does() -> None:
    suites = api.TestSuite.from_file_system(ROOT / "suites").suites
    alone = {each.name for each in suites if any("alone" in test.tags for test in each.tests)}
    assert alone == {"18 System Load", "20 Security"}
