"""Keywords that send a load and look at what it measured."""

from __future__ import annotations

import typing
from datetime import timedelta
from typing import Any

import psutil
from robot.api import SkipExecution, logger
from robot.running.arguments import TypeInfo

from LoadLibrary.workshop import Aim, Workshop
from ocpp_resilience.errors import ExpectationFailed, Inconclusive, UsageError
from ocpp_resilience.load import LoadResult, Model, Plan, Profile, Stage
from ocpp_resilience.load.plan import Arrivals
from ocpp_resilience.profile import Target
from ocpp_resilience.report import series
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.waiting import seconds

OTHERS_LIMIT = 0.25
"""The share of all processor cores that other programs may use before slow times say nothing."""
DRAWN = 5
"""A load is drawn from so many seconds on."""


class Loads(Component):
    """Sending loads."""

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop

    @keyword(tags=("load",))
    def aim_load_at(self, url: str, *, target: str = "reference", redis: str | None = None) -> None:
        """Says where loads go from now on.

        Args:
            url: the base of the WebSocket gateway, such as what `Get Gateway Url` returns.
            target: the target profile that has the path and the subprotocol: a name, or the path of a file.
            redis: the URL of the Redis with the state; needed to compare it with what the charge points know.

        Raises:
            UsageError: the target has no gateway.

        Example:
        ```robotframework
        ${url}    Get Gateway Url
        Aim Load At    ${url}
        ```
        """
        profile = Target.load(target)
        profile.gateway_path("")
        self._shop.aim = Aim(url.rstrip("/"), profile, redis)

    @keyword(tags=("load",))
    def start_load(
        self,
        alias: str = "load",
        *,
        profile: Profile = Profile.HEARTBEAT,
        charge_points: int | None = None,
        rate: float | None = None,
        to_rate: float | None = None,
        spike: float | None = None,
        duration: timedelta | None = None,
        arrivals: Arrivals = Arrivals.EVEN,
        messages: int | None = None,
        pause: timedelta | None = None,
        sessions: int | None = None,
        meter_values: int = 4,
        together: bool = False,
        persistent: bool = False,
        commands: bool = False,
        per_connection: int = 5,
        blackout_at: timedelta | None = None,
        timeout: timedelta = timedelta(seconds=30),
        drain: bool = True,
        seed: int = 1,
        processes: int = 1,
        ledger: bool = True,
    ) -> None:
        """Connects the charge points of a load, and lets it run in the background.

        It returns when they are connected and begin to send. The load ends by itself when it has sent what it should,
        at `Stop Load`, and at the end of the suite.

        Args:
            alias: the name of this load in the other keywords.
            profile: what charge points do: `heartbeat`, `session`, `mix` or `churn`.
            charge_points: how many; by default the number in the data file.
            rate: messages a second of all charge points together; makes the model open.
            to_rate: the rate at the end, for a ramp.
            spike: the rate in the middle third of the time.
            duration: how long it sends; needed with a `rate`.
            arrivals: with a `rate`: `even`, or `poisson` for chance (with `seed`).
            messages: without a `rate`: of each charge point; by default the number in the data file, or as many as
                there is time for when a `duration` or `sessions` are given.
            pause: without a `rate`: between an answer and the next message; by default that of the data file.
            sessions: charging sessions of each charge point, for the profile `session`.
            meter_values: of each session.
            together: without a `rate`, profile `session`: nobody goes on before everybody has a transaction.
            persistent: what starts or stops a transaction is sent again, under another message id, until answered.
            commands: charge points answer commands, and write each GetConfiguration that they carry out into the
                ledger, by its key.
            per_connection: messages on one connection, for the profile `churn`.
            blackout_at: when all connections are cut at once.
            timeout: after which an answer does not count any more.
            drain: with a `rate`: at the end, what is overdue is still sent; else it counts as not sent.
            seed: of whatever is left to chance.
            processes: how many generate the load.
            ledger: whether every message is written down; `Judge Load Ledger` needs it.

        Raises:
            UsageError: the arguments do not go together, or a load of this name still runs.
            LacksCapability: the target has no transactions, and the profile is `session`; the test is skipped. Other
                actions that the target does not support are left out.
            ServiceError: the load could not be started.

        Example:
        ```robotframework
        Start Load    rate=100    duration=1 minute    profile=mix
        ${load}    Wait For Load
        ```
        """
        open_model = rate is not None
        if open_model and duration is None:
            raise UsageError("A load with a rate needs a duration.")
        if not open_model and (to_rate is not None or spike is not None):
            raise UsageError("to_rate and spike need a rate.")
        defaults = self._shop.data.messages
        if not open_model and messages is None and duration is None and sessions is None:
            messages = defaults.per_charge_point
        between = pause if pause is not None else timedelta(milliseconds=defaults.pause_ms)
        plan = self._shop.plan(
            profile=profile,
            model=Model.OPEN if open_model else Model.CLOSED,
            charge_points=charge_points,
            messages=None if open_model else messages,
            seconds=None if open_model or duration is None else seconds(duration),
            pause=0.0 if open_model else seconds(between),
            stages=_stages(rate, to_rate, spike, duration) if open_model else [],
            arrivals=arrivals,
            seed=seed,
            sessions=sessions,
            meter_values=meter_values,
            together=together,
            persistent=persistent,
            commands=commands,
            per_connection=per_connection,
            blackout_at=None if blackout_at is None else seconds(blackout_at),
            timeout=seconds(timeout),
            drain=drain,
        )
        if profile is Profile.SESSION:
            self._shop.aimed().target.need_actions("StartTransaction")
        run = self._shop.start(alias, plan, self.cleanup, processes=processes, ledger=ledger)
        logger.info(f"{run.name} runs: {_in_words(plan)}.")

    @keyword(tags=("load", "wait"))
    def wait_for_load(self, alias: str = "load", *, timeout: timedelta | None = None) -> LoadResult:
        """Waits until a load has ended, and returns what it measured.

        Args:
            alias: which load.
            timeout: the longest wait; by default as long as the load can take by its plan.

        Returns:
            The result, as the introduction says.

        Raises:
            WaitTimeout: it still runs.
            ServiceError: it was broken off; says why.

        Example:
        ```robotframework
        Start Load    rate=100    duration=10s
        ${load}    Wait For Load
        Log    ${load.summary}
        ```
        """
        run = self._shop.loads.get(alias)
        return _report(run.name, self._shop.ended(run, timeout))

    @keyword(tags=("load",))
    def run_load(self, alias: str = "load", **options: Any) -> LoadResult:
        """Sends a load, waits until it has ended, and returns what it measured.

        Args:
            alias: the name of this load in the other keywords.
            options: as for `Start Load`.

        Returns:
            The result, as the introduction says.

        Raises:
            UsageError: the arguments do not go together.
            ServiceError: the load could not be started, or was broken off.

        Example:
        ```robotframework
        ${load}    Run Load
        ${load}    Run Load    rate=100    duration=10s    arrivals=poisson    seed=7
        Log    ${load.latency.p99} ms
        ```
        """
        self.start_load(alias, **converted(options))
        run = self._shop.loads.get(alias)
        return _report(run.name, self._shop.ended(run, None))

    @keyword(tags=("load",))
    def stop_load(self, alias: str = "load", *, timeout: timedelta = timedelta(seconds=40)) -> LoadResult:
        """Ends a load in order, and returns what it measured: nothing new is begun, what was begun is ended.

        Args:
            alias: which load.
            timeout: the longest wait for its end; after that it is killed.

        Returns:
            The result, as the introduction says.

        Raises:
            ServiceError: it did not end in order, or was broken off.

        Example:
        ```robotframework
        Start Load    duration=1 minute    profile=session
        ${load}    Stop Load
        ```
        """
        run = self._shop.loads.get(alias)
        return _report(run.name, self._shop.ended(run, timeout, stop=True))

    @keyword(tags=("load", "getter"))
    def get_load_progress(self, alias: str = "load") -> dict[str, Any]:
        """Returns how far a load is.

        Args:
            alias: which load.

        Returns:
            A dictionary with `phase` (connecting, connected, running, ended), `seconds`, `connected`, `charging`,
            `sent`, `answered`, `refused`, `failures`, and of the last second `last_second` (answers) and `p99` (ms).

        Example:
        ```robotframework
        Start Load    rate=100    duration=10s
        ${progress}    Get Load Progress
        Log    ${progress}[connected] charge points are connected
        ```
        """
        progress = self._shop.loads.get(alias).progress()
        logger.info(str(progress))
        return progress

    @keyword(tags=("load", "check"))
    def load_should_be_answered(self, result: LoadResult, *, message: str | None = None) -> None:
        """Fails unless every message of a load was answered with a CALLRESULT in time.

        Args:
            result: what `Run Load` or `Wait For Load` returned.
            message: said in front of the failure.

        Raises:
            ExpectationFailed: some were not; says how many, and why.

        Example:
        ```robotframework
        ${load}    Run Load    rate=100    duration=10s
        Load Should Be Answered    ${load}
        ```
        """
        if result.answered != result.due or result.failures:
            text = f"{result.answered} of {result.due} messages were answered; errors: {result.problems}."
            raise ExpectationFailed(f"{message} {text}" if message else text)

    @keyword(tags=("load", "check"))
    def load_should_be_conclusive(self, result: LoadResult, *others: LoadResult, skip: bool = False) -> None:
        """Fails when the generator itself was the limit, so that the figures say nothing about the server.

        Args:
            result: what `Run Load` or `Wait For Load` returned.
            others: further ones, where they are compared with each other.
            skip: the test is skipped as inconclusive, rather than failed.

        Raises:
            Inconclusive: it was, in one of them; says why.
            SkipExecution: the same, with `skip`.

        Example:
        ```robotframework
        ${load}    Run Load    rate=100    duration=10s
        Load Should Be Conclusive    ${load}
        ```
        """
        reasons = list(dict.fromkeys(reason for each in (result, *others) for reason in each.saturated))
        if reasons:
            text = f"Inconclusive: {'; '.join(reasons)}."
            raise SkipExecution(text) if skip else Inconclusive(text)

    @keyword(tags=("load", "check"))
    def load_should_have_had_the_machine(self, *results: LoadResult, skip: bool = False) -> None:
        """Fails when other programs have used the machine's processors meanwhile, so that times say little.

        More than a quarter of all cores is too much. What is slow although the machine was busy with something else may
        be sound; what is quick all the same is quick.

        Args:
            results: what `Run Load` or `Wait For Load` returned.
            skip: the test is skipped as inconclusive, rather than failed.

        Raises:
            Inconclusive: they have, in one of the loads; says how much.
            SkipExecution: the same, with `skip`.

        Example:
        ```robotframework
        ${load}    Run Load    rate=100    duration=10s
        Load Should Have Had The Machine    ${load}
        ```
        """
        cores = psutil.cpu_count() or 1
        most = max((result.others or 0.0 for result in results), default=0.0)
        if most > OTHERS_LIMIT * cores:
            text = (
                f"Inconclusive: other programs have used {most:.1f} of the {cores} processor cores meanwhile "
                f"(allowed {OTHERS_LIMIT * cores:g})."
            )
            raise SkipExecution(text) if skip else Inconclusive(text)

    @keyword(tags=("load", "getter"))
    def get_load_charge_points(self, charge_points: int | None = None) -> list[str]:
        """Returns the ids of the charge points of a load.

        Args:
            charge_points: how many the load has; by default the number in the data file.

        Example:
        ```robotframework
        @{ids}    Get Load Charge Points
        Adopt Charge Points    ${ids}
        ```
        """
        points = self._shop.data.charge_points
        count = points.count if charge_points is None else charge_points
        return [points.id_pattern.format(points.first_number + number) for number in range(count)]


def converted(options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `Start Load` in the types that it takes, from text as Robot Framework gives it.

    Raises:
        UsageError: one is unknown, or cannot be converted.
    """
    hints = Loads.start_load.__annotations__
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in hints or name in {"alias", "return"}:
            allowed = ", ".join(sorted(set(hints) - {"alias", "return"}))
            raise UsageError(f"`Start Load` has no argument '{name}' (allowed: {allowed}).")
        try:
            found[name] = TypeInfo.from_type_hint(_resolved(name)).convert(value, name)
        except ValueError as error:
            raise UsageError(f"{error}") from None
    return found


def _resolved(name: str) -> Any:
    return typing.get_type_hints(Loads.start_load)[name]


def _stages(rate: float | None, to_rate: float | None, spike: float | None, duration: timedelta | None) -> list[Stage]:
    length, at = seconds(duration or 0), rate or 0.0
    if spike is not None:
        if to_rate is not None:
            raise UsageError("A load has a ramp (to_rate) or a spike, not both.")
        return [Stage(length / 3, at), Stage(length / 3, spike), Stage(length / 3, at)]
    return [Stage(length, at, to_rate)]


def _in_words(plan: Plan) -> str:
    if plan.model is Model.OPEN:
        rates = ", then ".join(
            f"{stage.rate:g}{'' if stage.to_rate is None else f' to {stage.to_rate:g}'} msg/s for {stage.seconds:g} s"
            for stage in plan.stages
        )
        return f"{plan.charge_points} charge points, {plan.profile.value}, {rates} ({plan.arrivals.value})"
    much = f"{plan.messages} messages each" if plan.messages else f"{plan.seconds or 'any number of'} s"
    return f"{plan.charge_points} charge points, {plan.profile.value}, {much}, {1000 * plan.pause:g} ms apart"


def _report(name: str, result: LoadResult) -> LoadResult:
    logger.info(f"{name}: {result.summary}")
    logger.info(
        f"Queueing {result.queueing}\nOn the wire {result.service}\nConnecting {result.connecting}\n"
        f"Generator late by {result.lag}; {100 * result.cpu_share:.0f} % of a core"
    )
    _draw(name, result)
    if result.saturated:
        RECORDER.doubt(f"the load generator was the limit of '{name}': {'; '.join(result.saturated)}")
        logger.warn(f"{name} is inconclusive: {'; '.join(result.saturated)}.")
    return result


def _draw(name: str, result: LoadResult) -> None:
    """Charts of a load of some length, second by second."""
    if len(result.seconds) < DRAWN:
        return
    began = result.ended - result.duration
    sent: list[tuple[float, float]] = []
    answered: list[tuple[float, float]] = []
    median: list[tuple[float, float]] = []
    p99: list[tuple[float, float]] = []
    longest: list[tuple[float, float]] = []
    # The last second is not a whole one; as a rate it would look like a drop.
    for each in result.seconds[:-1]:
        at = began + each.second + 0.5
        sent.append((at, float(each.sent)))
        answered.append((at, float(each.answered)))
        if each.answered:
            median.append((at, each.p50))
            p99.append((at, each.p99))
            longest.append((at, each.max))
    much = f"{name}, {result.charge_points} charge points"
    series.keep(f"Messages a second: {much}", "msg/s", {"sent": sent, "answered": answered}, monotonic=True)
    times = {"median": median, "p99": p99, "maximum": longest}
    series.keep(f"Response time: {much}", "ms", times, logarithmic=True, monotonic=True)
