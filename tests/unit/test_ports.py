"""Ports of services: no two processes get the same one, even while nothing listens on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ocpp_resilience import ports

HOLDS_ONE = (
    "import sys; from pathlib import Path; from ocpp_resilience.ports import Claims;"
    "print(Claims(Path(sys.argv[1])).claim(20001), flush=True); sys.stdin.read()"
)

FORKS = """
import os, sys
from pathlib import Path
from ocpp_resilience.ports import Claims

claims = Claims(Path(sys.argv[1]))
assert claims.claim(20001)
child = os.fork()
if not child:
    os._exit(0 if not claims.claim(20001) and claims.claim(20002) else 1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_port_is_given_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    claims = ports.Claims(tmp_path / "claims")
    monkeypatch.setattr(ports, "_claims", lambda: claims)
    monkeypatch.setattr(ports, "PORTS", range(20000, 20003))
    monkeypatch.setattr(ports.socket.socket, "bind", lambda *_: None)  # whatever else listens on this machine
    assert {ports.free_port() for _ in range(3)} == {20000, 20001, 20002}
    with pytest.raises(ports.ServiceError, match="no free port between 20000 and 20002"):
        ports.free_port()


def test_a_port_of_another_process_is_left_alone_until_that_process_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "claims"
    command = [sys.executable, "-c", HOLDS_ONE, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        claims = ports.Claims(file)
        assert not claims.claim(20001)
        assert claims.claim(20002)
        other.kill()
        other.wait()
        assert claims.claim(20001)
        claims.release(20001)
        assert claims.claim(20001)


def test_a_forked_process_claims_for_itself(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORKS, str(tmp_path / "claims")], check=True)


def test_without_a_shared_file_ports_are_claimed_within_the_process(tmp_path: Path) -> None:
    claims = ports.Claims(tmp_path / "missing" / "claims")
    assert claims.claim(20001)
    assert not claims.claim(20001)
