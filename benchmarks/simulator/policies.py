"""Ways to choose squids: the shipped one, and others to compare it with.

None but the shipped one knows anything of networks, groups or failure domains.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from benchmarks.simulator.arrays import Flags, Floats, Ints
from benchmarks.simulator.clients import NOBODY, Told
from benchmarks.simulator.fleet import STEP, Fleet
from benchmarks.simulator.world import World
from shoal_common.distance import slack_km
from shoal_server.balance import Peers, alone
from shoal_server.ledger import Ledger
from shoal_server.lookup import Lookup, seat
from shoal_server.plan import Plan
from shoal_server.ranking import EARTH_RADIUS_KM
from shoal_server.registry import Registry
from shoal_server.rendezvous import spot
from shoal_server.seat import Wanted
from shoal_server.snapshot import BOARD_SECONDS, Snapshot, SnapshotKeeper
from shoal_server.squid import LivenessRules, Owner, Place
from shoal_server.stores.memory import MemoryStore
from shoal_server.surge import FEW, Surge

COUNT = 7
"""How many squids a client asks for: two, and five that may be bad."""


class Policy(Protocol):
    """Answers lookups. `look` is called when the server's picture has changed, before the lookups; `peers`
    with the next heartbeats.
    """

    def look(self, fleet: Fleet) -> None:
        """Take a picture of what the server knows now."""

    def told(self, workers: Ints) -> Told:
        """The answers to these workers."""

    def peers(self, squid_id: str) -> Peers | None:
        """Whom the server holds a squid against."""


class _Locator:
    """Knows every worker's site, as the operator's table and the databases would."""

    generation = 0

    def __init__(self, world: World, addresses: Sequence[str]) -> None:
        self._sites = dict(zip(addresses, world.worker_site.tolist(), strict=True))
        self._found = [(site.place, site.owner) for site in world.sites]

    def find(self, address: str, _host: str | None = None) -> tuple[Place | None, Owner]:
        found: tuple[Place | None, Owner] = self._found[self._sites[address]]
        return found


@dataclass(frozen=True, slots=True)
class _Answer:
    """Squids, best first, their effective distances, and what the server counts newcomers by."""

    squids: tuple[int, ...]
    km: tuple[float, ...]
    nearest: int
    first: int


class Shipped:
    """The server's own code, step by step as its lookup takes them, so that no step is taken twice.

    As in the fast path, an answer lasts as long as the plan that it was taken from: by site and spot.
    """

    def __init__(self, world: World, _random: np.random.Generator) -> None:
        self._addresses = addresses = [dotted(int(address)) for address in world.address]
        self._site: list[int] = world.worker_site.tolist()
        locator = _Locator(world, addresses)
        self._surge = Surge(0.0)
        self._met = np.zeros(world.workers, dtype=np.bool_)
        self._keeper = SnapshotKeeper(Registry(MemoryStore(), LivenessRules()), locator)
        self.lookup = Lookup(self._keeper, locator, verify=True)
        self._requesters = [self.lookup.requester(address) for address in addresses]
        self._spots = [spot(address) for address in addresses]
        self._ledger = Ledger(verify=True)
        self._board = self._ledger.board()
        self._ids: dict[int, str] = {}
        """Of the squids that are listed."""
        self._squids: list[int] = []
        """Their numbers, row by row."""
        self._answers: dict[int, tuple[Plan, dict[int, _Answer]]] = {}
        self._km: dict[tuple[int, int, bool], float] = {}
        """By site, squid, and whether there is no room."""

    def look(self, fleet: Fleet) -> None:
        ids = {index: one.squid.id for index, one in enumerate(fleet.listed) if one is not None}
        for index in self._ids.keys() - ids.keys():
            self._ledger.remove(self._ids[index])
        for one in fleet.listed:
            if one is not None:
                self._ledger.put(one)
        if ids != self._ids:
            number = {squid_id: index for index, squid_id in ids.items()}
            self._squids = [number[one.squid.id] for one in self._ledger.roster]
            self._ids = ids
        self._picture(fleet.now)

    def peers(self, squid_id: str) -> Peers | None:
        row = self._ledger.row(squid_id)
        return None if row is None else self._board.peers(row)

    def _picture(self, now: float) -> None:
        self._now = now
        self._board = self._ledger.board(self._surge, now)
        self._keeper.current = Snapshot(self._board.listed, 0.0, self._board)
        self._plans: dict[int, Plan] = {}

    def told(self, workers: Ints) -> Told:
        """In one step, but for newcomers: the server makes a new board every few seconds while they come."""
        squids = np.full((len(workers), COUNT), NOBODY, dtype=np.int64)
        km = np.full((len(workers), COUNT), np.inf)
        parts = round(STEP / BOARD_SECONDS) if np.count_nonzero(~self._met[workers]) > FEW else 1
        for part in range(parts):
            if part:
                self._picture(self._now + BOARD_SECONDS)
            for number in range(part, len(workers), parts):
                answer = self._answer(int(workers[number]))
                squids[number, : len(answer.squids)] = answer.squids
                km[number, : len(answer.km)] = answer.km
        self._met[workers] = True
        return Told(squids, km)

    def _answer(self, worker: int) -> _Answer:
        site, spot = self._site[worker], self._spots[worker]
        plan = self._plan(site, worker)
        known, answers = self._answers.get(site, (None, {}))
        if known is not plan:
            answers = {}
            self._answers[site] = plan, answers
        answer = answers.get(spot)
        if answer is None:
            answer = answers[spot] = self._worked_out(worker, plan)
        self._surge.note(self._addresses[worker], answer.nearest, answer.first, self._now)
        return answer

    def _plan(self, site: int, worker: int) -> Plan:
        """That of this board; all workers of a site sit in one seat."""
        plan = self._plans.get(site)
        if plan is None:
            here = seat(self._requesters[worker], self._board)
            plan = self._plans[site] = self._board.plan(here, Wanted(), COUNT)
        return plan

    def _worked_out(self, worker: int, plan: Plan) -> _Answer:
        places = plan.told(self._spots[worker], COUNT)
        nearest, first = (self._board.domain_seed(plan.domains[place]) for place in (0, places[0]))
        squids = tuple(self._squids[plan.rows[place]] for place in places)
        return _Answer(squids, tuple(self._far(worker, plan, place) for place in places), nearest, first)

    def _far(self, worker: int, plan: Plan, place: int) -> float:
        """The effective distance of a place of a plan."""
        key = self._site[worker], self._squids[plan.rows[place]], place >= plan.first_late
        if key not in self._km:
            requester = self._requesters[worker]
            self._km[key] = self.lookup.terms(requester, self._board, plan, place).effective_km
        return self._km[key]


@dataclass
class _Other:
    """What the others share: squids that are listed, and plain distance."""

    world: World
    random: np.random.Generator
    known: Flags = field(init=False)
    fleet: Fleet = field(init=False)

    def look(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.known = fleet.known
        self._prepare()

    def peers(self, squid_id: str) -> Peers | None:
        return alone(squid_id)

    def _prepare(self) -> None:
        """What is worked out once for a picture."""

    def _km(self, site: int) -> Floats:
        """From a site to every squid; infinite to those that are not listed."""
        return np.where(self.known, self.world.km[site, self.world.squid_site], np.inf)

    def told(self, workers: Ints) -> Told:
        squids = np.full((len(workers), COUNT), NOBODY, dtype=np.int64)
        site = self.world.worker_site[workers]
        for where in np.unique(site):
            here = np.flatnonzero(site == where)
            answer = self._answer(int(where), len(here))[:, :COUNT]
            squids[here[:, None], np.arange(answer.shape[1])] = answer
        _two_different(squids)
        km = np.where(squids == NOBODY, np.inf, self.world.km[site[:, None], self.world.squid_site[squids]])
        return Told(squids, km)

    def _answer(self, site: int, asking: int) -> Ints:
        """Squids in order for each of so many workers of a site."""
        cost = self._cost(site)
        order = np.argsort(cost, kind="stable")[: min(COUNT, int(self.known.sum()))]
        return np.broadcast_to(order, (asking, len(order)))

    def _cost(self, site: int) -> Floats:
        raise NotImplementedError


class Nearest(_Other):
    """By distance alone."""

    def _cost(self, site: int) -> Floats:
        return self._km(site)


class Classic(_Other):
    """Shoal's formula: w * d / (pi R) + (1 - w) * load / max_load with w = 0.5 and one max_load for all."""

    MAX_LOAD = 122_000.0

    def _cost(self, site: int) -> Floats:
        far = self._km(site) / (np.pi * EARTH_RADIUS_KM)
        return 0.5 * far + 0.5 * self.fleet.reported / self.MAX_LOAD


class Random(_Other):
    """Any squids, wherever they are."""

    def _answer(self, site: int, asking: int) -> Ints:
        known = np.flatnonzero(self.known)
        if not len(known):
            return np.empty((asking, 0), dtype=np.int64)
        return known[self.random.integers(0, len(known), (asking, COUNT))]


class TwoChoices(_Other):
    """Of two drawn at random from the nearest squids (all within 50 km or a tenth), the less loaded one."""

    def _answer(self, site: int, asking: int) -> Ints:
        km = self._km(site)
        order = np.argsort(km, kind="stable")[: int(self.known.sum())]
        nearest = order[km[order] <= km[order[0]] + slack_km(km[order[0]])]
        pair = nearest[self.random.integers(0, len(nearest), (asking, 2))]
        used = self.fleet.reported[pair] / self.world.capacity[pair]
        swap = used[:, 0] > used[:, 1]
        pair[swap] = pair[swap][:, ::-1]
        rest = np.broadcast_to(order[:COUNT], (asking, len(order[:COUNT])))
        return np.concatenate([pair, rest], axis=1)


class Mirrorbits(_Other):
    """The weights of mirrorbits (near mirrors score by how much nearer they are), drawn at random."""

    def _prepare(self) -> None:
        self._shares: dict[int, Floats] = {}

    def _answer(self, site: int, asking: int) -> Ints:
        share = self._shares.get(site)
        if share is None:
            share = self._shares[site] = self._weights(site)
        order = super()._answer(site, asking)
        if not share[-1]:
            return order
        drawn = np.searchsorted(share, self.random.random((asking, 2)) * share[-1], side="right")
        return np.concatenate([drawn, order], axis=1)

    def _cost(self, site: int) -> Floats:
        return self._km(site)

    def _weights(self, site: int) -> Floats:
        """Cumulated."""
        km = self._km(site)
        base = np.floor(km[self.known].max()) if self.known.any() else 0.0
        weight = np.where(km <= 1.5 * km.min(), 2 * (base - km) + 1, base - km + 1) - base
        return np.cumsum(np.where(self.known, np.maximum(weight, 0.0), 0.0))


def _two_different(squids: Ints) -> None:
    """Where the first was drawn twice, the next that is another comes second."""
    other = squids != squids[:, :1]
    rows = np.flatnonzero(~other[:, 1] & other.any(axis=1))
    squids[rows, 1] = squids[rows, other[rows].argmax(axis=1)]


def dotted(address: int) -> str:
    """An IPv4 address as text."""
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


POLICIES: Mapping[str, Callable[[World, np.random.Generator], Policy]] = {
    "shipped": Shipped,
    "nearest": Nearest,
    "random": Random,
    "two choices": TwoChoices,
    "classic": Classic,
    "mirrorbits": Mirrorbits,
}
