"""What this VM is: its name, its addresses, and the interface that carries its traffic."""

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import netifaces

from shoal_common.hosts import ipv6, is_host_name

SYS_NET = Path("/sys/class/net")
HOSTS_FILE = Path("/etc/hosts")
# Interfaces inside the VM that no other host reaches: of containers, their bridges, local networks of
# hypervisors, and the kernel's own.
_INTERNAL = re.compile(
    r"lo|(docker|virbr|veth|br-[0-9a-f]{12}|cni|cali|flannel|lxc|lxdbr|podman|cilium|vnet|ifb|dummy).*"
)
# SPEED_UNKNOWN (linux/ethtool.h) is -1; kernels also print it as a number without sign, of 16 or 32 bits.
_UNKNOWN_SPEEDS = (0xFFFF, 0xFFFFFFFF)
# Addresses of root name servers. Connecting a UDP socket sends nothing: the kernel only looks up the route.
_FAR_IPV4 = "198.41.0.4"
_FAR_IPV6 = "2001:503:ba3e::2:30"


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface and its IPv4 and IPv6 addresses, in the kernel's order."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Host:
    """`interface` carries the traffic; `max_load` is what it can send, in kB/s (None: it does not say).

    `external_ip` is how the outside reaches this VM where that is no address of its own. `sources` says of
    each finding how it is known.
    """

    hostname: str
    interface: str | None
    public_ip: str | None
    private_ip: str | None
    ipv6: str | None
    max_load: float | None
    external_ip: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)


def look(hostname: str | None, interface: str | None, sys_net: Path = SYS_NET) -> Host:
    """Find out what this VM is now; what the operator set, `hostname` and `interface`, is not guessed."""
    found = interfaces()
    routes = (route_source(_FAR_IPV4), route_source(_FAR_IPV6))
    used = interface or carrier(found, routes)
    public, private, six = addresses(_routed_first(found, routes), used)
    name, name_source = _name(hostname, public or private)
    return Host(
        hostname=name,
        interface=used,
        public_ip=public,
        private_ip=private,
        ipv6=six,
        max_load=capacity(used, sys_net) if used else None,
        sources={
            "hostname": name_source,
            "interface": "configured" if interface else _why_carrier(found, used, routes),
            "addresses": "the system's interfaces",
            "max_load": "nine tenths of the interface's speed",
        },
    )


def _name(configured: str | None, address: str | None) -> tuple[str, str]:
    if configured:
        return configured, "configured"
    given = socket.gethostname()
    own = own_name(given, HOSTS_FILE)
    if own:
        return own, "the system's name" if own == given else f"the system's name, completed by {HOSTS_FILE}"
    return address or "localhost", f"the address, for {given!a} is no host name"


def _why_carrier(found: Sequence[Interface], used: str | None, routes: Iterable[str | None]) -> str:
    if used is None:
        return "none has an address"
    here = [address for each in found if each.name == used for address in each.addresses]
    by_route = any(source in here for source in routes)
    return "the route to the outside" if by_route else "the first one with an address; there is no route out"


def _routed_first(found: Sequence[Interface], routes: Sequence[str | None]) -> list[Interface]:
    """Of several addresses of one interface the one from which packets leave comes first."""
    return [
        Interface(each.name, tuple(sorted(each.addresses, key=lambda address: address not in routes)))
        for each in found
    ]


def interfaces() -> tuple[Interface, ...]:
    """Every interface of this VM."""
    result = []
    for name in _names(tuple(socket.if_nameindex())):
        # An interface may go between the two calls.
        with suppress(ValueError):
            families = netifaces.ifaddresses(name)
            entries = [*families.get(netifaces.AF_INET, []), *families.get(netifaces.AF_INET6, [])]
            result.append(Interface(name, tuple(entry["addr"] for entry in entries if "addr" in entry)))
    return tuple(result)


@lru_cache(maxsize=1)
def _names(_kernels: tuple[tuple[int, str], ...]) -> tuple[str, ...]:
    """The names, asked for anew only when the kernel's own list has changed.

    netifaces-plus 0.12.5 loses some 200 bytes at each call, which is a gigabyte over the years.
    """
    return tuple(netifaces.interfaces())


def route_source(destination: str) -> str | None:
    """The local address from which packets to `destination` would leave; None without a route."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((destination, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return None


def carrier(found: Sequence[Interface], sources: Iterable[str | None]) -> str | None:
    """The interface that holds one of `sources` (where the routes out begin), else the first fit one."""
    usable = _reachable(found)
    for source in sources:
        for interface in usable:
            if source in interface.addresses:
                return interface.name
    return next((interface.name for interface in usable if any(addresses([interface], None))), None)


def addresses(found: Sequence[Interface], preferred: str | None) -> tuple[str | None, str | None, str | None]:
    """The public IPv4, private IPv4 and IPv6 address, those of the `preferred` interface first."""
    ordered = sorted(_reachable(found, preferred), key=lambda interface: interface.name != preferred)
    everything = [address for interface in ordered for address in interface.addresses]
    fours = [four for four in map(_ipv4, everything) if four is not None]
    public = next((str(four) for four in fours if four.is_global), None)
    private = next((str(four) for four in fours if not four.is_global), None)
    sixes = sorted(
        filter(None, map(_ipv6, everything)), key=lambda six: not ipaddress.ip_address(six).is_global
    )
    return public, private, sixes[0] if sixes else None


def is_inside(interface: str) -> bool:
    """Whether an interface of this name is one inside the VM, which no other host reaches."""
    return _INTERNAL.fullmatch(interface) is not None


def _reachable(found: Sequence[Interface], preferred: str | None = None) -> list[Interface]:
    return [each for each in found if each.name == preferred or not is_inside(each.name)]


def _ipv4(address: str) -> ipaddress.IPv4Address | None:
    try:
        four = ipaddress.IPv4Address(address)
    except ValueError:
        return None
    return None if four.is_loopback or four.is_link_local or four.is_unspecified else four


def _ipv6(address: str) -> str | None:
    try:
        six = ipv6(address)
    except ValueError:
        return None
    return None if ipaddress.IPv6Address(six).is_loopback else six


def capacity(interface: str, sys_net: Path = SYS_NET) -> float | None:
    """What the interface can send, in kB/s: nine tenths of its nominal speed, as agents always counted.

    None where it does not say: virtual ones report -1, however the kernel prints it, or refuse to be read.
    """
    megabits = _number(sys_net / interface / "speed")
    if megabits is None or megabits <= 0 or megabits in _UNKNOWN_SPEEDS:
        return None
    return megabits * 1000 * 0.9 / 8


def bytes_sent(interface: str, sys_net: Path = SYS_NET) -> int | None:
    """The interface's counter of bytes sent since it came up; None when it is gone."""
    return _number(sys_net / interface / "statistics" / "tx_bytes")


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def own_name(name: str, hosts_file: Path) -> str | None:
    """`name`, or its full form if `hosts_file` knows one; None if it is no host name.

    No name server is asked: where one is slow or away, that would hold up the agent for a minute.
    """
    if not is_host_name(name):
        return None
    if "." in name:
        return name
    try:
        lines = hosts_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return name
    names = next((names for line in lines if name in (names := line.partition("#")[0].split()[1:])), [])
    full = (each for each in names if each.startswith(f"{name}.") and is_host_name(each))
    return next(full, name)
