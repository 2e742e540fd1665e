"""HTTP with one limit for all: a peer that answers a byte a second gains nothing by it."""

import http.client
import socket
import time


class _Answer(http.client.HTTPResponse):
    """One that takes a chunk of negative size for what is no chunk.

    http.client would read on until the peer hangs up, however much he sends, or raise ValueError.
    """

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise ValueError(size)  # here it means what a size that is no number does
        return size


class Connection(http.client.HTTPConnection):
    """A connection that raises TimeoutError when `seconds` are over since it was made."""

    response_class = _Answer

    def __init__(self, host: str, port: int, seconds: float) -> None:
        super().__init__(host, port)
        self._deadline = time.monotonic() + seconds

    def connect(self) -> None:
        """Connect directly; no proxy is asked, whatever the environment says."""
        self.sock = _connect(self.host, self.port, self._deadline)


class _DeadlineSocket(socket.socket):
    """A socket whose reads all end at one time."""

    deadline: float = 0.0

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:  # type: ignore[override]
        self.settimeout(_left(self.deadline))
        return super().recv_into(buffer, nbytes, flags)


def _connect(host: str, port: int, deadline: float) -> _DeadlineSocket:
    """To the first of the host's addresses that takes us; all of them together have until the deadline."""
    error: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            sock = _DeadlineSocket(family, kind, protocol)
        except OSError as failure:  # an IPv6 address where the kernel has no IPv6
            error = failure
            continue
        sock.deadline = deadline
        try:
            sock.settimeout(_left(deadline))
            sock.connect(address)
        except OSError as failure:
            sock.close()
            error = failure
        else:
            return sock
    raise error


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
