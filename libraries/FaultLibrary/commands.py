"""Keywords for faults at chosen Redis commands."""

from __future__ import annotations

import enum
from datetime import timedelta

from FaultLibrary.state import FaultState
from ocpp_resilience.errors import LacksCapability
from ocpp_resilience.faults.injection import Fault
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.network import FaultyPath
from ocpp_resilience.profile import Target
from ocpp_resilience.robot.library import Component, keyword

COMMIT = "commit"


class When(enum.Enum):
    """`before` the request reaches Redis, or `after` Redis ran it and before the client has its reply.

    `after` passes over what Redis did not run: an error reply (NOSCRIPT, EXECABORT, OOM, …) goes through to the client
    and does not count. What is queued in a MULTI is not run either; name EXEC there.
    """

    BEFORE = "before"
    AFTER = "after"


class Action(enum.Enum):
    """`cut` the connection, `drop` the request or reply, `delay` it, or put an `error` in the place of the reply."""

    CUT = "cut"
    DROP = "drop"
    DELAY = "delay"
    ERROR = "error"


def selected(command: str, keys: list[str] | None, target: str) -> dict[str, object]:
    """Which requests are meant: a command, or `commit` for what the target profile calls that.

    Raises:
        LacksCapability: the target does not say what its commit is.
    """
    if command.lower() != COMMIT:
        return {"command": command, "keys": keys or []}
    profile = Target.load(target)
    commit = profile.redis.commit
    if commit is None:
        raise LacksCapability(
            f"Target '{profile.name}' does not say what its commit is (redis.commit in {profile.source})."
        )
    return {"command": commit.command, "keys": keys or [profile.key_glob(key) for key in commit.keys]}


def lose_reply(path: FaultyPath, selection: dict[str, object], occurrence: int, times: int, mid_reply: bool) -> Fault:
    """The reply to chosen commands is lost, as a whole or in the middle."""
    return path.at_command(
        "cut mid-reply" if mid_reply else "reply lost",
        **selection,
        occurrence=occurrence,
        times=times,
        when="after",
        action="cut",
        cut_after=0.5 if mid_reply else 0,
    )


class Commands(Component):
    """Faults that know Redis' protocol."""

    def __init__(self, state: FaultState) -> None:
        self._state = state

    @keyword(tags=("fault", "commands"))
    def lose_the_reply_to(
        self,
        command: str,
        *,
        keys: list[str] | None = None,
        occurrence: int = 1,
        times: int = 1,
        target: str = "reference",
        alias: str = "faults",
    ) -> FaultRecord:
        """Lets Redis run a command and cuts the connection before the client has its reply.

        The client cannot know then whether it happened. A command that Redis did not run, as its error reply says
        (NOSCRIPT, EXECABORT, OOM, …), is passed over and does not count. Proven when it has happened (`Fault Should
        Take Effect`). Only the proxy of this project can do this.

        Args:
            command: the command, for example `EXEC`, or `commit` for that which the target profile names so.
            keys: patterns (`*` for anything); the command has to have such a key for each of them.
            occurrence: which of the matching commands is the first, from 1.
            times: how many in a row; 0 for all that follow.
            target: the target profile that knows what its `commit` is.
            alias: which proxy.

        Returns:
            The fault, for `Fault Should Take Effect` and `Heal Fault`.

        Raises:
            LacksCapability: the target profile does not know its commit.
            LacksCapability: the proxy is a real Toxiproxy.

        Example:
        ```robotframework
        ${lost}    Lose The Reply To    commit
        ${sent}    Queue Generated Messages    100
        All Messages Should Be Answered    ${sent}
        Fault Should Take Effect    ${lost}
        ```
        """
        path = self._state.paths.get(alias)
        fault = lose_reply(path, selected(command, keys, target), occurrence, times, False)
        return self._state.injector.inject(fault)

    @keyword("Cut Mid-Reply", tags=("fault", "commands"))
    def cut_mid_reply(
        self,
        command: str = "*",
        *,
        keys: list[str] | None = None,
        occurrence: int = 1,
        times: int = 1,
        target: str = "reference",
        alias: str = "faults",
    ) -> FaultRecord:
        """Cuts the connection in the middle of a reply.

        Proven when it has happened (`Fault Should Take Effect`). Only the proxy of this project can do this.

        Args:
            command: the command whose reply is cut, `*` for any, or `commit` as the target profile has it.
            keys: patterns (`*` for anything); the command has to have such a key for each of them.
            occurrence: which of the matching commands is the first, from 1.
            times: how many in a row; 0 for all that follow.
            target: the target profile that knows what its `commit` is.
            alias: which proxy.

        Returns:
            The fault, for `Fault Should Take Effect` and `Heal Fault`.

        Raises:
            LacksCapability: the target profile does not know its commit.
            LacksCapability: the proxy is a real Toxiproxy.

        Example:
        ```robotframework
        ${cut}    Cut Mid-Reply    times=3
        Fault Should Take Effect    ${cut}
        ```
        """
        path = self._state.paths.get(alias)
        fault = lose_reply(path, selected(command, keys, target), occurrence, times, True)
        return self._state.injector.inject(fault)

    @keyword(tags=("fault", "commands"))
    def disturb_command(
        self,
        command: str,
        action: Action,
        when: When = When.AFTER,
        *,
        keys: list[str] | None = None,
        occurrence: int = 1,
        times: int = 1,
        probability: float = 1.0,
        delay: timedelta = timedelta(0),
        error: str = "ERR injected fault",
        target: str = "reference",
        alias: str = "faults",
    ) -> FaultRecord:
        """Does something to chosen Redis commands.

        Proven when it has happened (`Fault Should Take Effect`). Only the proxy of this project can do this.

        Args:
            command: the command, `*` for any, or `commit` as the target profile has it.
            action: what happens to it: `cut`, `drop`, `delay` or `error`.
            when: `before` it reaches Redis, or `after` Redis ran it.
            keys: patterns (`*` for anything); the command has to have such a key for each of them.
            occurrence: which of the matching commands is the first, from 1.
            times: how many in a row; 0 for all that follow.
            probability: the share of these that it falls on, 0 to 1.
            delay: how long, for `delay`.
            error: the text of the error, for `error`.
            target: the target profile that knows what its `commit` is.
            alias: which proxy.

        Returns:
            The fault, for `Fault Should Take Effect` and `Heal Fault`.

        Raises:
            LacksCapability: the target profile does not know its commit.
            LacksCapability: the proxy is a real Toxiproxy.

        Example:
        ```robotframework
        Disturb Command    EXEC    delay    before    occurrence=3    delay=500 ms
        Disturb Command    SET    error    error=OOM command not allowed    times=0
        ```
        """
        fault = self._state.paths.get(alias).at_command(
            f"{action.value} {when.value}",
            **selected(command, keys, target),
            action=action.value,
            when=when.value,
            occurrence=occurrence,
            times=times,
            probability=probability,
            delay=delay.total_seconds() * 1000,
            error=error,
        )
        return self._state.injector.inject(fault)
