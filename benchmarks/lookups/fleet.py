"""A made-up fleet: squids and workers at sites all over the world, the same at each run."""

import ipaddress
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shoal_common.heartbeat import Heartbeat
from shoal_server.squid import Reach, Squid, Verification

SITES = 500
WORKERS = 100_000
_FIRST_SQUID = int(ipaddress.ip_address("20.0.0.0"))
_FIRST_WORKER = int(ipaddress.ip_address("120.0.0.0"))


@dataclass(frozen=True, slots=True)
class Fleet:
    """`size` squids, a like number at each of SITES sites."""

    size: int

    def squids(self, now: float) -> Iterator[Squid]:
        """The squids, verified, with some load."""
        chance = random.Random(self.size)
        good = Verification(Reach.GLOBAL, "served the object", now, now + 300.0)
        for number in range(self.size):
            beat = self.beat(number, now, chance.uniform(0, 60_000))
            yield Squid(beat, now - 86_400, now, beat.load, good)

    def beat(self, number: int, now: float, load: float) -> Heartbeat:
        """What squid `number` says."""
        return Heartbeat(
            uuid=f"6c1b0c1e8a3f11e29e96{number:012x}",
            hostname=f"squid-{number}.cloud{number % SITES}.example.org",
            port=3128,
            timestamp=now,
            load=load,
            public_ip=_address(_FIRST_SQUID, number),
            max_load=122_000.0,
            agent="shoal-2.0.0",
            interval=30.0,
        )


def locations() -> str:
    """The location table: each site by its squids' and its workers' networks."""
    chance = random.Random(7)
    lines = ["network,site,latitude,longitude,city,country_code"]
    for site in range(SITES):
        where = f"site{site},{chance.uniform(-50, 65):.3f},{chance.uniform(-180, 180):.3f},City {site},CA"
        for first in (_FIRST_SQUID, _FIRST_WORKER):
            start = ipaddress.ip_address(first + (site << 15))
            lines.append(f"{start}/17,{where}")
    return "\n".join(lines) + "\n"


def workers() -> Sequence[str]:
    """The addresses of the workers."""
    return [_address(_FIRST_WORKER, number) for number in range(WORKERS)]


def anywhere(count: int) -> Sequence[str]:
    """Addresses drawn uniformly from all that may be somebody's."""
    chance = random.Random(11)
    found: list[str] = []
    while len(found) < count:
        address = ipaddress.ip_address(chance.getrandbits(32))
        if address.is_global and not address.is_multicast:
            found.append(str(address))
    return found


def _address(first: int, number: int) -> str:
    """Sites have 2^15 addresses each; squids and workers go round the sites."""
    return str(ipaddress.ip_address(first + ((number % SITES) << 15) + number // SITES + 1))
