"""What a heartbeat says: pure, from what was found out about the host, its cache and its traffic."""

from dataclasses import dataclass

from shoal_agent.cache import Cache
from shoal_agent.host import Host
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState, Heartbeat, Metrics
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
    """The load over at least `least` seconds, or what there is of them, however often it is asked for.

    Within `fewest` seconds of the beginning of a stretch the one before it counts.
    """

    def __init__(self, least: float, fewest: float = 0.0) -> None:
        self._least = least
        self._fewest = fewest
        self._since: Traffic | None = None
        self._before = 0.0

    def load(self, reading: Traffic | None) -> float:
        """The load since the reading that began the present stretch; a long enough one ends here."""
        since = self._since
        if since is not None and reading is not None and _short(since, reading, self._least):
            return self._before if _short(since, reading, self._fewest) else load(since, reading)
        self._since, self._before = reading, load(since, reading)
        return self._before


def _short(before: Traffic, after: Traffic, least: float) -> bool:
    return before.interface == after.interface and after.at - before.at < least


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator set for every cache of this VM: seconds between heartbeats, the address under which
    the outside reaches it, and what it can send (kB/s); None: what is found.
    """

    interval: float
    external_ip: str | None
    max_load: float | None


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses under which others reach the cache."""

    public_ip: str | None
    private_ip: str | None
    external_ip: str | None
    ipv6: str | None


def addresses(terms: Terms, host: Host, cache: Cache) -> Addresses:
    """Of the host's addresses those at which the cache listens.

    What the operator configured as external address wins: then no other public one is told, which
    servers would prefer. Raises Unavailable while nobody could reach the cache.
    """
    configured = terms.external_ip
    public, private, six = (
        address if address and cache.listens_at(address) else None
        for address in (None if configured else host.public_ip, host.private_ip, host.ipv6)
    )
    external = configured or (None if public or cache.loopback_only else host.external_ip)
    if public or private or six or external:
        return Addresses(public, private, external, six)
    if not (host.public_ip or host.private_ip or host.ipv6 or host.external_ip):
        raise Unavailable("this host has no address yet that a worker could reach")
    raise Unavailable(
        f"the cache listens at {', '.join(sorted(cache.bound))} alone, where no other machine reaches it; "
        "configure external_ip if something forwards to it"
    )


def compose(
    uuid: str,
    terms: Terms,
    host: Host,
    cache: Cache,
    load: float,
    now: float,
    *,
    metrics: Metrics | None = None,
    state: AgentState = AgentState.UP,
) -> Heartbeat:
    """The heartbeat of `now` (seconds since 1970). Raises Unavailable while nobody could reach the cache."""
    told = addresses(terms, host, cache)
    return Heartbeat(
        uuid=uuid,
        hostname=host.hostname,
        port=cache.place.port,
        timestamp=now,
        load=load,
        public_ip=told.public_ip,
        private_ip=told.private_ip,
        external_ip=told.external_ip,
        ipv6=told.ipv6,
        max_load=terms.max_load if terms.max_load is not None else host.max_load,
        cache_type=cache.type,
        upstream=cache.upstream,
        state=state,
        interval=terms.interval,
        agent=f"shoal-agent-{VERSION}",
        metrics=metrics or Metrics(),
    )
