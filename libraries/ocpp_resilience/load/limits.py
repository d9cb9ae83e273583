"""Resource limits of the generating side: ports, descriptors, memory.

A load that met one of these limits proves nothing about the server, and its result is inconclusive.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import resource
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil

from ocpp_resilience.errors import UsageError
from ocpp_resilience.load.plan import Plan

OTHER_FILES = 200
"""Open files of a generating process beside its connections."""
BYTES_PER_CHARGE_POINT = 40_000
"""Memory of a charge point in the generating process, with its share of histograms and ledger (measured)."""
LEAST_MEMORY = 0.02
"""Below this share of the machine's memory, everything on it is slowed down."""
DEFAULT_PORTS = (32768, 60999)
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_MORE_ADDRESSES = "Give several local_addresses, or take fewer charge points"


def own_limit(error: BaseException, plan: Plan) -> str | None:
    """The limit of this machine that prevented a connection; `None` if this side has not reached one."""
    if isinstance(error, MemoryError):
        return "no memory was left for connections"
    number = error.errno if isinstance(error, OSError) else None
    if number in {errno.EADDRNOTAVAIL, errno.EADDRINUSE}:
        source = ", ".join(plan.local_addresses) or "this machine"
        return f"no port was left for connections from {source}"
    if number in {errno.EMFILE, errno.ENFILE}:
        return "no file descriptor was left for connections"
    if number in {errno.ENOBUFS, errno.ENOMEM}:
        return "no memory was left for connections"
    return None


def free_ports() -> int:
    """Number of connections from one address to one port."""
    low, high = DEFAULT_PORTS
    with contextlib.suppress(OSError, ValueError):
        low, high = (int(each) for each in _PORT_RANGE.read_text().split())
    return high - low + 1


def with_enough_addresses(plan: Plan, ports: int | None = None) -> Plan:
    """The plan with as many loopback source addresses as its charge points need; unchanged if one is enough, if
    addresses are given, or if the gateway is not on this machine.

    Args:
        plan: the plan of the whole load.
        ports: connections that one address can have; by default the system's setting.
    """
    each = (free_ports() if ports is None else ports) * 7 // 10  # others on this machine want some, too
    wanted = -(-plan.charge_points // max(1, each))
    # Linux answers for all of 127.0.0.0/8; elsewhere only 127.0.0.1 belongs to the machine by itself.
    if plan.local_addresses or wanted < 2 or sys.platform != "linux" or not _is_loopback(plan.url):
        return plan
    first = ipaddress.IPv4Address("127.0.0.1")
    return msgspec.structs.replace(plan, local_addresses=[str(first + number) for number in range(wanted)])


def _is_loopback(url: str) -> bool:
    host = urlsplit(url.replace("{charge_point_id}", "")).hostname or ""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.version == 4 and address.is_loopback


def allow_open_files(charge_points: int) -> None:
    """Raise the soft limit for this many connections.

    Raises:
        UsageError: the hard limit does not allow it.
    """
    wanted = charge_points + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UsageError(
            f"{charge_points} charge points in one process need {wanted} open files, but the system allows only "
            f"{hard} (ulimit -Hn). Raise the limit, or use more processes or fewer charge points."
        )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError) as error:
        raise UsageError(f"The limit of {wanted} open files could not be set ({error}); see ulimit -n.") from None


def limits_before(plan: Plan, *, ports: int | None = None, available: int | None = None) -> list[str]:
    """Resources that will be short, a sentence each, known before a connection is opened.

    Args:
        plan: the plan of the whole load.
        ports: connections that one address can have; by default the system's setting.
        available: bytes of free memory; by default the system's value.
    """
    found = []
    each = free_ports() if ports is None else ports
    addresses = max(1, len(plan.local_addresses))
    if plan.charge_points > each * addresses:
        found.append(
            f"{plan.charge_points} charge points need a port each, and {addresses} source address"
            f"{'es have' if addresses > 1 else ' has'} {each * addresses}. {_MORE_ADDRESSES}"
        )
    free = psutil.virtual_memory().available if available is None else available
    needed = plan.charge_points * BYTES_PER_CHARGE_POINT
    if needed > free:
        found.append(
            f"{plan.charge_points} charge points need about {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free"
        )
    return found


def memory_is_short(available: int, total: int) -> str | None:
    """The message if too few bytes of the machine's memory are left; `None` if there are enough."""
    if available >= LEAST_MEMORY * total:
        return None
    return f"less than {100 * LEAST_MEMORY:.0f} % of the machine's memory was left"
