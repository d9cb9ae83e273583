"""A load on several machines, with Locust's master and workers: the same charge points, schedule and figures.

    pip install 'robotframework-ocpp-resilience[locust]'
    locust -f LOCUSTFILE --headless -u 1 --master --expect-workers 2 --load-plan plan.json --load-results results
    locust -f LOCUSTFILE --headless --worker --master-host MASTER          (on each of the machines)

LOCUSTFILE is what `python -m ocpp_resilience.load.locustfile` prints, `plan.json` is a file with an
`ocpp_resilience.load.plan.Plan`. Each worker runs the generating process for its part of the fleet; all begin when all
are connected. The master merges counts and histograms, gathers the ledgers and judges them as one. Locust's own table
stays empty: its users do nothing. The exit status is 1 when a worker failed or the ledger is violated.
"""

from __future__ import annotations

import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import msgspec

from ocpp_resilience.errors import ServiceError
from ocpp_resilience.ledger import Verdict, check
from ocpp_resilience.load.generator import Generator
from ocpp_resilience.load.limits import with_enough_addresses
from ocpp_resilience.load.plan import Plan
from ocpp_resilience.load.result import LoadResult, Part, together

PIECE = 512 * 1024
"""Bytes of a compressed ledger in one message."""
HEAD_START = 0.5
"""Seconds from the word of the master until all begin."""
LOOK_EVERY = 0.05


class Parts:
    """The master's view of its workers.

    Args:
        plan: of the whole load.
        folder: where results and ledgers go.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.workers: list[str] = []
        self.connected: set[str] = set()
        self.parts: dict[str, Part] = {}
        self.failed: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def ledger(self, worker: str) -> Path:
        """The ledger file of a worker."""
        return self.folder / f"ledger.{self.workers.index(worker) + 1}.jsonl"

    def take_ledger(self, worker: str, piece: bytes) -> None:
        """Add a piece of a worker's ledger."""
        with self.ledger(worker).open("ab") as file:
            file.write(zlib.decompress(piece))

    @property
    def complete(self) -> bool:
        """Whether every worker has reported."""
        return len(self.parts) + len(self.failed) == len(self.workers)

    def result(self) -> LoadResult:
        """All parts as one."""
        whole = together(list(self.parts.values()), profile=self.plan.profile.value, model=self.plan.model.value)
        whole.scheduled = self.plan.length
        whole.ledgers = [str(self.ledger(worker)) for worker in self.parts]
        return whole

    def finish(self) -> int:
        """Write the result; returns the exit status."""
        for worker, reason in self.failed.items():
            sys.stderr.write(f"Worker {worker} failed: {reason}\n")
        if not self.parts:
            return 1
        result = self.result()
        report = check(result.ledgers)
        data = result.to_json() | {"ledger": report.to_json(), "workers": len(self.workers)}
        (self.folder / "load.json").write_bytes(msgspec.json.encode(data))
        sys.stdout.write(f"{result.summary}\nledger {report.verdict}: {report.summary}\n")
        return 1 if self.failed or report.verdict is Verdict.VIOLATED else 0


def on_arguments(parser: Any) -> None:
    """Our options on Locust's command line."""
    parser.add_argument("--load-plan", default="", help="JSON file with the plan of the load (master)")
    parser.add_argument("--load-results", default="results", help="folder for results and ledgers (master)")


def on_init(environment: Any, **_: Any) -> None:
    """Locust has made its runner: take the part of the master, or of a worker."""
    from locust.runners import MasterRunner, WorkerRunner  # noqa: PLC0415 - only where Locust runs

    if isinstance(environment.runner, MasterRunner):
        _become_master(environment)
    elif isinstance(environment.runner, WorkerRunner):
        environment.runner.register_message("load_plan", on_plan)


def _become_master(environment: Any) -> None:
    runner = environment.runner
    plan = msgspec.json.decode(Path(environment.parsed_options.load_plan).read_bytes(), type=Plan)
    plan.check()
    parts = Parts(plan, Path(environment.parsed_options.load_results))
    environment.process_exit_code = 1

    def on_start(**_: Any) -> None:
        parts.workers = list(runner.clients.keys())
        for number, worker in enumerate(parts.workers):
            parts.ledger(worker).unlink(missing_ok=True)
            share = msgspec.structs.replace(plan, own=(number, len(parts.workers)), ledger=None)
            runner.send_message("load_plan", msgspec.to_builtins(share), worker)

    def on_connected(msg: Any, **_: Any) -> None:
        parts.connected.add(msg.node_id)
        if len(parts.connected) == len(parts.workers):
            for worker in parts.workers:
                runner.send_message("load_go", None, worker)

    def on_ledger(msg: Any, **_: Any) -> None:
        parts.take_ledger(msg.node_id, msg.data)

    def on_result(msg: Any, **_: Any) -> None:
        if isinstance(msg.data, str):
            parts.failed[msg.node_id] = msg.data
        else:
            parts.parts[msg.node_id] = msgspec.json.decode(msg.data, type=Part)
        if parts.complete:
            environment.process_exit_code = parts.finish()
            runner.quit()

    environment.events.test_start.add_listener(on_start)
    runner.register_message("load_connected", on_connected)
    runner.register_message("load_ledger", on_ledger)
    runner.register_message("load_result", on_result)


def on_plan(environment: Any, msg: Any, **_: Any) -> None:
    """A worker got its part: run it beside Locust's own work."""
    import gevent  # noqa: PLC0415 - only where Locust runs

    gevent.spawn(_work, environment.runner, msg.data)


def _work(runner: Any, data: dict[str, Any]) -> None:
    import gevent  # noqa: PLC0415
    from gevent.event import Event  # noqa: PLC0415

    go = Event()
    runner.register_message("load_go", lambda **_: go.set())
    generator = Generator("The generating process")
    with tempfile.TemporaryDirectory(prefix="resilience-load-") as folder:
        ledger = Path(folder, "ledger.jsonl")
        plan = msgspec.structs.replace(msgspec.convert(data, Plan, strict=False), ledger=str(ledger))
        try:
            generator.start(with_enough_addresses(plan))
            while not generator.connected:
                gevent.sleep(LOOK_EVERY)
            runner.send_message("load_connected", None)
            go.wait()
            generator.go(time.monotonic() + HEAD_START)
            while generator.alive:
                gevent.sleep(LOOK_EVERY)
            part = generator.ended()
        except ServiceError as error:
            runner.send_message("load_result", str(error))
            return
        finally:
            generator.close()
        with ledger.open("rb") as lines:
            while piece := lines.read(8 * PIECE):
                runner.send_message("load_ledger", zlib.compress(piece))
        runner.send_message("load_result", msgspec.json.encode(part))


if __name__ == "__main__":
    sys.stdout.write(f"{Path(__file__).resolve()}\n")
else:
    try:
        from locust import User, events
    except ImportError:  # the extra is not installed; nothing else needs it
        pass
    else:

        class Idle(User):
            """Locust wants users; the charge points are in the generating processes."""

            def rest(self) -> None:
                """Do nothing."""
                import gevent  # noqa: PLC0415

                gevent.sleep(1)

            tasks = [rest]  # noqa: RUF012 - Locust's own way

        hooks: Any = events
        hooks.init_command_line_parser.add_listener(on_arguments)
        hooks.init.add_listener(on_init)
