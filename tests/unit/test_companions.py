"""Systems of several processes, and the ways in which a started system shows that it is ready."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from ocpp_resilience.errors import ServiceError, UsageError, WaitTimeout
from ocpp_resilience.profile import Target
from OcppServerLibrary import OcppServerLibrary

HTTP = textwrap.dedent("""\
    import http.server, os, sys, time
    print("at work in", os.getcwd(), os.environ.get("FLAVOUR"), flush=True)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            ready = self.path != "/ready" or time.monotonic() > started + 0.3
            self.send_response(200 if ready else 503)
            self.end_headers()
            self.wfile.write(b'{"status": "healthy"}')
        def log_message(self, *words):
            pass
    started = time.monotonic()
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    """)
HEAD = 'name: several\nredis: {keys: {requests: in, responses: "out:{charge_point_id}"}}\n'
REDIS = "redis://127.0.0.1:7777/0"


@pytest.fixture
def library() -> Iterator[OcppServerLibrary]:
    with OcppServerLibrary() as library:
        yield library


def profile(folder: Path, text: str) -> str:
    (folder / "web.py").write_text(HTTP)
    (folder / "dies.py").write_text('import sys\nsys.exit("no gateway here")\n')
    (folder / "late.py").write_text('import time\nprint("begun", flush=True)\ntime.sleep(60)\n')
    file = folder / "several.yaml"
    file.write_text(HEAD + textwrap.dedent(text))
    return str(file)


def companion(*more: str, program: str = "web.py", command: str = ', "{port_a}"') -> str:
    lines = [
        f'    - {{name: gateway, command: ["{{python}}", "{{profile_directory}}/{program}"{command}]',
        *(f", {each}" for each in more),
        "}",
    ]
    return "".join(lines)


def start(companions: str, ready: str = "ready: {record: null}") -> str:
    program = 'start:\n  command: ["{python}", "{profile_directory}/web.py", "{http_port}"]\n'
    return f"{program}  environment: {{FLAVOUR: mild}}\n  companions:\n{companions}\n{ready}\nhttp: {{health: /up}}\n"


def test_companions_are_started_first_and_end_last(library: OcppServerLibrary, tmp_path: Path) -> None:
    target = profile(tmp_path, start(companion('port: "{port_a}"', "log: at work", "directory: .")))
    library.start_server(REDIS, target=target)
    server = library.servers.get("server")
    [(_, gateway)] = server.companions._processes
    assert gateway.alive
    assert f"at work in {tmp_path} mild" in gateway.stdout.read_text()
    first = gateway.pid
    library.kill_server()
    assert gateway.alive, "to kill the system is to kill its program"
    library.restart_server()
    assert gateway.pid == first
    assert library.get_server_crashes() == 0
    library.remove_server()
    assert not psutil.pid_exists(first)


def test_a_companion_that_ends_is_a_crash_of_the_system(library: OcppServerLibrary, tmp_path: Path) -> None:
    library.start_server(REDIS, target=profile(tmp_path, start(companion('port: "{port_a}"'))))
    [(_, gateway)] = library.servers.get("server").companions._processes
    psutil.Process(gateway.pid).kill()
    gateway.wait_for_exit(10)
    assert library.get_server_crashes() == 1
    assert "gateway of Server 'server' exited with status -9" in library.servers.get("server").exited()


def test_a_companion_that_does_not_start_is_named(library: OcppServerLibrary, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"(?s)^gateway of Server 'server' exited with status 1 .*no gateway here"):
        library.start_server(REDIS, target=profile(tmp_path, start(companion('port: "{port_a}"', program="dies.py"))))


def test_a_companion_that_is_never_ready_is_named(library: OcppServerLibrary, tmp_path: Path) -> None:
    text = start(companion("log: never", program="late.py", command=""))
    with pytest.raises(WaitTimeout, match=r"(?s)^gateway of Server 'server' was not ready .*begun"):
        library.start_server(REDIS, target=profile(tmp_path, text), timeout=timedelta(seconds=0.5))


@pytest.mark.parametrize(
    "ready",
    [
        "ready: {record: null, path: /ready}",
        'ready: {record: null, port: "{http_port}"}',
        "ready: {record: null, log: at (work|play)}",
        "ready: {record: null, log: at work, path: /ready}",
    ],
)
def test_a_system_shows_in_several_ways_that_it_is_ready(
    library: OcppServerLibrary, tmp_path: Path, ready: str
) -> None:
    program = 'start:\n  command: ["{python}", "{profile_directory}/web.py", "{http_port}"]\n'
    library.start_server(REDIS, target=profile(tmp_path, f"{program}{ready}\n"))
    if "path" in ready:
        assert library.get_server_start_time() > 0.3


def test_a_system_whose_ready_line_never_comes_is_not_started(library: OcppServerLibrary, tmp_path: Path) -> None:
    program = 'start:\n  command: ["{python}", "{profile_directory}/web.py", "{http_port}"]\ntimeouts: {start: 0.5}\n'
    with pytest.raises(WaitTimeout, match="did not say that it listens"):
        library.start_server(REDIS, target=profile(tmp_path, f"{program}ready: {{record: null, log: at play}}\n"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            start(companion('port: "{redis_port}"')),
            r"'start.companions\[0\].port' is '\{redis_port\}' \(allowed: a port",
        ),
        (start("    - {name: gateway, command: []}"), r"'start.companions\[0\].command' is empty"),
        (start(companion('log: "("')), r"'start.companions\[0\].log' is no regular expression"),
        (start(companion(), "ready: {path: /ready}"), "'ready.path' stands beside ready.record"),
        (start(companion(), "ready: {record: null, port: 99999}"), "'ready.port' is 99999 "),
        (start(companion(command=', "{port_x}"')), r"'start.companions\[0\].command\[2\]' has the unknown placeholder"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Target.load(profile(tmp_path, text))
