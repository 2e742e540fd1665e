"""One connection: moves bytes between the socket and its session, and keeps its clocks."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from pamqp.heartbeat import Heartbeat

from shoal_common.amqp_trouble import explain
from shoal_server.intake.complaints import Complaints
from shoal_server.intake.embedded.certificates import Certificates
from shoal_server.intake.embedded.channel import Confirm
from shoal_server.intake.embedded.pump import Pump
from shoal_server.intake.embedded.roster import Roster
from shoal_server.intake.embedded.session import Session, Stage
from shoal_server.intake.embedded.terms import Terms

_TLS_FAREWELL_SECONDS = 1.0

log = logging.getLogger(__name__)


class Peer(asyncio.Protocol):
    """Lives in the loop's thread."""

    _transport: asyncio.Transport

    def __init__(self, house: "House") -> None:
        self._house = house
        self._session = Session(house.terms)
        self._loop = asyncio.get_running_loop()
        self._name = "?"
        self._securing: asyncio.Task[None] | None = None
        self._early: bytearray | None = None
        """What arrives before TLS is done and its transport known."""
        self._heard = self._spoke = self._last_open = self._loop.time()
        self._stalled: float | None = None

    # ---- called by asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._name = "{}:{}".format(*(transport.get_extra_info("peername") or ("?", 0))[:2])
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if other := self._house.roster.admit(self):
            other.cut("too many connections")
        if self._house.certificates:
            self._early = bytearray()
            context = self._house.certificates.context()
            self._securing = asyncio.create_task(self._secure(context, self._early))
        self.regulate()

    async def _secure(self, context: ssl.SSLContext, early: bytearray) -> None:
        """TLS begins after the peer was counted, so that half-done handshakes are bounded like the rest."""
        try:
            secured = await self._loop.start_tls(
                self._transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._house.terms.limits.handshake_seconds,
                ssl_shutdown_timeout=_TLS_FAREWELL_SECONDS,
            )
        except OSError as error:
            self.cut(f"no TLS: it {explain(error)}")
            return
        if secured is None:  # it was cut off meanwhile
            return
        self._transport, self._early = secured, None
        self.regulate()
        if early:
            self.data_received(bytes(early))

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self._early is not None:
            self._early += data
            return
        received = self._session.receive(data)
        for problem in received.troubles:
            self._house.complaints.make("publisher %s: %s", self._name, problem)
        self._send(received.reply)
        if received.deliveries:
            self._house.pump.push(self, received.deliveries)
        if self._session.stage is Stage.OPEN:
            self._house.roster.heard(self)
        elif self._session.stage is Stage.FINISHED:
            self._transport.close()

    def pause_writing(self) -> None:
        self._stalled = self._loop.time()
        self.regulate()

    def resume_writing(self) -> None:
        self._stalled = None
        self.regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.roster.forget(self)
        if exc is not None:
            log.debug("publisher %s: connection lost: %r", self._name, exc)

    # ---- called by the pump and the listener ----

    def settle(self, confirms: Sequence[Confirm], *, stored: bool) -> None:
        """Tell the publisher what became of messages."""
        self._send(self._session.settle(confirms, stored=stored))

    def regulate(self) -> None:
        """Read from the peer only while the store keeps up and the peer reads our answers."""
        if self._early is not None:
            return
        leaving = self._session.stage is Stage.CLOSING
        if self._stalled is None and (leaving or not self._house.pump.full):
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def check(self, now: float) -> None:
        """Cut off who is too slow or silent; send a heartbeat where one is due (AMQP 0-9-1 §4.2.7)."""
        limits, agreed = self._house.terms.limits, self._session.heartbeat
        patience = min(2 * agreed or limits.idle_seconds, limits.idle_seconds)
        is_open = self._session.stage is Stage.OPEN
        if is_open:
            self._last_open = now
        if self._house.pump.full:  # then it is we who do not listen
            self._heard = now
        if not is_open and now - self._last_open > limits.handshake_seconds:
            self.cut("took too long to connect or to close")
        elif self._stalled is not None and now - self._stalled > limits.stall_seconds:
            self.cut("does not read our answers")
        elif now - self._heard > patience:
            self.cut(f"silent for {patience} seconds")
        elif agreed and is_open and now - self._spoke >= agreed / 2:
            self._send(Heartbeat.value)

    def dismiss(self) -> None:
        """Tell the peer that the server is going; its Close-Ok ends the connection."""
        if farewell := self._session.dismiss("the server is shutting down"):
            self._send(farewell)
            self.regulate()
        else:
            self._transport.close()

    def cut(self, problem: str) -> None:
        """End the connection now, for a reason that an operator should read."""
        self._house.complaints.make("publisher %s: cut off: %s", self._name, problem)
        self.abort()

    def abort(self) -> None:
        """End the connection now."""
        self._house.roster.forget(self)
        self._transport.abort()

    def _send(self, data: bytes | bytearray) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)
            self._spoke = self._loop.time()


@dataclass(frozen=True, slots=True)
class House:
    """What all peers of a listener share."""

    terms: Terms
    certificates: Certificates | None
    roster: Roster[Peer]
    pump: Pump
    complaints: Complaints
