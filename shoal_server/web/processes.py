"""The web side in processes of its own, under granian: for many workers on several cores.

One process starts granian and watches it; granian starts the workers and starts them again when they
die. Each worker has its own snapshot and shares nothing with the others but the store. Everything ends
with the process that started it, however that ends.
"""

import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

from granian import Granian
from granian.constants import Interfaces

from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed.wsgi import WSGIApplication

THREADS = 8
"""A page that takes long must not keep lookups waiting. Measured with 1 to 32 of them: from 6 on a sixth more
lookups are answered than with 4, since fewer of those that are woken find the interpreter taken.
"""
CONNECTIONS = 4096
POLL_SECONDS = 0.1
END_SECONDS = 1.5
RESTART_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1  # prctl(2), Linux

log = logging.getLogger(__name__)


class WebProcesses:
    """`make` builds the application in each of the `workers`; it must be picklable."""

    def __init__(self, listen: HostPort, workers: int, make: "Callable[[], WSGIApplication]") -> None:
        """Raises Unavailable when the address cannot be had."""
        self._place = _checked(listen)
        self._workers = workers
        self._make = make

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        return self._place.port

    def serve(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; then what was asked is answered, if that can be done in a second."""
        while not stop.is_set():
            process = multiprocessing.get_context("spawn").Process(
                target=_run_granian, args=[self._place, self._workers, self._make], name="shoal-web"
            )
            process.start()
            while process.is_alive() and not stop.wait(POLL_SECONDS):
                pass
            if not stop.is_set():
                log.error("the web processes ended with %s and are started again", process.exitcode)
                stop.wait(RESTART_SECONDS)
                continue
            process.terminate()
            process.join(END_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()


def _checked(listen: HostPort) -> HostPort:
    """The place, with a port; told at once if it is taken."""
    try:
        family = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((listen.host, listen.port))
            return HostPort(listen.host, trial.getsockname()[1])
    except OSError as error:
        raise Unavailable(f"cannot listen on {listen} for HTTP: {error}") from None


def _run_granian(place: HostPort, workers: int, make: "Callable[[], WSGIApplication]") -> None:
    _end_with_parent()
    server = Granian(
        "shoal",
        address=place.host,
        port=place.port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=THREADS,
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        respawn_failed_workers=True,
        respawn_interval=RESTART_SECONDS,
        workers_kill_timeout=1,
        log_enabled=False,
    )
    server.serve(target_loader=_Load(make), wrap_loader=False)


class _Load:
    """What granian calls in each worker for the application."""

    def __init__(self, make: "Callable[[], WSGIApplication]") -> None:
        self._make = make

    def __call__(self) -> "WSGIApplication":
        _end_with_parent()
        return self._make()


def _end_with_parent() -> None:
    """Let the kernel end this process when the one that started it dies, if it is killed even."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
