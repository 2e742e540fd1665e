"""One store behind every kind of URL: TLS, sentinels, and both together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from shoal_common.errors import SettingsError, Unavailable
from shoal_server.registry import Registry
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules
from shoal_server.stores.history_redis import RedisHistory
from shoal_server.stores.redis import RedisStore
from shoal_server.stores.redis_url import check, connect
from testbed.ports import free_port
from testbed.process import wait_until
from testbed.rabbitmq import Tls
from testbed.redis import Redis, Sentinel
from tests.conftest import need
from tests.fakes import GOOD, NOW, Places, beat, squids_of
from tests.faults.relay import Relay
from tests.security.papers import Authority

ID = "192.0.2.1:3128"
WITHIN = 30.0


@pytest.fixture(scope="module")
def authority(new_directory: Callable[[str], Path]) -> Authority:
    directory = new_directory("redis-papers")
    directory.mkdir()
    return Authority(directory, "shoal")


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Tls:
    papers = authority.issue("127.0.0.1")
    return Tls(papers.ca, papers.certificate, papers.key)


@contextmanager
def store_at(url: str) -> Iterator[RedisStore]:
    with connect(url) as client:
        yield RedisStore(lambda: client)


def use_every_part_of(store: RedisStore) -> None:
    """Heartbeat, check, mark, lock, expiry."""
    Registry(store, LivenessRules()).hear([beat()], NOW)
    store.put_verification(ID, GOOD, [])
    store.put_drained(ID, True, [])
    (found,) = squids_of(store)
    assert (found.id, found.verification, found.drained) == (ID, GOOD, True)
    assert [store.claim("x", 60), store.claim("x", 60)] == [True, False]
    assert store.expire([ID], NOW + 1, NOW + 1) == [ID]


def test_a_redis_that_takes_nothing_for_now_is_read_by_a_server_that_starts(
    start_redis: Callable[..., Redis],
) -> None:
    server = start_redis()
    with store_at(server.url) as store:
        Registry(store, LivenessRules()).hear([beat()], NOW)
        assert [squid.id for squid in squids_of(store)] == [ID]
        server.told("CONFIG", "SET", "min-replicas-to-write", "1")
        with pytest.raises(Unavailable, match="NOREPLICAS"):
            Registry(store, LivenessRules()).hear([beat()], NOW)
    with store_at(server.url) as store:
        assert [squid.id for squid in squids_of(store)] == [ID]


@pytest.mark.parametrize("part", ["life", "beats", "seen", "checks", "drained"])
def test_a_redis_that_evicts_a_part_is_given_back_what_it_knew(
    start_redis: Callable[..., Redis], part: str
) -> None:
    """As with `maxmemory-policy allkeys-lru`: one key goes without a word, and the others stay."""
    server = start_redis()
    with store_at(server.url) as store:
        registry = Registry(store, LivenessRules())
        registry.hear([beat()], NOW)
        registry.record(store.get([ID])[ID], GOOD, NOW)
        registry.drain(ID, drained=True, reason="", now=NOW)
        keeper = SnapshotKeeper(registry, Places())
        keeper.refresh(NOW)
        registry.hear([beat(timestamp=NOW + 30)], NOW + 30)
        server.told("DEL", f"{{shoal}}:{part}")
        keeper.refresh(NOW + 30)
        (found,) = squids_of(store)
        shown = keeper.current.listed[0].squid
        for squid in (found, shown):
            assert (squid.created, squid.verification.reach, squid.drained) == (NOW, GOOD.reach, True)
        registry.expire([ID], NOW + 30 + LivenessRules().dead_after + 1)
        assert squids_of(store) == []


def test_a_redis_that_speaks_tls_keeps_squids(start_redis: Callable[..., Redis], tls: Tls) -> None:
    server = start_redis(tls=tls)
    with store_at(f"{server.tls_url}?ssl_ca_certs={tls.ca}") as store:
        use_every_part_of(store)


def test_a_redis_of_another_authority_is_unavailable(start_redis: Callable[..., Redis], tls: Tls) -> None:
    server = start_redis(tls=tls)
    with store_at(server.tls_url) as store, pytest.raises(Unavailable, match="certificate"):
        squids_of(store)


@contextmanager
def pair(
    new_directory: Callable[[str], Path], tls: Tls | None = None
) -> Iterator[tuple[Redis, Redis, Sentinel]]:
    """A master, a replica that has followed it, and the sentinel of both."""
    need(Redis)
    with (
        Redis(new_directory("redis"), tls=tls) as master,
        Redis(new_directory("redis"), tls=tls, replica_of=master) as replica,
        Sentinel(new_directory("sentinel"), master, tls=tls) as sentinel,
    ):
        wait_until(replica.follows, WITHIN, "the replica has followed")
        wait_until(lambda: sentinel.replicas() == 1, WITHIN, "the sentinel knows the replica")
        yield master, replica, sentinel


def test_a_store_behind_sentinels_follows_the_one_that_is_promoted(
    new_directory: Callable[[str], Path],
) -> None:
    with pair(new_directory) as (master, replica, sentinel), store_at(sentinel.url) as store:
        Registry(store, LivenessRules()).hear([beat()], NOW)
        wait_until(lambda: replica.told("ZSCORE", "{shoal}:seen", ID), WITHIN, "it is replicated")
        master.kill()
        with pytest.raises(Unavailable):
            squids_of(store)

        def follows() -> bool:
            try:
                return [squid.id for squid in squids_of(store)] == [ID]
            except Unavailable:
                return False

        wait_until(follows, WITHIN, "the replica answers")
        use_every_part_of(store)
        assert replica.role() == "master"


def test_sentinels_and_their_master_may_both_want_tls(new_directory: Callable[[str], Path], tls: Tls) -> None:
    with (
        pair(new_directory, tls) as (_, _, sentinel),
        store_at(f"{sentinel.tls_url}?ssl_ca_certs={tls.ca}") as store,
    ):
        use_every_part_of(store)


def test_what_leads_to_another_redis_after_a_failover_is_followed(
    new_directory: Callable[[str], Path],
) -> None:
    """A floating address or a balancer: the one that was the master lives on, as a replica."""
    need(Redis)
    door = ("127.0.0.1", free_port())
    with (
        Redis(new_directory("redis")) as first,
        Redis(new_directory("redis"), replica_of=first) as second,
        Relay((first.host, first.port)) as address,
    ):
        address.open([door])
        url = f"redis://{door[0]}:{door[1]}/0"
        store, history = RedisStore.from_url(url), RedisHistory.from_url(url)
        writes: list[Callable[[], object]] = [
            lambda: Registry(store, LivenessRules()).hear([beat()], NOW),
            lambda: history.tend(NOW),
        ]
        for write in writes:
            write()
        wait_until(second.follows, WITHIN, "the replica has followed")
        second.told("REPLICAOF", "NO", "ONE")
        first.told("REPLICAOF", second.host, second.port)
        address.lead_to((second.host, second.port))
        for write in writes:
            wait_until(partial(succeeds, write), WITHIN, "it is written to the new master")


def succeeds(write: Callable[[], object]) -> bool:
    try:
        write()
    except Unavailable:
        return False
    return True


def test_a_cluster_that_is_away_is_unavailable() -> None:
    store = RedisStore.from_url(f"redis+cluster://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable):
        store.changes(None)


def test_an_option_that_there_is_not_is_told_of_sentinels_too() -> None:
    with pytest.raises(SettingsError, match="nonsense"):
        check("redis+sentinel://host/NAME?nonsense=1")
