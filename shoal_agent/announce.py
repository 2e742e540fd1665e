"""Tells the local network of the squid, as deployed clients hear it: one UDP broadcast a minute.

Clients up to 1.0.4 listen on port 50000 and take all that follows the prefix for `host:port`: they
must get the form of two fields. Only newer ones listen on 50001 and 50002, where Varnishes are told of.
"""

import logging
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from shoal_agent.cache import Cache
from shoal_agent.health import Health
from shoal_agent.host import Interface, is_inside
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import ipv4

PERIOD_SECONDS = 60.0
_PREFIX = "fna349fn"
_EVERYBODY = "255.255.255.255"
_SQUID_PORT, _VARNISH_PORT, _VARNISH_FRONTIER_PORT = 50000, 50001, 50002
_IP_PKTINFO = 8  # Linux, ip(7)

log = logging.getLogger(__name__)


def announcement(address: str, cache: Cache) -> tuple[bytes, int]:
    """The packet for the network of `address`, and the port to send it to."""
    if cache.type is CacheType.SQUID:
        return f"{_PREFIX}{address}:{cache.place.port}".encode("ascii"), _SQUID_PORT
    text = f"{_PREFIX}{address}:{cache.place.port}:{cache.type}:{cache.upstream}"
    port = _VARNISH_PORT if cache.upstream is Upstream.CVMFS else _VARNISH_FRONTIER_PORT
    return text.encode("ascii"), port


def places(found: Iterable[Interface], cache: Cache) -> list[tuple[str, str]]:
    """The interfaces to announce on, each with the address under which its neighbours reach the cache."""
    result = []
    for interface in found:
        if not is_inside(interface.name):
            own = (each for each in interface.addresses if _is_usable(each) and cache.listens_at(each))
            result += [(interface.name, address) for address in own][:1]
    return result


def _is_usable(address: str) -> bool:
    try:
        return not ipv4(address).startswith(("127.", "169.254."))
    except ValueError:
        return False


def broadcast(interface: str, address: str, packet: bytes, port: int) -> None:
    """Send to everybody on the network of one interface, from our address there. Raises OSError."""
    index = socket.if_nametoindex(interface)
    # Without this the packet would leave by the default route's interface alone (ip(7), IP_PKTINFO).
    control = struct.pack("@i4s4s", index, socket.inet_aton(address), b"\0" * 4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendmsg([packet], [(socket.IPPROTO_IP, _IP_PKTINFO, control)], 0, (_EVERYBODY, port))


class Announcer:
    """Announces a healthy cache on every interface, once a minute."""

    def __init__(self) -> None:
        self._due = 0.0

    def turn(self, cache: Cache, health: Health, look: Callable[[], Iterable[Interface]]) -> None:
        """Announce if that is due. A network that is gone is left out: it is no trouble of ours."""
        if not health.healthy or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + PERIOD_SECONDS
        for interface, address in places(look(), cache):
            packet, port = announcement(address, cache)
            with suppress(OSError):
                broadcast(interface, address, packet, port)
                log.debug("announced %s on %s", address, interface)
