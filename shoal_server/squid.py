"""What the server knows about one squid, and nothing of any one request."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Protocol

from shoal_common.heartbeat import AgentState, Heartbeat, Metrics
from shoal_common.hosts import HostPort, is_private_network

DEFAULT_MAX_LOAD = 122_000.0
"""kB/s: a 1 Gb/s interface, what deployed agents and servers assume when a squid does not say."""


class Liveness(StrEnum):
    """How recently a squid was heard."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class LivenessRules:
    """After how many seconds of silence a squid is suspect, and dead."""

    suspect_after: float = 90.0
    dead_after: float = 175.0


class Reach(StrEnum):
    """Who can use a squid, as far as this server could find out."""

    UNVERIFIED = "unverified"
    GLOBAL = "global"
    LOCAL = "local"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of the checks so far.

    `checked` is when the last check ended, `due` when the next one may start (seconds since 1970);
    `failures` counts checks in a row that went against the squid; `lacks` are the services (`cvmfs`,
    `frontier`) that it did not deliver in a check in which it delivered another.
    """

    reach: Reach = Reach.UNVERIFIED
    reason: str = "not checked yet"
    checked: float | None = None
    due: float = 0.0
    failures: int = 0
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is, in degrees.

    From the operator's location table alone: `site`, its name for the place, and `tier`, of which the
    lower is taken first among squids that are equal otherwise.
    """

    latitude: float
    longitude: float
    site: str | None = None
    city: str | None = None
    country_code: str | None = None
    country_name: str | None = None
    continent: str | None = None
    tier: int = 0

    def geo_data(self) -> Mapping[str, str | float | None]:
        """The keys of the legacy `geo_data` that we know."""
        return {
            "city": self.city,
            "latitude": self.latitude,
            "longitude": self.longitude,
            "country_code": self.country_code,
            "country_name": self.country_name,
            "continent": self.continent,
        }


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose network an address is in: autonomous system number, provider's name, registered domain.

    `region` is a provider's region (`aws us-east-1`), `networks` are those that the operator declared
    (`LHCONE`), and `metered` says that what leaves it there costs money.
    """

    asn: int | None = None
    organisation: str | None = None
    domain: str | None = None
    region: str | None = None
    networks: frozenset[str] = frozenset()
    metered: bool = False

    def completed(self, other: "Owner") -> "Owner":
        """With what `other` knows and this does not."""
        return Owner(
            self.asn or other.asn,
            self.organisation or other.organisation,
            self.domain or other.domain,
            self.region or other.region,
            self.networks | other.networks,
            self.metered or other.metered,
        )

    def same_as(self, other: "Owner") -> bool:
        """Whether both are surely one: unknown never equals unknown."""
        return bool(
            (self.asn and self.asn == other.asn)
            or (self.organisation and self.organisation == other.organisation)
            or (self.domain and self.domain == other.domain)
        )

    def same_region(self, other: "Owner") -> bool:
        """Whether both are surely in one region of one provider."""
        return self.region is not None and self.region == other.region

    def shares_network(self, other: "Owner") -> bool:
        """Whether both belong to one of the networks that the operator declared."""
        return not self.networks.isdisjoint(other.networks)


UNKNOWN_OWNER = Owner()


def metered(requester: Owner, squid: Owner) -> bool:
    """Whether what the squid sends to the requester costs money.

    Providers charge for what leaves a network, not for what comes in, and not within a region; members of
    a declared network reach each other free of charge.
    """
    return squid.metered and not (squid.same_region(requester) or squid.shares_network(requester))


class Times(NamedTuple):
    """When a squid was last heard, last checked (0: never), and may be checked next (seconds since 1970)."""

    seen: float
    checked: float
    due: float


class Said(Protocol):
    """What is needed of a squid's last heartbeat to judge its next one."""

    @property
    def uuid(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def timestamp(self) -> float: ...
    @property
    def state(self) -> AgentState: ...
    @property
    def max_load(self) -> float | None: ...


class Past(Protocol):
    """What is needed of a known squid to hear it again: a part of `Squid`, which is one."""

    @property
    def beat(self) -> Said: ...
    @property
    def created(self) -> float: ...
    @property
    def seen(self) -> float: ...
    @property
    def load(self) -> float: ...
    @property
    def pressure(self) -> float: ...
    @property
    def takes(self) -> float: ...
    @property
    def used(self) -> float: ...
    @property
    def share(self) -> float: ...
    @property
    def trend(self) -> float: ...
    @property
    def other_seen(self) -> float: ...
    @property
    def drains_said(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Squid:
    """One squid: what it last said, and what the server added.

    `created` and `seen` are the server's clock (seconds since 1970) at its first and last heartbeat;
    `load` is its load (kB/s) and `pressure` that of its other resources (0..1), both smoothed over minutes;
    `takes` tells how many of those who ask it has room for (`crowding`), `used` is its mean utilisation when
    that was last measured, `share` its part among its equals, as a multiple of what its capacity says, and
    `trend` how that changed last (`balance`); `drained` is the operator's mark.
    `other_seen` is when another agent was heard there than the one that was heard last, and `drains_said`
    when any said that it drains (0: never).
    """

    beat: Heartbeat
    created: float
    seen: float
    load: float
    verification: Verification = Verification()
    drained: bool = False
    pressure: float = 0.0
    takes: float = 1.0
    used: float = 0.0
    share: float = 1.0
    trend: float = 0.0
    other_seen: float = 0.0
    drains_said: float = 0.0

    @property
    def id(self) -> str:
        return squid_id(self.beat)

    @property
    def times(self) -> Times:
        check = self.verification
        return Times(self.seen, check.checked or 0.0, check.due)

    @property
    def public_address(self) -> str | None:
        """The IPv4 address at which the outside finds it."""
        return public_address(self.beat)

    @property
    def address(self) -> str:
        """The address at which this server can best try it."""
        return self.public_address or self.beat.ipv6 or self.beat.private_ip or self.beat.hostname

    @property
    def private_only(self) -> bool:
        """Whether nobody outside its own network can find it."""
        return self.public_address is None and self.beat.ipv6 is None

    @property
    def max_load(self) -> float:
        """What its interface can send (kB/s)."""
        return _capacity(self.beat)

    @property
    def utilisation(self) -> float:
        """Of its scarcest resource, smoothed; 1 is full, more is possible where max_load is understated."""
        return utilisation(self.beat, self.load, self.pressure)

    @property
    def hit_ratio(self) -> float | None:
        """Hits over requests in the last interval (0..1); None if the agent does not say, or nobody asked."""
        metrics = self.beat.metrics
        if not metrics.requests_per_s or metrics.hits_per_s is None:
            return None
        return min(1.0, max(0.0, metrics.hits_per_s / metrics.requests_per_s))

    @property
    def draining(self) -> bool:
        """Whether it is for those alone who use it already: so says the operator or its agent."""
        return self.drained or self.beat.state is AgentState.DRAINING

    @property
    def endpoints(self) -> frozenset[str]:
        """Every `address:port` under which somebody may know it."""
        addresses = (self.beat.public_ip, self.beat.external_ip, self.beat.private_ip, self.beat.ipv6)
        return frozenset(str(HostPort(address, self.beat.port)) for address in addresses if address)

    @property
    def clock_skew(self) -> float:
        """How far its clock is behind ours (s), the message's way included; never a reason to refuse it."""
        return self.seen - self.beat.timestamp

    def with_verification(self, verification: Verification) -> "Squid":
        return replace(self, verification=verification)

    def liveness(self, now: float, rules: LivenessRules) -> Liveness:
        """Whether it is still heard, by the server's clock alone."""
        silence = now - self.seen
        if silence > rules.dead_after:
            return Liveness.DEAD
        return Liveness.SUSPECT if silence > rules.suspect_after else Liveness.ALIVE


def _capacity(beat: Heartbeat) -> float:
    return beat.max_load or DEFAULT_MAX_LOAD


def utilisation(beat: Heartbeat, load: float, strain: float) -> float:
    """Of a squid's scarcest resource: its interface, under `load` (kB/s), or that of the `strain` (0..1)."""
    return max(load / _capacity(beat), strain)


SLOW_SERVICE_MS = 1000.0


def pressure(metrics: Metrics) -> float:
    """How busy a cache is (0..1) beside its network interface, as far as it says.

    The scarcest counts: file descriptors, processor, and the time to serve a request, where t ms count as
    t / (t + 1000): waiting has many causes, so it alone saturates nobody.
    """
    shares = [0.0]
    if metrics.fds_used is not None and metrics.fds_max:
        shares.append(metrics.fds_used / metrics.fds_max)
    if metrics.cpu_share is not None and metrics.cpu_cores:
        shares.append(metrics.cpu_share / metrics.cpu_cores)
    if metrics.median_service_ms is not None:
        shares.append(metrics.median_service_ms / (metrics.median_service_ms + SLOW_SERVICE_MS))
    return min(1.0, max(shares))


@dataclass(frozen=True, slots=True)
class Listed:
    """A squid, where it is, and whose network it is in."""

    squid: Squid
    place: Place | None
    owner: Owner = UNKNOWN_OWNER


def squid_id(beat: Heartbeat) -> str:
    """A squid is the endpoint it advertises: restarts, new uuids and new names do not make another.

    Behind a NAT several squids share one external address, so there the private address belongs to
    the identity. An address that means something inside one site alone is had by others on other sites, so
    where there is no other the name belongs to the identity.
    """
    inside = beat.private_ip or beat.ipv6
    if beat.public_ip:
        return f"{beat.public_ip}:{beat.port}"
    if beat.external_ip:
        return f"{beat.external_ip}:{beat.port}" + (f"/{inside}" if inside else "")
    endpoint = f"[{inside}]:{beat.port}" if inside and ":" in inside else f"{inside}:{beat.port}"
    return f"{endpoint}/{beat.hostname}" if inside and is_site_local(inside) else endpoint


def public_address(beat: Heartbeat) -> str | None:
    """The IPv4 address at which the outside finds a squid."""
    return beat.public_ip or beat.external_ip


_UNIQUE_LOCAL = ipaddress.IPv6Network("fc00::/7")


def is_site_local(address: str) -> bool:
    """Whether an address means something inside one site alone (RFC 1918, 4193, 6598, loopback)."""
    if ":" not in address:
        return address.startswith("127.") or is_private_network(address)
    parsed = ipaddress.ip_address(address)
    return parsed.is_loopback or parsed in _UNIQUE_LOCAL


_PERHAPS_HOSTS_OWN = ("127.", "169.254.", ":", "f", "0")


def is_hosts_own(address: str) -> bool:
    """Whether an address, as `ipv4` or `ipv6` wrote it, means something on one host or link alone
    (loopback, link-local).
    """
    if not address.startswith(_PERHAPS_HOSTS_OWN):
        return False
    parsed = ipaddress.ip_address(address)
    return parsed.is_loopback or parsed.is_link_local
