"""The listening TCP sockets of a network namespace."""

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shoal_agent import sockdiag

PROC = Path("/proc")
_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket, the user who made it, and its inode."""

    address: str
    port: int
    uid: int
    inode: int


def listeners(proc: Path = PROC) -> tuple[Listener, ...]:
    """Those of our network namespace; empty where neither the kernel nor its tables tell."""
    if proc == PROC:
        with suppress(OSError):
            found = (Listener(_text(raw), port, uid, inode) for raw, port, uid, inode in sockdiag.listening())
            return tuple(sorted(found, key=lambda each: (each.port, each.address, each.inode)))
    return tuple(in_tables(proc))


def in_tables(proc: Path) -> Iterator[Listener]:
    """The same by /proc/net, or with /proc/PID those of the network namespace of a process."""
    for name in ("tcp", "tcp6"):
        yield from _in_table(proc / "net" / name)


def _in_table(table: Path) -> Iterator[Listener]:
    """The kernel lists listening sockets first, so a busy squid's connections are not read."""
    with suppress(OSError), table.open(encoding="ascii") as lines:
        next(lines, None)
        for line in lines:
            fields = line.split()
            if len(fields) < 10 or fields[3] != _LISTEN:
                return
            address, _, port = fields[1].partition(":")
            yield Listener(_text(_packed(address)), int(port, 16), int(fields[7]), int(fields[9]))


def _packed(digits: str) -> bytes:
    """The kernel prints an address as 32-bit words, each a number of this machine."""
    words = (int(digits[start : start + 8], 16) for start in range(0, len(digits), 8))
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words)


def _text(packed: bytes) -> str:
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
