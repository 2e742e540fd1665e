"""The intake as a whole: a listening socket, and a thread whose asyncio loop serves all peers."""

import asyncio
import logging
import resource
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import closing, suppress

from shoal_common.errors import Unavailable
from shoal_server.intake.complaints import Complaints
from shoal_server.intake.embedded.certificates import Certificates
from shoal_server.intake.embedded.peer import House, Peer
from shoal_server.intake.embedded.pump import Pump, Taker
from shoal_server.intake.embedded.roster import Roster
from shoal_server.intake.embedded.terms import Credentials, Limits, Terms

_BACKLOG = 1024
_CHECK_SECONDS = 0.25
_DRAIN_SECONDS = 0.3
_FAREWELL_SECONDS = 0.15

log = logging.getLogger(__name__)


class EmbeddedIntake:
    """Listens on `host`:`port` for publishers of heartbeats; to be started once.

    `credentials` None lets anyone in; `virtual_host` None accepts any; `ssl_context` makes it AMQPS: one
    for all connections, or what gives one for the next connection.
    """

    def __init__(
        self,
        host: str,
        port: int,
        reception: Taker,
        *,
        exchange: str = "shoal",
        credentials: Credentials | None,
        virtual_host: str | None = None,
        ssl_context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._address = (host, port)
        self._reception = reception
        self._terms = Terms(exchange, credentials, virtual_host, limits)
        self._complaints = Complaints()
        self._certificates = _certificates(ssl_context, self._complaints)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop = asyncio.Event()

    def start(self) -> None:
        """Bind and serve; returns once listening. Raises Unavailable, naming the address, when it cannot."""
        listener = _bound(*self._address)
        self._address = listener.getsockname()[:2]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run, args=(self._loop, listener), name="embedded-intake", daemon=True
        )
        self._thread.start()
        log.info("taking heartbeats on %s:%d", *self._address)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the real port when 0 was asked."""
        return self._address

    @property
    def connected(self) -> bool:
        """Whether heartbeats can come in: it listens."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Store what can be stored in 0.3 s, tell the peers (Connection.Close 320), end the thread."""
        if self._loop is not None and self._thread is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        house = self._house()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Peer(house), sock=listener, backlog=_BACKLOG)
        with closing(server):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(house.pump.run()), group.create_task(_check(house.roster))]
                await self._stop.wait()
                # Who was accepted in the turn in which a Server is closed would never get a protocol, nor
                # be closed (CPython 3.11, Server._attach): stop accepting first, let the last ones in.
                loop.remove_reader(listener)
                await asyncio.sleep(0)
                server.close()
                await _part(house)
                for task in tasks:
                    task.cancel()

    def _house(self) -> House:
        limits = self._terms.limits
        roster = Roster[Peer](_connection_cap(limits), limits.max_unauthenticated)
        pump = Pump(self._reception, limits, lambda: _regulate(roster))
        return House(self._terms, self._certificates, roster, pump, self._complaints)


def _certificates(
    given: ssl.SSLContext | Callable[[], ssl.SSLContext] | None, complaints: Complaints
) -> Certificates | None:
    if given is None:
        return None
    return Certificates((lambda: given) if isinstance(given, ssl.SSLContext) else given, complaints)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Unavailable(f"cannot listen for heartbeats on {host}:{port}: {error}") from error


def _connection_cap(limits: Limits) -> int:
    """Half of the files that this process may open are left to the rest of the server."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = limits.max_connections
    return allowed if files == resource.RLIM_INFINITY else min(allowed, files // 2)


def _regulate(roster: Roster[Peer]) -> None:
    for peer in roster:
        peer.regulate()


async def _check(roster: Roster[Peer]) -> None:
    while True:
        await asyncio.sleep(_CHECK_SECONDS)
        now = asyncio.get_running_loop().time()
        for peer in roster:
            peer.check(now)


async def _part(house: House) -> None:
    await _until(lambda: not house.pump.waiting, _DRAIN_SECONDS)
    if house.pump.waiting:
        log.error("%d heartbeats were not stored before the end", house.pump.waiting)
    for peer in house.roster:
        peer.dismiss()
    await _until(lambda: not len(house.roster), _FAREWELL_SECONDS)
    for peer in house.roster:
        peer.abort()
    await asyncio.sleep(0)


async def _until(done: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not done() and loop.time() < deadline:
        await asyncio.sleep(0.01)
