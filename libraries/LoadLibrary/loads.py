"""Keywords that run a load and return its measurements."""

from __future__ import annotations

import typing
from datetime import timedelta
from typing import Any

import msgspec
from robot.api import SkipExecution, logger
from robot.running.arguments import TypeInfo

from LoadLibrary.workshop import LoadSetup, LoadTarget
from ocpp_resilience.errors import ExpectationFailed, Inconclusive, SkippedAsInconclusive, UsageError
from ocpp_resilience.evidence.measure.contention import too_busy
from ocpp_resilience.load import LoadResult, Model, Plan, Profile
from ocpp_resilience.load.plan import Arrivals
from ocpp_resilience.load.profile import LoadProfile, LoadSchedule
from ocpp_resilience.profile import target_of_run
from ocpp_resilience.report import series
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.waiting import seconds

DRAWN = 5
"""A load is drawn from so many seconds on."""


class Loads(Component):
    """Sending loads."""

    def __init__(self, workshop: LoadSetup) -> None:
        self._shop = workshop

    @keyword(tags=("load",))
    def set_load_target(
        self, url: str, *, target: str | None = None, protocol: str | None = None, redis: str | None = None
    ) -> None:
        """Sets the gateway to which loads are sent from now on.

        Args:
            url: the base of the WebSocket gateway, such as the result of `Get Gateway Url`.
            target: the target profile with the path and the subprotocol: a name, or the path of a file; by default as
                at `Start Server`.
            protocol: the OCPP version, such as `ocpp2.0.1`; by default that of the variable `PROTOCOL`, else that of
                the profile.
            redis: the URL of the Redis with the state; needed for comparing it with the charge points' transactions.

        Raises:
            UsageError: the target has no gateway, or does not speak the version.

        Example:
        ```robotframework
        ${url}    Get Gateway Url
        Set Load Target    ${url}
        ```
        """
        profile = target_of_run(target, protocol)
        profile.gateway_path("")
        self._shop.aim = LoadTarget(url.rstrip("/"), profile, redis)

    @keyword(tags=("load",))
    def load_profile(
        self,
        activity: Profile,
        *,
        sessions: int | None = None,
        meter_values: int = 4,
        together: bool = False,
        persistent: bool = False,
        commands: bool = False,
        per_connection: int = 5,
    ) -> LoadProfile:
        """Returns a load profile, the behaviour of charge points, for `profile` of `Start Load` and `Run Load`.

        Args:
            activity: `heartbeat`, `session`, `mix` or `churn`.
            sessions: charging sessions of each charge point, for `session`.
            meter_values: of each session.
            together: without a rate, for `session`: all charge points wait until each has a transaction.
            persistent: messages that start or stop a transaction are repeated, under another message id, until
                answered.
            commands: charge points answer commands, and write each GetConfiguration that they carry out into the
                ledger, by its key.
            per_connection: messages on one connection, for `churn`.

        Example:
        ```robotframework
        ${charging}    Load Profile    session    sessions=2    meter_values=10
        ${load}    Run Load    profile=${charging}
        ```
        """
        return LoadProfile(
            activity=activity,
            sessions=sessions,
            meter_values=meter_values,
            together=together,
            persistent=persistent,
            commands=commands,
            per_connection=per_connection,
        )

    @keyword(tags=("load",))
    def load_schedule(
        self,
        *,
        rate: float | None = None,
        duration: timedelta | None = None,
        to_rate: float | None = None,
        spike: float | None = None,
        arrivals: Arrivals = Arrivals.EVEN,
        messages: int | None = None,
        pause: timedelta | None = None,
        blackout_at: timedelta | None = None,
        drain: bool = True,
        lateness: timedelta | None = None,
    ) -> LoadSchedule:
        """Returns when charge points send, for `schedule` of `Start Load` and `Run Load`.

        Args:
            rate: messages a second of all charge points together; makes the model open.
            duration: how long they send; needed with a `rate`.
            to_rate: the rate at the end, for a ramp.
            spike: the rate in the middle third of the time.
            arrivals: with a `rate`: `even`, or `poisson` for chance (with the load's `seed`).
            messages: without a `rate`: of each charge point.
            pause: without a `rate`: between an answer and the next message.
            blackout_at: when all connections are cut at once.
            drain: with a `rate`: at the end, overdue messages are still sent; else they count as not sent.
            lateness: with a `rate`: how late the generator may be (99th percentile) before the load is inconclusive,
                where the rate counts that it offered and response times do not; 25 ms if not given.

        Raises:
            UsageError: the arguments do not go together.

        Example:
        ```robotframework
        ${ramp}    Load Schedule    rate=100    to_rate=500    duration=1 minute    arrivals=poisson
        ${load}    Run Load    schedule=${ramp}    profile=mix
        ```
        """
        made = LoadSchedule(
            rate=rate,
            seconds=None if duration is None else seconds(duration),
            to_rate=to_rate,
            spike=spike,
            arrivals=arrivals,
            messages=messages,
            pause=None if pause is None else seconds(pause),
            blackout_at=None if blackout_at is None else seconds(blackout_at),
            drain=drain,
            lateness=None if lateness is None else seconds(lateness),
        )
        made.check()
        return made

    @keyword(tags=("load",))
    def start_load(
        self,
        *,
        alias: str = "load",
        profile: Profile | LoadProfile = Profile.HEARTBEAT,
        schedule: LoadSchedule | None = None,
        rate: float | None = None,
        duration: timedelta | None = None,
        messages: int | None = None,
        pause: timedelta | None = None,
        charge_points: int | None = None,
        timeout: timedelta = timedelta(seconds=30),
        seed: int = 1,
        processes: int = 1,
        ledger: bool = True,
    ) -> None:
        """Connects the charge points of a load, and lets it run in the background.

        It returns when they are connected and begin to send. The load ends by itself when all is sent, at `Stop Load`,
        and at the end of the suite.

        Args:
            alias: the name of this load in the other keywords.
            profile: the behaviour of the charge points: `heartbeat`, `session`, `mix`, `churn`, or the result of `Load
                Profile`.
            schedule: when they do it, as `Load Schedule` returned it; in the place of the next four.
            rate: messages a second of all charge points together; makes the model open.
            duration: how long it sends; needed with a `rate`.
            messages: without a `rate`: of each charge point; by default the number in the data file, or as many as
                there is time for when a `duration` or the profile's `sessions` are given.
            pause: without a `rate`: between an answer and the next message; by default that of the data file.
            charge_points: how many; by default the number in the data file.
            timeout: after which an answer does not count any more.
            seed: of the random choices.
            processes: how many generate the load.
            ledger: whether every message is written down; `Load Ledger Should Be Clean` needs it.

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
        what = LoadProfile(activity=profile) if isinstance(profile, Profile) else profile
        if not isinstance(what, LoadProfile):
            allowed = ", ".join(Profile)
            raise UsageError(f"'{profile}' is not a load profile (allowed: {allowed}, or a result of `Load Profile`).")
        if schedule is None:
            schedule = self.load_schedule(rate=rate, duration=duration, messages=messages, pause=pause)
        elif not isinstance(schedule, LoadSchedule):
            raise UsageError(f"'{schedule}' is not a schedule; create one with `Load Schedule`.")
        elif (rate, duration, messages, pause) != (None, None, None, None):
            raise UsageError("Give rate, duration, messages and pause to `Load Schedule`, not beside a schedule.")
        plan = self._shop.plan(
            charge_points=charge_points,
            seed=seed,
            timeout=seconds(timeout),
            **what.fields(),
            **self._with_defaults(schedule, what).fields(),
        )
        if what.activity is Profile.SESSION:
            target = self._shop.aimed().target
            target.need_actions(target.version.named("StartTransaction"))
        run = self._shop.start(alias, plan, self.cleanup, processes=processes, ledger=ledger)
        logger.info(f"{run.name} runs: {_in_words(plan)}.")

    def _with_defaults(self, schedule: LoadSchedule, what: LoadProfile) -> LoadSchedule:
        """A schedule of the closed model with the numbers of the data file where none are given."""
        if schedule.rate is not None:
            return schedule
        defaults = self._shop.data.messages
        pause = defaults.pause_ms / 1000 if schedule.pause is None else schedule.pause
        messages = schedule.messages
        if messages is None and schedule.seconds is None and what.sessions is None:
            messages = defaults.per_charge_point
        return msgspec.structs.replace(schedule, pause=pause, messages=messages)

    @keyword(tags=("load", "wait"))
    def wait_for_load(self, *, alias: str = "load", timeout: timedelta | None = None) -> LoadResult:
        """Waits until a load has ended, and returns its result.

        Args:
            timeout: the longest wait; by default as long as the load can take by its plan.

        Returns:
            The result; the introduction describes it.

        Raises:
            WaitTimeout: it still runs.
            ServiceError: it was broken off; the message says why.

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
    def run_load(self, *, alias: str = "load", **options: Any) -> LoadResult:
        """Runs a load to its end, and returns its result.

        Args:
            alias: the name of this load in the other keywords.
            options: as for `Start Load`.

        Returns:
            The result; the introduction describes it.

        Raises:
            UsageError: the arguments do not go together.
            ServiceError: the load could not be started, or was broken off.

        Example:
        ```robotframework
        ${load}    Run Load
        ${load}    Run Load    rate=100    duration=10s    profile=mix    seed=7
        Log    ${load.latency.p99} ms
        ```
        """
        self.start_load(alias=alias, **converted(options))
        run = self._shop.loads.get(alias)
        return _report(run.name, self._shop.ended(run, None))

    @keyword(tags=("load",))
    def stop_load(self, *, alias: str = "load", timeout: timedelta = timedelta(seconds=40)) -> LoadResult:
        """Stops a load cleanly and returns its result: no new sessions begin, running ones are finished.

        Args:
            timeout: the longest wait for its end; after that it is killed.

        Returns:
            The result; the introduction describes it.

        Raises:
            ServiceError: it did not end cleanly, or was broken off.

        Example:
        ```robotframework
        Start Load    duration=1 minute    profile=session
        ${load}    Stop Load
        ```
        """
        run = self._shop.loads.get(alias)
        return _report(run.name, self._shop.ended(run, timeout, stop=True))

    @keyword(tags=("load", "cleanup"))
    def abandon_loads(self, *keep: str) -> int:
        """Ends all running loads, and returns their number.

        For setups: a load that a failed test has left behind is not to disturb the next one.

        Args:
            keep: the aliases of loads that go on.

        Example:
        ```robotframework
        Start Load    alias=soak    duration=1 minute
        Start Load    duration=1 minute
        ${ended}    Abandon Loads    soak
        Should Be Equal    ${ended}    ${1}
        ```
        """
        left = [each for each in self._shop.loads.aliases() if each not in keep and self._shop.loads.get(each).running]
        for alias in left:
            self._shop.loads.remove(alias, self.cleanup)
        if left:
            logger.info(f"Ended: {', '.join(left)}.")
        return len(left)

    @keyword(tags=("load", "getter"))
    def get_load_progress(self, *, alias: str = "load") -> dict[str, Any]:
        """Returns the progress of a load.

        Returns:
            A dictionary with `phase` (connecting, connected, running, ended), `seconds`, `connected`, `charging`,
            `sent`, `answered`, `refused`, `invalid`, `failures`, and of the last second `last_second` (answers) and
            `p99` (ms).

        Example:
        ```robotframework
        Start Load    rate=100    duration=10s
        ${progress}    Get Load Progress
        Log    ${progress}[connected] charge points are connected
        ```
        """
        progress = msgspec.structs.asdict(self._shop.loads.get(alias).progress())
        logger.info(str(progress))
        return progress

    @keyword(tags=("load", "check"))
    def load_should_be_answered(self, result: LoadResult, *, message: str | None = None) -> None:
        """Fails unless every message of a load was answered with a valid CALLRESULT in time.

        Args:
            result: the result of `Run Load` or `Wait For Load`.
            message: said in front of the failure.

        Raises:
            ExpectationFailed: some were not; the message says how many, and why.

        Example:
        ```robotframework
        ${load}    Run Load    rate=100    duration=10s
        Load Should Be Answered    ${load}
        ```
        """
        if result.answered != result.due or result.failures or result.invalid:
            text = f"{result.answered} of {result.due} messages were answered; errors: {result.problems}."
            raise ExpectationFailed(f"{message} {text}" if message else text)

    @keyword(tags=("load", "getter"))
    def get_time_of_answer(self, result: LoadResult, number: int) -> timedelta:
        """Returns the time until this many messages of a load were answered, to the second.

        For conditions on the number of messages rather than on time, such as the warm-up of a process.

        Args:
            result: the result of `Run Load` or `Wait For Load`.
            number: how many answers.

        Raises:
            SkippedAsInconclusive: it had fewer.

        Example:
        ```robotframework
        ${load}       Run Load    profile=mix
        ${warm up}    Get Time Of Answer    ${load}    100
        ```
        """
        answered = 0
        for each in result.seconds:
            answered += each.answered
            if answered >= number:
                return timedelta(seconds=each.second + 1)
        raise SkippedAsInconclusive(f"Inconclusive: only {answered} of {number} messages were answered so far.")

    @keyword(tags=("load", "check"))
    def load_should_be_conclusive(self, result: LoadResult, *others: LoadResult, skip: bool = False) -> None:
        """Fails if the load generator was the bottleneck, so that the figures do not describe the server.

        Args:
            result: the result of `Run Load` or `Wait For Load`.
            others: further ones, where they are compared with each other.
            skip: the test is skipped as inconclusive, rather than failed.

        Raises:
            Inconclusive: it was, in one of them; the message says why.
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
    def machine_should_not_have_been_busy(self, *results: LoadResult, skip: bool = False) -> None:
        """Fails if other programs used the processors of the machine during the load, which makes its times unreliable.

        More than a quarter of all cores is too much. A slow result on a busy machine may be due to the machine; a fast
        one is fast all the same.

        Args:
            results: results of `Run Load` or `Wait For Load`.
            skip: the test is skipped as inconclusive, rather than failed.

        Raises:
            Inconclusive: they have, in one of the loads; the message says how much.
            SkipExecution: the same, with `skip`.

        Example:
        ```robotframework
        ${load}    Run Load    rate=100    duration=10s
        Machine Should Not Have Been Busy    ${load}
        ```
        """
        if busy := too_busy(max((result.others or 0.0 for result in results), default=0.0)):
            text = f"Inconclusive: {busy}."
            raise SkipExecution(text) if skip else Inconclusive(text)

    @keyword(tags=("load", "getter"))
    def get_load_charge_points(self, charge_points: int | None = None) -> list[str]:
        """Returns the ids of the charge points of a load.

        Args:
            charge_points: how many the load has; by default the number in the data file.

        Example:
        ```robotframework
        @{ids}    Get Load Charge Points
        Add Charge Points To Test Data    ${ids}
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
            for moved in (Loads.load_profile, Loads.load_schedule):
                if name in moved.__annotations__ and name != "return":
                    owner = moved.__name__.replace("_", " ").title()
                    raise UsageError(f"`Start Load` has no argument '{name}'; it belongs to `{owner}`.")
            allowed = ", ".join(sorted(set(hints) - {"alias", "return"}))
            raise UsageError(f"`Start Load` has no argument '{name}' (allowed: {allowed}).")
        try:
            found[name] = TypeInfo.from_type_hint(_resolved(name)).convert(value, name, allow_unknown=True)
        except ValueError as error:
            raise UsageError(f"{error}") from None
    return found


def _resolved(name: str) -> Any:
    return typing.get_type_hints(Loads.start_load)[name]


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
        RECORDER.doubt(f"the load generator was the limit of {name}: {'; '.join(result.saturated)}")
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
