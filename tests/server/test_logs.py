"""Log records never block the server, whatever the reader of standard output does."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import structlog
from harness import SOON, until

from ocpp_resilience.ports import free_port
from server.logs import LogOutput, _Forward

RECORD = b'{"event":"e"}'


def read_all(descriptor: int, count: int) -> list[bytes]:
    """Lines from a pipe, until there are `count`."""
    data = b""
    while data.count(b"\n") < count:
        data += os.read(descriptor, 65536)
    return data.splitlines()


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        os.close(descriptor)


def test_records_are_written_in_order(pipe: tuple[int, int]) -> None:
    output = LogOutput(pipe[1])
    for number in range(1000):
        output.put(b"%d" % number)
    assert read_all(pipe[0], 1000) == [b"%d" % number for number in range(1000)]
    output.close()


def test_unread_records_are_dropped_and_counted_and_nothing_waits(pipe: tuple[int, int]) -> None:
    output = LogOutput(pipe[1], most=100_000)
    for _ in range(50_000):
        output.put(RECORD)
    data = os.read(pipe[0], 65536)
    while not data.endswith(b"\nnext\n"):
        output.put(b"next")
        data += os.read(pipe[0], 65536)
    output.close()
    fit = data.splitlines()
    dropped = [json.loads(line)["count"] for line in fit if b"log_records_dropped" in line]
    # Each record was either written or counted.
    assert sum(dropped) > 0
    assert fit.count(RECORD) + sum(dropped) + fit.count(b"next") >= 50_000
    assert fit.count(RECORD) <= 100_000 / len(RECORD) + 65536 / len(RECORD)


def test_the_end_of_the_process_writes_buffered_records(pipe: tuple[int, int]) -> None:
    output = LogOutput(pipe[1])
    output.put(RECORD)
    output.close()
    assert read_all(pipe[0], 1) == [RECORD]


def test_the_end_of_the_process_does_not_wait_for_a_reader_that_never_reads(pipe: tuple[int, int]) -> None:
    output = LogOutput(pipe[1])
    output.put(b"x" * 1_000_000)
    began = time.monotonic()
    output.close()
    assert time.monotonic() - began < SOON
    assert output._thread.is_alive()
    # The descriptor is another test's soon: nothing may still be on its way to it.
    assert read_all(pipe[0], 1) == [b"x" * 1_000_000]
    output._thread.join(SOON)
    assert not output._thread.is_alive()


def test_a_server_without_a_reader_of_its_log_answers_and_stops(redis_url: str) -> None:
    port = free_port()
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    environment = {"PATH": os.environ["PATH"], "REDIS_URL": redis_url, "HTTP_PORT": str(port), "WS_PORT": "0"}
    server = subprocess.Popen([sys.executable, "-m", "server"], stdout=write, env=environment, cwd=Path.cwd())
    try:

        def healthy() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=SOON) as reply:
                    return json.load(reply)["status"] == "healthy"
            except OSError:
                assert server.poll() is None
                return False

        until(healthy, "a server whose log nobody reads is not healthy")
        server.send_signal(signal.SIGTERM)
        assert server.wait(SOON) == 0
    finally:
        server.kill()
        server.wait()
        os.close(read)
        os.close(write)


def test_records_of_libraries_have_a_bounded_rate() -> None:
    forward = _Forward()
    with structlog.testing.capture_logs() as records:
        for number in range(3000):
            forward.emit(logging.makeLogRecord({"name": "uvicorn.error", "msg": str(number), "levelno": 30}))
        forward.report(at_the_end=True)
    counts = [record["count"] for record in records if record["event"] == "library_records_left_out"]
    assert 0 < len(records) < 50
    assert len(records) - len(counts) + sum(counts) == 3000
