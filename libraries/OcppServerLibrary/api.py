"""Keywords that compare the state in the HTTP API with the expected state."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from robot.api import logger

from ocpp_resilience.errors import ExpectationFailed, ServiceError, WaitTimeout
from ocpp_resilience.http_client import pick, shorten
from ocpp_resilience.ocpp.model import ConfigurationModel, History, Outcome, StoredKey
from ocpp_resilience.ocpp.model.values import Within, moment
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.state.api import api_of, clients_listed, compare_api, not_listed, unclear_refusals
from ocpp_resilience.state.comparison import LOGGED_PROBLEMS, StateComparison, compare_in_time
from ocpp_resilience.state.configuration import configuration_of, configuration_problems
from ocpp_resilience.state.reading import kept_fields, read
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.transport.volume import new_seed
from ocpp_resilience.waiting import wait_until


class Api(Component):
    """State over HTTP: lists, filters, connected charge points, configuration."""

    def __init__(self, servers: Registry[OcppServer], configurations: dict[str, ConfigurationModel]) -> None:
        self._servers = servers
        self._configurations = configurations

    @keyword(name="Compare API With The Model", tags=("server", "state", "getter"))
    def compare_api_with_the_model(
        self,
        *histories: History,
        timeout: timedelta = timedelta(seconds=1),
        seed: int | None = None,
        alias: str = "server",
    ) -> StateComparison:
        """Returns the differences between the HTTP API and a model of the protocol, in lists, filters and single
        records.

        Each record of a list has to be what the messages say, once, in order, in the filtered lists that it belongs to
        and in no other, and the same where it is asked for alone. What is not there has to be a 404, and what
        `state.api.bad_requests` of the target profile names a 400.

        Args:
            histories: as `Compare State With The Model`.
            timeout: how long the answers may take to be right.
            seed: chooses the charge points and records that are looked at closely; by chance if not given, and logged.

        Returns:
            As `Compare State With The Model`.

        Raises:
            LacksCapability: the profile does not name the paths; the test is skipped.
            ExpectationFailed: an answer is no list.

        Example:
        ```robotframework
        ${history}    Get Message History
        ${comparison}    Compare API With The Model    ${history}
        Should Be Empty    ${comparison.problems}    ${comparison.summary}
        ```
        """
        server = self._servers.get(alias)
        chosen = new_seed() if seed is None else seed
        logger.info(f"Seed: {chosen}.")
        return compare_in_time(
            histories,
            lambda history: compare_api(history.model, server.target, get=server.get, seed=chosen),
            timeout=timeout,
        )

    @keyword(tags=("server", "state", "getter"))
    def find_wrong_connections(
        self,
        connected: Sequence[str] = (),
        gone: Sequence[str] = (),
        *,
        since: float = 0.0,
        active_for: timedelta = timedelta(0),
        records: bool = True,
        timeout: timedelta = timedelta(seconds=5),
        alias: str = "server",
    ) -> list[str]:
        """Returns errors in the system's list of connected charge points.

        The list of connected charge points has each once, with times between `since` and now, and nobody who is gone;
        where the record of a charge point says whether it is online, that has to be right too, and the list of all
        charge points has those that are connected.

        Args:
            connected: ids of charge points that are connected and have been heard of.
            gone: ids of charge points that are not connected any more.
            since: when the first of them connected, in seconds since 1970 (`time.time`).
            active_for: how long after its connect each of them has sent something at least; both times are compared
                as the system gives them.
            records: whether the records of the charge points are looked at, too.
            timeout: how long it may take to be right.

        Raises:
            LacksCapability: the profile names no list of connected charge points; the test is skipped.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    10
        Boot All
        @{wrong}    Find Wrong Connections    ${ids}
        Should Be Empty    ${wrong}
        ```
        """
        server = self._servers.get(alias)
        found: list[str] = []

        def look() -> bool | None:
            try:
                found[:] = self._wrongly_listed(server, connected, gone, since, active_for.total_seconds())
                if records:
                    found.extend(self._wrongly_online(server, connected, gone))
                    found.extend(
                        f"{each} is not in the list of charge points"
                        for each in not_listed(server.target, server.get, connected)
                    )
            except ExpectationFailed as error:  # no list yet, as from an API that has not reached Redis again
                found[:] = [str(error)]
            return None if found else True

        with contextlib.suppress(WaitTimeout):
            wait_until(look, timeout=timeout, failure=lambda: "")
        logger.info("\n".join(found[:LOGGED_PROBLEMS]) or "Who is connected is known.")
        return found

    @keyword(tags=("server", "state", "getter"))
    def find_unclear_refusals(self, *, within: timedelta = timedelta(seconds=1), alias: str = "server") -> list[str]:
        """Returns the paths of state in the HTTP API that are not refused with 503 at once while Redis is away.

        Args:
            within: how long each answer may take.
            alias: which server; it has noticed that Redis is away.

        Raises:
            LacksCapability: the profile does not name the paths; the test is skipped.

        Example:
        ```robotframework
        Pause Redis
        Wait Until Health Is    degraded
        @{unclear}    Find Unclear Refusals
        Should Be Empty    ${unclear}
        ```
        """
        server = self._servers.get(alias)
        found = unclear_refusals(server.target, get=server.get, within=within.total_seconds())
        logger.info("\n".join(found) or "State is refused at once.")
        return found

    def _wrongly_listed(
        self,
        server: OcppServer,
        connected: Sequence[str],
        gone: Sequence[str],
        since: float,
        active_for: float,
    ) -> list[str]:
        api = api_of(server.target)
        id_field = "id" if api.clients is None else api.clients.id
        entries = clients_listed(server.target, server.get)
        times = Counter(str(pick(entry, id_field)) for entry in entries)
        found = [
            f"{each} is listed {times[each]} times as connected, expected once"
            for each in connected
            if times[each] != 1
        ]
        found += [f"{each} is listed as connected, but has disconnected" for each in gone if times[each]]
        tolerance = server.target.behaviour.clock_tolerance
        span = Within(since - tolerance, time.time() + tolerance)
        for entry in entries:
            who = str(pick(entry, id_field))
            if who in connected and api.connected_at is not None and api.last_activity is not None:
                began, heard = (moment(str(pick(entry, name))) for name in (api.connected_at, api.last_activity))
                if began is not None and heard is not None and heard - began < active_for:
                    found.append(
                        f"{who}: last_activity is {heard - began:.1f} s after its connect, expected {active_for:g} s at"
                        " least"
                    )
            for name in (api.connected_at, api.last_activity):
                if name is not None and who in connected and not span.allows(pick(entry, name)):
                    found.append(f"{who}: {name} is {pick(entry, name)!r}, expected {span}")
        return found

    def _wrongly_online(self, server: OcppServer, connected: Sequence[str], gone: Sequence[str]) -> list[str]:
        if server.target.state.charge_point is None or "is_online" not in kept_fields(server.target, "charge_point"):
            return []
        points = [*connected, *gone]
        ids = [{"charge_point_id": each} for each in points]
        records = read(server.target, "charge_point", ids, redis_url=server.redis_url, get=server.get)
        found = []
        for point, record in zip(points, records, strict=True):
            expected = point in connected
            seen = None if record is None else record.get("is_online")
            if seen is not expected:
                found.append(f"{point}: is_online is {seen!r}, expected {expected}")
        return found

    @keyword(tags=("server", "configuration"))
    def store_configuration_key(
        self, charge_point: str, key: str, value: str, *, readonly: bool = False, alias: str = "server"
    ) -> int:
        """Stores a configuration key of a charge point through the system's HTTP API, and returns the HTTP status.

        `Compare State With The Model` and `Find Wrong Configuration` know of it: a key that was answered with 200 has
        to be there, one that was refused with 4xx must not, and after any other answer, or none, either is right.

        Args:
            charge_point: whose key; has to be one that is removed with the other test data.
            key: its name.
            value: its value.
            readonly: whether the charge point refuses to change it.

        Returns:
            The HTTP status; 0 if there was no answer.

        Raises:
            LacksCapability: the profile does not say how configuration is stored; the test is skipped.

        Example:
        ```robotframework
        ${sent}    Queue Message    BootNotification
        ${status}    Store Configuration Key    ${sent.charge_point}    HeartbeatInterval    300
        Should Be Equal As Integers    ${status}    200
        ```
        """
        server = self._servers.get(alias)
        request = configuration_of(server.target).store
        values = {"charge_point_id": charge_point, "key": key, "value": value, "readonly": readonly}
        status, said = 0, ""
        try:
            reply = server.ask(request, values)
            status, said = reply.status, shorten(reply.body)
        except ServiceError as error:
            said = str(error)
        outcome = Outcome.ANSWERED if status == 200 else Outcome.REFUSED if 400 <= status < 500 else Outcome.UNKNOWN
        self._model(alias).stored(charge_point, key, StoredKey(value, readonly), outcome)
        logger.info(f"{key} of {charge_point}: {status} {said}")
        return status

    @keyword(tags=("server", "configuration", "getter"))
    def find_wrong_configuration(
        self, *charge_points: str, timeout: timedelta = timedelta(seconds=1), alias: str = "server"
    ) -> list[str]:
        """Returns the configuration keys whose values differ from those that `Store Configuration Key` stored.

        Args:
            charge_points: their ids.
            timeout: how long it may take to be right.

        Raises:
            LacksCapability: the profile does not say where configuration is; the test is skipped.

        Example:
        ```robotframework
        Store Configuration Key    CP-001    HeartbeatInterval    300
        @{wrong}    Find Wrong Configuration    CP-001
        Should Be Empty    ${wrong}
        ```
        """
        server = self._servers.get(alias)
        configuration_of(server.target)
        found: list[str] = []

        def look() -> bool | None:
            found[:] = configuration_problems(
                self._model(alias), charge_points, server.target, redis_url=server.redis_url, get=server.get
            )
            return None if found else True

        with contextlib.suppress(WaitTimeout):
            wait_until(look, timeout=timeout, failure=lambda: "")
        logger.info("\n".join(found[:LOGGED_PROBLEMS]) or "The configuration is as it was stored.")
        return found

    def _model(self, alias: str) -> ConfigurationModel:
        return self._configurations.setdefault(alias, ConfigurationModel())
