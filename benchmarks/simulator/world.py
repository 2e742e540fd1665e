"""Who is where: squids with their capacities, workers with their addresses and habits. Drawn from a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.simulator.arrays import Flags, Floats, Ints
from benchmarks.simulator.sites import SITES, Kind, Site
from shoal_server.ranking import great_circle_km

GIGABIT = 122_070.0
"""kB/s (1 kB = 1024 bytes) that 1 Gb/s carries."""
IN_ORDER = 0.4
"""Share of workers that take the list in its order at every lookup (Frontier, PAC, older clients); the
others run CVMFS with the shoal-client: `|` groups, and timid."""
FAT_TAIL = 0.5
"""Spread of a worker's demand (sigma of the natural logarithm): VMs of several cores."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Some squids at one site, or some workers: how many, and for squids their capacity (kB/s)."""

    site: str
    count: int
    capacity: float = GIGABIT


@dataclass(frozen=True, slots=True)
class World:
    """Arrays over squids (`squid_site`, `capacity`) and workers (all others); `km` is site by site.

    `share` is a worker's demand relative to the mean worker. `draw`: which one it is of the worlds of its
    kind; squids have other addresses in each, so they draw other numbers (`shoal_server.rendezvous`).
    """

    sites: tuple[Site, ...]
    km: Floats
    squid_site: Ints
    capacity: Floats
    worker_site: Ints
    address: Ints
    share: Floats
    in_order: Flags
    draw: int = 0

    @property
    def squids(self) -> int:
        return len(self.squid_site)

    @property
    def workers(self) -> int:
        return len(self.worker_site)


def seed_of(seed: int, draw: int) -> int:
    """The seed of another draw of what is drawn from `seed`; draw 0 is that itself."""
    return seed + 1000 * draw


def build(squids: Sequence[Crowd], workers: Sequence[Crowd], seed: int, draw: int = 0) -> World:
    """A world of stated crowds, in the order given."""
    random = np.random.default_rng(seed_of(seed, draw))
    names = list(dict.fromkeys(crowd.site for crowd in (*squids, *workers)))
    sites = tuple(next(site for site in SITES if site.name == name) for name in names)
    at = {name: index for index, name in enumerate(names)}
    worker_site = np.repeat([at[crowd.site] for crowd in workers], [crowd.count for crowd in workers])
    share = random.lognormal(-(FAT_TAIL**2) / 2, FAT_TAIL, len(worker_site))
    return World(
        sites=sites,
        km=np.array([[great_circle_km(a.place, b.place) for b in sites] for a in sites]),
        squid_site=np.repeat([at[crowd.site] for crowd in squids], [crowd.count for crowd in squids]),
        capacity=np.repeat([crowd.capacity for crowd in squids], [crowd.count for crowd in squids]),
        worker_site=worker_site,
        address=_addresses(worker_site),
        share=share,
        in_order=random.random(len(worker_site)) < IN_ORDER,
        draw=draw,
    )


def _addresses(worker_site: Ints) -> Ints:
    """IPv4 addresses as numbers: every site has its own /16 of public ones, filled from the start."""
    order = np.argsort(worker_site, kind="stable")
    counts = np.bincount(worker_site)
    host = np.empty(len(worker_site), dtype=np.int64)
    host[order] = np.arange(len(worker_site)) - np.repeat(np.cumsum(counts) - counts, counts)
    return (20 << 24) + (worker_site << 16) + host + 10


def spread_out(
    squids: int,
    workers: int,
    seed: int,
    capacities: Mapping[float, float],
    places: int = len(SITES),
    draw: int = 0,
) -> World:
    """A world over all sites, or so many `places`. `capacities`: kB/s to the share of sites with such squids.

    Squids: every grid site and half of the cloud regions have one, the rest is drawn by log-normal site
    sizes (sigma 0.8). Workers go with the site's capacity, times a log-normal error (sigma 0.5) of those
    who planned it; cloud regions without squids have a fifth of all workers.
    """
    random = np.random.default_rng(seed_of(seed, draw))
    chosen = [SITES[index] for index in np.sort(random.choice(len(SITES), places, replace=False))]
    clouds = [site for site in chosen if site.kind is Kind.CLOUD]
    bare = clouds[::2]
    hosts = [site for site in chosen if site not in bare]
    size = random.lognormal(0, 0.8, len(hosts))
    number = 1 + _rounded(size / size.sum() * (squids - len(hosts)))
    capacity = random.choice(list(capacities), len(hosts), p=list(capacities.values()))
    need = number * capacity * random.lognormal(0, 0.5, len(hosts))
    at_hosts = _rounded(need / need.sum() * workers * 0.8)
    at_bare = _rounded(np.full(len(bare), (workers - at_hosts.sum()) / len(bare)))
    return build(
        [Crowd(site.name, int(n), float(c)) for site, n, c in zip(hosts, number, capacity, strict=True)],
        [
            Crowd(site.name, int(n))
            for site, n in zip([*hosts, *bare], [*at_hosts, *at_bare], strict=True)
            if n
        ],
        seed,
        draw,
    )


def _rounded(parts: Floats) -> Ints:
    """Whole numbers with the same sum, by largest remainder."""
    whole = np.floor(parts).astype(np.int64)
    missing = round(float(parts.sum())) - int(whole.sum())
    whole[np.argsort(whole - parts)[:missing]] += 1
    return whole
