"""Addresses in replies of sentinels: clients behind the proxy are sent to the proxy, not past it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ocpp_resilience.faults.proxy.resp import NotResp, Splitter
from ocpp_resilience.ports import split

_BULK = re.compile(rb"\$\d+\r\n([^\r\n]*)\r\n")


class Readdressing:
    """The replies of one connection to a sentinel, with other addresses of nodes and sentinels in them.

    A sentinel gives host and port as two strings, as `host:port` in names, and as `host port` in its messages.

    Args:
        addresses: `host:port` of a node or sentinel, and the `host:port` that stands for it.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._splitter: Splitter | None = Splitter()
        self._whole: dict[bytes, bytes] = {}
        self._within: list[tuple[bytes, bytes]] = []
        for old, new in addresses.items():
            (old_host, old_port), (new_host, new_port) = split(old), split(new)
            self._whole[old_host.encode()] = new_host.encode()
            self._whole[b"%d" % old_port] = b"%d" % new_port
            for joint in (":", " "):
                self._within.append((f"{old_host}{joint}{old_port}".encode(), f"{new_host}{joint}{new_port}".encode()))

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the sentinel; returns the whole replies that they complete, changed."""
        if self._splitter is None:
            return data
        try:
            return b"".join(map(self._changed, self._splitter.feed(data)))
        except NotResp:
            rest, self._splitter = self._splitter.rest, None
            return rest

    def _changed(self, reply: bytes) -> bytes:
        return _BULK.sub(self._string, reply)

    def _string(self, found: re.Match[bytes]) -> bytes:
        text = found[1]
        if text in self._whole:
            text = self._whole[text]
        else:
            for old, new in self._within:
                text = re.sub(rb"(?<![\w.])" + re.escape(old) + rb"(?!\d)", new, text)
        return b"$%d\r\n%s\r\n" % (len(text), text)
