"""Asks the kernel for its listening TCP sockets (sock_diag(7)); any user may.

The tables in /proc/net say the same, but of each the kernel walks through every connection that it
could have, a hundredth of a second on a large VM, and it is asked every few seconds for years.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import closing

# From linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h and net/tcp_states.h.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_AND_DUMP = 0x301
_ERROR, _DONE = 2, 3
_TCP_LISTEN = 10
_HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
_WANTED = struct.Struct("=BBBxI48x")
"""struct inet_diag_req_v2: family, protocol, extensions, states, and no socket in particular."""
_FOUND = struct.Struct("!B3xH2x16s")
_OWNER, _OWNER_AT = struct.Struct("=II"), 64
"""struct inet_diag_msg: family, port and address, as on the network; further on user and inode, as here."""
_WAIT_SECONDS = 2.0
_MOST = 65536


def listening() -> Iterator[tuple[bytes, int, int, int]]:
    """Packed address, port, user id and inode of each; raises OSError where the kernel does not tell."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)) as asked:
            asked.settimeout(_WAIT_SECONDS)
            wanted = _WANTED.pack(family, socket.IPPROTO_TCP, 0, 1 << _TCP_LISTEN)
            size = _HEADER.size + len(wanted)
            asked.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _REQUEST_AND_DUMP, 1, 0) + wanted)
            yield from _answers(asked)


def _answers(asked: socket.socket) -> Iterator[tuple[bytes, int, int, int]]:
    while True:
        packet, at = asked.recv(_MOST), 0
        while at + _HEADER.size <= len(packet):
            size, kind, *_ = _HEADER.unpack_from(packet, at)
            body = packet[at + _HEADER.size : at + size]
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError(-struct.unpack_from("=i", body)[0], "the kernel does not tell its sockets")
            yield _one(body)
            at += max((size + 3) // 4 * 4, _HEADER.size)


def _one(body: bytes) -> tuple[bytes, int, int, int]:
    family, port, address = _FOUND.unpack_from(body)
    uid, inode = _OWNER.unpack_from(body, _OWNER_AT)
    return address[: 4 if family == socket.AF_INET else 16], port, uid, inode
