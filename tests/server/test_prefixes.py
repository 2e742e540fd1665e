"""Addresses as numbers, and the longest prefix that holds one."""

import ipaddress
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_server.prefixes import FIRST_IPV4, Prefixes, parsed, relayed, span

Network = IPv4Network | IPv6Network


def networks(limit: int) -> st.SearchStrategy[Network]:
    """Networks around few addresses, so that they nest."""

    def network(version: int, last_bits: int, length: int) -> Network:
        size = 32 if version == 4 else 128
        base = (10 << 24 if version == 4 else 0x20010DB8 << 96) | last_bits
        address = (ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address)(base)
        return ipaddress.ip_network((address, min(length, size)), strict=False)

    return st.builds(network, st.sampled_from([4, 6]), st.integers(0, limit), st.integers(0, 128))


@given(st.lists(networks(300)), st.lists(st.integers(0, 400)))
def test_the_longest_prefix_that_holds_an_address_counts(held: list[Network], offsets: list[int]) -> None:
    prefixes = Prefixes({span(str(one)): str(one) for one in held})
    edges = [address for one in held for address in (one[0], one[-1])]
    middle = [ipaddress.ip_address((10 << 24) + offset) for offset in offsets]
    for address in (*edges, *middle, *(edge + 1 for edge in edges if int(edge) + 1 < 2**edge.max_prefixlen)):
        holding = [one for one in held if address.version == one.version and address in one]
        longest = max(holding, key=lambda one: one.prefixlen, default=None)
        assert prefixes.at(parsed(str(address))[0]) == (longest and str(longest))


@given(networks(1 << 20))
def test_a_network_is_the_addresses_from_its_first_to_its_last(network: Network) -> None:
    assert span(str(network)) == (parsed(str(network[0]))[0], parsed(str(network[-1]))[0])


@given(st.ip_addresses())
def test_an_address_is_a_network_of_one(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    number, text = parsed(str(address))
    assert span(str(address)) == (number, number)
    assert ipaddress.ip_address(text) == getattr(address, "ipv4_mapped", None) or address


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:DB8:0::/48", "2001:db8::/48"),
    ],
)
def test_a_network_may_be_spelt_in_several_ways(text: str, same: str) -> None:
    assert span(text) == span(same)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.0.0.1/8", "host bits"),
        ("10.0.0.0/33", "does not appear"),
        ("10.0.0.0/-1", "does not appear"),
        ("10.0.0.0/", "does not appear"),
        ("::/129", "does not appear"),
        ("", "does not appear"),
        ("example.org", "does not appear"),
        ("fe80::1%eth0", "scope"),
    ],
)
def test_what_is_no_network_is_told(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        span(text)


def test_bits_beyond_the_prefix_may_be_forgiven() -> None:
    assert span("198.51.100.2/24", strict=False) == span("198.51.100.0/24")


def test_no_ipv4_address_is_in_a_network_of_ipv6() -> None:
    assert Prefixes({span("::/0"): "six"}).at(parsed("10.0.0.1")[0]) is None
    assert Prefixes({span("0.0.0.0/0"): "four"}).at(parsed("::1")[0]) is None


def test_values_of_nested_networks_can_be_joined() -> None:
    nested = {span(text): text[:4] for text in ("10.1.2.0/24", "10.0.0.0/8", "10.1.0.0/16")}
    prefixes = Prefixes(nested, lambda outer, inner: f"{outer}>{inner}")
    found = [prefixes.at(parsed(one)[0]) for one in ("10.1.2.3", "10.1.3.3", "10.2.0.0", "11.0.0.0")]
    assert found == ["10.0>10.1>10.1", "10.0>10.1", "10.0", None]


def test_only_a_6to4_address_has_a_relay() -> None:
    assert relayed(parsed("2002:c000:207::1")[0]) == parsed("192.0.2.7")
    assert relayed(parsed("2001:db8::1")[0]) is None
    assert relayed(FIRST_IPV4) is None
