"""Names, addresses and ports hold nothing that a shell or a browser would act on."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.hosts import HostPort, host_text, ipv4, ipv6, is_host_name, port_number
from tests.common.properties import HOST_NAMES, IPV4, PORTS, PROPERTY


@PROPERTY
@given(st.text() | st.text("aA0.-_:\n $", max_size=10))
def test_whatever_passes_as_a_name_is_made_of_letters_digits_dots_and_dashes(text: str) -> None:
    assert not is_host_name(text) or re.fullmatch(r"[A-Za-z0-9._-]{1,253}", text)


@pytest.mark.parametrize(
    "name", ["a", "sq1", "a.b.c", "A_b.org", "_srv.org", "xn--bcher-kva.example", "a" * 63]
)
def test_names_are_names(name: str) -> None:
    assert is_host_name(name)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "-a", "a-", "1.2.3.4", "1", "a" * 64, "a\n", "é", "a b"]
)
def test_what_is_no_name_is_none(text: str) -> None:
    assert not is_host_name(text)


def test_a_name_has_at_most_253_characters() -> None:
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert (len(longest), is_host_name(longest), is_host_name("a" + longest)) == (253, True, False)


@pytest.mark.parametrize("text", ["0x7f000001", "0x7f.0x1", "example.0x7f"])
def test_a_number_in_hexadecimal_that_resolvers_take_for_an_address_is_no_name(text: str) -> None:
    assert not is_host_name(text)


@PROPERTY
@given(IPV4)
def test_an_ipv4_address_is_itself(address: str) -> None:
    assert ipv4(address) == host_text(address) == address


@pytest.mark.parametrize(
    "text", ["0.0.0.0", "255.255.255.255", "239.1.1.1", "1.2.3", "1.2.3.4/24", "1.2.3.4 ", "٣.1.1.1", "::1"]
)
def test_what_no_host_can_have_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ipv4(text)


@pytest.mark.parametrize(
    ("text", "canonical"), [("2001:DB8::0:1", "2001:db8::1"), ("64:ff9b::1.2.3.4", "64:ff9b::102:304")]
)
def test_an_ipv6_address_is_made_canonical(text: str, canonical: str) -> None:
    assert ipv6(text) == canonical


@pytest.mark.parametrize(
    "text", ["fe80::1", "fe80::1%eth0", "2001:db8::1%x", "::", "ff02::1", "::ffff:1.2.3.4", "[::1]"]
)
def test_an_ipv6_address_that_no_peer_reaches_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ipv6(text)


@pytest.mark.parametrize("text", [0, 65536, -1, "", "0", "+1", "1 ", "1\n", "1.0", "٣", "1_0", 10**400])
def test_a_port_is_from_1_to_65535(text: str | int) -> None:
    with pytest.raises(ValueError, match=r"."):
        port_number(text)


@PROPERTY
@given(HOST_NAMES | IPV4 | st.sampled_from(["::1", "2001:db8::7"]), PORTS)
def test_a_place_is_read_as_it_is_written(host: str, port: int) -> None:
    assert HostPort.parse(str(HostPort(host, port))) == HostPort(host, port)


def test_an_ipv6_place_stands_in_brackets() -> None:
    assert str(HostPort("::1", 80)) == "[::1]:80"


def test_an_ipv6_place_is_made_canonical() -> None:
    assert HostPort.parse("[2001:DB8:0::1]:80") == HostPort("2001:db8::1", 80)


def test_a_place_without_a_port_takes_the_default() -> None:
    assert HostPort.parse("h.org", 5672) == HostPort("h.org", 5672)
    assert HostPort.parse("[::1]", 5672) == HostPort("::1", 5672)


def test_a_place_without_a_port_and_without_a_default_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks a port"):
        HostPort.parse("h.org")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "h:",
        "h:80:90",
        "h:65536",
        "h:x",
        "::1:80",
        "[::1",
        "[h]:80",
        "[1.2.3.4]:80",
        "h h:80",
        "h:80\n",
        "a;b:80",
        "999.1.1.1:80",
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        HostPort.parse(text, 1)


def test_a_number_too_long_to_be_written_is_no_port() -> None:
    with pytest.raises(ValueError, match=r"."):
        port_number(10**5000)
