"""The target of the load, its default plan, and the loads that were started."""

from __future__ import annotations

import itertools
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from ocpp_resilience.errors import UsageError
from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.load import LoadResult, LoadRun, Plan
from ocpp_resilience.load.data import LoadData, read
from ocpp_resilience.profile import Target
from ocpp_resilience.robot.console import CONSOLE, Describe, Rate, time_left
from ocpp_resilience.robot.library import Cleanup
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.robot.variables import evidence_folder
from ocpp_resilience.text import file_name
from ocpp_resilience.waiting import seconds


class LoadTarget(msgspec.Struct, frozen=True):
    """The target of a load: its address and its profile."""

    url: str
    target: Target
    redis: str | None


class LoadSetup:
    """State shared by the components.

    Args:
        data: file with the default load.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._numbers = itertools.count(1)
        self.aim: LoadTarget | None = None
        self.loads: Registry[LoadRun] = Registry("load", starter="Start Load", close=lambda run: run.close())

    @cached_property
    def data(self) -> LoadData:
        """The default load.

        Raises:
            UsageError: the file cannot be used.
        """
        return read(self._data)

    def aimed(self) -> LoadTarget:
        """The target of a load: its address and its profile.

        Raises:
            UsageError: there is none.
        """
        if self.aim is None:
            raise UsageError("No load target; call `Set Load Target` first.")
        return self.aim

    def plan(self, **fields: Any) -> Plan:
        """A plan with the given values; `None` stands for the default from the data file."""
        aim = self.aimed()
        points = self.data.charge_points
        given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        defaults: dict[str, Any] = {
            "url": aim.url + str(aim.target.gateway.path),
            "subprotocol": aim.target.gateway.subprotocol,
            "charge_points": points.count,
            "id_pattern": points.id_pattern,
            "first_number": points.first_number,
            "lacking": aim.target.lacking,
        }
        return Plan(**(defaults | given))

    def start(self, alias: str, plan: Plan, cleanup: Cleanup, *, processes: int = 1, ledger: bool = True) -> LoadRun:
        """Start a load of this name; one of that name that has ended makes way."""
        found = self.loads.find(alias)
        if found is not None:
            if found.running:
                raise UsageError(
                    f"{found.name} still runs; call `Wait For Load` or `Stop Load` first, or use another alias."
                )
            self.loads.remove(alias, cleanup)
        folder = evidence_folder()
        stem = f"load-{file_name(alias)}-{next(self._numbers)}"
        if ledger and folder is not None:
            file = folder / f"{stem}.jsonl"
            for earlier in folder.glob(f"{stem}*.json*"):
                earlier.unlink()
            plan = msgspec.structs.replace(plan, ledger=str(file), effects=self.aimed().redis is not None)
        run = LoadRun(self.loads.title(alias), plan, processes=processes)
        run.stem = stem
        self.loads.add(alias, run, cleanup)
        try:
            with CONSOLE.showing(progress_of(run)):
                run.start()
        except BaseException:
            self.loads.remove(alias, cleanup)
            raise
        return run

    def ended(self, run: LoadRun, timeout: timedelta | float | None, *, stop: bool = False) -> LoadResult:
        """Wait for the end of a load, or end it, and keep its result in the output folder."""
        plan = run.plan
        length = plan.length or plan.seconds or 0.0
        if not length and plan.messages:
            length = plan.messages * (plan.pause + 0.1)
        limit = seconds(timeout) if timeout is not None else length + 3 * plan.timeout + 30
        with CONSOLE.showing(progress_of(run)):
            result = run.stop(limit) if stop else run.wait(limit)
        folder = evidence_folder()
        if folder is not None:
            file = folder / f"{run.stem}.json"
            data = result.to_json() | {"plan": msgspec.to_builtins(plan)}
            for name in ("seconds", "sessions"):
                data[name] = [{key: value for key, value in each.items() if key != "histogram"} for each in data[name]]
            file.write_bytes(msgspec.json.encode(data))
            result.files = [str(file), *result.ledgers]
        return result


def progress_of(run: LoadRun) -> Describe:
    """Logs the progress of a load: messages, rate, p99 of the last second, problems of the system, time left."""
    rate = Rate()
    plan = run.plan
    length = plan.length or plan.seconds
    total = plan.messages * plan.charge_points if plan.messages and not plan.length else None

    def describe() -> str:
        now = run.progress()
        if now.phase in {"starting", "connecting", "connected"}:
            return f"{run.name}: {now.connected:,} of {plan.charge_points:,} charge points connected"
        answers = rate.of(now.answered)
        of_all = f" of {total:,}" if total else ""
        parts = [f"{now.answered:,}{of_all} messages answered", f"{answers:,.0f}/s", f"p99 {now.p99:.0f} ms"]
        if wrong := now.refused + now.invalid + sum(now.failures.values()):
            parts.append(f"{wrong:,} refused or failed")
        if length:
            parts.append(time_left(length - now.seconds))
        elif total and answers:
            parts.append(time_left((total - now.answered) / answers))
        if faults := JOURNAL.lasting():
            parts.append(f"fault: {', '.join(f'{each.fault} of {each.target}' for each in faults)}")
        return f"{run.name}: {', '.join(parts)}"

    return describe
