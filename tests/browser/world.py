"""A little world at real places: what the browser's tests and the pictures of the documentation show."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from shoal_common.heartbeat import AgentState, CacheType, Metrics, Upstream
from shoal_server.frames import Row, pack
from shoal_server.history import Grain
from shoal_server.registry import Event, EventKind
from shoal_server.squid import Owner, Place, Reach, Squid, Verification
from tests.fakes import squid
from tests.server.site import Site


@dataclass(frozen=True, slots=True)
class Centre:
    """A computing centre: the domain and number of its squids, and their capacity (Gb/s)."""

    site: str
    domain: str
    place: tuple[float, float]
    city: str
    country: tuple[str, str]
    owner: tuple[int, str]
    squids: int = 1
    gigabits: float = 1.0

    @property
    def location(self) -> Place:
        code, country = self.country
        return Place(*self.place, site=self.site, city=self.city, country_code=code, country_name=country)


CENTRES = (
    Centre("CERN", "cern.example", (46.23, 6.05), "Geneva", ("CH", "Switzerland"), (513, "CERN"), 4, 10),
    Centre("RAL", "ral.example", (51.57, -1.31), "Didcot", ("GB", "United Kingdom"), (786, "Jisc"), 2, 10),
    Centre("DESY", "desy.example", (53.57, 9.88), "Hamburg", ("DE", "Germany"), (680, "DFN"), 2, 1),
    Centre("KIT", "kit.example", (49.1, 8.43), "Karlsruhe", ("DE", "Germany"), (680, "DFN"), 2, 10),
    Centre("CC-IN2P3", "in2p3.example", (45.78, 4.87), "Lyon", ("FR", "France"), (789, "Renater"), 1, 10),
    Centre("CNAF", "cnaf.example", (44.5, 11.35), "Bologna", ("IT", "Italy"), (137, "GARR"), 1, 10),
    Centre("NIKHEF", "nikhef.example", (52.36, 4.95), "Amsterdam", ("NL", "Netherlands"), (1103, "SURF"), 1),
    Centre("PIC", "pic.example", (41.5, 2.11), "Barcelona", ("ES", "Spain"), (766, "RedIRIS"), 1),
    Centre("Prague", "fzu.example", (50.13, 14.47), "Prague", ("CZ", "Czechia"), (2852, "CESNET"), 1),
    Centre("CYFRONET", "cyf.example", (50.07, 19.91), "Kraków", ("PL", "Poland"), (8501, "PIONIER"), 1),
    Centre("NDGF", "ndgf.example", (59.91, 10.75), "Oslo", ("NO", "Norway"), (2603, "NORDUnet"), 1, 10),
    Centre("UVic", "uvic.example", (48.46, -123.31), "Victoria", ("CA", "Canada"), (16462, "UVic"), 3, 1),
    Centre(
        "TRIUMF", "triumf.example", (49.25, -123.23), "Vancouver", ("CA", "Canada"), (36391, "TRIUMF"), 2, 10
    ),
    Centre("McGill", "mcgill.example", (45.5, -73.58), "Montréal", ("CA", "Canada"), (15318, "McGill"), 1),
    Centre("BNL", "bnl.example", (40.87, -72.87), "Upton", ("US", "United States"), (43, "BNL"), 2, 10),
    Centre(
        "FNAL", "fnal.example", (41.84, -88.26), "Batavia", ("US", "United States"), (3152, "Fermilab"), 3, 10
    ),
    Centre("UNL", "unl.example", (40.82, -96.7), "Lincoln", ("US", "United States"), (7896, "UNL"), 1),
    Centre(
        "SLAC", "slac.example", (37.42, -122.2), "Menlo Park", ("US", "United States"), (3671, "SLAC"), 1, 10
    ),
    Centre(
        "AWS", "cloud.example", (39.04, -77.49), "Ashburn", ("US", "United States"), (14618, "Amazon"), 3, 1
    ),
    Centre("SPRACE", "sprace.example", (-23.52, -46.66), "São Paulo", ("BR", "Brazil"), (1251, "ANSP"), 1),
    Centre("Tokyo", "icepp.example", (35.71, 139.76), "Tokyo", ("JP", "Japan"), (2907, "SINET"), 2, 10),
    Centre("IHEP", "ihep.example", (39.91, 116.24), "Beijing", ("CN", "China"), (7497, "CSTNET"), 1),
    Centre("ASGC", "asgc.example", (25.04, 121.61), "Taipei", ("TW", "Taiwan"), (24167, "ASGC"), 1),
    Centre("TIFR", "tifr.example", (18.91, 72.81), "Mumbai", ("IN", "India"), (2697, "ERNET"), 1),
    Centre("CHPC", "chpc.example", (-33.93, 18.48), "Cape Town", ("ZA", "South Africa"), (2018, "TENET"), 1),
    Centre(
        "UniMelb",
        "unimelb.example",
        (-37.8, 144.96),
        "Melbourne",
        ("AU", "Australia"),
        (10148, "UniMelb"),
        2,
        1,
    ),
)
GIGABIT = 122_000.0
GOOD = (Reach.GLOBAL, "served the object")
REFUSED = (Reach.LOCAL, "it refuses us: 403 ERR_ACCESS_DENIED")

ODD: dict[str, dict[str, Any]] = {
    "squid-02.ral.example": {"check": (Reach.FAILED, "connection refused by {address}:3128")},
    "squid-03.cloud.example": {"silent": 104.0},
    "squid-02.desy.example": {"check": REFUSED},
    "squid-01.mcgill.example": {"check": REFUSED},
    "squid-02.unimelb.example": {"check": None},
    "squid-03.uvic.example": {"state": AgentState.DRAINING},
    "squid-01.chpc.example": {"timestamp": -3 * 3600.0},
    "squid-02.cloud.example": {"busy": 0.93},
    "squid-02.icepp.example": {"cache_type": CacheType.VARNISH, "upstream": Upstream.CVMFS},
    "squid-01.unl.example": {"upstream": Upstream.FRONTIER, "metrics": Metrics(), "agent": None},
}
"""What makes some of them different from the others."""


def address(number: int) -> str:
    """One of the addresses that are kept free for documentation (RFC 5737)."""
    return f"{('192.0.2', '198.51.100', '203.0.113')[number % 3]}.{10 + number // 3}"


def squids(now: float) -> list[Squid]:
    """All of them, as they are at `now`."""
    dice = random.Random(20)
    return [_squid(name, centre, number, now, dice) for number, (name, centre) in enumerate(names())]


def names() -> list[tuple[str, Centre]]:
    """What the squids call themselves, and where each is."""
    return [
        (f"squid-{n:02}.{centre.domain}", centre) for centre in CENTRES for n in range(1, centre.squids + 1)
    ]


def _squid(name: str, centre: Centre, number: int, now: float, dice: random.Random) -> Squid:
    odd = dict(ODD.get(name, {}))
    where, capacity = address(number), centre.gigabits * GIGABIT
    check = _check(odd.pop("check", GOOD), where, now - dice.uniform(5, 290))
    seen = now - odd.pop("silent", dice.uniform(0.2, 29))
    load = capacity * odd.pop("busy", dice.uniform(0.04, 0.6))
    asked = load / 40
    said: dict[str, Any] = {
        "hostname": name,
        "uuid": f"agent-{number}",
        "public_ip": where,
        "load": load,
        "max_load": capacity,
        "interval": 30.0,
        "agent": dice.choice(["shoal-2.0.0", "shoal-2.0.0", "shoal-2.0.0", None]),
        "metrics": Metrics(requests_per_s=asked, hits_per_s=asked * dice.uniform(0.82, 0.99)),
    }
    timestamp = seen + odd.pop("timestamp", -0.4)
    made = squid(check, **(said | odd | {"timestamp": timestamp}))
    return replace(made, created=now - dice.uniform(0.2, 60) * 86400, seen=seen)


def site(squids: Sequence[Squid], now: float) -> Site:
    """The server's web side over these squids of this world, with a day of history; its clock stands at
    `now` until the test sets `store.now`.
    """
    made = Site()
    made.store.now = lambda: now  # type: ignore[method-assign]
    for number, (_, centre) in enumerate(names()):
        made.locator.places[address(number)] = centre.location
        made.locator.owners[address(number)] = Owner(*centre.owner)
    made.show(squids)
    made.heartbeats = {"accepted": 4_183_206, "load": 2}
    made.built = now - 9 * 86400
    made.attributions = ("IP Geolocation by DB-IP, https://db-ip.com",)
    remember(made, squids, now)
    return made


def remember(site: Site, known: Sequence[Squid], now: float) -> None:
    """Give the squids a day of samples, with a day's rhythm and gaps, and some events."""
    grain = Grain.FINE
    for slot in range(grain.slot(now) - grain.kept + 1, grain.slot(now)):
        rows = {one.id: _row(one, slot * grain.seconds) for one in known if slot % 97 > 2}
        site.history.put_frames(grain, slot, pack(slot, rows))
    for one in known:
        begin = one.created
        site.store.log.append(Event(begin, EventKind.JOINED, one.id, one.beat.hostname))
        site.store.log.append(Event(begin + 4, EventKind.VERIFIED, one.id, "served the object"))
        if one.verification.reach is Reach.FAILED:
            site.store.log.append(Event(now - 260, EventKind.FAILED, one.id, one.verification.reason))


def _check(outcome: tuple[Reach, str] | None, where: str, at: float) -> Verification:
    if outcome is None:
        return Verification()
    reach, reason = outcome
    return Verification(reach, reason.format(address=where), at, at + 300)


def _row(one: Squid, at: float) -> Row:
    waves = ((0.3, 86400), (0.12, 12000), (0.06, 3250))
    load = one.load * (0.75 + sum(size * math.sin(2 * math.pi * at / length) for size, length in waves))
    hits = 0.9 + 0.05 * math.sin(at / 7000)
    return Row(load, load * 1.25, load / one.max_load, hits, 10, one.verification.reach, draining=False)
