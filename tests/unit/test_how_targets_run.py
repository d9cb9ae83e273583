"""The ways in which a system under test is run, other than by a command: it runs already, or it is a container.

There is a Docker in CI only, where `tests/container` runs a real one. Here a program of this name does what its few
commands do, with a process in the place of a container, so that every command line and every answer is seen.
"""

from __future__ import annotations

import os
import stat
import sys
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import prepared
import pytest

from ocpp_resilience.errors import LacksCapability, ServiceError, UsageError, WaitTimeout
from ocpp_resilience.ports import free_port
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.system.container_process import ContainerProcess
from ocpp_resilience.waiting import wait_until
from OcppServerLibrary import OcppServerLibrary

SERVER = textwrap.dedent("""\
    import http.server, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if self.path == "/nowhere" else 200)
            self.end_headers()
            self.wfile.write(b'{"status": "healthy"}')
        def log_message(self, *words):
            print("GET", self.path, flush=True)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    """)
REDIS = """\
redis:
  keys:
    requests: in
    responses: "out:{charge_point_id}"
"""
DOCKER = """\
#!{python}
import json, os, signal, subprocess, sys
from pathlib import Path

state, words = Path({state!r}), sys.argv[1:]
with (state / "calls").open("a") as calls:
    calls.write(json.dumps(words) + "\\n")
pid = lambda: int((state / words[-1]).read_text())
if words[0] == "version":
    if (state / "no daemon").exists():
        sys.exit("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
elif words[:2] == ["image", "inspect"]:
    sys.exit(0 if words[2] == "backend:4" else "Error: No such image")
elif words[0] == "pull":
    sys.exit("Error response from daemon: pull access denied for " + words[2])
elif words[:2] == ["container", "inspect"]:
    sys.exit(0 if (state / words[2]).exists() else 1)
elif words[0] == "run":
    name, command = words[words.index("--name") + 1], words[words.index("backend:4") + 1 :]
    child = subprocess.Popen([sys.executable, {server!r}, *command], start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    (state / name).write_text(str(child.pid))
    status = child.wait()
    (state / name).unlink(missing_ok=True)
    sys.exit(status if status >= 0 else 128 - status)
elif words[0] in ("kill", "pause", "unpause"):
    os.kill(pid(), {{"kill": signal.SIGKILL, "pause": signal.SIGSTOP, "unpause": signal.SIGCONT}}[words[0]])
elif words[0] == "rm" and (state / words[-1]).exists():
    os.kill(pid(), signal.SIGKILL)
    (state / words[-1]).unlink(missing_ok=True)  # as with Docker, the container is gone when `rm` returns
"""


@pytest.fixture
def library() -> Iterator[OcppServerLibrary]:
    with OcppServerLibrary() as library:
        yield library


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that comes first in the path; returns the folder with its notes."""
    state = tmp_path / "state"
    state.mkdir()
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER.format(python=sys.executable, state=str(state), server=str(server)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return state


def container_profile(folder: Path, image: str = "backend:4") -> str:
    file = folder / "container.yaml"
    start = f'start:\n  image: {image}\n  command: ["{{http_port}}"]\n  environment: {{REDIS_URL: "{{redis_url}}"}}\n'
    file.write_text(f"name: boxed\n{start}ready: {{record: null}}\nhttp: {{health: /up}}\n{REDIS}")
    return str(file)


def test_a_container_is_started_paused_killed_and_stopped(
    library: OcppServerLibrary, docker: Path, tmp_path: Path
) -> None:
    library.start_server("redis://127.0.0.1:7777/0", target=container_profile(tmp_path))
    library.wait_until_server_is_ready()
    assert library.get_health() == {"status": "healthy"}
    library.pause_server()
    library.resume_server()
    library.kill_server()
    assert library.server_should_have_exited(137) == 137
    library.restart_server()
    library.stop_server()
    library.server_should_have_exited(143)
    assert library.get_server_crashes() == 0
    calls = (docker / "calls").read_text()
    assert '"--network", "host", "--env", "REDIS_URL", "backend:4"' in calls
    assert "redis://127.0.0.1:7777" not in calls, "values are not for everybody to read"


def test_a_container_that_is_still_there_at_the_end_is_removed(docker: Path, tmp_path: Path) -> None:
    with OcppServerLibrary() as library:
        library.start_server("redis://127.0.0.1:7777/0", target=container_profile(tmp_path))
        library.pause_server()
    assert not list(docker.glob("resilience-*"))
    assert '["rm", "--force", "resilience-' in (docker / "calls").read_text()


def test_resource_use_of_a_container_is_not_measured(library: OcppServerLibrary, docker: Path, tmp_path: Path) -> None:
    assert docker.is_dir()
    library.start_server("redis://127.0.0.1:7777/0", target=container_profile(tmp_path))
    with pytest.raises(LacksCapability, match=r"^Server 'server' runs in a container: its memory and processor time "):
        library.get_server_memory()
    with pytest.raises(LacksCapability, match="runs in a container"):
        library.get_server_process_id()


def test_an_image_that_is_not_there_is_named(library: OcppServerLibrary, docker: Path, tmp_path: Path) -> None:
    assert docker.is_dir()
    with pytest.raises(UsageError, match=r"^Server 'server': docker pull failed for image 'none:1': .*access denied"):
        library.start_server("redis://127.0.0.1:7777/0", target=container_profile(tmp_path, "none:1"))


def test_docker_that_does_not_answer_is_named(library: OcppServerLibrary, docker: Path, tmp_path: Path) -> None:
    (docker / "no daemon").touch()
    with pytest.raises(
        UsageError, match=r"^Server 'server': docker version failed for .*: Cannot connect to the Docker"
    ):
        library.start_server("redis://127.0.0.1:7777/0", target=container_profile(tmp_path))


def test_docker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    container = ContainerProcess("Server 'server'", "backend:4")
    try:
        with pytest.raises(UsageError, match=r"^Server 'server' is a container .*, and there is no `docker` here"):
            container.start([])
    finally:
        container.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """A server that was started elsewhere, and its profile."""
    port = free_port()
    (tmp_path / "server.py").write_text(SERVER)
    child = ChildProcess("somebody's server", directory=tmp_path)
    child.start([sys.executable, str(tmp_path / "server.py"), str(port)])
    profile = tmp_path / "running.yaml"
    where = (
        f"running:\n  redis_url: redis://127.0.0.1:7777/0\n  http_url: http://127.0.0.1:{port}\n"
        f"  gateway_url: ws://127.0.0.1:{port}\n  log_file: stdout.log\n"
    )
    records = "log: {format: text, records: [{event: invalid_message, pattern: 'GET (?P<reason>/\\S+)'}]}\n"
    profile.write_text(f"name: there\n{where}{records}http: {{health: /up}}\ncapabilities: [log_records]\n{REDIS}")
    try:
        yield str(profile)
    finally:
        child.close()


def found(library: OcppServerLibrary, profile: str) -> str:
    """The URL of the running server, as soon as it listens."""

    def look() -> str | None:
        try:
            return library.start_server("redis://localhost:7777", target=profile)
        except ServiceError:
            return None

    return wait_until(look, timeout=60, failure=lambda: "the server does not listen")


def test_a_system_that_runs_already_is_used_as_it_is(library: OcppServerLibrary, running: str) -> None:
    url = found(library, running)
    library.wait_until_server_is_ready()
    library.server_should_be_running()
    assert library.get_health() == {"status": "healthy"}
    assert library.wait_for_log_record(event="invalid_message")["reason"] == "/up"
    assert library.get_gateway_url() == url.replace("http", "ws")
    assert "GET /up" in library.get_server_log()
    library.remove_server()
    assert found(library, running) == url, "it runs on"


@pytest.mark.parametrize(
    "reading",
    [
        lambda library: library.get_server_log_records(event="invalid_message"),
        lambda library: library.log_record_count_should_be(0, event="invalid_message"),
        lambda library: library.wait_for_log_record(event="invalid_message"),
        lambda library: library.match_log_records_to_invalid_messages([]),
    ],
)
def test_an_undeclared_log_proves_nothing(library: OcppServerLibrary, running: str, reading) -> None:  # type: ignore[no-untyped-def]
    profile = Path(running)
    profile.write_text(profile.read_text().replace("[log_records]", "[queue]"))
    found(library, running)
    assert library.mark_server_log() >= 0
    with pytest.raises(
        LacksCapability, match=r"^Target 'there' does not support log records \(capabilities in .*\)\.$"
    ):
        reading(library)


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda library, profile: library.stop_server(),
        lambda library, profile: library.kill_server(),
        lambda library, profile: library.restart_server(),
        lambda library, profile: library.pause_server(),
        lambda library, profile: library.get_server_memory(),
        lambda library, profile: library.measure_server_cpu(),
        lambda library, profile: library.get_server_process_id(),
        lambda library, profile: library.start_server("redis://127.0.0.1:7777", target=profile, alias="second"),
    ],
)
def test_keywords_that_need_a_process_of_ours_are_not_applicable(
    library: OcppServerLibrary, running: str, forbidden
) -> None:  # type: ignore[no-untyped-def]
    found(library, running)
    with pytest.raises(LacksCapability, match=r"already running|runs already"):
        forbidden(library, running)
    library.server_should_be_running()


def test_settings_cannot_be_given_to_it(library: OcppServerLibrary, running: str) -> None:
    with pytest.raises(
        LacksCapability, match=r"^Target 'there' is already running and cannot be given settings: ROLE\.$"
    ):
        library.start_server("redis://127.0.0.1:7777", target=running, ROLE="gateway")


def test_another_redis_than_its_own_is_a_mistake(library: OcppServerLibrary, running: str) -> None:
    addresses = r"is already running with redis://127\.0\.0\.1:7777/0, not redis://127\.0\.0\.1:6379\. "
    message = addresses + ".*REDIS:external with REDIS_URL="
    with pytest.raises(UsageError, match=message):
        library.start_server("redis://127.0.0.1:6379", target=running)


def test_a_running_system_without_an_http_api_is_found_all_the_same(library: OcppServerLibrary, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nrunning: {redis_url: 'redis://127.0.0.1:7777/0'}\n"
        "redis: {keys: {requests: in, responses: 'out:{charge_point_id}'}}\n"
    )
    assert library.start_server("redis://127.0.0.1:7777/0", target=str(file)) == ""
    library.server_should_be_running()
    with pytest.raises(LacksCapability, match="Target 'mine' has no HTTP path for 'health'"):
        library.get_health()
    library.wait_until_server_is_healthy(timeout=timedelta(0))


def test_a_system_without_health_is_well_when_it_is_ready(library: OcppServerLibrary, running: str) -> None:
    profile = Path(running)
    text = profile.read_text()
    profile.write_text(text.replace("health: /up", "ready: /up"))
    found(library, running)
    library.wait_until_server_is_healthy()
    library.remove_server()
    profile.write_text(text.replace("health: /up", "ready: /nowhere"))
    found(library, running)
    with pytest.raises(WaitTimeout, match=r"is not ready for work, /nowhere answered 404"):
        library.wait_until_server_is_healthy(timeout=timedelta(0))


def test_a_system_that_is_said_to_run_and_does_not_is_an_error(library: OcppServerLibrary, tmp_path: Path) -> None:
    profile, port = tmp_path / "gone.yaml", free_port()
    where = f"running: {{redis_url: 'redis://127.0.0.1', http_url: 'http://127.0.0.1:{port}'}}\n"
    profile.write_text(f"name: gone\n{where}{REDIS}")
    with pytest.raises(ServiceError, match=rf"does not run: nothing listens at http://127\.0\.0\.1:{port}\.$"):
        library.start_server("redis://127.0.0.1", target=str(profile))


def test_behind_a_fault_proxy_it_is_skipped(running: str, tmp_path: Path) -> None:
    suite = Path(__file__).resolve().parents[2] / "suites" / "16_connection_failures.robot"
    command = [sys.executable, "-m", "robot", "--outputdir", str(tmp_path / "out"), "--variable", f"TARGET:{running}"]
    done = prepared.run([*command, str(suite)], timeout=180)
    assert done.returncode == 0, done.stdout
    assert "Target 'there' is already running and cannot be started with another Redis address" in done.stdout
