"""The formula by which servers before 2.0 ranked squids, as a second policy.

    cost = w * d / (pi R) + (1 - w) * load / max_load

`d` is the great-circle distance, `pi R` the longest there is, and w is 1/2 (what Shoal 0.7 to 1.0 shipped as
`squid_distloadweight`). `load` is what a squid sends (kB/s, smoothed over minutes as everywhere), `max_load`
what it can send; those that do not say share the old servers' one number, which by a misspelt name they took
for all.

Here the cost is told in kilometres, multiplied by `pi R / w`, so that a distance counts as it is and a squid
in full use is as far as the other end of the world. Networks, groups and crowding have no part in it: each
squid is a group of its own. Who may be told is decided as ever, and what could not be checked, costs money,
or has a lower tier in the operator's table comes later by as much as ever. Distances that are not known are
assumed as in `ranking`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from shoal_server import ranking
from shoal_server.ranking import EARTH_RADIUS_KM, Ranked, Relation, Requester
from shoal_server.squid import Listed, Squid

DISTANCE_SHARE = 0.5
"""The formula's w."""
FULL_KM = (1 - DISTANCE_SHARE) / DISTANCE_SHARE * math.pi * EARTH_RADIUS_KM
"""What a load of max_load costs."""
NETWORK_KM = dict.fromkeys(Relation, 0.0)


class RankBy(StrEnum):
    """The policies that an operator can choose from: the rules of `ranking`, or this formula."""

    DISTANCE = "distance"
    CLASSIC = "classic"


@dataclass(frozen=True, slots=True)
class ClassicRanked(Ranked):
    """One squid in an answer by the formula: `load_km` is its second summand."""

    @property
    def network_km(self) -> float:
        return 0.0

    @property
    def crowded(self) -> bool:
        return False


def ranked(requester: Requester, listed: Listed, *, verify: bool, group: int = 0) -> ClassicRanked:
    """The terms of a squid's rank for a requester."""
    base, load = ranking.ranked(requester, listed, verify=verify, group=group), load_km(listed.squid)
    return ClassicRanked(
        listed,
        base.relation,
        base.distance_km,
        load,
        base.doubt_km,
        base.tier_km,
        base.metered_km,
        base.effective_km - base.network_km + load,
        group,
    )


def load_km(squid: Squid) -> float:
    """What a squid's load costs; more than FULL_KM where its max_load is understated."""
    return FULL_KM * squid.load / squid.max_load


def own_km(listed: Listed, *, verify: bool) -> float:
    """The part of the effective distance that is the squid's own."""
    return ranking.own_km(listed, verify=verify) + load_km(listed.squid)
