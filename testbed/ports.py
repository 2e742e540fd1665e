"""Free TCP ports on loopback."""

import fcntl
import functools
import os
import random
import socket
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

# Below the kernel's default range for outgoing connections (32768-60999): a port that was found free
# here cannot be taken by somebody's client socket before its service binds it.
_RANGE = range(20000, 32000)
_given: set[int] = set()


def free_port(*hosts: str) -> int:
    """A TCP port free on every one of `hosts` (default 127.0.0.1).

    It is nobody else's as long as this process lives: a service of one test run that stands still for a
    moment would find its port taken by another's.
    """
    for port in random.sample(_RANGE, len(_RANGE)):
        if port not in _given and _reserved(port) and _is_free(hosts or ("127.0.0.1",), port):
            _given.add(port)
            return port
    raise OSError(f"no free TCP port between {_RANGE.start} and {_RANGE.stop - 1} on {hosts}")


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


def _reserved(port: int) -> bool:
    """Whether no other process has this port; the lock ends with this process."""
    try:
        fcntl.lockf(_book(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    return True


@functools.cache
def _book() -> int:
    """A file whose bytes stand for ports; to be open until the end, since closing it would end the locks."""
    return os.open(Path(tempfile.gettempdir(), f"shoal-ports-{os.getuid()}"), os.O_RDWR | os.O_CREAT, 0o600)


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
