"""Keywords about connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path

from robot.api import logger
from robot.api.types import Secret

from ChargePointLibrary.base import ALIAS, ConnectingComponent, plain
from ocpp_resilience import background
from ocpp_resilience.charge_points.errors import ConnectFailed
from ocpp_resilience.charge_points.gateway import Gateway, Login, Spelling, TlsVersion
from ocpp_resilience.charge_points.ghost import End
from ocpp_resilience.charge_points.many import close_all, connect_all
from ocpp_resilience.charge_points.point import ChargePoint
from ocpp_resilience.errors import ExpectationFailed, UsageError
from ocpp_resilience.profile import target_of_run
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.text import counted
from ocpp_resilience.waiting import in_words, wait_until

CONNECT_TIMEOUT = timedelta(seconds=10)
CONNECTED = 101
"""The HTTP status of a WebSocket handshake that was accepted."""
UNKNOWN_SUBPROTOCOL = "ocpp0.9"
"""One that no system speaks."""


async def _choice(gateway: Gateway, charge_point_id: str, offered: Sequence[str], *, limit: float) -> str | None:
    connection = await gateway.open(charge_point_id, Login(subprotocols=offered), limit=limit)
    try:
        return connection.subprotocol
    finally:
        await connection.close()


class Connection(ConnectingComponent):
    """Keywords that connect and disconnect charge points, and judge their connections."""

    @keyword(tags=("charge point", "connection"))
    def use_gateway(
        self, url: str, *, target: str | None = None, protocol: str | None = None, alias: str = "gateway"
    ) -> None:
        """Sets the gateway to which charge points connect from now on.

        Args:
            url: the base of the WebSocket gateway, such as the result of `Get Gateway Url`: `ws://host:port`, or
                `wss://host:port` with TLS.
            target: the target profile with the path and the subprotocol: a name, or the path of a file; by default as
                at `Start Server`.
            protocol: the OCPP version of the charge points, such as `ocpp2.0.1`; by default that of the
                variable `PROTOCOL`, else that of the profile.
            alias: the name of this gateway in the keywords that connect.

        Raises:
            UsageError: the URL cannot be used, or the target has no gateway or does not speak the version.

        Example:
        ```robotframework
        ${url}    Get Gateway Url
        Use Gateway    ${url}
        ```
        """
        gateway = Gateway(url, target_of_run(target, protocol))
        if self._gateways.find(alias) is not None:
            self._gateways.remove(alias, self.cleanup)
        self._gateways.add(alias, gateway, self.cleanup)

    @keyword(tags=("charge point", "connection"))
    def connect_charge_point(
        self,
        charge_point_id: str | None = None,
        *,
        alias: str = ALIAS,
        password: str | Secret | None = None,
        user: str | None = None,
        ca: Path | None = None,
        certificate: Path | None = None,
        tls: TlsVersion | None = None,
        subprotocols: Sequence[str] | None = None,
        protocol: str | None = None,
        gateway: str = "gateway",
        timeout: timedelta = CONNECT_TIMEOUT,
    ) -> str:
        """Connects a new charge point, and returns its id.

        An alias whose charge point is not connected any more is given to the new one; `Reconnect Charge Point` connects
        the same again.

        Args:
            charge_point_id: its id; by default one that no other test uses.
            alias: the name of this charge point in the other keywords.
            password: sent with Basic authentication (OCPP security profile 1); without it, none is sent.
            user: the user name; by default the charge point id.
            ca: the file with the certificates that the gateway's is trusted by, for a gateway with TLS.
            certificate: the PEM file with the charge point's certificate and its key (security profile 3).
            tls: the only version of TLS that is offered, for example `TLS_1_2`.
            subprotocols: the WebSocket subprotocols that are offered; by default that of the OCPP version alone.
            protocol: the OCPP version that it speaks, such as `ocpp2.0.1`; by default that of the gateway.
            timeout: the longest wait until the connection is there.

        Raises:
            ConnectFailed: the gateway refused it; the message says with which HTTP status.
            UsageError: a charge point is connected under this alias, the target does not speak the version, or
                `Use Gateway` was not called.

        Example:
        ```robotframework
        ${id}    Connect Charge Point
        Connect Charge Point    CP-007    alias=second    password=secret
        Connect Charge Point    alias=third    protocol=ocpp2.0.1
        ```
        """
        where = self._gateways.get(gateway).speaking(protocol)
        login = Login(
            password=plain(password), user=user, ca=ca, certificate=certificate, tls=tls, subprotocols=subprotocols
        )
        known = self._points.find(alias)
        if known is not None and known.connected and alias in self._points:
            raise UsageError(
                f"{known.id} is connected already under the alias '{alias}'. Use another alias for a second one."
            )
        point = ChargePoint(charge_point_id or self._ids.charge_point(), where, login)
        background.run(point.connect, limit=timeout.total_seconds())
        self.keep({alias: point})
        logger.info(f"{point.id} is connected to {where.url_of(point.id)}.")
        return point.id

    @keyword(tags=("charge point", "connection"))
    def reconnect_charge_point(
        self,
        *,
        alias: str = ALIAS,
        gateway: str | None = None,
        spelling: Spelling | None = None,
        timeout: timedelta = CONNECT_TIMEOUT,
    ) -> None:
        """Reconnects a charge point; its configuration and its received frames are kept.

        Args:
            gateway: which gateway; by default the same.
            spelling: how its id is written in the path from now on: `ENCODED`, `PLAIN` (only reserved
                characters are percent-encoded, a `+` is not) or `ALL` (every character is); by default as before.
            timeout: the longest wait until the connection is there.

        Raises:
            ConnectFailed: the gateway refused it; the message says with which HTTP status.
            UsageError: it is connected.

        Example:
        ```robotframework
        Abort Charge Point Connection
        Reconnect Charge Point
        Abort Charge Point Connection
        Reconnect Charge Point    spelling=PLAIN
        ```
        """
        point = self._points.get(alias)
        if gateway is not None:
            point.gateway = self._gateways.get(gateway).speaking(point.version.subprotocol)
        if spelling is not None:
            point.login = replace(point.login, spelling=spelling)
        background.run(point.connect, limit=timeout.total_seconds())

    @keyword(tags=("charge point", "connection", "load"))
    def connect_charge_points(
        self,
        count: int = 50,
        *,
        prefix: str = "CP",
        protocol: str | None = None,
        gateway: str = "gateway",
        refusable: bool = False,
        timeout: timedelta = CONNECT_TIMEOUT,
    ) -> list[str]:
        """Connects many new charge points, up to 100 at the same time, and returns their ids.

        Their ids are their aliases.

        Args:
            count: how many.
            prefix: the prefix of their ids.
            protocol: their OCPP version, such as `ocpp2.0.1`; by default that of the gateway.
            refusable: whether the gateway may refuse some; the ids of the others are returned.
            timeout: the longest wait for each connection.

        Raises:
            ExpectationFailed: some could not connect; the message says how many and why. None of them stays connected
                then.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    1000
        Boot All    ${ids}
        ```
        """
        if count < 1:
            raise UsageError(f"count is {count}, at least 1 is required.")
        where = self._gateways.get(gateway).speaking(protocol)
        made = [ChargePoint(self._ids.charge_point(prefix), where) for _ in range(count)]
        try:
            background.run(connect_all, made, limit=timeout.total_seconds())
        except ExpectationFailed as refused:
            if not refusable:
                background.run(close_all, made, timeout=30)
                raise
            logger.info(str(refused))
        except BaseException:
            background.run(close_all, made, timeout=30)
            raise
        there = [point for point in made if point.connected]
        if left := [point for point in made if point.ends]:
            background.run(close_all, there, timeout=30)
            raise ExpectationFailed(
                f"{counted(len(left), 'charge point')} of {count} were connected and then disconnected while others "
                f"connected: {left[0].id} {left[0].state()}."
            )
        if there:
            self.keep({point.id: point for point in there})
        logger.info(f"{counted(len(there), 'charge point')} connected to {where.url}, {made[0].id} to {made[-1].id}.")
        return [point.id for point in there]

    @keyword(tags=("charge point", "connection"))
    def disconnect_charge_point(self, *, alias: str = ALIAS, code: int = 1000, reason: str = "") -> None:
        """Ends the connection of a charge point with a closing handshake.

        Args:
            code: the close code.
            reason: the reason that goes with it.

        Example:
        ```robotframework
        Connect Charge Point
        Disconnect Charge Point
        Reconnect Charge Point
        ```
        """
        background.run(self._points.get(alias).disconnect, code, reason)

    @keyword(tags=("charge point", "connection"))
    def disconnect_all_charge_points(self, charge_points: Sequence[str] | None = None) -> None:
        """Ends the connections of many charge points at the same time.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    1000
        Disconnect All Charge Points    ${ids}
        ```
        """
        background.run(close_all, self.chosen(charge_points))

    @keyword(tags=("charge point", "connection"))
    def remove_charge_points(self, charge_points: Sequence[str] | None = None) -> None:
        """Disconnects charge points and removes them with all frames that they received.

        Example:
        ```robotframework
        Remove Charge Points
        ```
        """
        points = self.chosen(charge_points)
        background.run(close_all, points)
        self._points.forget(points)

    @keyword(tags=("charge point", "connection", "fault"))
    def abort_charge_point_connection(self, *, alias: str = ALIAS) -> None:
        """Cuts the connection of a charge point without a closing handshake, as when its power fails.

        Example:
        ```robotframework
        Abort Charge Point Connection
        Charge Point Should Be Disconnected    code=1006
        ```
        """
        background.run(self._points.get(alias).abort)

    @keyword(tags=("charge point", "connection", "check"))
    def connection_should_be_refused(
        self,
        charge_point_id: str | None = None,
        *,
        status: int | None = None,
        password: str | Secret | None = None,
        user: str | None = None,
        ca: Path | None = None,
        certificate: Path | None = None,
        tls: TlsVersion | None = None,
        subprotocols: Sequence[str] | None = None,
        gateway: str = "gateway",
        timeout: timedelta = CONNECT_TIMEOUT,
    ) -> int | None:
        """Fails if the gateway accepts a connection; returns the HTTP status with which it refused it.

        Args:
            charge_point_id: its id; a new one by default.
            status: the HTTP status that it has to be refused with; any by default.
            password: sent with Basic authentication; without it, none is sent.
            user: the user name; by default the charge point id.
            ca: the file with the certificates that the gateway's is trusted by.
            certificate: the PEM file with the charge point's certificate and its key.
            tls: the only version of TLS that is offered, for example `TLS_1_1`.
            subprotocols: the WebSocket subprotocols that are offered; by default that of the target profile.
            timeout: the longest wait for the refusal.

        Returns:
            The status, `None` if there was no HTTP answer.

        Raises:
            ExpectationFailed: it was accepted, or refused with another status.

        Example:
        ```robotframework
        VAR    @{foreign}    ocpp2.0.1
        Connection Should Be Refused    subprotocols=${foreign}
        Connection Should Be Refused    CP-007    password=wrong    status=401
        ```
        """
        login = Login(
            password=plain(password), user=user, ca=ca, certificate=certificate, tls=tls, subprotocols=subprotocols
        )
        point = ChargePoint(charge_point_id or self._ids.charge_point(), self._gateways.get(gateway), login)
        refused = self._refusal(point, timeout)
        if refused is None:
            expected = "" if status is None else f" with HTTP {status}"
            raise ExpectationFailed(f"{point.id} should have been refused{expected}, but it was connected.")
        if status is not None and refused.status != status:
            raise ExpectationFailed(f"Expected a refusal with HTTP {status}. {refused}")
        return refused.status

    @keyword(tags=("charge point", "connection", "getter"))
    def find_wrong_subprotocols(self, *, gateway: str = "gateway", timeout: timedelta = CONNECT_TIMEOUT) -> list[str]:
        """Connects with subprotocols in different orders, and returns errors in the gateway's choices.

        Of the subprotocols that a charge point offers, the gateway has to choose the first that the system speaks; by
        the tolerant oracle any of them (`oracle` in the target profile, which lists those that it speaks in `actions`).
        In front of two of them, one that does not exist is offered.

        Args:
            timeout: the longest wait for each connection.

        Example:
        ```robotframework
        @{wrong} =    Find Wrong Subprotocols
        Should Be Empty    ${wrong}
        ```
        """
        where = self._gateways.get(gateway)
        spoken = where.target.protocols
        pairs = list(permutations(spoken, min(2, len(spoken))))
        found = []
        for pair in pairs:
            offered = [UNKNOWN_SUBPROTOCOL, *pair]
            told = f"of {', '.join(offered)}"
            point = self._ids.charge_point()
            try:
                chosen = background.run(_choice, where, point, offered, limit=timeout.total_seconds())
            except ConnectFailed as refused:
                found.append(f"{told} the gateway chose none, expected {pair[0]}: {refused}")
                continue
            if chosen != pair[0] and (where.target.strict or chosen not in pair):
                found.append(f"{told} the gateway chose {chosen}, expected {pair[0]}")
        logger.info("\n".join(found) or f"Subprotocols were chosen rightly: {len(pairs)} connections.")
        return found

    @keyword(tags=("charge point", "connection", "getter"))
    def get_connection_status(
        self,
        charge_point_id: str | None = None,
        *,
        password: str | Secret | None = None,
        user: str | None = None,
        ca: Path | None = None,
        certificate: Path | None = None,
        tls: TlsVersion | None = None,
        subprotocols: Sequence[str] | None = None,
        origin: str | None = None,
        gateway: str = "gateway",
        timeout: timedelta = CONNECT_TIMEOUT,
    ) -> int | None:
        """Connects a charge point, disconnects it again, and returns the HTTP status of the gateway's answer.

        Args:
            charge_point_id: its id; a new one by default.
            password: sent with Basic authentication; without it, none is sent.
            user: the user name; by default the charge point id.
            ca: the file with the certificates that the gateway's is trusted by.
            certificate: the PEM file with the charge point's certificate and its key.
            tls: the only version of TLS that is offered.
            subprotocols: the WebSocket subprotocols that are offered; by default that of the target profile.
            origin: the origin of the web page that connects; charge points send none.

        Returns:
            The status, 101 where the charge point was let in; `None` if there was no HTTP answer.

        Example:
        ```robotframework
        ${status} =    Get Connection Status    CP-007    password=wrong
        Should Be Equal    ${status}    ${401}
        ```
        """
        login = Login(
            password=plain(password),
            user=user,
            ca=ca,
            certificate=certificate,
            tls=tls,
            subprotocols=subprotocols,
            origin=origin,
        )
        point = ChargePoint(charge_point_id or self._ids.charge_point(), self._gateways.get(gateway), login)
        refused = self._refusal(point, timeout)
        return CONNECTED if refused is None else refused.status

    @staticmethod
    def _refusal(point: ChargePoint, timeout: timedelta) -> ConnectFailed | None:
        """Why the gateway does not let it in; `None` if it does, and it leaves again."""
        try:
            background.run(point.connect, limit=timeout.total_seconds())
        except ConnectFailed as refused:
            logger.info(str(refused))
            return refused
        background.run(point.disconnect)
        return None

    @keyword(tags=("charge point", "connection", "check"))
    def charge_point_should_be_connected(self, *, alias: str = ALIAS) -> None:
        """Fails unless a charge point is connected now.

        Raises:
            ExpectationFailed: it is not; the message says how the connection ended.

        Example:
        ```robotframework
        Charge Point Should Be Connected
        ```
        """
        point = self._points.get(alias)
        if not point.connected:
            raise ExpectationFailed(f"{point.id} should be connected, but it {point.state()}.")

    @keyword(tags=("charge point", "connection", "check"))
    def all_charge_points_should_be_connected(self, charge_points: Sequence[str] | None = None) -> int:
        """Fails unless all of these charge points are connected now; returns how many they are.

        Raises:
            ExpectationFailed: some are not; the message says how many and how their connections ended.

        Example:
        ```robotframework
        @{ids}    Connect Charge Points    1000
        All Charge Points Should Be Connected    ${ids}
        ```
        """
        points = self.chosen(charge_points)
        away = [point for point in points if not point.connected]
        if away:
            shown = "; ".join(f"{point.id} {point.state()}" for point in away[:5])
            raise ExpectationFailed(f"{len(away)} of {len(points)} charge points are not connected. {shown}.")
        return len(points)

    @keyword(tags=("charge point", "connection", "check"))
    def charge_point_should_be_disconnected(
        self, *, alias: str = ALIAS, code: int | None = None, timeout: timedelta = timedelta(seconds=5)
    ) -> int:
        """Waits until a charge point has no connection any more, and returns the close code.

        Args:
            code: the close code that its last connection has to have ended with; any by default. 1006 stands for an
                end without a closing handshake.

        Raises:
            WaitTimeout: it is still connected.
            ExpectationFailed: the code is another one.

        Example:
        ```robotframework
        Charge Point Should Be Disconnected    code=1001    timeout=10s
        ```
        """
        point = self._points.get(alias)

        def probe() -> End | None:
            return None if point.connected or not point.ends else point.ends[-1]

        end = wait_until(
            probe,
            timeout=timeout,
            failure=lambda: f"{point.id} should have been disconnected, but it {point.state()}",
        )
        if code is not None and end.code != code:
            raise ExpectationFailed(
                f"{point.id} should have been disconnected with code {code}, but its connection was ended {end}."
            )
        logger.info(f"The connection of {point.id} was ended {end}.")
        return end.code

    @keyword(tags=("charge point", "connection", "getter"))
    def get_connected_charge_points(self) -> list[str]:
        """Returns the ids of the charge points that are connected now.

        Example:
        ```robotframework
        @{ids}    Get Connected Charge Points
        ```
        """
        return [point.id for point in self._points.all() if point.connected]

    @keyword(tags=("charge point", "getter", "cleanup"))
    def get_generated_charge_points(self) -> list[str]:
        """Returns all charge point ids that this library has generated in this run, connected or not.

        Example:
        ```robotframework
        @{ids}    Get Generated Charge Points
        Add Charge Points To Test Data    ${ids}
        Remove Test Data
        ```
        """
        return self._ids.charge_points

    @keyword(tags=("charge point", "connection", "getter"))
    def get_connection_time(self, *, alias: str = ALIAS) -> timedelta:
        """Returns how long the last connection of a charge point lasted, or has lasted up to now.

        Example:
        ```robotframework
        ${time}    Get Connection Time
        ```
        """
        point = self._points.get(alias)
        lasted: float = background.call(point.connection_seconds)
        logger.info(f"The connection of {point.id} lasted {in_words(lasted)}.")
        return timedelta(seconds=lasted)
