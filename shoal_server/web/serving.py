"""The WSGI server under the application: waitress, one process, several threads."""

import resource
import select
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import waitress
import waitress.channel
import waitress.server
import waitress.wasyncore

from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREADS = 8
CONNECTIONS = 4096
"""Idle and half-open connections cost a file descriptor and no thread; waitress's own limit of 100 would
let some hundred silent peers shut everybody out."""
IDLE_SECONDS = 30
IDLE_CHECK_SECONDS = 2.0
_NEVER = 10**9
LARGEST_BODY = 64 * 1024
"""More is refused before the application sees it; waitress would write a gigabyte to the disk."""
POLL_SECONDS = 0.1
"""How soon a stop is noticed while nobody asks anything."""
LAST_CALL_SECONDS = 0.3
LATEST_CALL_SECONDS = 0.6
DRAIN_SECONDS = 0.7


class HttpServer:
    """Bound when made, so that its address is known and a taken port is told at once."""

    def __init__(self, app: "WSGIApplication", listen: HostPort) -> None:
        """Raises Unavailable when the address cannot be had."""
        self._sockets: dict[int, waitress.wasyncore.dispatcher] = {}
        self._silence = _Silence()
        try:
            self._server = waitress.create_server(
                app,
                map=self._sockets,
                host=listen.host,
                port=listen.port,
                threads=THREADS,
                connection_limit=_connection_cap(),
                channel_timeout=_NEVER,
                max_request_body_size=LARGEST_BODY,
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
            self._silence.cut(self._channels, time.monotonic())
        self._poll_on(LAST_CALL_SECONDS, LATEST_CALL_SECONDS, self._unheard)
        self._close_doors()
        self._poll_on(0.0, DRAIN_SECONDS, lambda: self._busy() or self._unheard())
        self._server.task_dispatcher.shutdown(timeout=POLL_SECONDS)
        for channel in self._channels():
            channel.handle_close()
        waitress.wasyncore.close_all(self._sockets)

    def _poll(self, seconds: float) -> None:
        waitress.wasyncore.loop(timeout=seconds, use_poll=True, map=self._sockets, count=1)

    def _poll_on(self, least: float, most: float, needed: Callable[[], bool]) -> None:
        """For at least so many seconds, and longer while it is needed."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < least or (passed < most and needed()):
            self._poll(0.01)

    def _unheard(self) -> bool:
        """Whether somebody has knocked or said something that has not been looked at yet: on a busy machine
        there may be many of them.
        """
        doors = [one for one in self._sockets.values() if isinstance(one, waitress.server.BaseWSGIServer)]
        said = select.poll()
        for one in (*doors, *self._channels()):
            said.register(one.socket, select.POLLIN)
        return bool(said.poll(0))

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


def _connection_cap() -> int:
    """A third of the files that this process may open: beside the half that peers of the listener may take,
    some are left to the rest of the server. Where none is left waitress logs that again and again.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, files // 3)


class _Silence:
    """Ends connections that have been silent for long, by the clock that nobody sets.

    waitress itself goes by the time of day: once that is set forward it cuts off whoever is about to ask, and
    once it is set back it keeps the silent ones for as long as that.
    """

    def __init__(self) -> None:
        self._since: dict[waitress.channel.HTTPChannel, tuple[float, float]] = {}
        """waitress's note of a connection's last activity, and the steady time at which that was new."""
        self._due = 0.0

    def cut(self, channels: Callable[[], Iterable[waitress.channel.HTTPChannel]], now: float) -> None:
        """To be called often; looks every so many seconds. `now` is of the steady clock."""
        if now < self._due:
            return
        self._due, before, self._since = now + IDLE_CHECK_SECONDS, self._since, {}
        for channel in channels():
            noted, since = before.get(channel, (None, now))
            since = since if noted == channel.last_activity else now
            self._since[channel] = channel.last_activity, since
            if now - since > IDLE_SECONDS and not channel.requests:
                channel.will_close = True
