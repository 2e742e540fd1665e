"""One AMQP channel: what each method means to a listener that only takes messages in.

There is one exchange, publishing and publisher confirms. Everything that needs queues is refused with
540 (NOT_IMPLEMENTED). A message holds `Limits.max_body_bytes`, judged when its header arrives.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from pamqp import base, commands, constants

from shoal_server.intake.embedded.errors import ChannelError, SessionError
from shoal_server.intake.embedded.framing import Frame
from shoal_server.intake.embedded.terms import Terms


class Confirm(NamedTuple):
    """Where to tell that a message was stored, or was not."""

    channel: "Channel"
    tag: int


class Delivery(NamedTuple):
    """One published message; `confirm` is None where the publisher asked for none."""

    body: bytes
    confirm: Confirm | None


@dataclass(slots=True)
class _Message:
    """A message on its way in; `missing` octets of it, None until its header told."""

    missing: int | None = None
    body: bytearray = field(default_factory=bytearray)


class Channel:
    """A channel that the peer opened. What it asks wrongly raises ChannelError or SessionError."""

    def __init__(self, number: int, terms: Terms) -> None:
        self.number = number
        self.closed = False
        """Once we closed it, everything but the peer's answer is discarded (AMQP 0-9-1 §1.5.2.5)."""
        self._terms = terms
        self._published: int | None = None
        """Counted since Confirm.Select."""
        self._message: _Message | None = None

    def answer(self, method: base.Frame) -> base.Frame | None:
        """Do what a method asks; returns the method to answer with, if any."""
        if self._message is not None:
            raise SessionError(505, f"{method.name} amid a message", method)
        match method:
            case commands.Basic.Publish():
                self._require_exchange(method.exchange, method)
                self._message = _Message()
                return None
            case commands.Exchange.Declare():
                self._judge(method)
                return None if method.nowait else commands.Exchange.DeclareOk()
            case commands.Confirm.Select():
                self._published = self._published or 0
                return None if method.nowait else commands.Confirm.SelectOk()
            case commands.Basic.Qos():
                return commands.Basic.QosOk()
            case commands.Channel.Flow():
                return commands.Channel.FlowOk(method.active)
            case commands.Channel.Open():
                raise SessionError(504, f"channel {self.number} is open already", method)
        problem = f"{method.name}: this listener only takes messages in, a broker is needed for more"
        raise SessionError(540, problem, method)

    def content(self, part: Frame) -> Delivery | None:
        """Take a header or body frame; returns the message when it is whole."""
        message = self._message
        if message is None or (message.missing is None) != (part.kind == constants.FRAME_HEADER):
            raise SessionError(505, "content that no Basic.Publish announced, or in the wrong order")
        if message.missing is None:
            message.missing = self._announced_size(part)
        else:
            message.body += part.payload
            message.missing -= len(part.payload)
        if message.missing < 0:
            raise SessionError(501, "a message longer than its header announced")
        return None if message.missing else self._delivery(message)

    def _require_exchange(self, name: str, method: base.Frame) -> None:
        if name != self._terms.exchange:
            raise ChannelError(404, f"no exchange {name!r}, only {self._terms.exchange!r}", method)

    def _judge(self, method: commands.Exchange.Declare) -> None:
        """Only the type must fit: a listener that stores nothing in queues has nothing to make durable."""
        if method.passive:
            self._require_exchange(method.exchange, method)
        elif method.exchange != self._terms.exchange:
            problem = f"exchange {method.exchange!r}, there is none here but {self._terms.exchange!r}"
            raise ChannelError(403, problem, method)
        elif method.exchange_type != "topic":
            problem = f"exchange {method.exchange!r} has type 'topic', not {method.exchange_type!r}"
            raise ChannelError(406, problem, method)

    def _announced_size(self, part: Frame) -> int:
        size, most = part.body_size(), self._terms.limits.max_body_bytes
        if size > most:
            raise ChannelError(311, f"a message of {size} octets, at most {most} are allowed")
        return size

    def _delivery(self, message: _Message) -> Delivery:
        self._message = None
        if self._published is None:
            return Delivery(bytes(message.body), None)
        self._published += 1
        return Delivery(bytes(message.body), Confirm(self, self._published))
