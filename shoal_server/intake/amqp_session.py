"""One publisher's AMQP 0-9-1 connection as seen by the server: bytes in, bytes and messages out.

No socket, clock or thread. The codec is pamqp's; this module decides what each method means to a
listener that only takes messages in: connection, channels, the one exchange, publishing, publisher
confirms. Everything that needs queues is refused with 540 (NOT_IMPLEMENTED).

Bounds: the announced size of a frame is judged before its payload is awaited. Method and header
frames may hold 8 KiB, since what they carry (field tables) costs pamqp time that grows with the square of
their size; body frames hold what was negotiated; a message holds `Limits.max_body_bytes`, judged when
its header arrives. So a peer costs at most one frame plus one message for each of its channels.
"""

import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from pamqp import base, commands, common, constants, frame, header
from pamqp.exceptions import PAMQPException

from shoal_common.errors import ShoalError
from shoal_common.version import VERSION

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
MAX_METHOD_BYTES = 8192
_FRAME_HEAD = struct.Struct(">BHI")
_SERVER_PROPERTIES: Mapping[str, common.FieldValue] = {
    "product": "Shoal",
    "version": VERSION,
    "capabilities": {"publisher_confirms": True, "basic.nack": True, "authentication_failure_close": True},
}
_NAMES = {  # AMQP 0-9-1 §1.2, with the spelling of RabbitMQ's reply texts
    311: "CONTENT_TOO_LARGE",
    320: "CONNECTION_FORCED",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    406: "PRECONDITION_FAILED",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """The user name and password that publishers must give (SASL PLAIN)."""

    username: str = "guest"
    password: str = field(default="guest", repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, and all of them together, may cost the server."""

    max_body_bytes: int = 65536 + 1024
    """A heartbeat is at most 64 KiB; a little more is let through for the decoder to judge by name."""
    frame_max: int = 131072
    """Bytes, the frame's seven octets of head and one of end included; clients may ask for less."""
    channel_max: int = 16
    heartbeat_seconds: int = 60
    """Proposed; the client decides (0: none)."""
    handshake_seconds: float = 10.0
    """From TCP connection to Connection.Open, TLS included; also how long a Close-Ok is awaited."""
    idle_seconds: float = 3600.0
    """Silence after which a peer is cut off; two heartbeats where heartbeats were agreed and are sooner."""
    stall_seconds: float = 30.0
    """How long a peer may leave our answers unread."""
    max_connections: int = 5000
    max_unauthenticated: int = 500
    batch: int = 100
    """Messages handed to the store at once."""
    max_waiting: int = 5000
    max_waiting_bytes: int = 32 * 1024 * 1024
    """Messages not yet tried on the store; beyond either no more is read from the peers."""
    max_kept: int = 20000
    max_kept_bytes: int = 32 * 1024 * 1024
    """Unconfirmed messages that the store could not take; beyond either the oldest is dropped."""
    retry_seconds: tuple[float, float] = (0.1, 2.0)
    """First and longest pause before the store is tried again."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the listener agrees to with every peer; None accepts any credentials, any virtual host."""

    exchange: str = "shoal"
    credentials: Credentials | None = None
    virtual_host: str | None = None
    limits: Limits = Limits()


class Channel:
    """One AMQP channel: the message being received, and how many were published for confirmation."""

    __slots__ = ("body", "closed", "confirming", "missing", "number", "published")

    def __init__(self, number: int) -> None:
        self.number = number
        self.confirming = False
        self.published = 0
        self.closed = False
        """Once we closed it, everything but the peer's Close-Ok is discarded (AMQP 0-9-1 §1.5.2.5)."""
        self.body: bytearray | None = None
        """None between messages."""
        self.missing: int | None = None
        """Octets of the body still to come; None until the header told."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Where to tell that a message was stored, or was not."""

    channel: Channel
    tag: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One published message; `confirm` is None where the publisher asked for none."""

    body: bytes
    confirm: Confirm | None


@dataclass(frozen=True, slots=True)
class Received:
    """What some bytes of a peer led to: bytes to send it, messages, and what an operator should read."""

    reply: bytes
    deliveries: Sequence[Delivery]
    troubles: Sequence[str]


class Stage(Enum):
    """How far a connection has come (AMQP 0-9-1 §2.2.4)."""

    HEADER = auto()
    START = auto()
    TUNE = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSING = auto()
    FINISHED = auto()


class _ProtocolError(ShoalError):
    def __init__(self, code: int, problem: str, method: base.Frame | None = None) -> None:
        super().__init__(f"{_NAMES[code]} - {problem}")
        self.code = code
        self.origin = (0, 0) if method is None else divmod(method.index, 1 << 16)

    @property
    def reply_text(self) -> str:
        return str(self).encode()[:255].decode(errors="ignore")


class _ConnectionError(_ProtocolError):
    """The peer is told, and its connection ends."""


class _StreamError(_ConnectionError):
    """As above, and where its next frame starts cannot be known."""


class _ChannelError(_ProtocolError):
    """The peer is told, and one of its channels ends."""


class Session:
    """The protocol's state for one peer. `receive` never raises, whatever the peer sends."""

    def __init__(self, terms: Terms) -> None:
        self.stage = Stage.HEADER
        self.heartbeat = 0
        """Seconds, as the client decided; 0 is none."""
        self._terms = terms
        self._frame_max = terms.limits.frame_max
        self._channel_max = terms.limits.channel_max
        self._channels: dict[int, Channel] = {}
        self._buffer = bytearray()
        self._position = 0
        self._reply: list[bytes] = []
        self._deliveries: list[Delivery] = []
        self._troubles: list[str] = []

    def receive(self, data: bytes) -> Received:
        """Take the next bytes of the stream, cut anywhere."""
        if self.stage is Stage.FINISHED:
            return Received(b"", (), ())
        self._buffer += data
        try:
            if self.stage is not Stage.HEADER or self._protocol_header():
                self._frames()
        except _StreamError as fault:
            self._fail_connection(fault)
            self.stage = Stage.FINISHED
        del self._buffer[: self._position]
        self._position = 0
        received = Received(b"".join(self._reply), self._deliveries, self._troubles)
        self._reply, self._deliveries, self._troubles = [], [], []
        return received

    def settle(self, confirms: Iterable[Confirm], *, stored: bool) -> bytes:
        """Basic.Ack (or Basic.Nack) for messages, one a channel: `multiple` where it has several.

        To be called in the order of publishing, leaving none out: `multiple` speaks for all before.
        """
        if self.stage is not Stage.OPEN:
            return b""
        last: dict[Channel, int] = {}
        several: set[Channel] = set()
        for confirm in confirms:
            if confirm.channel in last:
                several.add(confirm.channel)
            last[confirm.channel] = confirm.tag
        method = commands.Basic.Ack if stored else commands.Basic.Nack
        return b"".join(
            frame.marshal(method(tag, multiple=channel in several), channel.number)
            for channel, tag in last.items()
            if not channel.closed
        )

    def dismiss(self, reason: str) -> bytes:
        """Connection.Close 320: the server is going. Nothing that still arrives will count."""
        if self.stage in (Stage.HEADER, Stage.CLOSING, Stage.FINISHED):
            return b""
        self.stage = Stage.CLOSING
        fault = _ConnectionError(320, reason)
        return frame.marshal(commands.Connection.Close(320, fault.reply_text, 0, 0), 0)

    # ---- frames ----

    def _protocol_header(self) -> bool:
        """Whether the peer speaks AMQP 0-9-1; anything else (HTTP, TLS, AMQP 1.0) is told what would be."""
        seen = bytes(self._buffer[: len(PROTOCOL_HEADER)])
        if not PROTOCOL_HEADER.startswith(seen):
            self._reply.append(PROTOCOL_HEADER)
            self._troubles.append(f"no AMQP 0-9-1 client: it began with {seen!r}")
            self.stage = Stage.FINISHED
            return False
        if len(seen) < len(PROTOCOL_HEADER):
            return False
        self._position = len(PROTOCOL_HEADER)
        self.stage = Stage.START
        self._send(commands.Connection.Start(server_properties=dict(_SERVER_PROPERTIES), mechanisms="PLAIN"))
        return True

    def _frames(self) -> None:
        while self.stage is not Stage.FINISHED and (parts := self._next_frame()):
            try:
                self._take(*parts)
            except _ConnectionError as fault:
                self._fail_connection(fault)

    def _next_frame(self) -> tuple[int, int, bytes] | None:
        if len(self._buffer) - self._position < _FRAME_HEAD.size:
            return None
        kind, number, size = _FRAME_HEAD.unpack_from(self._buffer, self._position)
        self._judge_head(kind, size)
        end = self._position + _FRAME_HEAD.size + size
        if len(self._buffer) <= end:
            return None
        if self._buffer[end] != constants.FRAME_END:
            raise _StreamError(501, "a frame does not end where it should")
        raw = bytes(self._buffer[self._position : end + 1])
        self._position = end + 1
        return kind, number, raw

    def _judge_head(self, kind: int, size: int) -> None:
        match kind:
            case constants.FRAME_BODY if self.stage in (Stage.OPEN, Stage.CLOSING):
                most = self._frame_max - 8
            case constants.FRAME_METHOD | constants.FRAME_HEADER | constants.FRAME_BODY:
                most = min(MAX_METHOD_BYTES, self._frame_max - 8)
            case constants.FRAME_HEARTBEAT:
                most = 0
            case _:
                raise _StreamError(501, f"unknown frame type {kind}")
        if size > most:
            raise _StreamError(501, f"a frame of {size} octets, at most {most} are allowed")

    def _take(self, kind: int, number: int, raw: bytes) -> None:
        if kind == constants.FRAME_HEARTBEAT or (self.stage is Stage.CLOSING and number):
            return
        if kind != constants.FRAME_METHOD:
            self._content(kind, number, raw)
            return
        method = _decoded(raw)
        if not isinstance(method, base.Frame):
            raise _ConnectionError(502, "no method in a method frame")
        if number:
            self._channel_method(number, method)
        else:
            self._connection_method(method)

    # ---- connection ----

    def _connection_method(self, method: base.Frame) -> None:
        match method:
            case commands.Connection.Close():
                self._send(commands.Connection.CloseOk())
                self.stage = Stage.FINISHED
            case commands.Connection.CloseOk():
                self.stage = Stage.FINISHED
            case _ if self.stage is Stage.CLOSING:
                return
            case commands.Connection.StartOk() if self.stage is Stage.START:
                self._authenticate(method)
            case commands.Connection.TuneOk() if self.stage is Stage.TUNE:
                self._tune(method)
            case commands.Connection.Open() if self.stage is Stage.OPENING:
                self._open(method)
            case _:
                raise _ConnectionError(503, f"{method.name} is out of place", method)

    def _authenticate(self, method: commands.Connection.StartOk) -> None:
        if method.mechanism != "PLAIN":
            raise _ConnectionError(503, f"mechanism {method.mechanism!r}, only PLAIN is known", method)
        username = _plain_login(method.response, self._terms.credentials)
        if username is not None:
            raise _ConnectionError(403, f"login refused for user {username!r}", method)
        limits = self._terms.limits
        self.stage = Stage.TUNE
        self._send(commands.Connection.Tune(limits.channel_max, limits.frame_max, limits.heartbeat_seconds))

    def _tune(self, method: commands.Connection.TuneOk) -> None:
        if 0 < method.frame_max < constants.FRAME_MIN_SIZE:
            raise _ConnectionError(530, f"frame_max {method.frame_max} is below 4096", method)
        self._frame_max = min(method.frame_max or self._frame_max, self._frame_max)
        self._channel_max = min(method.channel_max or self._channel_max, self._channel_max)
        self.heartbeat = method.heartbeat
        self.stage = Stage.OPENING

    def _open(self, method: commands.Connection.Open) -> None:
        if self._terms.virtual_host not in (None, method.virtual_host):
            raise _ConnectionError(530, f"vhost {method.virtual_host!r} not found", method)
        self.stage = Stage.OPEN
        self._send(commands.Connection.OpenOk())

    def _fail_connection(self, fault: _ConnectionError) -> None:
        if self.stage in (Stage.CLOSING, Stage.FINISHED):
            return
        self.stage = Stage.CLOSING
        self._channels.clear()
        self._troubles.append(f"connection closed: {fault}")
        self._send(commands.Connection.Close(fault.code, fault.reply_text, *fault.origin))

    # ---- channels ----

    def _channel_method(self, number: int, method: base.Frame) -> None:
        channel = self._channels.get(number)
        if channel is None:
            self._open_channel(number, method)
        elif channel.closed:
            self._finish_channel(channel, method)
        elif channel.body is not None:
            raise _ConnectionError(505, f"{method.name} amid a message", method)
        else:
            try:
                self._serve(channel, method)
            except _ChannelError as fault:
                self._fail_channel(channel, fault)

    def _open_channel(self, number: int, method: base.Frame) -> None:
        if isinstance(method, commands.Channel.CloseOk):
            return
        if self.stage is not Stage.OPEN or not isinstance(method, commands.Channel.Open):
            raise _ConnectionError(504, f"{method.name} on channel {number}, which is not open", method)
        if number > self._channel_max:
            raise _ConnectionError(530, f"channel {number}, at most {self._channel_max} were agreed", method)
        self._channels[number] = Channel(number)
        self._send(commands.Channel.OpenOk(), number)

    def _finish_channel(self, channel: Channel, method: base.Frame) -> None:
        if isinstance(method, commands.Channel.Close):
            self._send(commands.Channel.CloseOk(), channel.number)
        if isinstance(method, commands.Channel.Close | commands.Channel.CloseOk):
            self._channels.pop(channel.number)

    def _fail_channel(self, channel: Channel, fault: _ChannelError) -> None:
        channel.closed = True
        channel.body = None
        self._troubles.append(f"channel closed: {fault}")
        self._send(commands.Channel.Close(fault.code, fault.reply_text, *fault.origin), channel.number)

    def _serve(self, channel: Channel, method: base.Frame) -> None:
        match method:
            case commands.Basic.Publish():
                self._require_exchange(method.exchange, method)
                channel.body, channel.missing = bytearray(), None
            case commands.Exchange.Declare():
                self._declare(channel, method)
            case commands.Confirm.Select():
                channel.confirming = True
                if not method.nowait:
                    self._send(commands.Confirm.SelectOk(), channel.number)
            case commands.Basic.Qos():
                self._send(commands.Basic.QosOk(), channel.number)
            case commands.Channel.Flow():
                self._send(commands.Channel.FlowOk(method.active), channel.number)
            case commands.Channel.Close():
                channel.closed = True
                self._finish_channel(channel, method)
            case commands.Channel.Open():
                raise _ConnectionError(504, f"channel {channel.number} is open already", method)
            case _:
                problem = f"{method.name}: this listener only takes messages in, a broker is needed for more"
                raise _ConnectionError(540, problem, method)

    def _require_exchange(self, name: str, method: base.Frame) -> None:
        if name != self._terms.exchange:
            raise _ChannelError(404, f"no exchange {name!r}, only {self._terms.exchange!r}", method)

    def _declare(self, channel: Channel, method: commands.Exchange.Declare) -> None:
        """Only the type must fit: a listener that stores nothing in queues has nothing to make durable."""
        if method.passive:
            self._require_exchange(method.exchange, method)
        elif method.exchange != self._terms.exchange:
            problem = f"exchange {method.exchange!r}, there is none here but {self._terms.exchange!r}"
            raise _ChannelError(403, problem, method)
        elif method.exchange_type != "topic":
            problem = f"exchange {method.exchange!r} has type 'topic', not {method.exchange_type!r}"
            raise _ChannelError(406, problem, method)
        if not method.nowait:
            self._send(commands.Exchange.DeclareOk(), channel.number)

    # ---- messages ----

    def _content(self, kind: int, number: int, raw: bytes) -> None:
        channel = self._channels.get(number)
        if channel is None:
            raise _ConnectionError(504, f"content on channel {number}, which is not open")
        if channel.closed:
            return
        if channel.body is None or (channel.missing is None) != (kind == constants.FRAME_HEADER):
            raise _ConnectionError(505, "content that no Basic.Publish announced, or in the wrong order")
        if kind == constants.FRAME_HEADER:
            try:
                channel.missing = self._announced_size(raw)
            except _ChannelError as fault:
                self._fail_channel(channel, fault)
                return
        else:
            self._append(channel, raw[_FRAME_HEAD.size : -1])
        if channel.missing == 0:
            self._deliver(channel, bytes(channel.body))

    def _announced_size(self, raw: bytes) -> int:
        content = _decoded(raw)
        class_id = int.from_bytes(raw[_FRAME_HEAD.size : _FRAME_HEAD.size + 2])
        if not isinstance(content, header.ContentHeader) or class_id != commands.Basic.frame_id:
            raise _ConnectionError(505, "a content header of another class than basic")
        most = self._terms.limits.max_body_bytes
        if content.body_size > most:
            raise _ChannelError(311, f"a message of {content.body_size} octets, at most {most} are allowed")
        return content.body_size

    def _append(self, channel: Channel, piece: bytes) -> None:
        if channel.body is None or channel.missing is None or len(piece) > channel.missing:
            raise _ConnectionError(501, "a message longer than its header announced")
        channel.body += piece
        channel.missing -= len(piece)

    def _deliver(self, channel: Channel, body: bytes) -> None:
        channel.body = channel.missing = None
        confirm = None
        if channel.confirming:
            channel.published += 1
            confirm = Confirm(channel, channel.published)
        self._deliveries.append(Delivery(body, confirm))

    def _send(self, method: base.Frame, number: int = 0) -> None:
        self._reply.append(frame.marshal(method, number))


def _decoded(raw: bytes) -> frame.FrameTypes:
    """What pamqp makes of one frame; the exceptions are those that hostile field tables raise in it
    (nested ones RecursionError, far dates OverflowError or OSError)."""
    try:
        return frame.unmarshal(raw)[2]
    except (PAMQPException, ValueError, ArithmeticError, OSError, RecursionError) as error:
        raise _ConnectionError(502, f"a frame that cannot be decoded ({type(error).__name__})") from error


def _plain_login(response: str | bytes, wanted: Credentials | None) -> str | None:
    """The user name to refuse, or None to let in (RFC 4616: authorisation id, NUL, user, NUL, password)."""
    parts = (response if isinstance(response, bytes) else response.encode()).split(b"\0")
    if len(parts) != 3:
        return ""
    if wanted is None:
        return None
    good_user = hmac.compare_digest(parts[1], wanted.username.encode())
    good_password = hmac.compare_digest(parts[2], wanted.password.encode())
    return None if good_user and good_password else parts[1][:64].decode(errors="replace")
