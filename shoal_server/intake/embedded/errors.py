"""What a peer can do wrong, and how it is told (AMQP 0-9-1 §1.2)."""

from pamqp import base

from shoal_common.errors import ShoalError

_NAMES = {  # with the spelling of RabbitMQ's reply texts
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


class ForeignProtocolError(ShoalError):
    """The peer speaks something else: HTTP, TLS, another AMQP."""


class ProtocolError(ShoalError):
    """A reply code and text, and the method that caused it, if one did."""

    def __init__(self, code: int, problem: str, method: base.Frame | None = None) -> None:
        super().__init__(f"{_NAMES[code]} - {problem}")
        self._code = code
        self._index = 0 if method is None else method.index

    @property
    def close_arguments(self) -> tuple[int, str, int, int]:
        """For Connection.Close and Channel.Close; the text is a short string, at most 255 octets."""
        text = str(self).encode()[:255].decode(errors="ignore")
        return self._code, text, *divmod(self._index, 1 << 16)


class SessionError(ProtocolError):
    """The peer is told, and its connection ends."""


class StreamError(SessionError):
    """As above, and where its next frame starts cannot be known."""


class ChannelError(ProtocolError):
    """The peer is told, and one of its channels ends."""
