"""The bodies of requests and answers, as a target profile describes them by templates."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ocpp_resilience.clock import rfc3339
from ocpp_resilience.ocpp.frames import MessageType
from ocpp_resilience.ocpp.version import DEFAULT_VERSION
from ocpp_resilience.profile import fill_template

SENDER = "acceptance-test"
"""The gateway that requests of this library come from."""

ENVELOPE: dict[str, Any] = {
    "charge_point_id": "{charge_point_id}",
    "message_type": "{message_type}",
    "message_id": "{message_id}",
    "action": "{action}",
    "payload": "{frame}",
    "timestamp": "{timestamp}",
    "ws_server_id": "{gateway}",
}
"""The request of the wire contract; those of versions after 1.6 also name their protocol."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Body:
    """Writes and reads bodies by a template.

    Args:
        template: the template; `None` for the envelope of the wire contract.
        protocol: the subprotocol of the messages.
        sender: the gateway that they come from.
    """

    def __init__(
        self, template: Mapping[str, Any] | None = None, *, protocol: str = DEFAULT_VERSION, sender: str = SENDER
    ) -> None:
        self.sender = sender
        self.is_envelope = template is None
        further = {} if protocol == DEFAULT_VERSION else {"protocol": "{protocol}"}
        self.template: Mapping[str, Any] = ENVELOPE | further if template is None else template
        self.protocol = protocol
        self._used = set(_PLACEHOLDER.findall(json.dumps(self.template)))

    def written(self, charge_point: str, frame: Any) -> dict[str, Any]:
        """The document with `frame` of `charge_point`; the frame need not be a valid one."""
        parts = frame if isinstance(frame, list) else []
        values: dict[str, Any] = {
            "frame": frame,
            "charge_point_id": charge_point,
            "protocol": self.protocol,
            "timestamp": rfc3339(),
            "timestamp_ms": int(time.time() * 1000),
            "gateway": self.sender,
            **dict(zip(("message_type", "message_id"), parts, strict=False)),
        }
        if parts and parts[0] == MessageType.CALL:
            values |= dict(zip(("action", "payload"), parts[2:4], strict=False))
        elif len(parts) > 2:
            values["payload"] = parts[2]
        for name in ("frame", "payload"):
            if f"{name}_text" in self._used and name in values:
                values[f"{name}_text"] = json.dumps(values[name], separators=(",", ":"), ensure_ascii=False)
        document: dict[str, Any] = fill_template(self.template, values)
        return document

    def read(self, document: Any) -> tuple[str | None, Any]:
        """The charge point and the frame in a document; `None` for a missing part."""
        if self.is_envelope:
            if not isinstance(document, dict):
                return None, document
            return document.get("charge_point_id"), document.get("payload")
        values = dict(_values(self.template, document))
        return values.get("charge_point_id"), _frame(values)

    @property
    def frame_field(self) -> str:
        """The field at the top of the template that carries the message; the first one if none does."""
        for name, part in self.template.items():
            if {"frame", "frame_text", "payload", "payload_text"} & set(_PLACEHOLDER.findall(json.dumps(part))):
                return name
        return next(iter(self.template), "message")


def _values(template: Any, document: Any) -> Iterator[tuple[str, Any]]:
    """The values of the placeholders in a document."""
    if isinstance(template, str):
        if whole := _PLACEHOLDER.fullmatch(template):
            yield whole[1], document
        elif isinstance(document, str):
            parts = _PLACEHOLDER.split(template)
            pattern = "".join(f"(?P<{part}>.*)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
            if found := re.fullmatch(pattern, document):
                yield from found.groupdict().items()
    elif isinstance(template, Mapping):
        if isinstance(document, str):
            # A field of a stream holds text only.
            document = _json(document)
        if isinstance(document, Mapping):
            for name, part in template.items():
                if name in document:
                    yield from _values(part, document[name])
    elif isinstance(template, Sequence) and isinstance(document, list):
        for part, value in zip(template, document, strict=False):
            yield from _values(part, value)


def _frame(values: Mapping[str, Any]) -> Any:
    frame = values.get("frame")
    if isinstance(frame, list):
        return frame
    text = values.get("frame_text", frame)
    if isinstance(text, str):
        return _json(text)
    payload = _json(values["payload_text"]) if isinstance(values.get("payload_text"), str) else values.get("payload")
    kind = _json(values["message_type"]) if isinstance(values.get("message_type"), str) else values.get("message_type")
    message_id = values.get("message_id")
    if values.get("action") is not None and kind in {None, MessageType.CALL}:
        return [int(MessageType.CALL), message_id, values["action"], payload]
    if kind == MessageType.CALLERROR:
        return [kind, message_id, values.get("code"), values.get("description", ""), payload or {}]
    return [int(MessageType.CALLRESULT), message_id, payload]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
