"""Asks a STUN server from which address our packets arrive (RFC 8489; servers of RFC 3489 too)."""

import ipaddress
import secrets
import socket
import struct
import time

from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort, ipv4

DEFAULT_PORT = 3478
TRY_SECONDS = 0.5
"""RFC 8489 section 6.2.1: how long before a request is sent again."""
_TRIES = 3
_REQUEST, _RESPONSE = 0x0001, 0x0101
_COOKIE = 0x2112A442
_MAPPED, _XOR_MAPPED = 0x0001, 0x0020
_IPV4 = 0x01


def mapped_address(server: HostPort) -> str:
    """Our IPv4 address as `server` sees it. Raises Unavailable when it does not tell within 1.5 s."""
    transaction = secrets.token_bytes(12)
    request = struct.pack("!HHI", _REQUEST, 0, _COOKIE) + transaction
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            # Connected: what comes from elsewhere is not even seen, and a closed port is an error.
            sock.connect((server.host, server.port))
            for _ in range(_TRIES):
                sock.send(request)
                address = _answer(sock, transaction)
                if address is not None:
                    return address
    except OSError as error:
        told = error.strerror or type(error).__name__
        raise Unavailable(f"STUN server {server}: {told}") from None
    raise Unavailable(f"STUN server {server} does not answer")


def _answer(sock: socket.socket, transaction: bytes) -> str | None:
    until = time.monotonic() + TRY_SECONDS
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            address = parse(sock.recv(1024), transaction)
        except TimeoutError:
            return None
        if address is not None:
            return address
    return None


def parse(packet: bytes, transaction: bytes) -> str | None:
    """The IPv4 address in a success response to `transaction`, None for any other packet."""
    if len(packet) < 20:
        return None
    kind, length, cookie = struct.unpack_from("!HHI", packet)
    if kind != _RESPONSE or packet[8:20] != transaction or len(packet) < 20 + length:
        return None
    found: dict[int, str] = {}
    at, end = 20, 20 + length
    while at + 4 <= end:
        attribute, size = struct.unpack_from("!HH", packet, at)
        value = packet[at + 4 : min(at + 4 + size, end)]
        if attribute in (_MAPPED, _XOR_MAPPED) and len(value) == 8 and value[1] == _IPV4:
            number = int.from_bytes(value[4:], "big")
            found[attribute] = str(
                ipaddress.IPv4Address(number ^ cookie if attribute == _XOR_MAPPED else number)
            )
        at += 4 + (size + 3) // 4 * 4
    try:
        return ipv4(found.get(_XOR_MAPPED) or found.get(_MAPPED) or "")
    except ValueError:
        return None
