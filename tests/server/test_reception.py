"""What happens to the messages of every intake."""

import logging

import pytest

from shoal_common.errors import Unavailable
from shoal_server.intake.reception import LOG_LINES_A_MINUTE, Reception
from shoal_server.registry import Registry
from shoal_server.squid import LivenessRules
from tests.fakes import GENERATIONS, FlakyStore, beat


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore()


@pytest.fixture
def reception(store: FlakyStore) -> Reception:
    return Reception(Registry(store, LivenessRules()), lambda address: address == "127.41.0.1")


def test_the_heartbeats_of_all_generations_are_registered(reception: Reception, store: FlakyStore) -> None:
    reception.take(list(GENERATIONS.values()))
    assert len(store.squids()) == len(GENERATIONS)
    assert reception.counts == {"accepted": len(GENERATIONS)}


def test_a_bad_message_costs_none_of_its_neighbours(reception: Reception, store: FlakyStore) -> None:
    reception.take(
        [b"{", beat().encode(), b"[]", beat(uuid="other", public_ip="192.0.2.2").encode(), b"\xff"]
    )
    assert len(store.squids()) == 2
    assert reception.counts == {"accepted": 2, "message": 3}


def test_refusals_are_counted_by_field(reception: Reception) -> None:
    reception.take([beat().encode().replace(b'"load": 100.0', b'"load": -1')] * 2)
    assert reception.counts == {"accepted": 0, "load": 2}


def test_a_refusal_is_told_in_the_log_with_its_field(
    reception: Reception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        reception.take([beat().encode().replace(b"sq1.example.org", b"$(reboot)")])
    assert "hostname: '$(reboot)'" in caplog.text


def test_where_there_is_no_room_new_squids_are_refused_and_known_ones_go_on(
    store: FlakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    reception = Reception(
        Registry(store, LivenessRules()), lambda _: False, room=lambda: 2 - len(store.squids())
    )
    known, moved, *new = (beat(uuid=f"u{n}", public_ip=f"192.0.2.{n}").encode() for n in range(1, 50))
    reception.take([known, moved])
    with caplog.at_level(logging.WARNING):
        reception.take([*new, known, moved.replace(b"192.0.2.2", b"198.51.100.2")])
    assert sorted(squid.address for squid in store.squids()) == ["192.0.2.1", "198.51.100.2"]
    assert reception.counts == {"accepted": 4, "most_squids": len(new)}
    assert len(caplog.records) == 1


def test_where_there_is_no_room_a_squid_that_was_there_a_moment_ago_finds_its_place(
    store: FlakyStore,
) -> None:
    reception = Reception(
        Registry(store, LivenessRules()), lambda _: False, room=lambda: 0, absent={"192.0.2.2:3128"}
    )
    reception.take([beat(uuid=f"u{n}", public_ip=f"192.0.2.{n}").encode() for n in range(1, 5)])
    assert [squid.address for squid in store.squids()] == ["192.0.2.2"]


def test_of_a_batch_as_many_new_squids_are_taken_as_there_is_room_for(store: FlakyStore) -> None:
    reception = Reception(Registry(store, LivenessRules()), lambda _: False, room=lambda: 2)
    reception.take([beat(uuid=f"u{n}", public_ip=f"192.0.2.{n}").encode() for n in range(1, 6)])
    assert [squid.address for squid in store.squids()] == ["192.0.2.1", "192.0.2.2"]


def test_a_flood_of_bad_messages_does_not_flood_the_log(
    reception: Reception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            reception.take([b"{"] * 100)
    assert len(caplog.records) <= 3 * LOG_LINES_A_MINUTE
    assert reception.counts["message"] == 10_000


def test_while_the_store_is_away_a_batch_is_refused_and_not_counted(
    reception: Reception, store: FlakyStore
) -> None:
    store.away = True
    with pytest.raises(Unavailable):
        reception.take([beat().encode(), b"{"])
    assert reception.failed_at is not None
    assert not reception.stores(reception.failed_at)
    assert reception.counts == {}


def test_a_batch_without_a_valid_message_needs_no_store(reception: Reception, store: FlakyStore) -> None:
    store.away = True
    reception.take([b"{"])
    assert reception.counts == {"accepted": 0, "message": 1}


def test_once_the_store_is_back_it_is_storing_again(reception: Reception, store: FlakyStore) -> None:
    store.away = True
    with pytest.raises(Unavailable):
        reception.take([beat().encode()])
    store.away = False
    reception.take([beat().encode()])
    assert reception.failed_at is None


def test_heartbeats_that_stay_away_after_a_batch_was_lost_are_no_reason_to_hold_expiry_for_ever(
    reception: Reception, store: FlakyStore
) -> None:
    """Whoever publishes next may be dead by now, and no batch comes to show that the store is back."""
    store.away = True
    with pytest.raises(Unavailable):
        reception.take([beat().encode()])
    store.away = False
    assert reception.failed_at is not None
    assert reception.stores(written=reception.failed_at + 0.2)


USELESS = ["127.0.0.1", "169.254.3.4"]
NOWHERE: dict[str, str | None] = {"public_ip": None, "private_ip": None, "external_ip": None, "ipv6": None}


@pytest.mark.parametrize("address", USELESS)
@pytest.mark.parametrize("field", ["public_ip", "external_ip", "private_ip"])
def test_a_squid_whose_only_address_is_every_workers_own_is_refused(
    reception: Reception, store: FlakyStore, field: str, address: str
) -> None:
    reception.take([beat(**NOWHERE | {field: address}).encode()])
    assert store.squids() == []
    assert reception.counts == {"accepted": 0, field: 1}


def test_a_squid_with_several_addresses_of_which_none_is_useful_is_refused(
    reception: Reception, store: FlakyStore
) -> None:
    reception.take([beat(public_ip="169.254.3.4", private_ip="127.0.0.1", ipv6="::1").encode()])
    assert store.squids() == []
    assert reception.counts == {"accepted": 0, "public_ip": 1}


@pytest.mark.parametrize("address", USELESS)
@pytest.mark.parametrize("field", ["public_ip", "external_ip", "private_ip"])
@pytest.mark.parametrize(
    "good", [{"public_ip": "206.12.48.10"}, {"external_ip": "206.12.48.10"}, {"private_ip": "10.0.0.1"}]
)
def test_a_good_address_is_heard_without_the_useless_one_beside_it(
    reception: Reception, store: FlakyStore, field: str, address: str, good: dict[str, str]
) -> None:
    reception.take([beat(**NOWHERE | {field: address} | good).encode()])
    assert [squid.beat for squid in store.squids()] == [beat(**NOWHERE | good)]
    assert reception.counts == {"accepted": 1}


def test_the_loopback_address_of_ipv6_goes_and_the_squid_stays(
    reception: Reception, store: FlakyStore
) -> None:
    reception.take([beat(ipv6="::1").encode()])
    assert [squid.beat for squid in store.squids()] == [beat()]


def test_an_address_that_was_left_out_is_told_once_in_a_while(
    reception: Reception, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        reception.take([beat(private_ip="169.254.3.4").encode()])
    assert len(caplog.records) == 1
    assert "sq1.example.org goes without its private_ip: 169.254.3.4 means another machine" in caplog.text


def test_a_loopback_address_in_the_location_table_is_believed(
    reception: Reception, store: FlakyStore
) -> None:
    reception.take([beat(public_ip="127.41.0.1").encode()])
    assert len(store.squids()) == 1
