"""How a charge point answers commands: sensibly by itself, or as the test says (OCPP 1.6 sections 5 and 6)."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ocpp_resilience.errors import UsageError

ANY = "*"
"""In the place of an action: every command."""


class How(enum.Enum):
    """What a charge point does with a command."""

    ACCEPT = "accept"
    OBEY = "obey"
    REJECT = "reject"
    CALLERROR = "callerror"
    SILENCE = "silence"
    DISCONNECT = "disconnect"
    TWICE = "twice"
    UNKNOWN_ID = "unknown id"


@dataclass(slots=True, kw_only=True)
class Script:
    """What to do with the commands of an action.

    Attributes:
        how: what to do.
        delay: how long to wait before, in seconds.
        spread: up to how much longer, by chance, in seconds.
        payload: the payload of the answer, in the place of the sensible one.
        code: the error code of a CALLERROR.
        description: the description of a CALLERROR.
        times: for how many commands; `None` for all.
    """

    how: How = How.ACCEPT
    delay: float = 0.0
    spread: float = 0.0
    payload: Mapping[str, Any] | None = None
    code: str = "GenericError"
    description: str = "Scripted by the test."
    times: int | None = None


@dataclass(slots=True)
class Setting:
    """A configuration key of a charge point: its value, and whether the server may change it."""

    value: str
    readonly: bool = False


def default_configuration() -> dict[str, Setting]:
    """The configuration that a charge point starts with."""
    return {
        "AuthorizeRemoteTxRequests": Setting("false"),
        "ClockAlignedDataInterval": Setting("0"),
        "ConnectionTimeOut": Setting("60"),
        "GetConfigurationMaxKeys": Setting("100", readonly=True),
        "HeartbeatInterval": Setting("300"),
        "LocalPreAuthorize": Setting("false"),
        "MeterValueSampleInterval": Setting("60"),
        "MeterValuesSampledData": Setting("Energy.Active.Import.Register"),
        "NumberOfConnectors": Setting("1", readonly=True),
        "SupportedFeatureProfiles": Setting("Core,RemoteTrigger", readonly=True),
        "WebSocketPingInterval": Setting("0"),
    }


_REJECTED: dict[str, Mapping[str, Any]] = {
    "CancelReservation": {"status": "Rejected"},
    "ChangeAvailability": {"status": "Rejected"},
    "ChangeConfiguration": {"status": "Rejected"},
    "ClearCache": {"status": "Rejected"},
    "ClearChargingProfile": {"status": "Unknown"},
    "DataTransfer": {"status": "Rejected"},
    "GetCompositeSchedule": {"status": "Rejected"},
    "RemoteStartTransaction": {"status": "Rejected"},
    "RemoteStopTransaction": {"status": "Rejected"},
    "ReserveNow": {"status": "Rejected"},
    "Reset": {"status": "Rejected"},
    "SendLocalList": {"status": "Failed"},
    "SetChargingProfile": {"status": "Rejected"},
    "TriggerMessage": {"status": "Rejected"},
    "UnlockConnector": {"status": "UnlockFailed"},
}
_ACCEPTED: dict[str, Mapping[str, Any]] = {
    **{action: {"status": "Accepted"} for action in _REJECTED},
    "UnlockConnector": {"status": "Unlocked"},
    "GetDiagnostics": {},
    "GetLocalListVersion": {"listVersion": 0},
    "UpdateFirmware": {},
}


@dataclass(slots=True)
class Behaviour:
    """A charge point's configuration and what it was told to do with commands."""

    configuration: dict[str, Setting] = field(default_factory=default_configuration)
    _scripts: dict[str, list[Script]] = field(default_factory=dict)

    def follow(self, action: str, script: Script) -> None:
        """Do as the script says from now on with the commands of `action`, or with all (`*`).

        A script for so many times goes before the one that was there; any other takes its place.
        """
        known = self._scripts.get(action, []) if script.times is not None else []
        self._scripts[action] = [script, *known]

    def forget(self) -> None:
        """Answer sensibly again."""
        self._scripts.clear()

    def script_for(self, action: str) -> Script:
        """The script for a command that has come; counts it."""
        for name in (action, ANY):
            for script in self._scripts.get(name, []):
                if script.times is None:
                    return script
                if script.times > 0:
                    script.times -= 1
                    return script
        return Script()

    def accept(self, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The payload of the sensible answer; `None` for an action that no charge point knows."""
        special: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "GetConfiguration": self._get_configuration,
            "ChangeConfiguration": self._change_configuration,
        }
        if action in special:
            return special[action](payload)
        return _ACCEPTED.get(action)

    def reject(self, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The payload of the answer that says no; `None` where OCPP has no such answer.

        GetConfiguration cannot be refused: all keys that were asked for are unknown then.
        """
        if action == "GetConfiguration":
            return {"configurationKey": [], "unknownKey": list(payload.get("key") or [])}
        return _REJECTED.get(action)

    def _get_configuration(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = payload.get("key") or list(self.configuration)
        known = [
            {"key": key, "readonly": self.configuration[key].readonly, "value": self.configuration[key].value}
            for key in asked
            if key in self.configuration
        ]
        unknown = [key for key in asked if key not in self.configuration]
        return {"configurationKey": known, **({"unknownKey": unknown} if unknown else {})}

    def _change_configuration(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        setting = self.configuration.get(str(payload.get("key")))
        if setting is None:
            return {"status": "NotSupported"}
        if setting.readonly:
            return {"status": "Rejected"}
        setting.value = str(payload.get("value"))
        return {"status": "Accepted"}


def check_can_reject(action: str) -> None:
    """Check that OCPP has an answer to `action` that says no.

    Raises:
        UsageError: it has not.
    """
    if action not in (ANY, "GetConfiguration", *_REJECTED):
        allowed = ", ".join(["GetConfiguration", *_REJECTED])
        raise UsageError(f"'{action}' has no answer that says no (allowed: {allowed}). Use how=callerror.")
