"""Frames that are read without the parser of `websockets`, and those that are not: nobody can tell which were which."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from server.gateway.flow_control import FlowControl
from server.gateway.websocket import Socket, _between_frames

LONGEST = 70_000
_UPGRADE = (
    b"GET /ocpp/CP-1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Connection:
    """An open connection of the gateway without a network."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.parsed = 0
        self.loop = asyncio.new_event_loop()
        protocol = ServerProtocol(max_size=LONGEST)

        async def make() -> Socket:
            return Socket(set(), Mock(), FlowControl(0), protocol, Mock())

        self.socket = self.loop.run_until_complete(make())
        protocol.receive_data(_UPGRADE)
        (request,) = protocol.events_received()
        protocol.send_response(protocol.accept(request))
        protocol.data_to_send()
        assert protocol.state is State.OPEN
        transport = Mock()
        transport.is_closing.return_value = False
        transport.get_write_buffer_size.return_value = 0
        self.socket.transport = transport
        self.socket.request, self.socket.recv_messages = request, Mock()
        self.socket.take = self.taken.append
        receive = protocol.receive_data

        def parse(data: bytes) -> None:
            self.parsed += 1
            receive(data)

        protocol.receive_data = parse  # type: ignore[method-assign]

    def written(self) -> bytes:
        return b"".join(call.args[0] for call in self.socket.transport.write.call_args_list)

    @property
    def closed_with(self) -> int | None:
        written = self.written()
        return int.from_bytes(written[2:4], "big") if written[:1] == b"\x88" else None

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: Any) -> None:
        self.loop.close()


def masked(data: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 1000, 65_535])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_a_whole_frame_in_one_read_is_not_parsed(size: int, opcode: Opcode) -> None:
    with Connection() as one:
        one.socket.feed(masked(b"x" * size, opcode))
        assert (one.taken, one.parsed) == ([b"x" * size], 0)


@pytest.mark.parametrize(
    ("wire", "taken"),
    [
        (masked(b"a") + masked(b"b"), [b"a", b"b"]),
        (masked(b"x" * 65_536), [b"x" * 65_536]),
        (masked(b"a")[:5], []),
        (masked(b"p", Opcode.PING), []),
    ],
    ids=["two frames", "a length of eight bytes", "a part of a frame", "a ping"],
)
def test_anything_else_is_parsed(wire: bytes, taken: list[bytes]) -> None:
    with Connection() as one:
        one.socket.feed(wire)
        assert (one.taken, one.parsed) == (taken, 1)


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\x81\x05hello", 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (masked(b"x" * (LONGEST + 1)), 1009),
    ],
    ids=["no mask", "a reserved bit", "too long"],
)
def test_what_is_not_allowed_closes_the_connection(wire: bytes, code: int) -> None:
    with Connection() as one:
        one.socket.feed(wire)
        assert one.closed_with == code
        assert one.taken == []


def test_the_limit_of_the_protocol_holds_for_short_frames_too() -> None:
    with Connection() as one:
        one.socket.protocol.max_message_size = 10
        one.socket.feed(masked(b"x" * 11))
        assert (one.taken, one.closed_with) == ([], 1009)


def test_a_frame_that_looks_whole_in_the_middle_of_another_is_part_of_it() -> None:
    inner = masked(b"[]")
    outer = Frame(Opcode.TEXT, b"--" + inner).serialize(mask=False)
    # A mask of zeros leaves the text as it is.
    wire = outer[:1] + bytes([outer[1] | 0x80]) + b"\0\0\0\0" + outer[2:]
    with Connection() as one:
        one.socket.feed(wire[: -len(inner)])
        one.socket.feed(inner)
        assert one.taken == [b"--" + inner]


def test_an_exception_of_the_gateway_closes_the_connection() -> None:
    with Connection() as one:
        one.socket.take = Mock(side_effect=ValueError)
        one.socket.feed(masked(b"a"))
        assert one.closed_with == 1011


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 30, 130]), st.integers(1, 3), st.booleans()), min_size=1, max_size=8),
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
def test_however_frames_are_cut_the_same_messages_arrive(
    messages: list[tuple[int, int, bool]], cuts: list[int]
) -> None:
    wire, expected = b"", []
    for number, (size, fragments, ping) in enumerate(messages):
        text = b"%d" % number * (size + 1)
        parts = [text[start::fragments] for start in range(fragments)]
        for position, part in enumerate(parts):
            opcode = Opcode.CONT if position else Opcode.TEXT
            wire += masked(part, opcode, fin=position == fragments - 1)
            wire += masked(b"p", Opcode.PING) if ping else b""
        expected.append(b"".join(parts))
    with Connection() as one:
        fragments_taken: list[Frame] = []
        # Fragments, and what comes before they were read, go the way of `recv`.
        one.socket.recv_messages.put = fragments_taken.append
        for start, end in itertools.pairwise(_positions(cuts, len(wire))):
            one.socket.feed(wire[start:end])
        whole = [number for number, text in enumerate(expected) if text in one.taken]
        assert one.taken == [expected[number] for number in whole]
        others = [text for number, text in enumerate(expected) if number not in whole]
        assert b"".join(bytes(frame.data) for frame in fragments_taken) == b"".join(others)
        assert one.socket.protocol.state is State.OPEN
        assert _between_frames(one.socket.protocol.parser)


def _positions(cuts: list[int], end: int) -> list[int]:
    """Where a text is cut whose parts have these sizes, again and again."""
    positions = [0]
    while positions[-1] < end:
        positions.append(positions[-1] + cuts[(len(positions) - 1) % len(cuts)])
    return positions


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_are_written_as_websockets_writes_them(size: int) -> None:
    with Connection() as one:
        assert one.socket.push(b"x" * size)
        assert one.written() == Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)


def test_nothing_is_sent_over_a_transport_that_a_reset_has_closed() -> None:
    with Connection() as one:
        one.socket.transport.write.side_effect = RuntimeError("unable to perform operation")
        assert not one.socket.push(b"x")
