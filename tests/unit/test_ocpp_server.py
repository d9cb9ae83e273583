"""The server under test as a child process, seen over HTTP: cases that the keywords' own tests leave out."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from ocpp_resilience import http_client
from ocpp_resilience.errors import ExpectationFailed, ServiceError, UsageError, WaitTimeout
from ocpp_resilience.evidence.measure.times import response_times
from ocpp_resilience.profile import Target
from ocpp_resilience.system.metrics import parse_metrics
from ocpp_resilience.system.server import Health, OcppServer

FAKES = Path(__file__).resolve().parents[1] / "fakes"
Make = Callable[..., OcppServer]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes servers from the profile of the stand-in, with parts of its text replaced, and closes them."""
    made: list[OcppServer] = []

    def make_one(**changes: str) -> OcppServer:
        text = (FAKES / "fake.yaml").read_text().replace("{profile_directory}", str(FAKES))
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / f"profile{len(made)}.yaml"
        file.write_text(text)
        server = OcppServer("test", Target.load(file))
        server.configure("redis://127.0.0.1:7777/0", {})
        made.append(server)
        return server

    yield make_one
    for server in made:
        server.close()


@pytest.fixture
def server(make: Make) -> OcppServer:
    server = make()
    server.start()
    return server


def tell(server: OcppServer, what: str) -> None:
    server.get(f"/tell/{quote(what)}")


def test_a_system_without_ready_record_listens_when_its_health_answers(make: Make) -> None:
    server = make(
        **{"record: listening": "record: null", "  environment:\n": '  environment:\n    PORT: "{http_port}"\n'}
    )
    server.start()
    server.wait_until_ready(5)
    assert server.health_status() == "healthy"
    # Nothing says that charge points connect anywhere else.
    assert server.ws_port == server.http_port
    first = server.http_port
    server.kill()
    server.start()
    assert server.health_status() == "healthy"
    assert server.http_port == first, "charge points that were connected find it again"


def test_a_system_without_ready_check_is_ready_when_it_is_healthy_or_listens(make: Make) -> None:
    server = make(**{"  ready: /ready\n": ""})
    server.start()
    server.wait_until_ready()
    tell(server, "health/limping")
    said = r"has not become healthy, it is degraded and says \{.*\} \(waited 50 ms\)$"
    with pytest.raises(WaitTimeout, match=rf"^Server 'test' {said}"):
        server.wait_until_ready(0.05)
    server = make(**{"  ready: /ready\n": "", "  health: /status\n": "", "queue, health,": "queue,"})
    server.start()
    server.wait_until_ready(0)


def test_a_path_that_the_profile_does_not_have_is_a_mistake_of_the_test(make: Make) -> None:
    server = make(**{"  metrics: /metrics\n": "", "health, metrics,": "health,"})
    server.start()
    with pytest.raises(
        UsageError, match=r"^Target 'fake' has no HTTP path for 'metrics' \(http in .*profile0\.yaml\)\.$"
    ):
        server.metrics()


def test_answers_that_are_something_else_are_shown(server: OcppServer) -> None:
    tell(server, "body/so so")
    with pytest.raises(
        ExpectationFailed, match=r"^GET http://127\.0\.0\.1:\d+/status answered 200 without JSON: so so$"
    ):
        server.health()
    with pytest.raises(ExpectationFailed, match=r"^GET http://.*/metrics gives no Prometheus metrics: "):
        server.metrics()
    tell(server, "body/[1]")
    with pytest.raises(ExpectationFailed, match=r"^GET http://.*/inspect gives no JSON object: \[1\]$"):
        server.inspection()


def test_a_status_that_is_something_else_is_shown(make: Make) -> None:
    server = make(**{"health: /status": "health: /elsewhere"})
    server.start()
    with pytest.raises(ExpectationFailed, match=r"^GET http://.*/elsewhere answered 404 instead of 200: nothing here$"):
        server.time_health()
    with pytest.raises(
        WaitTimeout, match=r"^Server 'test' has not become healthy; GET .* answered 404 .*\(waited 50 ms\)$"
    ):
        server.wait_for_health(Health.HEALTHY, 0.05)


def test_health_may_stand_anywhere_in_its_document_and_have_a_status_of_its_own_while_degraded(make: Make) -> None:
    server = make(**{"health_field: state": "health_field: parts.redis\n  degraded_status: 503"})
    server.start()
    assert server.health_status() == "healthy"
    tell(server, "health/limping")
    tell(server, "health_status/503")
    assert server.health_status() == "degraded"
    tell(server, "health_status/500")
    with pytest.raises(ExpectationFailed, match=r"^GET http://.*/status answered 500 instead of 200 or 503: \{"):
        server.health()


def test_an_inspection_without_its_data_is_shown(make: Make) -> None:
    server = make(**{"inspection_field: null": "inspection_field: data"})
    server.start()
    with pytest.raises(
        ExpectationFailed, match=r"^The inspection of Server 'test' has no object in 'data': \{'consumer'"
    ):
        server.inspection()


def test_a_port_that_was_closed_by_kill_is_refused_by_a_message_about_the_exit(server: OcppServer) -> None:
    server.kill()
    with pytest.raises(ServiceError, match=r"^Server 'test' exited with status -9\.\n"):
        server.health()
    assert server.exited(seen="Last sent: x.\nand more").startswith(
        "Server 'test' exited with status -9. Last sent: x.\n"
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"])
def test_a_system_is_asked_to_end_by_the_signal_that_it_wants(make: Make, name: str) -> None:
    program = f"import signal, sys; signal.signal(signal.{name}, lambda *_: sys.exit(7)); "
    program += (
        "import json; print(json.dumps({'kind': 'listening', 'http': 1}), file=sys.stderr, flush=True); signal.pause()"
    )
    command = re.search(r"  command: .*\n", (FAKES / "fake.yaml").read_text())
    assert command is not None
    given = f'  command: ["{{python}}", -c, {json.dumps(program)}]\n  stop_signal: {name}\n'
    server = make(**{command[0].replace("{profile_directory}", str(FAKES)): given})
    server.start()
    assert server.stop(10).status == 7
    assert server.crashes == 0


def test_a_text_log_that_says_when_it_listens_leaves_the_ports_to_those_that_were_given(tmp_path: Path) -> None:
    program = "import signal, sys; print('at work', file=sys.stderr, flush=True); signal.pause()"
    file = tmp_path / "profile.yaml"
    file.write_text(
        f"name: text\nstart: {{command: ['{{python}}', -c, {json.dumps(program)}, '{{http_port}}']}}\n"
        "log: {format: text, stream: stderr, records: [{event: ready, pattern: at work}]}\n"
        "ready: {record: ready}\ngateway: {path: '/{charge_point_id}'}\n"
        "redis: {keys: {requests: in, responses: 'out:{charge_point_id}'}}\n"
    )
    server = OcppServer("test", Target.load(file))
    server.configure("redis://127.0.0.1:7777/0", {})
    try:
        server.start()
        given = int(psutil.Process(server.process.pid).cmdline()[-1])
        assert server.http_port == given
        # One port for both: nobody said anything of another one.
        assert server.ws_port == given
    finally:
        server.close()


def test_close_takes_the_processes_under_it_along(make: Make) -> None:
    server = make()
    server.configure("redis://127.0.0.1:7777/0", {"CHILDREN": 2})
    server.start()
    server.pause()
    pids = [server.process.pid, *(child.pid for child in psutil.Process(server.process.pid).children())]
    assert len(pids) == 3
    server.close()
    left = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert left == []
    assert not server.process.directory.exists()


def test_a_server_that_closes_the_connection_or_talks_nonsense_is_no_answer() -> None:
    answers = [b"", b"SSH-2.0-nothing\r\n\r\n"]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        for _ in answers:
            with pytest.raises(ServiceError, match=rf"^GET http://127\.0\.0\.1:{port}/health: "):
                http_client.get("127.0.0.1", port, "/health", timeout=30)
        thread.join(10)
    with pytest.raises(ServiceError, match=rf"^GET http://127\.0\.0\.1:{port}/health: Connection refused\.$"):
        http_client.get("127.0.0.1", port, "/health", timeout=30)


def test_metrics_have_a_name_with_sorted_labels() -> None:
    text = '# HELP n Number\n# TYPE n counter\nn_total{b="2",a="x y"} 4\n# TYPE g gauge\ng 1e3\n'
    assert {sample.key: sample.value for sample in parse_metrics(text)} == {'n_total{a="x y",b="2"}': 4.0, "g": 1000.0}


@pytest.mark.parametrize(
    ("times", "median", "p95", "maximum"),
    [
        ([0.001], 1, 1, 1),
        ([0.003, 0.001, 0.002], 2, 3, 3),
        ([number / 1000 for number in range(100, 0, -1)], 50.5, 95, 100),
    ],
)
def test_statistics_of_times(times: list[float], median: float, p95: float, maximum: float) -> None:
    measured = response_times(times)
    assert measured["samples"] == len(times)
    assert measured["min"] == 1
    assert (measured["median"], measured["p95"], measured["max"]) == pytest.approx((median, p95, maximum))
