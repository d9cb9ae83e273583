"""A `Secret` stands in no log of Robot Framework's, at any level."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import prepared

SUITE = """\
*** Settings ***
Library           RedisServiceLibrary
Library           OcppServerLibrary
Library           ChargePointLibrary
Library           CorrelationLibrary

*** Test Cases ***
Secrets
    ${redis} =    Start Redis
    VAR    ${token: Secret}    %{API_SECRET}
    VAR    ${password: Secret}    %{POINT_SECRET}
    Start Server    ${redis}    API_TOKEN=${token}    LOG_LEVEL=debug
    ${server} =    Get Server Url
    Open Commands    ${redis}    ${server}    token=${token}
    Run Keyword And Ignore Error    Send Command    Reset    CP-1
    ${gateway} =    Get Gateway Url
    Use Gateway    ${gateway}
    Connect Charge Point    CP-1    password=${password}
    Run Keyword And Ignore Error    Connection Should Be Refused    CP-1    password=${password}    status=401
    Stop Server
"""
SECRETS = {"API_SECRET": "t0ken-of-the-api", "POINT_SECRET": "p0int-password"}


def test_no_secret_stands_in_a_log(tmp_path: Path) -> None:
    suite = tmp_path / "secrets.robot"
    suite.write_text(SUITE)
    done = prepared.run(
        [sys.executable, "-m", "robot", "--loglevel", "TRACE", "--outputdir", str(tmp_path), str(suite)],
        env=os.environ | SECRETS,
        timeout=300,
    )
    written = done.stdout + done.stderr
    for name in ("output.xml", "log.html", "report.html"):
        written += (tmp_path / name).read_text("utf-8")
    assert done.returncode == 0, done.stdout
    assert not [secret for secret in SECRETS.values() if secret in written]
