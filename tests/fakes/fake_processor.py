"""A small processor with a known defect, so that the failures of the queue keywords can be tested.

    python fake_processor.py REDIS_URL [DEFECT]

Without a defect it answers every message of the ten actions with a valid CALLRESULT, refuses other actions with
NotImplemented, and sets aside what is not JSON. It prints `ready` when it begins.

Defects: `lose` answers every third message only, `twice` answers every third one twice, `swap` answers in pairs the
wrong way round, `stray` also answers messages that nobody sent, `refuse` refuses everything, `wrong-code` refuses with
the code InternalError.
"""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import redis

ACTIONS = {
    "Authorize",
    "BootNotification",
    "DataTransfer",
    "DiagnosticsStatusNotification",
    "FirmwareStatusNotification",
    "Heartbeat",
    "MeterValues",
    "StartTransaction",
    "StatusNotification",
    "StopTransaction",
}
REQUESTS, RESPONSES, DEAD_LETTERS = "ocpp:requests", "ocpp:responses:", "ocpp:dead-letters"


def accepted(action: str, number: int) -> dict[str, Any]:
    """The payload of a valid answer."""
    answer: dict[str, Any] = {}
    if action in {"BootNotification", "Heartbeat"}:
        answer["currentTime"] = datetime.now(UTC).isoformat()
    if action == "BootNotification":
        answer |= {"interval": 300, "status": "Accepted"}
    elif action == "DataTransfer":
        answer["status"] = "UnknownVendorId"
    elif action in {"Authorize", "StartTransaction"}:
        answer["idTagInfo"] = {"status": "Accepted"}
    if action == "StartTransaction":
        answer["transactionId"] = number
    return answer


class Processor:
    """Takes one message after the other."""

    def __init__(self, url: str, defect: str) -> None:
        self.redis = redis.Redis.from_url(url, socket_timeout=60)
        self.defect = defect
        self.taken = 0
        self.held: list[tuple[str, str]] = []

    def step(self) -> None:
        """Process the next message, if one comes within a moment."""
        entry: Any = self.redis.brpop([REQUESTS], timeout=0.05)  # type: ignore[arg-type]
        if entry is None:
            self.release()
            return
        self.taken += 1
        with self.redis.pipeline() as together:  # nobody sees one answer of a step without the others
            for point, answer in self.spoilt(*self.answers(entry[1])):
                together.lpush(RESPONSES + point, answer)
            together.execute()

    def answers(self, data: bytes) -> list[tuple[str, str]]:
        try:
            message = json.loads(data)
            if "payload" in message:
                point, (_, message_id, action, _) = message["charge_point_id"], message["payload"]
            else:
                point, action = message["chargePointId"], message["action"]
                message_id = message.get("messageId", f"made-up-{self.taken}")
        except (ValueError, KeyError, TypeError) as error:
            self.set_aside(data, str(error))
            return []
        frame = [3, message_id, accepted(action, self.taken)]
        if action not in ACTIONS or self.defect == "refuse":
            code = "InternalError" if self.defect == "wrong-code" else "NotImplemented"
            frame = [4, message_id, code, f"no {action} here", {}]
        return [(point, json.dumps({"charge_point_id": point, "payload": frame}))]

    def set_aside(self, data: bytes, reason: str) -> None:
        letter = {
            "received_at": "2026-01-15T10:30:00Z",
            "code": "FormationViolation",
            "reason": reason,
            "charge_point_id": None,
            "message_id": None,
            "raw": data.decode("utf-8", "replace")[:4096],
        }
        self.redis.lpush(DEAD_LETTERS, json.dumps(letter))

    def spoilt(self, *answers: tuple[str, str]) -> Iterator[tuple[str, str]]:
        """The answers as the defect leaves them."""
        third = self.taken % 3 == 0
        for point, answer in answers:
            if self.defect == "swap":
                self.held.append((point, answer))
                continue
            if not (self.defect == "lose" and third):
                yield point, answer
            if self.defect == "twice" and third:
                yield point, answer
            if self.defect == "stray" and third:
                yield point, answer.replace('"payload": [3, "', '"payload": [3, "stray-')
        if len(self.held) == 2:
            yield from reversed(self.held)
            self.held.clear()

    def release(self) -> None:
        for point, answer in self.held:
            self.redis.lpush(RESPONSES + point, answer)
        self.held.clear()


def main(url: str, defect: str = "") -> None:
    processor = Processor(url, defect)
    processor.redis.ping()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], 0)[0]:
        processor.step()


if __name__ == "__main__":
    main(*sys.argv[1:])
