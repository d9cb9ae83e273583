"""Keywords that start and end the server."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, TypeAlias

from robot.api import logger
from robot.api.types import Secret

from ocpp_resilience.errors import ExpectationFailed, LacksCapability, NotPossibleHere, UsageError, WaitTimeout
from ocpp_resilience.faults.journal import JOURNAL
from ocpp_resilience.processes import ChildProcess, Exit
from ocpp_resilience.profile import target_of_run
from ocpp_resilience.redis.services import RestartHow
from ocpp_resilience.robot.facts import RECORDER
from ocpp_resilience.robot.library import Component, keyword
from ocpp_resilience.robot.registry import Registry
from ocpp_resilience.system.server import OcppServer
from ocpp_resilience.text import nearest
from ocpp_resilience.waiting import in_words

Setting: TypeAlias = str | int | float | bool | Secret | None


class Lifecycle(Component):
    """Starting, ending, pausing."""

    def __init__(self, servers: Registry[OcppServer]) -> None:
        self._servers = servers

    @keyword(tags=("server", "lifecycle"))
    def start_server(
        self,
        redis_url: str | Secret,
        *,
        target: str | None = None,
        alias: str = "server",
        timeout: timedelta | None = None,
        **settings: Setting,
    ) -> str:
        """Starts the server under test and waits until it reports its ports.

        Redis may be down: a server has to start without it. An ended server of this alias is started again; its log
        continues, everything else is as given now. A running system, as defined in its profile, is used as it is;
        keywords that would end it or start another one skip the test.

        Args:
            redis_url: the Redis that it works with. With the run's external Redis the system is the user of the run's
                `SYSTEM_REDIS_LOGIN` (`user:password`), if that is given, and not the user of the tests.
            alias: the name of this server in the other keywords.
            timeout: the longest wait until it listens; the profile's if not given.
            settings: environment variables on top of the profile's, in capitals, for example `LOG_LEVEL=debug`;
                `${None}` takes one out, and a `Secret` does not stand in the log.

        Returns:
            The base URL of its HTTP API, for example `http://127.0.0.1:40123`.

        Raises:
            UsageError: it runs already, or the target or a setting cannot be used.
            ServiceError: it ended while starting; the end of its output is shown.
            WaitTimeout: it did not listen in time, and was killed.

        Example:
        ```robotframework
        ${redis}    Get Redis Url
        Start Server    ${redis}
        Start Server    ${redis}    alias=second    LOG_LEVEL=debug    MAX_MESSAGE_BYTES=4096
        ```
        """
        profile = target_of_run(target)
        known = profile.start.environment if profile.start else {}
        for name in settings:
            if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name) and name not in known:
                raise UsageError(
                    f"`Start Server` has no argument '{name}'. Settings are in capitals, for example LOG_LEVEL."
                )
            meant = nearest(name, known)
            if name not in known and meant is not None and abs(len(name) - len(meant)) <= 1:
                raise UsageError(
                    f"Target '{profile.name}' has no setting {name}; did you mean {meant}? Its settings: "
                    f"{', '.join(known)} (start.environment in {profile.source})."
                )
        server = self._servers.find(alias)
        if server is not None and server.process.alive:
            raise UsageError(f"{server.name} is running already. Use another alias for a second one.")
        if server is not None and server.target != profile:
            self._servers.remove(alias, self.cleanup)
            server = None
        if server is None:
            if profile.running is not None and self._servers.aliases():
                raise NotPossibleHere(
                    f"Target '{profile.name}' is already running; there is no second instance '{alias}'."
                )
            server = OcppServer(alias, profile)
            self._servers.add(alias, server, self.cleanup)
            RECORDER.watch(server, lambda: server.crashes_in_all, server.exited)
            RECORDER.tell_end(alias, server.ended_by_itself)
        server.configure(_plain(redis_url), {name: _plain(value) for name, value in settings.items()})
        return self._start(server, timeout)

    def _start(self, server: OcppServer, timeout: timedelta | None) -> str:
        took = server.start(timeout)
        where = f"listens at {server.url}" if server.has_http else "runs, without an HTTP API"
        JOURNAL.end_of(server.name, where)
        gateway = f", WebSocket port {server.ws_port}" if server.ws_port else ""
        process = server.process
        process_id = f", process {process.pid}" if isinstance(process, ChildProcess) else ""
        logger.info(
            f"{server.name} (target {server.target.name}{process_id}) {where}{gateway}, "
            f"after {in_words(took)}. Its output is in {process.directory}."
        )
        return server.url if server.has_http else ""

    @keyword(tags=("server", "lifecycle"))
    def wait_until_server_is_ready(self, *, alias: str = "server", timeout: timedelta | None = None) -> None:
        """Waits until the server reports that it is ready.

        Args:
            timeout: the longest wait; the profile's if not given.

        Raises:
            WaitTimeout: it did not become ready; the message shows its last answer.
            ServiceError: it exited; the end of its output is shown.

        Example:
        ```robotframework
        Start Server    ${redis}
        Wait Until Server Is Ready    timeout=5s
        ```
        """
        self._servers.get(alias).wait_until_ready(timeout)

    @keyword(tags=("server", "lifecycle"))
    def stop_server(self, *, alias: str = "server", timeout: timedelta | None = None) -> float:
        """Stops the server with SIGTERM, or its profile's `stop_signal`, and returns how long that took, in seconds.

        Args:
            timeout: the longest wait; the profile's if not given. After that the server is killed, and the keyword
                fails.

        Returns:
            Seconds from the signal until the process had ended.

        Raises:
            WaitTimeout: it did not end in time.
            ServiceError: it does not run.

        Example:
        ```robotframework
        ${seconds}    Stop Server    timeout=2s
        Server Should Have Exited    0
        ```
        """
        server = self._servers.get(alias)
        ended = server.stop(timeout)
        self._report(server, "stopped", ended)
        return ended.took

    @keyword(tags=("server", "lifecycle", "fault"))
    def kill_server(self, *, alias: str = "server") -> None:
        """Ends the server at once (kill -9), paused or not, and returns when its port is closed.

        Example:
        ```robotframework
        Kill Server
        Restart Server
        ```
        """
        server = self._servers.get(alias)
        self._report(server, "killed", server.kill())

    @keyword(tags=("server", "lifecycle", "fault"))
    def restart_server(
        self,
        how: RestartHow = RestartHow.GRACEFUL,
        *,
        alias: str = "server",
        timeout: timedelta | None = None,
    ) -> str:
        """Ends the server if it still runs, and starts it again with the settings that it had.

        The ports can be others. Log records carry on.

        Args:
            how: `graceful` (as `Stop Server`) or `kill` (kill -9).
            timeout: the longest wait for its end, and until it listens; the profile's if not given.

        Returns:
            The base URL of its HTTP API.

        Example:
        ```robotframework
        Restart Server    kill
        Wait Until Server Is Ready
        ```
        """
        server = self._servers.get(alias)
        if server.process.alive:
            graceful = how is RestartHow.GRACEFUL
            ended = server.stop(timeout) if graceful else server.kill()
            self._report(server, "stopped" if graceful else "killed", ended)
        return self._start(server, timeout)

    def _report(self, server: OcppServer, action: str, ended: Exit) -> None:
        JOURNAL.begin(action, server.name, proof=f"ended with status {ended.status}")
        logger.info(f"{server.name} {action}: ended after {in_words(ended.took)} with status {ended.status}.")

    @keyword(tags=("server", "fault"))
    def pause_server(self, *, alias: str = "server") -> None:
        """Pauses the server (SIGSTOP); its connections stay open.

        Example:
        ```robotframework
        Pause Server
        Resume Server
        ```
        """
        server = self._servers.get(alias)
        server.pause()
        JOURNAL.begin("paused", server.name, proof=f"{server.name} is stopped")

    @keyword(tags=("server", "fault"))
    def resume_server(self, *, alias: str = "server", timeout: timedelta = timedelta(seconds=5)) -> None:
        """Resumes a paused server (SIGCONT), and waits until its HTTP API answers.

        Example:
        ```robotframework
        Pause Server
        Resume Server
        ```
        """
        server = self._servers.get(alias)
        server.resume(timeout)
        JOURNAL.end_of(server.name, "its HTTP API answers")

    @keyword(tags=("server", "check"))
    def server_should_be_running(self, *, seen: str = "", alias: str = "server") -> None:
        """Fails when the server has exited.

        Args:
            seen: an earlier observation; its first line follows the exit in the message.

        Raises:
            ExpectationFailed: it has; the end of its output is shown.

        Example:
        ```robotframework
        Server Should Be Running
        ```
        """
        server = self._servers.get(alias)
        if not server.process.alive:
            raise ExpectationFailed(server.exited(seen=seen))

    @keyword(tags=("server", "lifecycle"))
    def ensure_server_is_running(self, *, alias: str = "server") -> bool:
        """Restarts the server if it has ended, waits until it is ready, and resets the crash counter.

        For setups: a test that brought the server down is not to take those behind it along.

        Returns:
            Whether it had to be started.

        Raises:
            ServiceError: it ended again while starting.
            WaitTimeout: it was not ready in time.

        Example:
        ```robotframework
        Test Setup    Ensure Server Is Running
        ```
        """
        server = self._servers.get(alias)
        had_ended = not server.process.alive
        if server.crashes:
            logger.warn(f"{server.name} had exited with status {server.process.exit_status}; it is started again.")
            logger.info(server.exited())
        server.forgive_crashes()
        if had_ended:
            self._start(server, None)
            self.wait_until_server_is_ready(alias=alias)
        return had_ended

    @keyword(tags=("server", "getter"))
    def get_running_server_count(self, redis_url: str | None = None) -> int:
        """Returns how many of the servers that this run started are running.

        Args:
            redis_url: only those that work with this Redis; all if not given.

        Example:
        ```robotframework
        Start Server    ${redis}
        Start Server    ${redis}    alias=second
        ${count}    Get Running Server Count    ${redis}
        Should Be Equal    ${count}    ${2}
        ```
        """
        servers = [server for alias in self._servers.aliases() if (server := self._servers.find(alias)) is not None]
        return sum(server.process.alive and redis_url in {None, server.redis_url} for server in servers)

    @keyword(tags=("server", "getter"))
    def get_server_crashes(self, *, in_all: bool = False, alias: str = "server") -> int:
        """Returns how many times the server has exited unexpectedly.

        Args:
            in_all: whether events before the last `Ensure Server Is Running` count, too.

        Example:
        ```robotframework
        ${crashes}    Get Server Crashes
        Should Be Equal    ${crashes}    ${0}
        ```
        """
        server = self._servers.get(alias)
        return server.crashes_in_all if in_all else server.crashes

    @keyword(tags=("server", "getter", "diagnosis"))
    def get_last_words(self, *, alias: str = "server") -> str:
        """Returns the most informative output line about the server's last exit.

        Returns:
            The line in which a panic or an exception is named, else the last one; empty if it wrote nothing.

        Example:
        ```robotframework
        ${words}    Get Last Words
        Log    ${words}
        ```
        """
        return self._servers.get(alias).process.last_words()

    @keyword(tags=("server", "check"))
    def server_should_have_exited(
        self,
        status: int | None = None,
        *,
        alias: str = "server",
        timeout: timedelta = timedelta(seconds=5),
    ) -> int:
        """Waits until the server has exited, and checks its exit status.

        Args:
            status: the status that it should have, negative for a signal (-9 for kill -9); any if not given.
            timeout: the longest wait for its end.

        Returns:
            The exit status.

        Raises:
            WaitTimeout: it still runs.
            ExpectationFailed: the status is another one.

        Example:
        ```robotframework
        Run Keyword And Expect Error    *    Start Server    ${redis}    HTTP_PORT=none
        Server Should Have Exited    2
        ```
        """
        server = self._servers.get(alias)
        try:
            seen = server.process.wait_for_exit(timeout)
        except WaitTimeout as late:
            raise WaitTimeout(
                f"{server.name} should have exited, but it still runs after {in_words(timeout)}.",
                waited=late.waited,
                last_seen="running",
            ) from None
        if status not in {None, seen}:
            raise ExpectationFailed(
                f"{server.name} exited with status {seen}, expected {status}.\n{server.process.output_tail()}"
            )
        return seen

    @keyword(tags=("server", "lifecycle"))
    def remove_server(self, *, alias: str = "server", missing_ok: bool = False) -> None:
        """Ends the server in any state, and removes its log; the alias is free then.

        Not needed at the end of a suite, where this happens by itself.

        Args:
            missing_ok: whether it is all right that there is none, as in the teardown of a test that may have been
                skipped before it started one.

        Raises:
            UsageError: there is none.

        Example:
        ```robotframework
        Remove Server    alias=second
        ```
        """
        if missing_ok and self._servers.find(alias) is None:
            return
        self._servers.remove(alias, self.cleanup)

    @keyword(tags=("server", "lifecycle"))
    def remove_all_servers(self) -> None:
        """Ends every server that the running suite has started, and removes their logs; for a teardown.

        Servers that the setup of a folder has started keep running, since all suites in it use them.

        Example:
        ```robotframework
        *** Settings ***
        Test Teardown    Remove All Servers
        ```
        """
        for alias in self._servers.aliases(of_running_suite=True):
            self._servers.remove(alias, self.cleanup)

    @keyword(tags=("server", "getter"))
    def get_server_start_time(self, *, alias: str = "server") -> float:
        """Returns the seconds from the last start of the server until it reported its ports.

        Example:
        ```robotframework
        ${seconds}    Get Server Start Time
        ```
        """
        return self._servers.get(alias).start_time

    @keyword(tags=("server", "getter"))
    def get_server_url(self, *, alias: str = "server", missing_ok: bool = False) -> str | None:
        """Returns the base URL of the server's HTTP API, without a slash at the end.

        Args:
            missing_ok: whether to return `None` for a server without an HTTP API.

        Example:
        ```robotframework
        ${url}    Get Server Url
        ```
        """
        server = self._servers.get(alias)
        return None if missing_ok and not server.has_http else server.url

    @keyword(tags=("server", "gateway", "getter"))
    def get_gateway_url(self, *, tls: bool = False, alias: str = "server") -> str:
        """Returns the base URL of the server's WebSocket gateway, `ws://host:port`, without a path.

        Args:
            tls: whether the gateway speaks TLS; the URL begins with `wss:` then.

        Raises:
            ServiceError: the server has not said on which port its gateway listens.

        Example:
        ```robotframework
        ${url}    Get Gateway Url
        Use Gateway    ${url}
        ```
        """
        url = self._servers.get(alias).gateway_url
        return url.replace("ws:", "wss:", 1) if tls and url.startswith("ws:") else url

    @keyword(tags=("server", "getter", "diagnosis"))
    def get_server_process_id(self, *, alias: str = "server", missing_ok: bool = False) -> int | None:
        """Returns the process id of the server, also after its end.

        Args:
            missing_ok: whether `${None}` is returned when it runs in a container or was not started here; without, the
                test is skipped then.

        Example:
        ```robotframework
        ${before}    Get Server Process Id
        Restart Server    kill
        ${after}    Get Server Process Id
        Should Not Be Equal    ${before}    ${after}
        ```
        """
        try:
            return self._servers.get(alias).measured.pid
        except LacksCapability:
            if missing_ok:
                return None
            raise


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value
