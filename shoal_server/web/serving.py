"""The WSGI server under the application: waitress, one process, several threads."""

import logging

import waitress
from flask import Flask

from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort

THREADS = 8
CONNECTIONS = 4096
"""Idle and half-open connections cost a file descriptor and no thread; waitress's own limit of 100 would
let some hundred silent peers shut everybody out."""
IDLE_SECONDS = 30

log = logging.getLogger(__name__)


class HttpServer:
    """Bound when made, so that its address is known and a taken port is told at once."""

    def __init__(self, app: Flask, listen: HostPort) -> None:
        """Raises Unavailable when the address cannot be had."""
        try:
            self._server = waitress.create_server(
                app,
                host=listen.host,
                port=listen.port,
                threads=THREADS,
                connection_limit=CONNECTIONS,
                channel_timeout=IDLE_SECONDS,
                asyncore_use_poll=True,
                ident="shoal",
            )
        except (OSError, ValueError) as error:
            raise Unavailable(f"cannot listen on {listen} for HTTP: {error}") from None

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        return int(self._server.effective_port)

    def serve(self) -> None:
        """Serve until SystemExit or KeyboardInterrupt is raised here; requests in hand are answered."""
        self._server.run()
