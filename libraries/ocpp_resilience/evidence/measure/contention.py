"""Use of the machine by other programs, which can make measurements slow."""

from __future__ import annotations

import contextlib
import socket
import time
from urllib.parse import urlsplit

import psutil

OTHERS_LIMIT = 0.25
"""The share of all processor cores that other programs may use before slow times say nothing."""
NOT_WORK = {"idle", "iowait", "guest", "guest_nice"}
"""Fields of `psutil.cpu_times` that are no work, or are in another field already."""


class Contention:
    """Processor time of programs other than this one and its children, since this object was made.

    A system that was started elsewhere belongs to the test too, if the process that listens at its address can be
    found. Other parts of the test that were started elsewhere (Redis in a container) count as other programs.

    Args:
        system: the address of the system under test, a URL; nothing but this process and those under it, if not given.
    """

    def __init__(self, system: str | None = None) -> None:
        self._known, self._system = (True, None) if system is None else listening(system)
        self._began = time.monotonic()
        self._all, self._own = all_seconds(), self.own_seconds()

    def cores(self) -> float | None:
        """Processor cores that other programs used on average; 2.0 is all of a machine with two.

        `None` if it is not known which of them were the system's: it runs on another machine, is another user's, or has
        ended meanwhile.
        """
        length = time.monotonic() - self._began
        if not self._known or (self._system is not None and not _lives(self._system)):
            return None
        others = (all_seconds() - self._all) - (self.own_seconds() - self._own)
        return max(0.0, others / length) if length else 0.0

    def own_seconds(self) -> float:
        """Processor time that the test and the system have used so far."""
        own = own_seconds()
        return own if self._system is None else own + own_seconds(self._system)


def listening(url: str) -> tuple[bool, psutil.Process | None]:
    """Whether the process that listens at an address is known, and which it is; `None` for one under this process."""
    address = urlsplit(url)
    with contextlib.suppress(psutil.Error, OSError):
        if not socket.gethostbyname(address.hostname or "").startswith("127."):
            return False, None
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr[1:] == (address.port,) and each.pid:
                found = psutil.Process(each.pid)
                return True, None if psutil.Process() in [found, *found.parents()] else found
    return False, None


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def all_seconds() -> float:
    """Processor time of all programs since the machine started."""
    return float(sum(value for name, value in psutil.cpu_times()._asdict().items() if name not in NOT_WORK))


def own_seconds(root: psutil.Process | None = None) -> float:
    """Processor time of a process, this one by default, and of its children, ended ones included."""
    root = root or psutil.Process()
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total


def too_busy(others: float | None) -> str:
    """A clause that other programs used the processors too much to judge a time; empty if they did not.

    Args:
        others: processor cores that they used on average; `None` if that is not known.
    """
    cores = psutil.cpu_count() or 1
    if others is None or others <= OTHERS_LIMIT * cores:
        return ""
    return (
        f"other programs have used {others:.1f} of the {cores} processor cores meanwhile "
        f"(allowed {OTHERS_LIMIT * cores:g})"
    )
