"""The stream of one peer, cut into AMQP 0-9-1 frames (§4.2.3).

The announced size of a frame is judged before its payload is awaited. Method and header frames may
hold 8 KiB, since what they carry (field tables) costs the codec time that grows with the square of their
size; body frames hold what was negotiated. So an unfinished frame costs no more than that.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pamqp import base, commands, constants, frame, header
from pamqp.exceptions import PAMQPException

from shoal_server.intake.embedded.errors import ForeignProtocolError, SessionError, StreamError

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
MAX_METHOD_BYTES = 8192
_HEAD = struct.Struct(">BHI")


class Frame(NamedTuple):
    """One frame, whole; `raw` holds its head and end octet as well."""

    kind: int
    channel: int
    raw: bytes

    @property
    def payload(self) -> bytes:
        """What is between head and end."""
        return self.raw[_HEAD.size : -1]

    def method(self) -> base.Frame:
        """What a method frame asks for; raises SessionError 502."""
        method = self._decoded()
        if not isinstance(method, base.Frame):
            raise SessionError(502, "no method in a method frame")
        return method

    def body_size(self) -> int:
        """Octets of the message that a header frame announces; raises SessionError 502 or 505."""
        content = self._decoded()
        class_id = int.from_bytes(self.payload[:2])
        if not isinstance(content, header.ContentHeader) or class_id != commands.Basic.frame_id:
            raise SessionError(505, "a content header of another class than basic")
        return content.body_size

    def _decoded(self) -> frame.FrameTypes:
        """The exceptions are those that hostile field tables raise in the codec: nested ones
        RecursionError, far dates OverflowError or OSError."""
        try:
            return frame.unmarshal(self.raw)[2]
        except (PAMQPException, ValueError, ArithmeticError, OSError, RecursionError) as error:
            raise SessionError(502, f"a frame that cannot be decoded ({type(error).__name__})") from error


class FrameReader:
    """Holds what came of a frame until the rest comes."""

    def __init__(self) -> None:
        self.body_max = MAX_METHOD_BYTES
        """Octets that a body frame may hold, as far as negotiated yet."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream, cut anywhere."""
        self._buffer += data

    def take_protocol_header(self) -> bool:
        """Whether the header has come; raises ForeignProtocolError once it cannot any more."""
        seen = bytes(self._buffer[: len(PROTOCOL_HEADER)])
        if not PROTOCOL_HEADER.startswith(seen):
            raise ForeignProtocolError(f"no AMQP 0-9-1 client: it began with {seen!r}")
        if len(seen) < len(PROTOCOL_HEADER):
            return False
        del self._buffer[: len(seen)]
        return True

    def frames(self) -> Iterator[Frame]:
        """The frames that are whole; raises StreamError at the first octet that can belong to none."""
        position = 0
        try:
            while found := self._frame_at(position):
                position += len(found.raw)
                yield found
        finally:
            del self._buffer[:position]

    def _frame_at(self, position: int) -> Frame | None:
        if len(self._buffer) - position < _HEAD.size:
            return None
        kind, channel, size = _HEAD.unpack_from(self._buffer, position)
        most = self._most(kind)
        if size > most:
            raise StreamError(501, f"a frame of {size} octets, at most {most} are allowed")
        end = position + _HEAD.size + size
        if len(self._buffer) <= end:
            return None
        if self._buffer[end] != constants.FRAME_END:
            raise StreamError(501, "a frame does not end where it should")
        return Frame(kind, channel, bytes(self._buffer[position : end + 1]))

    def _most(self, kind: int) -> int:
        match kind:
            case constants.FRAME_METHOD | constants.FRAME_HEADER:
                return MAX_METHOD_BYTES
            case constants.FRAME_BODY:
                return self.body_max
            case constants.FRAME_HEARTBEAT:
                return 0
            case _:
                raise StreamError(501, f"unknown frame type {kind}")
