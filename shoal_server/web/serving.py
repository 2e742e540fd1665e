"""The WSGI server under the application: waitress, one process, several threads."""

import threading
import time

import waitress
import waitress.channel
import waitress.server
import waitress.wasyncore
from flask import Flask

from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort

THREADS = 8
CONNECTIONS = 4096
"""Idle and half-open connections cost a file descriptor and no thread; waitress's own limit of 100 would
let some hundred silent peers shut everybody out."""
IDLE_SECONDS = 30
POLL_SECONDS = 0.1
"""How soon a stop is noticed while nobody asks anything."""
LAST_CALL_SECONDS = 0.3
DRAIN_SECONDS = 0.8


class HttpServer:
    """Bound when made, so that its address is known and a taken port is told at once."""

    def __init__(self, app: Flask, listen: HostPort) -> None:
        """Raises Unavailable when the address cannot be had."""
        self._sockets: dict[int, waitress.wasyncore.dispatcher] = {}
        try:
            self._server = waitress.create_server(
                app,
                map=self._sockets,
                host=listen.host,
                port=listen.port,
                threads=THREADS,
                connection_limit=CONNECTIONS,
                channel_timeout=IDLE_SECONDS,
                # The application reads X-Forwarded-For itself, and knows whom to believe.
                clear_untrusted_proxy_headers=False,
                ident="shoal",
            )
        except (OSError, ValueError) as error:
            waitress.wasyncore.close_all(self._sockets)
            raise Unavailable(f"cannot listen on {listen} for HTTP: {error}") from None

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for; of the first address if the name has several."""
        several = getattr(self._server, "effective_listen", None)
        return int(several[0][1] if several else self._server.effective_port)

    def serve(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; what was asked by then is answered, if that can be done in a second."""
        while not stop.is_set():
            self._poll(POLL_SECONDS)
        last_call = time.monotonic() + LAST_CALL_SECONDS
        while time.monotonic() < last_call:
            self._poll(0.01)
        self._close_doors()
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._busy() and time.monotonic() < deadline:
            self._poll(0.01)
        self._server.task_dispatcher.shutdown(timeout=POLL_SECONDS)
        for channel in self._channels():
            channel.handle_close()
        waitress.wasyncore.close_all(self._sockets)

    def _poll(self, seconds: float) -> None:
        waitress.wasyncore.loop(timeout=seconds, use_poll=True, map=self._sockets, count=1)

    def _close_doors(self) -> None:
        """Refuse who comes now, so that he asks elsewhere."""
        for listener in list(self._sockets.values()):
            if isinstance(listener, waitress.server.BaseWSGIServer):
                # Not its own close(): that also takes the pipe by which working threads wake this one.
                waitress.wasyncore.dispatcher.close(listener)

    def _busy(self) -> bool:
        return any(channel.requests or channel.total_outbufs_len for channel in self._channels())

    def _channels(self) -> list[waitress.channel.HTTPChannel]:
        return [one for one in self._sockets.values() if isinstance(one, waitress.channel.HTTPChannel)]
