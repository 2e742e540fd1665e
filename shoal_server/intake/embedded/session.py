"""One publisher's AMQP 0-9-1 connection as seen by the server: bytes in, bytes and messages out.

No socket, clock or thread. The codec is pamqp's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from pamqp import base, commands, common, constants, frame

from shoal_common.version import VERSION
from shoal_server.intake.embedded.channel import Channel, Confirm, Delivery
from shoal_server.intake.embedded.errors import (
    ChannelError,
    ForeignProtocolError,
    SessionError,
    StreamError,
)
from shoal_server.intake.embedded.framing import PROTOCOL_HEADER, Frame, FrameReader
from shoal_server.intake.embedded.terms import Terms, plain_login

_FRAME_OVERHEAD = 8
_SERVER_PROPERTIES: Mapping[str, common.FieldValue] = {
    "product": "Shoal",
    "version": VERSION,
    "capabilities": {"publisher_confirms": True, "basic.nack": True, "authentication_failure_close": True},
}


@dataclass(slots=True)
class Received:
    """What some bytes of a peer led to: bytes to send it, messages, and what an operator should read."""

    reply: bytearray = field(default_factory=bytearray)
    deliveries: list[Delivery] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


class Stage(Enum):
    """How far a connection has come (AMQP 0-9-1 §2.2.4)."""

    HEADER = auto()
    START = auto()
    TUNE = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSING = auto()
    FINISHED = auto()


class Session:
    """The protocol's state for one peer. `receive` never raises, whatever the peer sends."""

    def __init__(self, terms: Terms) -> None:
        self.stage = Stage.HEADER
        self.heartbeat = 0
        """Seconds, as the client decided; 0 is none."""
        self._terms = terms
        self._channel_max = terms.limits.channel_max
        self._channels: dict[int, Channel] = {}
        self._reader = FrameReader()
        self._received = Received()

    def receive(self, data: bytes) -> Received:
        """Take the next bytes of the stream, cut anywhere."""
        received = self._received = Received()
        if self.stage is Stage.FINISHED:
            return received
        self._reader.feed(data)
        try:
            self._advance()
        except ForeignProtocolError as error:
            received.reply += PROTOCOL_HEADER
            received.troubles.append(str(error))
            self.stage = Stage.FINISHED
        except StreamError as error:
            self._fail_connection(error)
            self.stage = Stage.FINISHED
        return received

    def settle(self, confirms: Iterable[Confirm], *, stored: bool) -> bytes:
        """Basic.Ack (or Basic.Nack) for messages, one a channel.

        To be called in the order of publishing, leaving none out: `multiple` speaks for all before.
        """
        if self.stage is not Stage.OPEN:
            return b""
        method = commands.Basic.Ack if stored else commands.Basic.Nack
        last = {confirm.channel: confirm.tag for confirm in confirms}
        return b"".join(
            frame.marshal(method(tag, multiple=True), channel.number)
            for channel, tag in last.items()
            if not channel.closed
        )

    def dismiss(self, reason: str) -> bytes:
        """Connection.Close 320: the server is going. Nothing that still arrives will count."""
        if self.stage in (Stage.HEADER, Stage.CLOSING, Stage.FINISHED):
            return b""
        self.stage = Stage.CLOSING
        error = SessionError(320, reason)
        return frame.marshal(commands.Connection.Close(*error.close_arguments), 0)

    # ---- frames ----

    def _advance(self) -> None:
        if self.stage is Stage.HEADER:
            if not self._reader.take_protocol_header():
                return
            self.stage = Stage.START
            properties = dict(_SERVER_PROPERTIES)
            self._send(commands.Connection.Start(server_properties=properties, mechanisms="PLAIN"))
        for part in self._reader.frames():
            self._take(part)
            if self.stage is Stage.FINISHED:
                return

    def _take(self, part: Frame) -> None:
        if part.kind == constants.FRAME_HEARTBEAT or (self.stage is Stage.CLOSING and part.channel):
            return
        try:
            if part.kind != constants.FRAME_METHOD:
                self._content(part)
            elif part.channel:
                self._channel_method(part.channel, part.method())
            else:
                self._connection_method(part.method())
        except SessionError as error:
            self._fail_connection(error)
        except ChannelError as error:
            self._fail_channel(part.channel, error)

    def _fail_connection(self, error: SessionError) -> None:
        if self.stage is not Stage.CLOSING:
            self.stage = Stage.CLOSING
            self._received.troubles.append(f"connection closed: {error}")
            self._send(commands.Connection.Close(*error.close_arguments))

    def _fail_channel(self, number: int, error: ChannelError) -> None:
        self._channels[number].closed = True
        self._received.troubles.append(f"channel closed: {error}")
        self._send(commands.Channel.Close(*error.close_arguments), number)

    def _send(self, method: base.Frame, number: int = 0) -> None:
        self._received.reply += frame.marshal(method, number)

    # ---- connection ----

    def _connection_method(self, method: base.Frame) -> None:
        match method:
            case commands.Connection.Close():
                self._send(commands.Connection.CloseOk())
                self.stage = Stage.FINISHED
            case commands.Connection.CloseOk():
                self.stage = Stage.FINISHED
            case commands.Connection.StartOk() if self.stage is Stage.START:
                self._authenticate(method)
            case commands.Connection.TuneOk() if self.stage is Stage.TUNE:
                self._tune(method)
            case commands.Connection.Open() if self.stage is Stage.OPENING:
                self._open(method)
            case _:
                raise SessionError(503, f"{method.name} is out of place", method)

    def _authenticate(self, method: commands.Connection.StartOk) -> None:
        if method.mechanism != "PLAIN":
            raise SessionError(503, f"mechanism {method.mechanism!r}, only PLAIN is known", method)
        login, wanted = plain_login(method.response), self._terms.credentials
        if login is None or (wanted and not wanted.match(*login)):
            shown = login[0][:64].decode(errors="replace") if login else ""
            raise SessionError(403, f"login refused for user {shown!r}", method)
        limits = self._terms.limits
        self.stage = Stage.TUNE
        self._send(commands.Connection.Tune(limits.channel_max, limits.frame_max, limits.heartbeat_seconds))

    def _tune(self, method: commands.Connection.TuneOk) -> None:
        if 0 < method.frame_max < constants.FRAME_MIN_SIZE:
            raise SessionError(530, f"frame_max {method.frame_max} is below 4096", method)
        limits = self._terms.limits
        self._reader.body_max = min(method.frame_max or limits.frame_max, limits.frame_max) - _FRAME_OVERHEAD
        self._channel_max = min(method.channel_max or limits.channel_max, limits.channel_max)
        self.heartbeat = method.heartbeat
        self.stage = Stage.OPENING

    def _open(self, method: commands.Connection.Open) -> None:
        if self._terms.virtual_host not in (None, method.virtual_host):
            raise SessionError(530, f"vhost {method.virtual_host!r} not found", method)
        self.stage = Stage.OPEN
        self._send(commands.Connection.OpenOk())

    # ---- channels ----

    def _channel_method(self, number: int, method: base.Frame) -> None:
        channel = self._channels.get(number)
        if channel is None:
            self._open_channel(number, method)
        elif isinstance(method, commands.Channel.Close):
            channel.closed = True
            del self._channels[number]
            self._send(commands.Channel.CloseOk(), number)
        elif not channel.closed:
            if (answer := channel.answer(method)) is not None:
                self._send(answer, number)
        elif isinstance(method, commands.Channel.CloseOk):
            del self._channels[number]

    def _open_channel(self, number: int, method: base.Frame) -> None:
        if isinstance(method, commands.Channel.CloseOk):  # ours and the peer's Close have crossed
            return
        if self.stage is not Stage.OPEN or not isinstance(method, commands.Channel.Open):
            raise SessionError(504, f"{method.name} on channel {number}, which is not open", method)
        if number > self._channel_max:
            raise SessionError(530, f"channel {number}, at most {self._channel_max} were agreed", method)
        self._channels[number] = Channel(number, self._terms)
        self._send(commands.Channel.OpenOk(), number)

    def _content(self, part: Frame) -> None:
        channel = self._channels.get(part.channel)
        if channel is None:
            raise SessionError(504, f"content on channel {part.channel}, which is not open")
        if not channel.closed and (delivery := channel.content(part)):
            self._received.deliveries.append(delivery)
