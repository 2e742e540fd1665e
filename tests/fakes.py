"""Values that the server's tests share, and fakes for the tests of rules."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shoal_common.errors import Unavailable
from shoal_common.heartbeat import Heartbeat
from shoal_server.board import Board
from shoal_server.classic import RankBy
from shoal_server.ledger import Ledger
from shoal_server.registry import Changes, Event, Mark, Store
from shoal_server.squid import Listed, Owner, Place, Reach, Squid, Verification
from shoal_server.stores.memory import MemoryStore

NOW = 1_700_000_000.0
VICTORIA = Place(48.46, -123.31, site="uvic", city="Victoria", country_code="CA", country_name="Canada")
GENEVA = Place(46.23, 6.05, site="cern", city="Geneva", country_code="CH", country_name="Switzerland")
GOOD = Verification(Reach.GLOBAL, "served the object", checked=NOW, due=NOW + 300)

_BEAT = Heartbeat(
    uuid="6c1b0c1e8a3f11e29e96fa163e0c2a11",
    hostname="sq1.example.org",
    port=3128,
    timestamp=NOW - 1.5,
    load=100.0,
    public_ip="192.0.2.1",
    max_load=100_000.0,
)


def beat(**changes: Any) -> Heartbeat:
    """A heartbeat of a public squid, 192.0.2.1:3128."""
    return replace(_BEAT, **changes)


def squid(verification: Verification = GOOD, **changes: Any) -> Squid:
    """The squid of `beat(**changes)`, first and last heard at NOW; its smoothed load is its load."""
    said = beat(**changes)
    return Squid(said, NOW, NOW, said.load, verification)


def listed(place: Place | None = None, verification: Verification = GOOD, **changes: Any) -> Listed:
    """A squid in a snapshot."""
    return Listed(squid(verification, **changes), place)


def board_of(found: Iterable[Listed], *, verify: bool, rank_by: RankBy = RankBy.DISTANCE) -> Board:
    """The board of these squids."""
    ledger = Ledger(verify=verify, rank_by=rank_by)
    for one in found:
        ledger.put(one)
    return ledger.board()


class Places:
    """A locator that knows what it was told."""

    def __init__(self, places: Mapping[str, Place] | None = None) -> None:
        self.places = dict(places or {})
        self.owners: dict[str, Owner] = {}

    generation = 0

    def locate(self, address: str) -> Place | None:
        return self.places.get(address)

    def owner(self, address: str) -> Owner:
        return self.owners.get(address, Owner())

    def find(self, address: str, host: str | None = None) -> tuple[Place | None, Owner]:
        return self.locate(address), self.owner(address)


def squids_of(store: Store) -> list[Squid]:
    """All squids of a store, in no order."""
    return list(store.get([squid.id for squid in store.changes(None).squids]).values())


class FlakyStore(MemoryStore):
    """A store that is away while `away` is set."""

    away = False

    def events(self, count: int) -> list[Event]:
        """The newest events, newest first."""
        return [event for _, event in reversed(self.log.entries())][:count]

    def _here(self) -> None:
        if self.away:
            raise Unavailable("the store is away")

    def changes(self, since: Mark | None) -> Changes:
        self._here()
        return super().changes(since)

    def squids(self) -> list[Squid]:
        self._here()
        return super().squids()

    def get(self, ids: Iterable[str]) -> Mapping[str, Squid]:
        self._here()
        return super().get(ids)

    def ids_of(self, uuids: Iterable[str]) -> Mapping[str, str]:
        self._here()
        return super().ids_of(uuids)

    def put(self, squids: Sequence[Squid], gone: Sequence[str], events: Sequence[Event]) -> None:
        self._here()
        super().put(squids, gone, events)

    def put_verification(self, squid_id: str, verification: Verification, events: Sequence[Event]) -> None:
        self._here()
        super().put_verification(squid_id, verification, events)

    def put_drained(self, squid_id: str, drained: bool, events: Sequence[Event]) -> None:
        self._here()
        super().put_drained(squid_id, drained, events)

    def expire(self, *args: Any, **options: Any) -> list[str]:
        self._here()
        return super().expire(*args, **options)


GENERATIONS: Mapping[str, bytes] = {
    "0.1": b'{"uuid":"6c1b0c1e-8a3f-11e2-9e96-fa163e0c2a01","hostname":"sq01","private_ip":"10.1.2.3",'
    b'"external_ip":"192.0.2.101","timestamp":1350000000.5,"load":3}',
    "0.2-0.4": b'{"uuid":"6c1b0c1e-8a3f-11e2-9e96-fa163e0c2a02","hostname":"sq02",'
    b'"public_ip":"192.0.2.102:3129","private_ip":"10.1.2.3:3129","timestamp":1363800000.12,"load":87}',
    "0.5": b'{"uuid":"6c1b0c1e-8a3f-11e2-9e96-fa163e0c2a03","hostname":"sq03.example.org",'
    b'"squid_port":3128,"private_ip":"10.1.2.3:3128","external_ip":"192.0.2.103","timestamp":1370000000.1,"load":5}',
    "0.6-0.8": b'{"uuid": "6c1b0c1e8a3f11e29e96fa163e0c2a04", "hostname": "sq04.example.org", '
    b'"squid_port": 3128, "public_ip": "192.0.2.104", "private_ip": "10.1.2.3", '
    b'"timestamp": 1380000000.12, "load": 87}',
    "0.9": b'{"uuid": "6c1b0c1e8a3f11e29e96fa163e0c2a05", "hostname": "sq05.example.org", '
    b'"squid_port": 3128, "verified": false, "max_load": "122000", "global_access": "True", '
    b'"domain_access": "True", "public_ip": "192.0.2.105", "timestamp": 1430000000.1, "load": 0}',
    "1.0": b'{"uuid": "6c1b0c1e8a3f11e29e96fa163e0c2a06", "hostname": "sq06.example.org", '
    b'"squid_port": "3128", "verified": false, "max_load": -112, "private_ip": "10.1.2.3", '
    b'"external_ip": "192.0.2.106", "timestamp": 1700000000.12, "load": 87.458}',
    "newest": b'{"uuid": "6c1b0c1e8a3f11e29e96fa163e0c2a07", "hostname": "v07.example.org", '
    b'"cache_port": 6081, "cache_type": "varnish", "verified": false, "max_load": 112500, '
    b'"upstream": "cvmfs", "private_ip": "10.1.2.4", "external_ip": "192.0.2.107", '
    b'"timestamp": 1765000000.12, "load": 0.0}',
    "ours": beat(uuid="6c1b0c1e8a3f11e29e96fa163e0c2a08", public_ip="192.0.2.108", agent="shoal-2").encode(),
}
"""What agents of every generation publish: one squid each, 192.0.2.101 to 192.0.2.108."""
