"""What the listener agrees to with every peer, and what the peers may cost it."""

import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """The user name and password that publishers must give (SASL PLAIN)."""

    username: str = "guest"
    password: str = field(default="guest", repr=False)

    def match(self, username: bytes, password: bytes) -> bool:
        """Whether these are the ones, in a time that does not tell how nearly."""
        good_username = hmac.compare_digest(username, self.username.encode())
        good_password = hmac.compare_digest(password, self.password.encode())
        return good_username and good_password


def plain_login(response: str | bytes) -> tuple[bytes, bytes] | None:
    """User name and password out of a SASL PLAIN response (RFC 4616); None if it is none."""
    parts = (response if isinstance(response, bytes) else response.encode()).split(b"\0")
    return (parts[1], parts[2]) if len(parts) == 3 else None


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
    max_waiting_bytes: int = 16 * 1024 * 1024
    """Messages not yet stored, each with 1 KiB for its upkeep; beyond that no more is read from the peers."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the listener agrees to with every peer; None accepts any credentials, any virtual host."""

    exchange: str = "shoal"
    credentials: Credentials | None = None
    virtual_host: str | None = None
    limits: Limits = Limits()
