"""Two servers may store an agent's words in another order than they were said: the last said counts."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shoal_common.heartbeat import AgentState, Heartbeat
from shoal_server.registry import Registry, Store
from shoal_server.squid import LivenessRules
from shoal_server.stores.memory import MemoryStore
from shoal_server.stores.redis import RedisStore
from tests.fakes import NOW, beat, squids_of

ELSEWHERE = "203.0.113.5"


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    yield RedisStore.from_url(request.getfixturevalue("redis_url"))


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store, LivenessRules())


def said(seconds: float, **changes: Any) -> Heartbeat:
    """What an agent said so many seconds after NOW."""
    return beat(timestamp=NOW + seconds, **changes)


def gone(seconds: float, **changes: Any) -> Heartbeat:
    return replace(said(seconds, **changes), state=AgentState.LEAVING)


def addresses(registry: Registry) -> list[str]:
    return sorted(squid.address for squid in squids_of(registry.store))


def test_a_heartbeat_that_its_goodbye_has_overtaken_does_not_bring_the_squid_back(registry: Registry) -> None:
    registry.hear([said(0)], NOW)
    registry.hear([gone(31)], NOW + 31)
    registry.hear([said(30)], NOW + 32)
    assert addresses(registry) == []


def test_a_heartbeat_that_waited_long_for_the_store_does_not_bring_the_squid_back(registry: Registry) -> None:
    registry.hear([gone(900)], NOW + 900)
    registry.hear([said(0)], NOW + 901)
    assert addresses(registry) == []


def test_a_goodbye_overtakes_within_one_batch(registry: Registry) -> None:
    registry.hear([said(0)], NOW)
    registry.hear([gone(31), said(30)], NOW + 31)
    assert addresses(registry) == []


def test_an_agent_that_said_goodbye_may_come_back(registry: Registry) -> None:
    registry.hear([gone(31)], NOW + 31)
    registry.hear([said(32)], NOW + 32)
    assert addresses(registry) == [beat().public_ip]


def test_a_goodbye_that_the_squids_return_has_overtaken_does_not_remove_it(registry: Registry) -> None:
    registry.hear([said(0)], NOW)
    registry.hear([said(32)], NOW + 32)
    registry.hear([gone(31)], NOW + 33)
    assert addresses(registry) == [beat().public_ip]


def test_the_goodbye_of_a_former_run_does_not_remove_a_squid_that_was_restarted(registry: Registry) -> None:
    registry.hear([said(0, uuid="first")], NOW)
    registry.hear([said(32, uuid="second")], NOW + 32)
    registry.hear([gone(31, uuid="first")], NOW + 33)
    assert addresses(registry) == [beat().public_ip]


def test_a_heartbeat_from_where_the_squid_was_before_does_not_move_it_back(registry: Registry) -> None:
    registry.hear([said(0)], NOW)
    registry.hear([said(31, public_ip=ELSEWHERE)], NOW + 31)
    registry.hear([said(30)], NOW + 32)
    assert addresses(registry) == [ELSEWHERE]


def test_an_agent_whose_clock_was_set_back_is_heard_where_it_is_known(registry: Registry) -> None:
    registry.hear([said(0)], NOW)
    registry.hear([said(-3600)], NOW + 30)
    assert [squid.seen for squid in squids_of(registry.store)] == [NOW + 30]


def test_another_agent_at_the_endpoint_of_one_that_left_is_heard_whatever_its_clock_says(
    registry: Registry,
) -> None:
    registry.hear([gone(31, uuid="first")], NOW + 31)
    registry.hear([said(-3600, uuid="second")], NOW + 32)
    assert addresses(registry) == [beat().public_ip]
