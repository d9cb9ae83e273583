"""Exhausted resources of the generating side are named as its own, and make the load inconclusive."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ocpp_resilience.load import LoadRun, Model, Plan, Stage
from ocpp_resilience.load.limits import limits_before, memory_is_short, own_limit, with_enough_addresses
from ocpp_resilience.load.result import Part, Times, together

SERVER = Path(__file__).with_name("load_server.py")
LOCAL = Plan(url="ws://127.0.0.1:1/{charge_point_id}", messages=1)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the means")


@pytest.fixture
def url() -> Iterator[str]:
    """A small server."""
    with subprocess.Popen([sys.executable, str(SERVER), "{}"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"ws://127.0.0.1:{int(process.stdout.readline())}/ocpp/{{charge_point_id}}"
        process.terminate()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EADDRNOTAVAIL, "x"), "no port was left for connections from this machine"),
        (OSError(errno.EADDRINUSE, "x"), "no port was left for connections from this machine"),
        (OSError(errno.EMFILE, "x"), "no file descriptor was left for connections"),
        (OSError(errno.ENFILE, "x"), "no file descriptor was left for connections"),
        (OSError(errno.ENOMEM, "x"), "no memory was left for connections"),
        (MemoryError(), "no memory was left for connections"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), None),
        (TimeoutError(), None),
    ],
)
def test_own_limits_are_told_from_those_of_the_server(error: BaseException, said: str | None) -> None:
    assert own_limit(error, LOCAL) == said


def test_a_load_that_met_a_limit_of_its_own_is_inconclusive() -> None:
    part = Part(charge_points=1, ended=1.0, limits={"no port was left": 3})
    whole = together([part, part], profile="heartbeat", model="open")
    assert not whole.conclusive
    assert whole.saturated == ["no port was left (6 times)"]


@LINUX
@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/{charge_point_id}", "ws://localhost:1/{charge_point_id}"])
def test_on_loopback_connections_come_from_as_many_addresses_as_they_need(url: str) -> None:
    plan = msgspec.structs.replace(LOCAL, url=url, charge_points=40)
    assert with_enough_addresses(plan, ports=20).local_addresses == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert with_enough_addresses(plan, ports=100) is plan
    given = msgspec.structs.replace(plan, local_addresses=["127.0.0.9"])
    assert with_enough_addresses(given, ports=20) is given


@pytest.mark.parametrize("url", ["ws://192.0.2.1:1/{charge_point_id}", "ws://[::1]:1/{charge_point_id}"])
def test_elsewhere_addresses_are_for_the_user_to_give(url: str) -> None:
    plan = msgspec.structs.replace(LOCAL, url=url, charge_points=40)
    assert with_enough_addresses(plan, ports=20) is plan
    [said] = limits_before(plan, ports=20, available=10**9)
    assert said.startswith("40 charge points need a port each, and 1 source address has 20. Give several")


def test_memory_that_is_too_little_is_said_before_and_while_it_happens() -> None:
    plan = msgspec.structs.replace(LOCAL, charge_points=1000)
    [said] = limits_before(plan, ports=2000, available=10**6)
    assert said == "1000 charge points need about 40 MB, and 1 MB are free"
    assert memory_is_short(available=10**6, total=10**9) == "less than 2 % of the machine's memory was left"
    assert memory_is_short(available=10**8, total=10**9) is None


@LINUX
def test_a_generator_without_descriptors_says_so(url: str) -> None:
    """It has enough of them to begin with; when all connect again, the system grants fewer."""
    run = LoadRun("Load 'load'", Plan(url=url, model=Model.OPEN, stages=[Stage(3, 50)], blackout_at=1, timeout=1))
    try:
        run.start()
        generator = run._generators[0].process.pid
        resource.prlimit(generator, resource.RLIMIT_NOFILE, (30, 30))
        result = run.wait(60)
    finally:
        run.close()
    assert not result.conclusive
    assert "no file descriptor was left for connections" in result.summary
    assert not any("refused" in kind for kind in result.failures)


FEW_PORTS = """
import json, subprocess, sys
from pathlib import Path
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40019")
from ocpp_resilience.load import LoadRun, Plan
server = subprocess.Popen([sys.executable, sys.argv[1], "{}"], stdout=subprocess.PIPE, text=True)
try:
    plan = {"url": f"ws://127.0.0.1:{int(server.stdout.readline())}/{{charge_point_id}}", "charge_points": 40}
    plan |= {"seconds": 1, "connect_timeout": 1, "pause": 0.1}
    run = LoadRun("Load", Plan(**plan, **json.loads(sys.argv[2])))
    try:
        run.start()
        result = run.wait(30)
    finally:
        run.close()
    print(json.dumps([result.connected_at_start, result.saturated, sorted(result.failures)]))
finally:
    server.kill()
"""
"""40 charge points where an address has 20 ports, in a network of their own."""


def _with_few_ports(**plan: Any) -> tuple[int, list[str], list[str]]:
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-c", FEW_PORTS, str(SERVER), json.dumps(plan)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"no network of its own: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    connected, saturated, failures = json.loads(done.stdout)
    return connected, saturated, failures


@LINUX
def test_a_generator_without_ports_says_so() -> None:
    connected, saturated, failures = _with_few_ports(local_addresses=["127.0.0.1"])
    assert connected <= 20
    assert saturated[0].startswith("40 charge points need a port each, and 1 source address has 20.")
    assert saturated[1].startswith("no port was left for connections from 127.0.0.1 (")
    assert failures == [], "nobody accuses the server"


@LINUX
def test_a_generator_takes_ports_of_several_addresses() -> None:
    connected, saturated, failures = _with_few_ports()
    assert (connected, failures) == (40, [])
    # A busy machine may make the generator late, which it says, too.
    assert [limit for limit in saturated if "port" in limit] == []


@pytest.mark.parametrize(("lateness", "reasons"), [(None, 2), (0.05, 0), (0.02, 1)])
def test_load_whose_rate_alone_counts_may_be_late_and_busy(lateness: float | None, reasons: int) -> None:
    times = Times()
    times.add(0.03)
    part = Part(cpu_share=0.99, times={"lag": (times.encode(), times.total)})
    whole = together([part], profile="heartbeat", model="open", lateness=lateness)
    assert len(whole.saturated) == reasons
