"""What a heartbeat says: pure, from what was found out about the host, its cache and its traffic."""

from dataclasses import dataclass

from shoal_agent.cache import Cache
from shoal_agent.host import Host
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState, Heartbeat
from shoal_common.version import VERSION


@dataclass(frozen=True, slots=True)
class Traffic:
    """An interface's counter of bytes sent, and when it was read (seconds of a clock that never jumps)."""

    interface: str
    sent: int
    at: float


def load(before: Traffic | None, after: Traffic | None) -> float:
    """What the interface sent between two readings, in kB/s (1 kB = 1024 bytes).

    0 while there are not two readings of one interface. A counter that fell began again at zero.
    """
    if before is None or after is None or before.interface != after.interface or after.at <= before.at:
        return 0.0
    sent = after.sent - before.sent if after.sent >= before.sent else after.sent
    return round(sent / 1024 / (after.at - before.at), 3)


class Meter:
    """The load over at least `least` seconds, however often it is asked for."""

    def __init__(self, least: float) -> None:
        self._least = least
        self._since: Traffic | None = None

    def load(self, reading: Traffic | None) -> float:
        """The load since the reading that began the present stretch; a long enough one ends here."""
        since = self._since
        if since is None or reading is None or not _short(since, reading, self._least):
            self._since = reading
        return load(since, reading)

    def forget(self) -> None:
        """Begin anew: what was sent meanwhile is not of interest."""
        self._since = None


def _short(before: Traffic, after: Traffic, least: float) -> bool:
    return before.interface == after.interface and after.at - before.at < least


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same over the life of this agent, or was set by its operator."""

    uuid: str
    interval: float
    external_ip: str | None
    max_load: float | None


def compose(identity: Identity, host: Host, cache: Cache, load: float, now: float) -> Heartbeat:
    """The heartbeat of `now` (seconds since 1970).

    Raises Unavailable while the host has no address under which anybody could reach the squid.
    """
    if not (host.public_ip or host.private_ip or host.ipv6 or identity.external_ip):
        raise Unavailable("this host has no address yet that a worker could reach")
    return Heartbeat(
        uuid=identity.uuid,
        hostname=host.hostname,
        port=cache.place.port,
        timestamp=now,
        load=load,
        public_ip=host.public_ip,
        private_ip=host.private_ip,
        external_ip=identity.external_ip,
        ipv6=host.ipv6,
        max_load=identity.max_load if identity.max_load is not None else host.max_load,
        cache_type=cache.type,
        upstream=cache.upstream,
        state=AgentState.UP,
        interval=identity.interval,
        agent=f"shoal-agent-{VERSION}",
    )
