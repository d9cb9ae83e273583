"""Keywords for faults at chosen Redis commands."""

from __future__ import annotations

from datetime import timedelta

from FaultLibrary.base import FaultKeywords, fault_keyword
from ocpp_resilience.faults.bases import COMMIT
from ocpp_resilience.faults.journal import FaultRecord
from ocpp_resilience.faults.kinds.cut_mid_reply import CutMidReply
from ocpp_resilience.faults.kinds.disturb_command import Action, DisturbCommand, When
from ocpp_resilience.faults.kinds.lose_reply import LoseReply
from ocpp_resilience.profile import Target
from ocpp_resilience.robot.library import keyword
from ocpp_resilience.robot.variables import target_of


class Commands(FaultKeywords):
    """Faults that know Redis' protocol."""

    @fault_keyword(LoseReply)
    def lose_the_reply_to(
        self,
        command: str,
        *,
        keys: list[str] | None = None,
        occurrence: int = 1,
        times: int = 1,
        target: str | None = None,
        alias: str = "faults",
    ) -> FaultRecord:
        """Lets Redis run a command, and cuts the connection before the client receives the reply.

        The client then cannot know whether the command was run. A command that Redis refused, according to its error
        reply (NOSCRIPT, EXECABORT, OOM, …), is passed over and does not count.

        Args:
            command: the command in capitals, for example `EXEC`; or a name that the target profile gives to one of its
                own: `commit`, or one of `redis.writes`, such as `push`.
            times: how many matching commands in a row are affected; 0 for all.
            target: the target profile that describes the `commit`; by default as at `Start Server`.

        Example:
        ```robotframework
        ${lost}    Lose The Reply To    commit
        ${sent}    Queue Generated Messages    100
        All Messages Should Be Answered    ${sent}
        Fault Should Take Effect    ${lost}
        ```
        """
        return self._begin(
            LoseReply,
            alias,
            target=target,
            command=command,
            keys=keys or [],
            occurrence=occurrence,
            times=times,
        )

    @keyword(tags=("fault", "getter"))
    def get_named_writes(self, *, target: str | None = None) -> list[str]:
        """Returns the names that a target profile gives to writes of its system, for `Lose The Reply To`.

        Args:
            target: the target profile; that of the run if not given.

        Returns:
            `commit`, if the profile has `redis.commit`, and the names in `redis.writes`.

        Example:
        ```robotframework
        @{names}    Get Named Writes
        FOR    ${name}    IN    @{names}
            Lose The Reply To    ${name}
        END
        ```
        """
        redis = Target.load(target_of(target)).redis
        return [*([COMMIT] if redis.commit else []), *redis.writes]

    @fault_keyword(CutMidReply, "Cut Mid-Reply")
    def cut_mid_reply(
        self,
        command: str = "*",
        *,
        keys: list[str] | None = None,
        occurrence: int = 1,
        times: int = 1,
        target: str | None = None,
        alias: str = "faults",
    ) -> FaultRecord:
        """Cuts the connection in the middle of a reply.

        Args:
            command: the command whose reply is cut, `*` for any, or a name as for `Lose The Reply To`.
            times: how many matching commands in a row are affected; 0 for all.
            target: the target profile that describes the `commit`; by default as at `Start Server`.

        Example:
        ```robotframework
        ${cut}    Cut Mid-Reply    times=3
        Fault Should Take Effect    ${cut}
        ```
        """
        return self._begin(
            CutMidReply,
            alias,
            target=target,
            command=command,
            keys=keys or [],
            occurrence=occurrence,
            times=times,
        )

    @fault_keyword(DisturbCommand)
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
        target: str | None = None,
        alias: str = "faults",
    ) -> FaultRecord:
        """Disturbs chosen Redis commands.

        Args:
            command: the command, `*` for any, or a name as for `Lose The Reply To`.
            action: the fault: `cut`, `drop`, `delay` or `error`.
            when: `before` it reaches Redis, or `after` Redis ran it.
            times: how many matching commands in a row are affected; 0 for all.
            probability: the share of these that are affected, 0 to 1.
            delay: how long, for `delay`.
            error: the text of the error, for `error`.
            target: the target profile that describes the `commit`; by default as at `Start Server`.

        Example:
        ```robotframework
        Disturb Command    EXEC    delay    before    occurrence=3    delay=500 ms
        Disturb Command    SET    error    error=OOM command not allowed    times=0
        ```
        """
        return self._begin(
            DisturbCommand,
            alias,
            target=target,
            command=command,
            action=action,
            when=when,
            keys=keys or [],
            occurrence=occurrence,
            times=times,
            probability=probability,
            delay=delay,
            error=error,
        )
