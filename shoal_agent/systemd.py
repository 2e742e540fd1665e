"""What the service manager wants to know: that we are ready, that we live, how we are (sd_notify(3))."""

import socket
from collections.abc import Mapping
from contextlib import suppress


class ServiceManager:
    """Whoever listens at NOTIFY_SOCKET; without one nothing is said."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._status = ""
        self.watchdog_seconds = _seconds(environ)

    @property
    def present(self) -> bool:
        """Whether we were started by a service manager that listens."""
        return bool(self._address)

    def ready(self) -> None:
        """The agent runs."""
        self._say("READY=1")

    def stopping(self) -> None:
        """The agent is about to end."""
        self._say("STOPPING=1")

    def alive(self) -> None:
        """No thread hangs."""
        if self.watchdog_seconds is not None:
            self._say("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; said when it changed."""
        if text != self._status:
            self._status = text
            self._say(f"STATUS={' '.join(text.split())}")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        # A manager that does not listen is no reason to fail.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), self._address)


def _seconds(environ: Mapping[str, str]) -> float | None:
    """How long we may be silent (sd_watchdog_enabled(3))."""
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdigit() and int(text) > 0 else None
