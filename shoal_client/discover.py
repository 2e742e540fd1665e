"""Hears squids announce themselves on the LAN.

An announcement is one UDP datagram, `fna349fn10.0.0.5:3128`, or `fna349fn10.0.0.5:3128:squid:both` from
newer agents, about once a minute, broadcast to port 50000. Nothing vouches for it, so it makes a
candidate to be tested, and only of the host that sent it.
"""

import socket
import time
from collections.abc import Callable
from threading import Event

from shoal_client.candidates import OWN_SITE, Candidate, Source
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort, host_text, ipv4, port_number

PREFIX = b"fna349fn"
PERIOD_SECONDS = 65.0
"""Whoever listens for so long hears every squid that announces itself: that is once a minute."""
MAX_PACKET = 256
MAX_HEARD = 8
"""A flood of announcements must not become a flood of tests."""
_SLICE = 0.1


def parse(packet: bytes, sender: str, service: Upstream) -> Candidate | None:
    """The squid that `packet` from the address `sender` announces, None if it is none for `service`.

    Agents announce what the host's own name resolves to, 127.0.1.1 on some systems, or a name that was
    configured. An agent runs beside its squid, so the sender's address is the one that can be reached from
    here.
    """
    if not packet.startswith(PREFIX) or len(packet) > MAX_PACKET:
        return None
    try:
        address, port, *kind = packet.removeprefix(PREFIX).decode("ascii").split(":")
        host_text(address)
        upstream = Upstream(kind[1]) if len(kind) > 1 else Upstream.BOTH
        place = HostPort(ipv4(sender), port_number(port))
    except ValueError:
        return None
    if not upstream.serves(service):
        return None
    reverse = kind[:1] == [CacheType.VARNISH] and service is Upstream.CVMFS
    return Candidate(
        place, Source.LAN, str(place), 0.0, local=True, heard=True, domain=OWN_SITE, reverse=reverse
    )


def open_port(port: int) -> socket.socket:
    """A socket for announcements, shared with other programs that listen; raises Unavailable."""
    try:
        return _bound(port)
    except OSError as error:
        raise Unavailable(f"cannot listen on UDP port {port}: {error.strerror}") from None


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("", port))
        sock.settimeout(_SLICE)
    except OSError:
        sock.close()
        raise
    return sock


def listen(
    sock: socket.socket, until: float, stop: Event, service: Upstream, heard: Callable[[Candidate], None]
) -> None:
    """Report each squid once until the monotonic time `until` or `stop`; closes `sock`."""
    seen: set[HostPort] = set()
    with sock:
        while time.monotonic() < until and not stop.is_set() and len(seen) < MAX_HEARD:
            try:
                packet, (sender, _) = sock.recvfrom(MAX_PACKET + 1)
            except TimeoutError:
                continue
            candidate = parse(packet, sender, service)
            if candidate and candidate.place not in seen:
                seen.add(candidate.place)
                heard(candidate)
