"""Chains reach CVMFS and Frontier exactly as their grammars want them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.errors import InvalidProxyList
from shoal_common.proxylist import FRONTIER_MAX_PROXIES, ProxyList, proxy_url
from tests.common.properties import HOST_NAMES, IPV4, PORTS, PROPERTY

PLACES = st.tuples(HOST_NAMES | IPV4 | st.just("[2001:db8::7]"), PORTS).map(
    lambda place: f"{place[0]}:{place[1]}"
)
MEMBERS = st.tuples(st.sampled_from(["", "http://", "https://", "http://user:p%20w@"]), PLACES).map("".join)
GROUPS = st.lists(MEMBERS | st.just("DIRECT"), max_size=4)
CHAINS = st.lists(GROUPS | st.just(["auto"]), max_size=4)

# CVMFS documentation, "Proxy Lists": what may stand in CVMFS_HTTP_PROXY.
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9a-f:.]+\])"
_PROXY = rf"(?:DIRECT|https?://(?:[A-Za-z0-9._~%-]+(?::[A-Za-z0-9._~%-]*)?@)?{_HOST}(?::[0-9]{{1,5}})?)"
CVMFS_CHAIN = re.compile(rf"(?:auto|{_PROXY}(?:\|{_PROXY})*)(?:;(?:auto|{_PROXY}(?:\|{_PROXY})*))*")


@PROPERTY
@given(CHAINS)
def test_a_chain_is_written_in_the_grammar_of_cvmfs_or_is_empty(groups: list[list[str]]) -> None:
    written = ProxyList.of(groups).to_cvmfs()
    assert not written or CVMFS_CHAIN.fullmatch(written)


@PROPERTY
@given(CHAINS)
def test_what_is_written_is_read_as_the_same_chain(groups: list[list[str]]) -> None:
    chain = ProxyList.of(groups)
    assert ProxyList.parse(chain.to_cvmfs()) == chain


@PROPERTY
@given(st.text("ahtp:/.|; DIRECTauto0123456789@\"'$\n[]%", max_size=40) | st.text())
def test_any_text_is_a_chain_without_blanks_quotes_and_empty_groups_or_is_refused(text: str) -> None:
    try:
        written = ProxyList.parse(text).to_cvmfs()
    except InvalidProxyList:
        return
    assert not written or CVMFS_CHAIN.fullmatch(written)


@PROPERTY
@given(st.lists(st.lists(MEMBERS, max_size=20), max_size=6))
def test_frontier_gets_at_most_24_proxies_each_in_its_parentheses(groups: list[list[str]]) -> None:
    written = ProxyList.of(groups).to_frontier()
    found = re.findall(r"\(proxyurl=([^()=|;\s\"']+)\)", written)
    assert "".join(f"(proxyurl={proxy})" for proxy in found) == written
    assert len(found) <= FRONTIER_MAX_PROXIES == 24


def test_frontier_gets_the_first_24_of_more() -> None:
    chain = ProxyList.of([[f"h{n}:1" for n in range(30)]])
    assert chain.to_frontier().count("(proxyurl=") == 24
    assert chain.to_frontier().endswith("(proxyurl=http://h23:1)")


def test_frontier_gets_neither_direct_nor_auto() -> None:
    assert ProxyList.parse("auto;a:1|DIRECT;DIRECT").to_frontier() == "(proxyurl=http://a:1)"


def test_frontier_gets_no_https_proxy_which_it_cannot_speak_to() -> None:
    assert ProxyList.parse("https://a:1;http://b:1").to_frontier() == "(proxyurl=http://b:1)"


def test_what_every_reader_understands_is_http_without_a_user() -> None:
    chain = ProxyList.parse("https://a:1;auto;http://u@b:1;http://c:1|http://[2001:db8::1]:1;DIRECT")
    assert chain.plain == ("http://c:1", "http://[2001:db8::1]:1")
    assert ProxyList((("http://$(id):1",),)).plain == ()


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("a:3128", "http://a:3128"),
        ("http://a:3128/", "http://a:3128"),
        ("https://a:3128", "https://a:3128"),
        ("http://me:secret@a:3128", "http://me:secret@a:3128"),
        ("http://10.1.2.3:3128", "http://10.1.2.3:3128"),
        ("http://[2001:DB8::1]:3128", "http://[2001:db8::1]:3128"),
        ("a", "http://a"),
        ("[2001:db8::1]", "http://[2001:db8::1]"),
        ("DIRECT", "DIRECT"),
        ("auto", "auto"),
    ],
)
def test_a_member_has_one_canonical_form(text: str, canonical: str) -> None:
    assert proxy_url(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "http://",
        "http://a b:1",
        "http://a:1 ",
        "http://a:1\n",
        "'http://a:1'",
        '"http://a:1"',
        "http://$(id):1",
        "http://`id`:1",
        "http://a:1;reboot",
        "http://a:1|b:1",
        "http://a:1/path",
        "http://a:1?x",
        "http://a:1#x",
        "http://a:",
        "http://a:0",
        "http://a:65536",
        "http://a:٣",
        "ftp://a:1",
        "socks5://a:1",
        "http://a@b@c:1",
        "http://us er@a:1",
        "http://$u@a:1",
        "http://[::1:1",
        "http://2001:db8::1:3128",
        "http://999.1.1.1:3128",
        "a(b):1",
        "a=b:1",
        "é:1",
        "\ud800:1",
        "direct:",
    ],
)
def test_a_hostile_or_broken_member_is_refused(text: str) -> None:
    with pytest.raises(InvalidProxyList):
        proxy_url(text)


def test_a_refusal_is_one_printable_line() -> None:
    with pytest.raises(InvalidProxyList) as caught:
        proxy_url("http://\x1b[2J\nforged")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", [" a:1 | b:1 ; ; c:1;", "a:1|b:1;c:1", ";;a:1||b:1;c:1;", "a:1|b:1\n;c:1"])
def test_blanks_and_empty_groups_that_people_write_do_no_harm(text: str) -> None:
    assert ProxyList.parse(text).to_cvmfs() == "http://a:1|http://b:1;http://c:1"


@pytest.mark.parametrize("text", ["", " ", ";", "|;|"])
def test_nothing_is_an_empty_chain(text: str) -> None:
    assert ProxyList.parse(text) == ProxyList()


def test_a_proxy_stands_where_it_stood_first_and_only_there() -> None:
    assert ProxyList.parse("a:1|http://a:1/;b:1|a:1;a:1").to_cvmfs() == "http://a:1;http://b:1"


def test_direct_is_told_from_a_host_by_its_capitals() -> None:
    assert ProxyList.parse("direct").to_cvmfs() == "http://direct"


def test_auto_inside_a_group_is_refused_when_read() -> None:
    with pytest.raises(InvalidProxyList, match="auto"):
        ProxyList.parse("auto|a:1")


def test_auto_inside_a_group_is_refused_when_made() -> None:
    with pytest.raises(InvalidProxyList, match="auto"):
        ProxyList.of([["auto", "a:1"]])


def test_what_is_usable_of_a_chain_is_told_and_what_is_wrong_with_the_rest() -> None:
    chain, faults = ProxyList.usable("a:1| socks5://b:1;c d;auto|DIRECT;auto")
    assert chain.to_cvmfs() == "http://a:1;DIRECT;auto"
    assert faults == (
        "'socks5://b:1' is no proxy: http://host:port, DIRECT or auto",
        "'c d' is no proxy: 'c d' is neither a host name nor an IPv4 address",
        "auto must be a group of its own",
    )


@given(st.text(alphabet="ab:1|; /DIRECTauto", max_size=30))
def test_of_a_chain_without_a_mistake_all_is_usable(text: str) -> None:
    usable, faults = ProxyList.usable(text)
    try:
        assert (usable, faults) == (ProxyList.parse(text), ())
    except InvalidProxyList:
        assert faults
    assert ProxyList.parse(usable.to_cvmfs()) == usable


def test_a_chain_behind_another_adds_only_what_is_new() -> None:
    merged = ProxyList.parse("a:1|b:1").then(ProxyList.parse("b:1|c:1;DIRECT"))
    assert merged.to_cvmfs() == "http://a:1|http://b:1;http://c:1;DIRECT"


def test_members_are_told_in_order_and_proxies_without_direct_and_auto() -> None:
    chain = ProxyList.parse("auto;a:1|b:1;DIRECT")
    assert chain.members == ("auto", "http://a:1", "http://b:1", "DIRECT")
    assert chain.proxies == ("http://a:1", "http://b:1")
