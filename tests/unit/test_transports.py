"""Each transport against a sound small server, in which nothing is found, and broken ones, in which it is."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ocpp_resilience.errors import ExpectationFailed, LacksCapability, WaitTimeout
from ocpp_resilience.ids import Ids
from ocpp_resilience.ports import free_port
from ocpp_resilience.profile import Target
from ocpp_resilience.redis.services import EmbeddedRedis
from ocpp_resilience.redis.snapshot import compare
from ocpp_resilience.transport import waits
from ocpp_resilience.transport.client import QueueClient
from ocpp_resilience.transport.invalid_generated import generate_invalid
from ocpp_resilience.transport.messages import MessageFormat, SentMessage, SentMessages
from ocpp_resilience.transport.queue_keys import QueueKeys
from ocpp_resilience.transport.volume import Order, generate
from ocpp_resilience.waiting import wait_until

SERVER = Path(__file__).resolve().parents[1] / "transports" / "small_server.py"
KINDS = ("list", "stream", "pubsub", "none")
PATIENCE = 30
"""Seconds that something that has to come may take on a machine that does other things."""
QUEUES = {
    "list": """
queue:
  push: right
  answer_push: right
  request: {station: "{charge_point_id}", text: "{frame_text}"}
  answer: {station: "{charge_point_id}", text: "{frame_text}"}
redis:
  keys: {requests: requests, responses: "answers:{gateway}"}
""",
    "stream": """
queue:
  kind: stream
  group: work
  request: {station: "{charge_point_id}", text: "{frame_text}", at: "{timestamp_ms}"}
  answer: {text: "{frame_text}"}
redis:
  keys: {requests: requests, responses: "answers:{charge_point_id}"}
""",
    "pubsub": """
queue:
  kind: pubsub
  request: {text: "{frame_text}"}
  answer: {text: "{frame_text}"}
redis:
  keys: {requests: "requests:{charge_point_id}", responses: "answers:{charge_point_id}"}
""",
    "none": """
queue: {kind: none}
gateway: {path: "/{charge_point_id}"}
""",
}
MIX = {"Heartbeat": 4, "StatusNotification": 2, "StartTransaction": 1, "MeterValues": 2, "Authorize": 1}


@pytest.fixture(scope="module")
def service() -> Iterator[EmbeddedRedis]:
    made = EmbeddedRedis("transports")
    made.start(15)
    yield made
    made.close()


class System:
    """A small server with the queue client that a suite would use."""

    def __init__(self, kind: str, url: str, folder: Path) -> None:
        self.kind = kind
        self._place = str(free_port()) if kind == "none" else url
        self._process: subprocess.Popen[bytes] | None = None
        file = folder / "small.yaml"
        file.write_text(f"name: small\nstart: {{command: [small]}}\ntimeouts: {{answer: 2}}\n{QUEUES[kind]}")
        self.target = Target.load(file)
        self.ids = Ids()
        self.client = QueueClient(
            url,
            QueueKeys.of(self.target),
            ids=self.ids,
            message_format=MessageFormat(self.target.forms[0]),
            message_formats=[MessageFormat(form) for form in self.target.forms],
            target=self.target,
        ).open()
        self.client.connect_to_gateway(f"ws://127.0.0.1:{self._place}" if kind == "none" else "ws://nowhere")

    def start(self, defect: str | None = None) -> None:
        command = [sys.executable, str(SERVER), self.kind, self._place, *([defect] if defect else [])]
        if self.kind == "pubsub":
            return self._start_subscriber(command)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        if self.kind == "none":
            wait_until(self._listens, timeout=PATIENCE, failure=lambda: "It does not listen")
        elif self._process.stdout is not None:
            assert self._process.stdout.readline() == b"at work\n"
        return None

    def _start_subscriber(self, command: list[str]) -> None:
        """It subscribes with a pattern, after it has said that it is at work."""
        with redis.Redis.from_url(self._place) as client:
            before = client.pubsub_numpat()
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
            wait_until(
                lambda: client.pubsub_numpat() > before or None,
                timeout=PATIENCE,
                failure=lambda: "It does not subscribe",
            )

    def _listens(self) -> bool | None:
        try:
            socket.create_connection(("127.0.0.1", int(self._place)), timeout=1).close()
        except OSError:
            return None
        return True

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def mix(self, count: int, points: int = 5) -> list[SentMessage]:
        return generate(
            count,
            [self.ids.charge_point() for _ in range(points)],
            mix=MIX,
            order=Order.SHUFFLED,
            seed=3,
            version=self.client.version,
            message_format=self.client.message_format,
            new_message_id=self.ids.message,
            body=self.client.body,
        )

    def close(self) -> None:
        self.kill()
        self.client.remove_data(timeout=1)
        self.client.close()


@pytest.fixture
def system(service: EmbeddedRedis, tmp_path: Path) -> Iterator[Callable[[str], System]]:
    made: list[System] = []

    def make(kind: str) -> System:
        redis.Redis.from_url(service.url()).flushall()
        made.append(System(kind, service.url(), tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.close()


def judged(system: System, sent: SentMessages, timeout: float = 20) -> Any:
    report = waits.wait_for_all(system.client, sent, timeout=timeout, settle=0.3).report
    found = {kind: len(examples) for kind, examples in report.violations().items() if examples}
    if found:
        raise ExpectationFailed(f"{found}: {report.explained}")
    return report


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_server_answers_everything_once_and_in_order(system: Callable[[str], System], kind: str) -> None:
    small = system(kind)
    small.start()
    began = time.monotonic()
    sent = small.client.send(small.mix(400))
    assert sent.acknowledged == 400
    report = judged(small, sent)
    took = time.monotonic() - began
    assert len(report.answered) == 400
    assert all(0 < pair.answer.seen_at - (pair.message.sent_at or 0) < took for pair in report.answered)
    wait_until(lambda: small.client.length() == 0 or None, timeout=5, failure=str)
    refused = small.client.send([small.client.build("MakeCoffee", {}, charge_point=sent[0].charge_point or "")])
    assert waits.should_be_refused(small.client, refused[0], "NotImplemented", 5).code == "NotImplemented"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_run_is_left_behind(system: Callable[[str], System], kind: str) -> None:
    small = system(kind)
    small.start()
    before = small.client.snapshot(values=False)
    judged(small, small.client.send(small.mix(50)))
    small.client.remove_data(timeout=2)
    assert compare(before, small.client.snapshot(values=False), ignore=small.client.keys.own).added == []
    assert small.client.requests.waiting(lambda _: True) == 0


@pytest.mark.parametrize(
    ("kind", "defect", "found"),
    [
        *((kind, "forgets", "lost") for kind in KINDS),
        *((kind, "twice", "answered twice") for kind in KINDS),
        *((kind, "astray", "lost") for kind in KINDS),
        *((kind, "mixed", "lost") for kind in ("stream", "none")),
        ("stream", "swaps", "out of order"),
    ],
)
def test_a_broken_server_is_found(system: Callable[[str], System], kind: str, defect: str, found: str) -> None:
    small = system(kind)
    if defect == "swaps":
        sent = small.client.send(small.mix(200, points=1))
        small.start(defect)
    else:
        small.start(defect)
        sent = small.client.send(small.mix(80))
    with pytest.raises((ExpectationFailed, WaitTimeout)) as failure:
        judged(small, sent, timeout=16 if kind == "none" and found == "lost" else 4)
    assert f" {found}" in str(failure.value) or f"'{found}'" in str(failure.value)
    assert f"0 {found}" not in str(failure.value).split("\n")[0].replace("10 ", "").replace("20 ", "")


@pytest.mark.parametrize("kind", ["list", "stream", "none"])
def test_the_batch_of_a_killed_server_is_answered_by_the_next_one(system: Callable[[str], System], kind: str) -> None:
    small = system(kind)
    small.start()
    sent = small.client.send(small.mix(400))
    until_some_are_answered(small, sent)
    small.kill()
    assert small.client.length() > 0
    small.start()
    report = waits.wait_for_all(small.client, sent, timeout=20, settle=0.3).report
    assert (len(report.answered), report.lost) == (400, [])


@pytest.mark.parametrize("kind", ["list", "stream"])
def test_a_server_that_acknowledges_first_loses_its_batch(system: Callable[[str], System], kind: str) -> None:
    small = system(kind)
    for _ in range(5):  # a kill may fall between two messages
        small.start("early")
        sent = small.client.send(small.mix(400))
        until_some_are_answered(small, sent)
        small.kill()
        small.start("early")
        wait_until(lambda: small.client.length() == 0 or None, timeout=PATIENCE, failure=str)
        last = small.client.send(small.mix(1))  # it takes one after the other
        until_some_are_answered(small, last, more_than=0)
        if small.client.report(refreshed(small, sent)).lost:
            return
        small.kill()
    pytest.fail("nothing was lost")


def until_some_are_answered(system: System, sent: SentMessages, *, more_than: int = 20) -> None:
    def look() -> bool | None:
        return len(system.client.report(refreshed(system, sent)).answered) > more_than or None

    wait_until(look, timeout=PATIENCE, failure=lambda: "Hardly anything was answered")


def refreshed(system: System, sent: SentMessages) -> SentMessages:
    system.client.refresh(sent.charge_points)
    return sent


def test_the_depth_of_a_stream_is_the_number_of_unacknowledged_entries(system: Callable[[str], System]) -> None:
    small = system("stream")
    sent = small.client.send(small.mix(30))
    assert small.client.length() == 30
    assert [each.message_id for each in small.client.oldest(3)] == [each.message_id for each in sent[:3]]
    raw: Any = redis.Redis.from_url(small._place)
    raw.xgroup_create("requests", "work", id="0")
    raw.xreadgroup("work", "somebody", {"requests": ">"}, count=10)
    assert (small.client.length(), small.client.requests.in_flight()) == (30, 10)
    small.client.remove_data(timeout=0.1)
    assert (small.client.length(), raw.xlen("requests")) == (0, 0)


def test_messages_on_a_channel_without_a_listener_are_certainly_lost(system: Callable[[str], System]) -> None:
    small = system("pubsub")
    sent = small.client.send(small.mix(3), partial=True)
    assert (sent.acknowledged, sent.failed, sent.unknown) == (0, 3, 0)
    with pytest.raises(LacksCapability, match=r"do not wait on queue 'requests:.*without a consumer they are lost"):
        small.client.needs_waiting_messages()


def test_charge_points_repeat_unanswered_messages_after_an_outage_of_the_gateway(
    system: Callable[[str], System],
) -> None:
    small = system("none")
    sent = small.client.send(small.mix(20))
    wait_until(lambda: "could not connect" in small.client.problem or None, timeout=PATIENCE, failure=str)
    assert small.client.length() == 20
    small.start()
    assert len(judged(small, sent).answered) == 20


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_messages_go_over_every_transport(system: Callable[[str], System], kind: str) -> None:
    small = system(kind)
    small.start()
    made = generate_invalid(
        100,
        [small.ids.charge_point() for _ in range(10)],
        seed=5,
        new_message_id=small.ids.message,
        valid_between=100,
        message_format=small.client.message_format,
        forms=small.client.message_formats,
        body=small.client.body,
        version=small.client.version,
        max_message_bytes=4096,
    )
    sent = small.client.send(made)
    assert all(message.charge_point for message in sent) or kind != "none"
    waits.wait_for_all(small.client, sent.valid, timeout=60, settle=0)
    assert small.client.report(sent.valid).lost == []
