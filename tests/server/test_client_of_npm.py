"""The client of ocpp-ws-io (npm), which nobody here wrote, on the server: sessions, commands, negotiation."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from harness import ServerProcess, StartServer, until

from ocpp_resilience.clock import rfc3339

HERE = Path(__file__).resolve().parent
INSTALLER = HERE.parent / "foreign" / "ocpp-ws-io" / "install.sh"
INSTALL_SECONDS, ANSWER_SECONDS, END_SECONDS = 120, 20, 10
BOOT = {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M", "serialNumber": "S"}}
TOKEN = {"idToken": "TAG", "type": "ISO14443"}

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="Node.js with npm is not there"
)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is: where `make foreign` has put it, else in a folder of this run."""
    installed = INSTALLER.parent / ".installed" / "node_modules"
    if not (installed / "ocpp-ws-io").is_dir():
        folder = tmp_path_factory.mktemp("ocpp-ws-io")
        subprocess.run(["sh", str(INSTALLER), str(folder)], check=True, timeout=INSTALL_SECONDS, capture_output=True)
        installed = folder / "node_modules"
    return installed


class Client:
    """A charge point that is a program of Node.js."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.commands: list[dict[str, Any]] = []

    def hear(self) -> dict[str, Any]:
        """What it says next, but for commands, which are kept."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            if "command" not in said:
                return said
            self.commands.append(said)
        pytest.fail(f"the client ended with {self._process.wait(END_SECONDS)}")

    def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send a CALL; returns `result` or `error`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([action, payload]) + "\n")
        self._process.stdin.flush()
        return self.hear()


@contextmanager
def charge_point(modules: Path, server: ServerProcess, *protocols: str) -> Iterator[Client]:
    command = ["node", str(HERE / "clients" / "ocpp_ws_io.js"), str(modules), f"ws://127.0.0.1:{server.ws_port}/ocpp"]
    with subprocess.Popen([*command, "JS-1", *protocols], stdin=-1, stdout=-1, text=True) as process:
        try:
            yield Client(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(END_SECONDS) == 0
        finally:
            process.kill()


def post(server: ServerProcess, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Status and body of one HTTP request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=ANSWER_SECONDS)
    with closing(connection):
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())


def event(kind: str, number: int, meter: int, **more: Any) -> dict[str, Any]:
    at = rfc3339()
    sample = {"value": meter, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": {"unit": "Wh"}}
    return {
        "eventType": kind,
        "timestamp": at,
        "triggerReason": "Authorized",
        "seqNo": number,
        "transactionInfo": {"transactionId": "js-1"} | more.pop("info", {}),
        "meterValue": [{"timestamp": at, "sampledValue": [sample]}],
        **more,
    }


@pytest.mark.parametrize("protocol", ["ocpp2.0.1", "ocpp2.1"])
def test_a_session_of_2_x(
    modules: Path, redis_url: str, client: redis.Redis, start_server: StartServer, protocol: str
) -> None:
    server = start_server(redis_url, "all")
    server.wait_healthy()
    with charge_point(modules, server, protocol) as point:
        assert point.hear() == {"protocol": protocol}
        boot = point.call("BootNotification", BOOT)["result"]
        assert (boot["status"], boot["interval"]) == ("Accepted", 300)
        assert point.call("Heartbeat", {})["result"].keys() == {"currentTime"}
        status = {"timestamp": rfc3339(), "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1}
        assert point.call("StatusNotification", status) == {"result": {}}
        started = event("Started", 0, 100, evse={"id": 1, "connectorId": 1}, idToken=TOKEN)
        assert point.call("TransactionEvent", started) == {"result": {"idTokenInfo": {"status": "Accepted"}}}
        # The Ended comes before an Updated, which was kept while the charge point was offline.
        ended = event("Ended", 2, 300, info={"stoppedReason": "EVDisconnected"})
        assert point.call("TransactionEvent", ended) == {"result": {}}
        assert point.call("TransactionEvent", event("Updated", 1, 200, offline=True)) == {"result": {}}
        report = {
            "requestId": 1,
            "generatedAt": rfc3339(),
            "seqNo": 0,
            "reportData": [
                {
                    "component": {"name": "EVSE", "evse": {"id": 1}},
                    "variable": {"name": "Power"},
                    "variableAttribute": [{"value": "11000", "mutability": "ReadOnly"}],
                }
            ],
        }
        assert point.call("NotifyReport", report) == {"result": {}}
        assert point.call("PublishFirmwareStatusNotification", {"status": "Idle"}) == {"error": "NotSupported"}
    record = json.loads(client.get("ocpp:transaction:JS-1:js-1") or b"{}")
    kept = {name: record[name] for name in ("status", "seq_no", "missing", "offline", "meter_start", "meter_stop")}
    assert kept == {
        "status": "completed",
        "seq_no": 2,
        "missing": [],
        "offline": 1,
        "meter_start": 100,
        "meter_stop": 300,
    }
    assert client.hlen("ocpp:variables:JS-1") == 1


@pytest.mark.parametrize("protocol", ["ocpp2.0.1", "ocpp2.1"])
def test_a_command_of_2_x(modules: Path, redis_url: str, start_server: StartServer, protocol: str) -> None:
    server = start_server(redis_url, "all")
    server.wait_healthy()
    with charge_point(modules, server, protocol) as point:
        point.hear()
        point.call("BootNotification", BOOT)
        variable = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}
        status, answer = post(server, "/api/v1/chargepoints/JS-1/variables/get", {"getVariableData": [variable]})
        assert (status, answer["data"]["getVariableResult"][0]["attributeValue"]) == (200, "7"), answer
        start = {"chargePointId": "JS-1", "remoteStartId": 7, "idToken": TOKEN}
        status, answer = post(server, "/api/v1/transactions/request-start", start)
        assert (status, answer["data"]["transactionId"]) == (200, "js-1"), answer
        # 1.6's words for the same.
        status, answer = post(server, "/api/v1/transactions/remote-start", {"chargePointId": "JS-1", "idTag": "T"})
        assert status == 409, answer
        point.call("Heartbeat", {})
        assert [each["command"] for each in point.commands] == ["GetVariables", "RequestStartTransaction"]


def test_the_first_version_that_the_client_offers_is_chosen(
    modules: Path, redis_url: str, start_server: StartServer
) -> None:
    server = start_server(redis_url, "all")
    server.wait_healthy()
    with charge_point(modules, server, "ocpp2.1", "ocpp2.0.1", "ocpp1.6") as point:
        assert point.hear() == {"protocol": "ocpp2.1"}
    with charge_point(modules, server, "ocpp1.6", "ocpp2.1") as point:
        assert point.hear() == {"protocol": "ocpp1.6"}
        boot = point.call("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})["result"]
        assert boot["status"] == "Accepted"
    until(lambda: not server.get("/clients")[1]["data"], lambda: "a client is still connected")
