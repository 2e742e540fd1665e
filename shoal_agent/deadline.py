"""HTTP with one limit for all: a peer that answers a byte a second gains nothing by it."""

import http.client
import socket
import time


class Connection(http.client.HTTPConnection):
    """A connection that raises TimeoutError when `seconds` are over since it was made."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        super().__init__(host, port)
        self._deadline = time.monotonic() + seconds

    def connect(self) -> None:
        """Connect directly; no proxy is asked, whatever the environment says."""
        plain = socket.create_connection((self.host, self.port), _left(self._deadline))
        timed = _TimedSocket(fileno=plain.detach())
        timed.deadline = self._deadline
        timed.settimeout(_left(self._deadline))
        self.sock = timed


class _TimedSocket(socket.socket):
    """A socket whose reads all end at one time."""

    deadline: float = 0.0

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:  # type: ignore[override]
        self.settimeout(_left(self.deadline))
        return super().recv_into(buffer, nbytes, flags)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
