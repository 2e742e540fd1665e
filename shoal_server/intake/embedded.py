"""The embedded intake: an AMQP 0-9-1 listener inside the server, for sites that run no broker.

It takes what publishers of heartbeats send (connection, channel, exchange declare, publish, confirms)
and hands the bodies to the reception. It is no broker: no queues, no durability, no cluster; where one of
these is wanted, RabbitMQ is the intake to use.

One thread runs an asyncio loop for all peers; a second one calls `Reception.take`, so a slow store stops
neither heartbeats nor handshakes. While one batch is being stored the next one gathers; nothing is
acknowledged before `take` returned. When it raises Unavailable:

- messages of channels in confirm mode are answered with Basic.Nack: their publisher knows and decides;
- the others, whose publishers (every deployed agent) will never know, are kept, up to
  `Limits.max_kept` of them and the oldest dropped first, and tried again with growing pauses, in order
  and before anything newer.

When the store is merely slow, reading from the peers stops until it has caught up.
"""

import asyncio
import logging
import resource
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, Protocol, cast

from pamqp.heartbeat import Heartbeat

from shoal_common.errors import Unavailable
from shoal_server.intake.amqp_session import Confirm, Credentials, Delivery, Limits, Session, Stage, Terms

__all__ = ["Credentials", "EmbeddedIntake", "Limits", "Taker"]

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 0.25
_DRAIN_SECONDS = 0.3
_FAREWELL_SECONDS = 0.15
_COMPLAINTS_A_MINUTE = 10


class Taker(Protocol):
    """Whoever the messages are for: the Reception."""

    def take(self, bodies: Sequence[bytes]) -> None:
        """Register a batch, or raise Unavailable: nothing was stored. Invalid messages are its own affair."""


class EmbeddedIntake:
    """Listens on `host`:`port` for publishers of heartbeats; to be started once.

    `credentials` None lets anyone in; `ssl_context` makes it AMQPS; `virtual_host` None accepts any.
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
        ssl_context: ssl.SSLContext | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._asked = (host, port)
        self._address = (host, port)
        self._door = _Door(Terms(exchange, credentials, virtual_host, limits), reception, ssl_context)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind and serve; returns once listening. Raises Unavailable, naming the address, when it cannot."""
        listener = _bound(*self._asked)
        host, port = listener.getsockname()[:2]
        self._address = (host, port)
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._door.serve(listener),), name="embedded-intake", daemon=True
        )
        self._thread.start()
        self._door.opened.wait()
        log.info("taking heartbeats on %s:%d", host, port)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the real port when 0 was asked."""
        return self._address

    @property
    def connected(self) -> bool:
        """Whether heartbeats can come in: it listens."""
        return self._thread is not None and self._thread.is_alive() and not self._door.closing

    def stop(self) -> None:
        """Store what can be stored in 0.3 s, tell the peers (Connection.Close 320), end the thread."""
        if self._thread is not None:
            self._door.close()
            self._thread.join()


def _bound(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return socket.create_server(cast("tuple[str, int]", address[:2]), family=family, backlog=1024)
    except OSError as error:
        raise Unavailable(f"cannot listen for heartbeats on {host}:{port}: {error}") from error


class _Letter(NamedTuple):
    """A message and the peer it came from."""

    peer: "_Peer"
    delivery: Delivery


class _Pump:
    """Carries messages to the reception, batch by batch, oldest first. Lives in the loop's thread."""

    def __init__(self, reception: Taker, limits: Limits, pressed: Callable[[], None]) -> None:
        self._reception = reception
        self._limits = limits
        self._pressed = pressed
        self._fresh: deque[_Letter] = deque()
        self._fresh_bytes = 0
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._dropped = 0
        self._refusals = 0
        self._work = asyncio.Event()
        self.full = False
        """Whether reading from the peers must stop; `pressed` is called at each change."""

    def push(self, letters: Iterable[_Letter]) -> None:
        """Take messages over, to be stored soon."""
        for letter in letters:
            self._fresh.append(letter)
            self._fresh_bytes += len(letter.delivery.body)
        self._work.set()
        self._weigh()

    @property
    def waiting(self) -> int:
        """How many messages are not stored yet."""
        return len(self._fresh) + len(self._kept)

    async def run(self) -> None:
        """Store for ever."""
        worker = ThreadPoolExecutor(1, thread_name_prefix="embedded-intake-store")
        try:
            while True:
                await self._work.wait()
                await self._store_batch(worker)
                if not self.waiting:
                    self._work.clear()
        finally:
            worker.shutdown(wait=False)

    async def _store_batch(self, worker: ThreadPoolExecutor) -> None:
        from_kept = bool(self._kept)
        source = self._kept if from_kept else (letter.delivery.body for letter in self._fresh)
        bodies = list(islice(source, self._limits.batch))
        try:
            await asyncio.get_running_loop().run_in_executor(worker, self._reception.take, bodies)
        except Unavailable as error:
            await self._refused(error)
        except Exception:
            log.exception("a batch of %d messages broke the reception and is dropped", len(bodies))
            self._done(bodies, from_kept=from_kept, stored=False)
        else:
            self._recovered()
            self._done(bodies, from_kept=from_kept, stored=True)

    def _done(self, bodies: Sequence[bytes], *, from_kept: bool, stored: bool) -> None:
        size = sum(map(len, bodies))
        if from_kept:
            self._kept_bytes -= size
            for _ in bodies:
                self._kept.popleft()
        else:
            self._fresh_bytes -= size
            _settle([self._fresh.popleft() for _ in bodies], stored=stored)
            self._weigh()

    async def _refused(self, error: Unavailable) -> None:
        if not self._refusals:
            log.error("the store takes no heartbeats, unconfirmed ones are kept for later: %s", error)
        letters, self._fresh, self._fresh_bytes = self._fresh, deque(), 0
        _settle(letters, stored=False)
        for letter in letters:
            if letter.delivery.confirm is None:
                self._kept.append(letter.delivery.body)
                self._kept_bytes += len(letter.delivery.body)
        self._trim()
        self._weigh()
        first, longest = self._limits.retry_seconds
        await asyncio.sleep(min(longest, first * 2 ** min(self._refusals, 20)))
        self._refusals += 1

    def _trim(self) -> None:
        while len(self._kept) > self._limits.max_kept or self._kept_bytes > self._limits.max_kept_bytes:
            if not self._dropped:
                log.error("too many heartbeats wait for the store: the oldest are dropped")
            self._kept_bytes -= len(self._kept.popleft())
            self._dropped += 1

    def _recovered(self) -> None:
        if self._refusals:
            kept, dropped = len(self._kept), self._dropped
            log.warning("the store takes heartbeats again; %d were kept, %d dropped", kept, dropped)
            self._refusals = self._dropped = 0

    def _weigh(self) -> None:
        share = 0.5 if self.full else 1.0
        full = (
            len(self._fresh) > self._limits.max_waiting * share
            or self._fresh_bytes > self._limits.max_waiting_bytes * share
        )
        if full is not self.full:
            self.full = full
            self._pressed()


def _settle(letters: Iterable[_Letter], *, stored: bool) -> None:
    confirms: dict[_Peer, list[Confirm]] = {}
    for peer, delivery in letters:
        if delivery.confirm is not None:
            confirms.setdefault(peer, []).append(delivery.confirm)
    for peer, theirs in confirms.items():
        peer.send(peer.session.settle(theirs, stored=stored))


def _connection_cap(limits: Limits) -> int:
    """Half of the files that this process may open are left to the rest of the server."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = limits.max_connections
    return allowed if files == resource.RLIM_INFINITY else min(allowed, files // 2)


class _Door:
    """All peers of the listener and what they share. Lives in the loop's thread, `close` excepted."""

    def __init__(self, terms: Terms, reception: Taker, ssl_context: ssl.SSLContext | None) -> None:
        self.terms = terms
        self.ssl_context = ssl_context
        self.pump = _Pump(reception, terms.limits, self._regulate)
        self.opened = threading.Event()
        self.closing = False
        self._closed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._strangers: dict[_Peer, None] = {}
        self._members: dict[_Peer, None] = {}
        self._most = _connection_cap(terms.limits)
        self._complaints = 0

    def close(self) -> None:
        """Ask the loop to end, from any thread."""
        self.closing = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._closed.set)

    async def serve(self, listener: socket.socket) -> None:
        """Serve until `close`."""
        self._loop = asyncio.get_running_loop()
        server = await self._loop.create_server(lambda: _Peer(self), sock=listener, backlog=1024)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.pump.run()), group.create_task(self._sweep())]
                self.opened.set()
                await self._closed.wait()
                # Who was accepted in the turn in which a Server is closed would never get a protocol, nor be
                # closed (CPython 3.11, Server._attach): stop accepting first, and let the last ones in.
                self._loop.remove_reader(listener)
                await asyncio.sleep(0)
                server.close()
                await self._part()
                for task in tasks:
                    task.cancel()
        finally:
            self.opened.set()
            server.close()

    async def _part(self) -> None:
        self._regulate()
        await self._until(lambda: not self.pump.waiting, _DRAIN_SECONDS)
        if self.pump.waiting:
            log.error("%d heartbeats were not stored before the end", self.pump.waiting)
        for peer in self._peers():
            peer.dismiss()
        await self._until(lambda: not self._peers(), _FAREWELL_SECONDS)
        for peer in self._peers():
            peer.abort()
        await asyncio.sleep(0)

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not done() and loop.time() < deadline:
            await asyncio.sleep(0.01)

    def _peers(self) -> list["_Peer"]:
        return [*self._strangers, *self._members]

    # ---- called by the peers ----

    @property
    def reading(self) -> bool:
        """Whether peers may be read from."""
        return not (self.pump.full or self.closing)

    def admit(self, peer: "_Peer") -> None:
        """Make room for a new peer: the oldest stranger goes first, then who has been silent longest."""
        self._strangers[peer] = None
        if len(self._strangers) > self.terms.limits.max_unauthenticated:
            self._turn_out(next(iter(self._strangers)))
        elif len(self._strangers) + len(self._members) > self._most:
            self._turn_out(next(iter(self._members if len(self._strangers) == 1 else self._strangers)))

    def heard(self, peer: "_Peer", deliveries: Sequence[Delivery]) -> None:
        """Messages of one peer arrived, or it became a member."""
        self.forget(peer)
        self._members[peer] = None
        if deliveries:
            self.pump.push(_Letter(peer, delivery) for delivery in deliveries)

    def forget(self, peer: "_Peer") -> None:
        """The peer has gone."""
        self._strangers.pop(peer, None)
        self._members.pop(peer, None)

    def complain(self, name: str, problem: str) -> None:
        """One log line, unless there were many this minute: those are counted."""
        self._complaints += 1
        if self._complaints <= _COMPLAINTS_A_MINUTE:
            log.warning("publisher %s: %s", name, problem)

    def _turn_out(self, peer: "_Peer") -> None:
        self.complain(peer.name, "cut off to make room: too many connections")
        peer.abort()
        self.forget(peer)

    def _regulate(self) -> None:
        for peer in self._peers():
            peer.regulate()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        minute = loop.time() + 60
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for peer in self._peers():
                peer.check(now)
            if now > minute:
                if self._complaints > _COMPLAINTS_A_MINUTE:
                    more = self._complaints - _COMPLAINTS_A_MINUTE
                    log.warning("%d more such problems with publishers in the last minute", more)
                self._complaints, minute = 0, now + 60


class _Peer(asyncio.Protocol):
    """One connection: moves bytes between the socket and its Session, and keeps its clocks."""

    def __init__(self, door: _Door) -> None:
        self.session = Session(door.terms)
        self.name = "?"
        self._door = door
        self._limits = door.terms.limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] | None = None
        self._securing: asyncio.Task[None] | None = None
        self._heard = self._spoke = self._loop.time()
        self._deadline: float | None = self._heard + self._limits.handshake_seconds
        self._stalled: float | None = None
        self._reading = True

    # ---- called by asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.name = "{}:{}".format(*(transport.get_extra_info("peername") or ("?", 0))[:2])
        _keep_alive(transport)
        self._door.admit(self)
        if self._door.ssl_context is None:
            self.regulate()
        else:
            self._early = []
            self._securing = asyncio.create_task(self._secure(self._transport, self._door.ssl_context))

    async def _secure(self, plain: asyncio.Transport, context: ssl.SSLContext) -> None:
        """TLS begins after the peer was counted, so that half-done handshakes are bounded like the rest."""
        try:
            self._transport = await self._loop.start_tls(
                plain,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._limits.handshake_seconds,
                ssl_shutdown_timeout=1.0,
            )
        except OSError as error:
            self._door.complain(self.name, f"no TLS: {error!r}")
            self._door.forget(self)
            plain.abort()
            return
        # What came in the same packet as the end of the handshake arrived before we knew the new transport.
        early, self._early = self._early, None
        self.regulate()
        if early:
            self.data_received(b"".join(early))

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self._early is not None:
            self._early.append(data)
            return
        was_open = self.session.stage is Stage.OPEN
        received = self.session.receive(data)
        for problem in received.troubles:
            self._door.complain(self.name, problem)
        self.send(received.reply)
        if received.deliveries or (self.session.stage is Stage.OPEN and not was_open):
            self._deadline = None
            self._door.heard(self, received.deliveries)
        if self.session.stage is Stage.CLOSING and self._deadline is None:
            self._deadline = self._heard + self._limits.handshake_seconds
        if self.session.stage is Stage.FINISHED and self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        self._stalled = self._loop.time()
        self.regulate()

    def resume_writing(self) -> None:
        self._stalled = None
        self.regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.forget(self)
        self._transport = None
        if exc is not None:
            log.debug("publisher %s: connection lost: %r", self.name, exc)

    # ---- called by the door and the pump ----

    def send(self, data: bytes) -> None:
        """Write, if the peer is still there."""
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            self._spoke = self._loop.time()

    def regulate(self) -> None:
        """Read from the peer only while the store keeps up and the peer reads our answers."""
        if self._transport is None or self._early is not None:
            return
        reading = self._stalled is None and self._door.reading
        if reading is self._reading:
            return
        self._reading = reading
        if reading:
            self._heard = self._loop.time()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def check(self, now: float) -> None:
        """Cut off who is too slow or silent; send a heartbeat where one is due (AMQP 0-9-1 §4.2.7)."""
        agreed = self.session.heartbeat
        patience = min(2 * agreed or self._limits.idle_seconds, self._limits.idle_seconds)
        if self._deadline is not None and now > self._deadline:
            self._cut("took too long to connect or to close")
        elif self._stalled is not None and now - self._stalled > self._limits.stall_seconds:
            self._cut("does not read our answers")
        elif self._door.reading and now - self._heard > patience:
            self._cut(f"silent for {patience} seconds")
        elif agreed and self.session.stage is Stage.OPEN and now - self._spoke >= agreed / 2:
            self.send(Heartbeat.value)

    def _cut(self, problem: str) -> None:
        self._door.complain(self.name, problem)
        self.abort()

    def dismiss(self) -> None:
        """Tell the peer that the server is going; its Close-Ok ends the connection."""
        farewell = self.session.dismiss("the server is shutting down")
        if self._transport is None:
            return
        if not farewell:
            self._transport.close()
            return
        self.send(farewell)
        self._transport.resume_reading()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
