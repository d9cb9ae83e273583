"""Errors of messages, with the error codes of OCPP."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """Error codes of a CALLERROR as OCPP-J spells them: 1.6 in section 4.2.3, 2.0.1 and 2.1 in section 4.3.

    1.6 has FormationViolation and OccurenceConstraintViolation, the others FormatViolation, RpcFrameworkError and
    OccurrenceConstraintViolation; `server.ocpp.frames.Codes` maps each meaning to the code of a version.
    `MESSAGE_TYPE_NOT_SUPPORTED` is never sent in 1.6, which requires such a message to be ignored; it appears in the
    log and the dead letters.
    """

    FORMATION_VIOLATION = "FormationViolation"
    FORMAT_VIOLATION = "FormatViolation"
    RPC_FRAMEWORK_ERROR = "RpcFrameworkError"
    NOT_IMPLEMENTED = "NotImplemented"
    NOT_SUPPORTED = "NotSupported"
    OCCURENCE_CONSTRAINT_VIOLATION = "OccurenceConstraintViolation"
    OCCURRENCE_CONSTRAINT_VIOLATION = "OccurrenceConstraintViolation"
    TYPE_CONSTRAINT_VIOLATION = "TypeConstraintViolation"
    PROPERTY_CONSTRAINT_VIOLATION = "PropertyConstraintViolation"
    SECURITY_ERROR = "SecurityError"
    INTERNAL_ERROR = "InternalError"
    MESSAGE_TYPE_NOT_SUPPORTED = "MessageTypeNotSupported"


class InvalidMessage(Exception):
    """A message that is set aside instead of processed.

    Attributes:
        code: the error code.
        reason: a sentence that names the field and the allowed values.
        charge_point_id: the sender, where it can be read and is usable.
        message_id: the message id as received, where one can be read.
        answer_id: the message id for the CALLERROR; `None` if no answer can or may be sent.
        ws_server_id: the gateway that the message came through, where that can be read.
        connection: the connection that it came over, where the gateway named one.
        command_id: the message id of the command that it would be the answer to; `None` if it is no answer.
        protocol: the version of OCPP that the message is in; empty if that cannot be read.
        answers_result: it is a CALLRESULT, which OCPP 2.1 answers with a CALLRESULTERROR.
    """

    def __init__(
        self,
        code: ErrorCode,
        reason: str,
        *,
        charge_point_id: str | None = None,
        message_id: str | None = None,
        answer_id: str | None = None,
        ws_server_id: str = "",
        connection: str = "",
        command_id: str | None = None,
        protocol: str = "",
        answers_result: bool = False,
    ) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.charge_point_id = charge_point_id
        self.message_id = message_id
        self.answer_id = answer_id if charge_point_id is not None else None
        self.ws_server_id = ws_server_id
        self.connection = connection
        self.command_id = command_id
        self.protocol = protocol
        self.answers_result = answers_result


class StateError(Exception):
    """Base of errors of stored state.

    Attributes:
        key: the Redis key.
        operation: the failed operation, for example `update charge point`.
    """

    def __init__(self, key: str, why: str, operation: str = "read") -> None:
        super().__init__(self.sentence(key, why, operation))
        self.key = key
        self.operation = operation
        self.why = why

    def sentence(self, key: str, why: str, operation: str) -> str:
        """The error in words."""
        return f"{operation} {key}: {why}"


class CorruptState(StateError):
    """A stored value does not have the format that its key implies."""

    def sentence(self, key: str, why: str, operation: str) -> str:
        """The error in words."""
        prefix = "" if operation == "read" else f"{operation}: "
        return f"{prefix}the value of {key} cannot be read: {why}"


def shown(value: object, *, limit: int = 60) -> str:
    """`value` for an error reason: quoted if it is text, cut after `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
