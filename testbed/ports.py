"""Free TCP ports on loopback."""

import random
import socket
import time
from collections.abc import Iterable

# Below the kernel's default range for outgoing connections (32768-60999): a port that was found free
# here cannot be taken by somebody's client socket before its service binds it.
_RANGE = range(20000, 32000)
_BLOCK = 50
_mine: list[int] = []


def free_port(*hosts: str) -> int:
    """A TCP port free on every one of `hosts` (default 127.0.0.1), never given out before by this process.

    It is nobody else's as long as this process lives: a service of one test run that stands still for a
    moment would find its port taken by another's.
    """
    while True:
        if not _mine:
            _mine.extend(_reserve())
        port = _mine.pop()
        if _is_free(hosts or ("127.0.0.1",), port):
            return port


def free_ports(count: int) -> list[int]:
    """`count` different free ports on 127.0.0.1."""
    return [free_port() for _ in range(count)]


def accepts(host: str, port: int, within: float = 1.0) -> bool:
    """Whether something at `host`:`port` takes a TCP connection in `within` seconds."""
    try:
        socket.create_connection((host, port), timeout=within).close()
    except OSError:
        return False
    return True


def first_bytes(host: str, port: int, say: bytes, within: float = 1.0) -> bytes:
    """What a service answers first to `say`: b"" when it refuses, hangs up or keeps silent for `within` s."""
    deadline = time.monotonic() + within
    try:
        with socket.create_connection((host, port), timeout=within) as connection:
            connection.sendall(say)
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            return connection.recv(64)
    except OSError:
        return b""


def _reserve() -> list[int]:
    """A block of ports that no other process has: a name among the kernel's that ends with this process."""
    starts = range(_RANGE.start, _RANGE.stop, _BLOCK)
    for start in random.sample(starts, len(starts)):
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0shoal-ports-{start}")
        except OSError:
            holder.close()
            continue
        holder.detach()  # to be open until the end
        return random.sample(range(start, start + _BLOCK), _BLOCK)
    raise OSError(f"all TCP ports between {_RANGE.start} and {_RANGE.stop - 1} are in use")


def _is_free(hosts: Iterable[str], port: int) -> bool:
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
