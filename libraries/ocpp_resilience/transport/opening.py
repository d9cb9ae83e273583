"""The transport that a target profile names."""

from __future__ import annotations

from ocpp_resilience.profile import Target
from ocpp_resilience.profile.sections import Queue, QueueKind
from ocpp_resilience.redis.connection import RedisClient
from ocpp_resilience.transport.bodies import Body
from ocpp_resilience.transport.gathered import SharedListAnswers
from ocpp_resilience.transport.kinds import Answers, Requests
from ocpp_resilience.transport.lists import AnswerLists, ListRequests
from ocpp_resilience.transport.pubsub import ChannelAnswers, ChannelRequests
from ocpp_resilience.transport.queue_keys import QueueKeys
from ocpp_resilience.transport.streams import StreamAnswers, StreamRequests
from ocpp_resilience.transport.websocket import WebSocketTransport


def open_transport(
    client: RedisClient, keys: QueueKeys, target: Target | None, request: Body, *, wait_replicas: int = 0
) -> tuple[Requests, Answers]:
    """The way of requests and the way of answers.

    Args:
        client: the database with the queue.
        keys: names lists, streams or channels.
        target: the system; a list of each kind if there is none.
        request: the template of requests.
        wait_replicas: replicas that have to have a request before it counts as acknowledged; not for channels, and
            not for messages of charge points.
    """
    queue = Queue() if target is None else target.queue
    if target is not None and queue.kind is QueueKind.NONE:
        both = WebSocketTransport(target)
        return both, both
    return _requests(client, keys, queue, request, wait_replicas), _answers(client, keys, queue, request)


def _requests(client: RedisClient, keys: QueueKeys, queue: Queue, body: Body, wait_replicas: int) -> Requests:
    if queue.kind is QueueKind.STREAM:
        return StreamRequests(client, keys.requests, body=body, group=queue.group, wait_replicas=wait_replicas)
    if queue.kind is QueueKind.PUBSUB:
        return ChannelRequests(client, keys.requests)
    return ListRequests(client, keys.requests, push=queue.push, wait_replicas=wait_replicas)


def _answers(client: RedisClient, keys: QueueKeys, queue: Queue, request: Body) -> Answers:
    # A system whose requests have a template of their own answers in the envelope only if its profile says so.
    body = None if queue.answer is None else Body(queue.answer, protocol=request.protocol)
    kind = queue.answers or queue.kind.value
    if kind == "stream":
        return StreamAnswers(client, keys, body=body)
    if kind == "pubsub":
        return ChannelAnswers(client, keys, body=body)
    if "{charge_point_id}" in keys.responses:
        return AnswerLists(client, keys, body=body, push=queue.answer_push)
    return SharedListAnswers(client, keys, body=body, push=queue.answer_push)
