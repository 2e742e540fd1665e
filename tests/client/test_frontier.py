"""FRONTIER_SERVER, rewritten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_client.frontier import asks_pac, balances, in_environment, parse, rewrite, server_urls
from shoal_common.errors import InvalidProxyList
from shoal_common.proxylist import ProxyList

CHAIN = ProxyList.parse("http://192.0.2.1:3128|http://192.0.2.2:3128;DIRECT")
OURS = "(proxyurl=http://192.0.2.1:3128)(proxyurl=http://192.0.2.2:3128)"
SERVERS = "(serverurl=http://a.test:8000/atlr)(serverurl=http://b.test:8000/atlr)"
PAC = "(proxyconfigurl=http://grid-wpad/wpad.dat)"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{SERVERS}(proxyurl=http://s.test:3128)", f"{SERVERS}{OURS}(proxyurl=http://s.test:3128)"),
        (
            f"{SERVERS}(proxyurl=http://s.test:3128)(preferipfamily=6)(proxyurl=http://v4f.hl-lhc.net:6082)",
            f"{SERVERS}{OURS}(proxyurl=http://s.test:3128)(preferipfamily=6)(proxyurl=http://v4f.hl-lhc.net:6082)",
        ),
        (SERVERS, SERVERS + OURS),
        (f"{SERVERS}{PAC}", f"{SERVERS}{PAC}{OURS}"),
        (f"(proxyurl=http://s.test:1){SERVERS}", f"{OURS}(proxyurl=http://s.test:1){SERVERS}"),
        (
            f"(proxyurl=http://s.test:1)(proxyurl=http://s.test:2){SERVERS}",
            f"{OURS}(proxyurl=http://s.test:1)(proxyurl=http://s.test:2){SERVERS}",
        ),
        ("http://a.test:8000/atlr", f"(serverurl=http://a.test:8000/atlr){OURS}"),
        (f"{SERVERS} (note=(a)(proxyurl=x)) ", f"{SERVERS} (note=(a)(proxyurl=x)) {OURS}"),
    ],
)
def test_the_proxies_go_before_the_first_proxyurl_or_to_the_end(before: str, after: str) -> None:
    assert rewrite(before, CHAIN) == after


def test_direct_alone_changes_nothing() -> None:
    assert rewrite(SERVERS, ProxyList.parse("DIRECT")) == SERVERS


def test_a_proxy_that_is_there_is_not_repeated() -> None:
    before = f"{SERVERS}(proxyurl=192.0.2.2:3128/)"
    assert rewrite(before, CHAIN) == f"{SERVERS}(proxyurl=http://192.0.2.1:3128)(proxyurl=192.0.2.2:3128/)"


def test_a_near_squid_that_is_there_comes_before_a_far_one_that_is_not() -> None:
    own, site = "(proxyurl=http://192.0.2.1:3128)", "(proxyurl=http://s.test:3128)"
    far = "(proxyurl=http://192.0.2.2:3128)"
    assert rewrite(f"{SERVERS}{own}{site}", CHAIN) == f"{SERVERS}{own}{far}{site}"
    assert rewrite(f"{SERVERS}{site}{own}", CHAIN) == f"{SERVERS}{site}{own}{far}"
    assert rewrite(f"{own}{SERVERS}", CHAIN) == f"{own}{far}{SERVERS}"
    assert rewrite(f"{SERVERS}{site}{far}", CHAIN) == f"{SERVERS}{own}{site}{far}"


def test_rewriting_twice_is_rewriting_once() -> None:
    once = rewrite(f"{SERVERS}(proxyurl=http://s.test:3128)", CHAIN)
    assert rewrite(once, CHAIN) == once


def test_there_are_never_more_than_24_proxies() -> None:
    present = "".join(f"(proxyurl=http://s{number}.test:3128)" for number in range(20))
    chain = ProxyList.of([[f"http://x{number}.test:3128"] for number in range(10)])
    after = rewrite(f"{SERVERS}{present}(backupproxyurl=http://b.test:3128)", chain)
    assert after.count("proxyurl=") == 24
    assert "(proxyurl=http://x2.test:3128)(proxyurl=http://s0.test:3128)" in after


def test_25_proxies_that_are_there_are_left_as_they_are() -> None:
    before = SERVERS + "".join(f"(proxyurl=http://s{number}.test:3128)" for number in range(25))
    assert rewrite(before, CHAIN) == before


@pytest.mark.parametrize(
    "text",
    [
        "(serverurl=http://a.test/atlr",
        "serverurl)(",
        f"{SERVERS})(",
        "(serverurl)",
        "nonsense",
        "http:///atlr",
        "",
        f"{SERVERS}\n",
    ],
)
def test_what_the_frontier_client_refuses_is_refused(text: str) -> None:
    with pytest.raises(InvalidProxyList):
        rewrite(text, CHAIN)


@given(st.text(alphabet="()=ap roxyul:/.", max_size=40))
def test_every_byte_that_was_there_stays_there(text: str) -> None:
    try:
        after = rewrite(text, CHAIN)
    except InvalidProxyList:
        return
    assert after.replace(OURS, "", 1) in (text, f"(serverurl={text})")
    assert parse(after)


def test_the_first_servers_are_found() -> None:
    text = (
        f"(serverurl=https://no.test/x)(serverurl=http://bad:99999/x){SERVERS}(proxyurl=http://s.test:3128)"
    )
    assert server_urls(text) == ("http://a.test:8000/atlr", "http://b.test:8000/atlr")
    assert server_urls("http://a.test:8000/atlr") == ("http://a.test:8000/atlr",)
    assert server_urls("(broken") == ()


def test_proxies_of_the_environment_count_towards_the_24() -> None:
    environ = {f"FRONTIER_PROXY{number}": "http://e.test:3128" for number in range(1, 21)}
    environ |= {"FRONTIER_PROXY": "http://e.test:3128", "FRONTIER_PROXY24": "", "FRONTIER_PROXY25": "x"}
    assert in_environment(environ) == 21
    chain = ProxyList.of([[f"http://x{number}.test:3128"] for number in range(10)])
    after = rewrite(f"{SERVERS}(proxyurl=http://s.test:3128)", chain, taken=21)
    assert after.count("(proxyurl=") == 3


def test_a_pac_file_can_be_replaced() -> None:
    two = f"{PAC}(proxyconfigurl=http://wpad/wpad.dat)"
    assert rewrite(f"{SERVERS}{two}(preferipfamily=6)", CHAIN, replace_pac=True) == (
        f"{SERVERS}(preferipfamily=6){OURS}"
    )


def test_a_pac_file_stays_where_there_is_nothing_to_replace_it_with() -> None:
    assert rewrite(SERVERS + PAC, ProxyList.parse("DIRECT"), replace_pac=True) == SERVERS + PAC


def test_a_pac_file_is_noticed() -> None:
    assert asks_pac(SERVERS + PAC)
    assert not asks_pac(SERVERS)
    assert not asks_pac("(broken")


def test_a_string_balances_load_if_it_says_so_and_no_pac_file_ends_that() -> None:
    told = f"{SERVERS}(loadbalance=servers)(loadbalance=proxies)"
    assert balances(told)
    assert not balances(f"{SERVERS}(loadbalance=servers)")
    assert not balances(told + PAC)
    assert balances(told + PAC, replace_pac=True)
    assert not balances("(broken")


def test_an_https_proxy_is_left_out() -> None:
    assert rewrite(SERVERS, ProxyList.parse("https://s.test:3128")) == SERVERS
