"""CALLs of charge points on their way to the request queue, one of each charge point at a time.

OCPP-J 1.6 section 4.1.1 allows a charge point no second CALL before the first is answered. One that comes all the same
is held, up to a bound.
"""

from __future__ import annotations

import time
from collections import Counter, deque

from server.errors import ErrorCode
from server.gateway.request_publisher import RequestPublisher
from server.gateway.session import Entry, Session
from server.metrics import Metrics
from server.ocpp import frames
from server.redis.link import now

HELD_CALLS = 8
"""CALLs of a charge point that wait for the answer to the one before."""
CALL_SECONDS = 60.0
"""Seconds after which a CALL without an answer no longer holds up the charge point's next one."""
MOST_GIVEN_UP = 8
"""CALLs of a charge point whose late answers are still delivered."""
MOST_HELD_BYTES = 32 * 1024 * 1024
"""Bytes of the held CALLs of all charge points."""
HOLD_SECONDS = 5.0
"""Seconds that a CALL is held while Redis is away; then it is refused, and never processed."""
TRY_AGAIN = "Redis is unavailable: the message was not taken and may be sent again"


class CallQueue:
    """Submits CALLs in their order, holds those that come too early, and refuses those that cannot be taken.

    Args:
        publisher: pushes to the request queue.
        metrics: totals for `/metrics`.

    Attributes:
        refused: CALLs refused since the start, by reason.
    """

    def __init__(self, publisher: RequestPublisher, metrics: Metrics) -> None:
        self._publisher = publisher
        self._metrics = metrics
        self._held_bytes = 0
        self.refused: Counter[str] = Counter()

    @staticmethod
    def under_way(session: Session, message_id: str) -> bool:
        """Whether a CALL with this message id waits for its answer."""
        return message_id == session.call or (
            session.held is not None and any(entry.message_id == message_id for entry in session.held)
        )

    @staticmethod
    def awaits(session: Session, message_id: str) -> bool:
        """Whether the charge point has no answer yet to a CALL with this message id.

        A promoted replica may not know that a CALL was answered: then it is processed and answered once more.
        """
        if message_id in {session.call, frames.UNREADABLE_ID}:
            return True
        return session.given_up is not None and message_id in session.given_up

    def take(self, session: Session, entry: Entry) -> None:
        """Submit a CALL, hold it until the one before is answered, or refuse it."""
        if session.call is None:
            self._submit(session, entry)
        elif self._held_bytes >= MOST_HELD_BYTES or (session.held is not None and len(session.held) >= HELD_CALLS):
            self._refuse(
                session, entry.message_id or "", f"{HELD_CALLS} CALLs wait for the answer to the one before", "held"
            )
        else:
            if session.held is None:
                session.held = deque()
            session.held.append(entry)
            self._held_bytes += len(entry.raw)

    def answer_heartbeat(self, session: Session, message_id: str) -> None:
        """Answer a Heartbeat in the place of the processor, which needs Redis."""
        session.connection.push(frames.result_frame(message_id, {"currentTime": now()}))

    def done(self, session: Session, message_id: str) -> None:
        """A CALL was answered: submit the next one, if it was the one under way."""
        if message_id == session.call:
            self._next(session)
        elif session.given_up is not None and message_id in session.given_up:
            session.given_up.remove(message_id)

    def give_up(self, entries: list[Entry]) -> None:
        """Refuse CALLs that were not pushed, and never will be."""
        for entry in entries:
            session = entry.session
            if session is not None and entry.message_id is not None:
                if entry.heartbeat:
                    self.answer_heartbeat(session, entry.message_id)
                else:
                    self._refuse(session, entry.message_id, TRY_AGAIN, "unavailable")
                self.done(session, entry.message_id)

    def drop(self, session: Session) -> None:
        """Forget the held CALLs of a session that is over."""
        while session.held:
            self._pop(session.held)
        session.held = None

    def expire(self, session: Session, clock: float, *, redis_is_away: bool) -> None:
        """Stop waiting for an overdue answer, and refuse CALLs that were held too long while Redis is away."""
        if session.call is not None and clock - session.call_since > CALL_SECONDS:
            # The charge point has given it up long ago; its answer is delivered all the same if it still comes.
            if session.given_up is None:
                session.given_up = deque(maxlen=MOST_GIVEN_UP)
            session.given_up.append(session.call)
            self._next(session)
        if session.held and redis_is_away:
            overdue = []
            while session.held and clock - session.held[0].since > HOLD_SECONDS:
                overdue.append(self._pop(session.held))
            self.give_up(overdue)

    def _submit(self, session: Session, entry: Entry) -> None:
        if self._publisher.full:
            self._refuse(session, entry.message_id or "", TRY_AGAIN, "full")
            return
        session.call = entry.message_id
        session.call_since = time.monotonic()
        self._publisher.put(entry)

    def _next(self, session: Session) -> None:
        session.call = None
        while session.held and session.call is None and not session.closed:
            self._submit(session, self._pop(session.held))

    def _pop(self, held: deque[Entry]) -> Entry:
        entry = held.popleft()
        self._held_bytes -= len(entry.raw)
        return entry

    def _refuse(self, session: Session, message_id: str, description: str, why: str) -> None:
        self._metrics.refused(why)
        self.refused[why] += 1
        session.connection.push(frames.error_frame(message_id, ErrorCode.INTERNAL_ERROR, description))
