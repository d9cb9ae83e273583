"""A load as the test run sees it: start it, watch it, await it, end it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from ocpp_resilience.errors import ServiceError, WaitTimeout
from ocpp_resilience.evidence.measure.contention import Contention
from ocpp_resilience.load.plan import Plan
from ocpp_resilience.load.result import LoadResult, Part, together
from ocpp_resilience.processes import ChildProcess
from ocpp_resilience.waiting import seconds, wait_until


class LoadRun:
    """A load in processes of its own.

    Args:
        name: what it is called in messages, for example `Load 'load'`.
        plan: what it does; a `ledger` in it gets the number of the process where there are several.
        processes: how many processes generate it.
    """

    def __init__(self, name: str, plan: Plan, *, processes: int = 1) -> None:
        plan.check()
        self.name = name
        self.plan = plan
        self.directory = Path(tempfile.mkdtemp(prefix="resilience-load-"))
        self._children = [ChildProcess(f"{name}, process {number + 1}") for number in range(processes)]
        self._files = [self.directory / f"{number}.plan" for number in range(processes)]
        self._result: LoadResult | None = None
        self._ending = False
        self._contention: Contention | None = None
        self.stem = ""
        """What its files are called."""

    @property
    def running(self) -> bool:
        """Whether one of its processes runs."""
        return any(child.alive for child in self._children)

    @property
    def result(self) -> LoadResult | None:
        """The result, once it was awaited."""
        return self._result

    def start(self) -> None:
        """Start the processes, wait until the charge points are connected, and let all begin at the same moment.

        Charge points that cannot be connected within the plan's `connect_timeout` go on trying while the load runs.

        Raises:
            ServiceError: a process ended; its output is shown.
            WaitTimeout: it did not come so far.
        """
        count = len(self._children)
        for number, (child, file) in enumerate(zip(self._children, self._files, strict=True)):
            ledger = self.plan.ledger
            if ledger is not None and count > 1:
                path = Path(ledger)
                ledger = str(path.with_name(f"{path.stem}.{number + 1}{path.suffix}"))
            part = msgspec.structs.replace(self.plan, own=(number, count), ledger=ledger)
            file.write_bytes(msgspec.json.encode(part))
            command = [sys.executable, "-m", "ocpp_resilience.load", str(file), "--wait", "--parent", str(os.getpid())]
            child.start(command, environment=os.environ)
        wait_until(
            self._connected,
            timeout=self.plan.connect_timeout + self.plan.timeout + 30,
            failure=lambda: f"{self.name} does not begin: {self._state()}",
            longest_pause=0.02,
        )
        self._contention = Contention(self.plan.url)
        start_at = time.monotonic() + 0.1
        for file in self._files:
            waiting = file.with_suffix(".waiting")
            waiting.write_text(repr(start_at))
            waiting.replace(file.with_suffix(".go"))

    def _connected(self) -> bool | None:
        for child, lines in zip(self._children, self._last_lines(), strict=True):
            if not child.alive:
                raise ServiceError(
                    f"{child.name} ended with status {child.exit_status} while connecting. {child.output_tail()}"
                )
            if lines.get("phase") in {None, "connecting"}:
                return None
        return True

    def _last_lines(self) -> list[dict[str, Any]]:
        found = []
        for file in self._files:
            progress = file.with_suffix(".progress")
            lines = progress.read_bytes().splitlines(keepends=True) if progress.exists() else []
            whole = [line for line in lines[-2:] if line.endswith(b"\n")]
            found.append(msgspec.json.decode(whole[-1]) if whole else {})
        return found

    def progress(self) -> dict[str, Any]:
        """How far it is, all processes together: `phase`, `seconds`, `connected`, `charging`, `sent`, `answered`,
        `refused`, `failures`, `last_second` (answers in it) and `p99` of that second in milliseconds."""
        lines = [line for line in self._last_lines() if line]
        if not lines:
            return {"phase": "starting"}
        whole = dict(lines[0])
        for line in lines[1:]:
            for name in ("connected", "charging", "sent", "answered", "refused", "last_second"):
                whole[name] += line[name]
            for kind, number in line["failures"].items():
                whole["failures"][kind] = whole["failures"].get(kind, 0) + number
            whole["p99"] = max(whole["p99"], line["p99"])
            whole["seconds"] = max(whole["seconds"], line["seconds"])
        return whole

    def _state(self) -> str:
        """How far it is, in words."""
        seen = self.progress()
        if "connected" not in seen:
            return "its processes are starting"
        failures = "".join(f"; {count} x {kind}" for kind, count in seen["failures"].items())
        return (
            f"{seen['connected']} of {self.plan.charge_points} charge points are connected, {seen['charging']} charging"
            f"; {seen['sent']} messages sent, {seen['answered']} answered, {seen['refused']} refused{failures}"
        )

    def wait(self, timeout: timedelta | float) -> LoadResult:
        """Wait for its end and return what it measured.

        Raises:
            WaitTimeout: it still runs; it goes on.
            ServiceError: it was broken off; says why.
        """
        if self._result is None:
            try:
                wait_until(self._over, timeout=timeout, failure=lambda: "", longest_pause=0.05)
            except WaitTimeout:
                limit = seconds(timeout)
                state = self._state()
                text = f"{self.name} still runs after {limit:g} s: {state}."
                raise WaitTimeout(text, waited=limit, last_seen=state) from None
            self._result = self._collect()
            if self._contention is not None:
                self._result.others = self._contention.cores()
        return self._result

    def _over(self) -> bool | None:
        """Whether all processes have ended. Where the capacity is looked for, the first to end is the end for all."""
        if self.plan.slip is not None and not self._ending and not all(child.alive for child in self._children):
            self._end_in_order()
        return None if self.running else True

    def _end_in_order(self) -> None:
        self._ending = True
        for child in self._children:
            if child.alive:
                os.kill(child.pid, signal.SIGTERM)

    def stop(self, timeout: timedelta | float = 10) -> LoadResult:
        """End it in order: nothing new is begun, what was begun is brought to its end; returns what it measured.

        Raises:
            ServiceError: it did not end in order; it was killed then.
        """
        self._end_in_order()
        try:
            return self.wait(timeout)
        except WaitTimeout as late:
            self.kill()
            raise ServiceError(f"{late} It was killed.") from None

    def kill(self) -> None:
        """End it at once."""
        for child in self._children:
            if child.alive:
                child.kill()

    def close(self) -> None:
        """End it at once and remove its files; the ledger stays."""
        for child in self._children:
            child.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _collect(self) -> LoadResult:
        parts = []
        for child, file in zip(self._children, self._files, strict=True):
            result = file.with_suffix(".result")
            # A result is whole where there is one; SIGTERM can still meet the process on its way out.
            if child.exit_status not in {0, -signal.SIGTERM} or not result.exists():
                raise ServiceError(
                    f"{child.name} was broken off with status {child.exit_status}. {child.output_tail()}"
                )
            parts.append(msgspec.json.decode(result.read_bytes(), type=Part))
        whole = together(parts, profile=self.plan.profile.value, model=self.plan.model.value)
        whole.scheduled = self.plan.length
        return whole
