"""What squids look like in the API's answers: typed, so that the document and the answers are one."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from shoal_common.heartbeat import CacheType, Heartbeat, Upstream
from shoal_server.squid import Listed, Liveness, LivenessRules, Owner, Place, Reach, Verification
from shoal_server.web.discretion import beat_for, id_for

Time = Annotated[float, Meta(description="Seconds since 1970 by the server's clock.")]
Rate = Annotated[float, Meta(description="In kB/s (1 kB = 1024 bytes).")]
Km = Annotated[float, Meta(description="In kilometres, or worth as much.")]
Share = Annotated[float, Meta(description="1 is all; utilisation is more where max_load is understated.")]
State = Annotated[
    str,
    Meta(
        description="ok, or what the server lacks, joined by commas: deaf (no heartbeats reach it), stale "
        "(its store is away), held (improbably many squids fell silent), filling (its list has just begun: "
        "squids may not have announced themselves yet)."
    ),
]


class Where(Struct, frozen=True):
    """Where an address is, in degrees; `site` and `tier` are from the operator's own table."""

    site: str | None
    city: str | None
    country_code: str | None
    latitude: float
    longitude: float
    tier: int


class Whose(Struct, frozen=True):
    """Whose network an address is in, as far as that is known.

    `region` is a cloud's, `networks` are those that the operator declared, and what leaves a `metered` one
    costs money.
    """

    asn: int | None
    organisation: str | None
    domain: str | None
    region: str | None
    networks: list[str]
    metered: bool


class Checks(Struct, frozen=True):
    """How the checks of a squid ended so far: who can use it, why, when it was and will be tried.

    `failures` counts checks in a row that went against it; `lacks` are services that it did not deliver.
    """

    reach: Reach
    reason: str
    checked: Time | None
    next: Time | None
    failures: int
    lacks: list[str]


class SquidFacts(Struct, frozen=True, kw_only=True):
    """A squid. Its inside address, and an id that holds it, are told to its own site and to operators.

    `state` is how recently it was heard; `load` is smoothed over minutes; `utilisation` is that of its
    scarcest resource. `takes`: 1 while there is room for all who ask; down to 0.5 it has room for fewer and
    fewer guests from farther away, below that for locals alone. `share`: its part among the squids of its
    place, as a multiple of what its capacity says. `hit_ratio` is hits over requests, null where the agent
    does not say.
    """

    id: str
    hostname: str
    address: str
    private_address: str | None
    ipv6: str | None
    port: int
    cache_type: CacheType
    upstream: Upstream
    place: Where | None
    owner: Whose
    state: Liveness
    draining: bool
    load: Rate
    max_load: Rate
    utilisation: Share
    takes: Share
    share: Annotated[float, Meta(description="More than 1 if it was used less than the others, else less.")]
    hit_ratio: Share | None
    verification: Checks
    created: Time
    seen: Time
    clock_skew: Annotated[float, Meta(description="By how many seconds its clock is behind the server's.")]
    agent: Annotated[str | None, Meta(description="Name and version of its agent, if it says.")]


class SquidDetail(SquidFacts, frozen=True, kw_only=True):
    """All that is known of a squid: also its last heartbeat (without what is its site's own affair)."""

    drained: Annotated[bool, Meta(description="Whether it is draining because an operator said so.")]
    advertised: Heartbeat


def facts(listed: Listed, now: float, rules: LivenessRules, *, whole: bool) -> dict[str, Any]:
    """The fields of SquidFacts; `whole`: for somebody who may know the inside address."""
    squid, beat = listed.squid, listed.squid.beat
    return {
        "id": id_for(squid, whole=whole),
        "hostname": beat.hostname,
        "address": squid.address,
        "private_address": beat.private_ip if whole else None,
        "ipv6": beat.ipv6,
        "port": beat.port,
        "cache_type": beat.cache_type,
        "upstream": beat.upstream,
        "place": where(listed.place),
        "owner": whose(listed.owner),
        "state": squid.liveness(now, rules),
        "draining": squid.draining,
        "load": round(squid.load, 1),
        "max_load": round(squid.max_load),
        "utilisation": round(squid.utilisation, 4),
        "takes": round(squid.takes, 4),
        "share": round(squid.share, 4),
        "hit_ratio": None if squid.hit_ratio is None else round(squid.hit_ratio, 4),
        "verification": checks(squid.verification),
        "created": squid.created,
        "seen": squid.seen,
        "clock_skew": round(squid.clock_skew, 1),
        "agent": beat.agent,
    }


def detail(listed: Listed, now: float, rules: LivenessRules, *, whole: bool) -> SquidDetail:
    """Everything about one squid."""
    squid = listed.squid
    said = facts(listed, now, rules, whole=whole)
    return SquidDetail(**said, drained=squid.drained, advertised=beat_for(squid, whole=whole))


def where(place: Place | None) -> Where | None:
    """A place as the API shows it."""
    if place is None:
        return None
    return Where(place.site, place.city, place.country_code, place.latitude, place.longitude, place.tier)


def whose(owner: Owner) -> Whose:
    """An owner as the API shows it."""
    networks = sorted(owner.networks)
    return Whose(owner.asn, owner.organisation, owner.domain, owner.region, networks, owner.metered)


def checks(verification: Verification) -> Checks:
    """A verification as the API shows it."""
    checked = verification.checked
    due = None if checked is None else verification.due
    lacks = list(verification.lacks)
    return Checks(verification.reach, verification.reason, checked, due, verification.failures, lacks)
