"""The load, and what a heartbeat says."""

from dataclasses import replace

import pytest

from shoal_agent.beat import Meter, Terms, Traffic, addresses, compose, load
from shoal_agent.cache import Cache
from shoal_agent.host import Host
from shoal_common.errors import Unavailable
from shoal_common.heartbeat import AgentState, CacheType, Heartbeat, Upstream, decode
from shoal_common.hosts import HostPort

TERMS = Terms(30.0, external_ip=None, max_load=None)
HOST = Host("sq1.example.org", "eth0", "206.12.48.10", "10.1.2.3", "2001:db8:5::1", 112500.0)
CACHE = Cache(HostPort("127.0.0.1", 3129), CacheType.VARNISH, Upstream.CVMFS, "configured")
NOWHERE = Host("sq1.example.org", None, None, None, None, None)


def reading(sent: int, at: float, interface: str = "eth0") -> Traffic:
    return Traffic(interface, sent, at)


def beat(terms: Terms = TERMS, host: Host = HOST) -> Heartbeat:
    return compose("0123456789abcdef", terms, host, CACHE, 87.5, now=1_700_000_000.25)


def test_the_load_is_kibibytes_a_second_over_the_whole_time() -> None:
    assert load(reading(1000, 5.0), reading(1000 + 3_072_000, 35.0)) == 100.0


def test_without_an_earlier_reading_the_load_is_0() -> None:
    assert load(None, reading(10**9, 5.0)) == 0.0


def test_without_a_present_reading_the_load_is_0() -> None:
    assert load(reading(10**9, 5.0), None) == 0.0


def test_a_counter_that_fell_began_again_at_zero() -> None:
    assert load(reading(10**12, 0.0), reading(102_400, 10.0)) == 10.0


def test_another_interfaces_counter_is_not_compared() -> None:
    assert load(reading(0, 0.0, "eth0"), reading(10**9, 10.0, "eth1")) == 0.0


def test_two_readings_at_one_moment_make_no_load() -> None:
    assert load(reading(0, 5.0), reading(10**9, 5.0)) == 0.0


def test_a_meter_asked_too_soon_goes_on_with_the_same_stretch() -> None:
    meter = Meter(least=10.0)
    meter.load(reading(0, 0.0))
    assert meter.load(reading(1024, 1.0)) == 1.0
    assert meter.load(reading(1024 * 10, 5.0)) == 2.0


def test_a_meter_begins_a_new_stretch_when_the_old_one_is_long_enough() -> None:
    meter = Meter(least=10.0)
    meter.load(reading(0, 0.0))
    meter.load(reading(1024 * 1000, 10.0))
    assert meter.load(reading(1024 * 1010, 20.0)) == 1.0


def test_a_meter_begins_a_new_stretch_at_once_when_the_interface_is_another() -> None:
    meter = Meter(least=10.0)
    meter.load(reading(0, 0.0, "eth0"))
    assert meter.load(reading(10**9, 5.0, "eth1")) == 0.0
    assert meter.load(reading(10**9 + 102_400, 7.0, "eth1")) == 50.0


def test_a_meter_asked_at_once_again_tells_the_stretch_before() -> None:
    meter = Meter(least=10.0, fewest=1.0)
    meter.load(reading(0, 0.0))
    meter.load(reading(1024 * 1000, 10.0))
    assert meter.load(reading(1024 * 1000, 10.1)) == 100.0
    assert meter.load(reading(1024 * 1010, 12.0)) == 5.0


def test_a_heartbeat_says_what_was_found() -> None:
    assert beat() == Heartbeat(
        uuid="0123456789abcdef",
        hostname="sq1.example.org",
        port=3129,
        timestamp=1_700_000_000.25,
        load=87.5,
        public_ip="206.12.48.10",
        private_ip="10.1.2.3",
        ipv6="2001:db8:5::1",
        max_load=112500.0,
        cache_type=CacheType.VARNISH,
        upstream=Upstream.CVMFS,
        state=AgentState.UP,
        interval=30.0,
        agent=beat().agent,
    )


def test_every_server_can_read_what_is_sent() -> None:
    assert decode(beat().encode()) == beat()


def test_the_operators_max_load_wins_over_the_interfaces() -> None:
    assert beat(Terms(30.0, None, max_load=5000.0)).max_load == 5000.0


def test_a_configured_external_address_is_enough_to_be_announced() -> None:
    heartbeat = beat(Terms(30.0, "206.12.48.77", None), NOWHERE)
    assert (heartbeat.external_ip, heartbeat.public_ip) == ("206.12.48.77", None)


def test_a_configured_external_address_wins_over_a_public_one_which_servers_would_prefer() -> None:
    heartbeat = beat(Terms(30.0, "206.12.48.77", None))
    assert (heartbeat.external_ip, heartbeat.public_ip) == ("206.12.48.77", None)
    assert heartbeat.private_ip == "10.1.2.3"


def test_what_the_cloud_says_is_told_where_the_host_has_no_public_address() -> None:
    behind = replace(HOST, public_ip=None, external_ip="206.12.48.88")
    assert beat(host=behind).external_ip == "206.12.48.88"
    assert beat(host=replace(HOST, external_ip="206.12.48.88")).external_ip is None


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        (["::"], ("206.12.48.10", "10.1.2.3", "2001:db8:5::1")),
        (["0.0.0.0"], ("206.12.48.10", "10.1.2.3", None)),
        (["10.1.2.3"], (None, "10.1.2.3", None)),
        (["2001:db8:5::1", "127.0.0.1"], (None, None, "2001:db8:5::1")),
        ([], ("206.12.48.10", "10.1.2.3", "2001:db8:5::1")),
    ],
)
def test_only_addresses_at_which_the_cache_listens_are_told(
    bound: list[str], told: tuple[str | None, str | None, str | None]
) -> None:
    found = addresses(TERMS, HOST, replace(CACHE, bound=frozenset(bound)))
    assert (found.public_ip, found.private_ip, found.ipv6) == told


def test_a_cache_on_loopback_alone_is_announced_only_with_a_configured_external_address() -> None:
    alone = replace(CACHE, bound=frozenset(["127.0.0.1"]))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 alone"):
        addresses(TERMS, replace(HOST, public_ip=None, external_ip="206.12.48.88"), alone)
    assert addresses(Terms(30.0, "206.12.48.77", None), HOST, alone).external_ip == "206.12.48.77"


def test_a_host_without_any_address_is_not_announced() -> None:
    with pytest.raises(Unavailable, match="no address"):
        beat(host=NOWHERE)
