"""Hundreds of peers that connect and then say nothing, or a byte now and then, delay nobody."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from tests.faults.scale import Scale
from tests.faults.site import Parts, Site, running
from tests.faults.watch import Watch

HALF_OPEN = 450
"""More than the 400 at which common WSGI servers stopped; the listener lets in 500 strangers at a time."""
SLOW = 50
PATIENCE = 2.0
"""Seconds: ordinary answers take milliseconds, and the machine is busy."""
BEGINNINGS = (
    b"",
    b"GET /nearest HTTP/1.1\r\nHost: x\r\nX-",
    b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab",
)
GREETINGS = (b"", b"AMQP", b"AMQP\x00\x00\x09\x01\x01\x00\x00\x00\x00\x00\x20")
TRICKLE = b"GET /nearest/5 HTTP/1.1\r\nHost: slow.example.org\r\n\r\n"


@contextmanager
def crowd(site: Site) -> Iterator[None]:
    """They are connected, and stay."""
    server = site.servers[0]
    amqp = int(server.amqp.rpartition(":")[2])
    end = threading.Event()
    with ExitStack() as stack:
        for port, openings in ((server.port, BEGINNINGS), (amqp, GREETINGS)):
            for number in range(HALF_OPEN):
                peer = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5.0))
                peer.sendall(openings[number % len(openings)])
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5.0))
            for _ in range(SLOW)
        ]
        thread = threading.Thread(target=_trickle, args=(slow, end), name="trickle")
        thread.start()
        stack.callback(thread.join)
        stack.callback(end.set)
        yield


def _trickle(peers: list[socket.socket], end: threading.Event) -> None:
    for byte in TRICKLE:
        for peer in peers:
            with suppress(OSError):  # the server may well have enough of them
                peer.sendall(bytes([byte]))
        if end.wait(0.2):
            return


def test_hundreds_of_half_open_and_slow_peers(plain: Parts, scale: Scale) -> None:
    with running(plain, replace(scale, servers=1)) as site, Watch(site, counted=True) as watch:
        site.fleet.slowest = 0.0
        with crowd(site):
            watch.live(scale.fault)
        note = f"slowest heartbeat {1000 * site.fleet.slowest:.0f} ms"
        fault = f"{HALF_OPEN} half-open and {SLOW} slow HTTP peers, {HALF_OPEN} half-open AMQP peers"
        row = watch.finish(fault, "listener, memory", note=note)
        assert max(row.slowest_ms / 1000, site.fleet.slowest) < PATIENCE
