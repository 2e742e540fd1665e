"""The servers' answers, by real HTTP."""

import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest

from shoal_client.directory import MAX_ANSWER, Question, ask
from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from tests.client import parts

SQUID = HostPort("192.0.2.1", 3128)
SEVEN = Question(Upstream.CVMFS, 7)
ENTRY = {"hostname": "sq.test", "squid_port": 3128, "public_ip": "192.0.2.9", "private_ip": None}


@pytest.mark.parametrize(
    ("server", "asked"),
    [
        ("http://shoal.test", "http://shoal.test/nearest/7/"),
        ("http://shoal.test:8080/", "http://shoal.test:8080/nearest/7/"),
        ("http://shoal.test/nearest", "http://shoal.test/nearest/7/"),
        ("http://shoal.test/wsgi/nearestcvmfs/", "http://shoal.test/wsgi/nearestcvmfs/7/"),
        ("https://shoal.test/nearest?service=cvmfs", "https://shoal.test/nearest/7/?service=cvmfs"),
    ],
)
def test_the_count_is_asked_for_in_the_path(server: str, asked: str) -> None:
    assert SEVEN.url(server) == asked


def test_the_squids_in_use_are_named_so_that_the_server_goes_on_telling_of_them() -> None:
    keep = [HostPort("192.0.2.1", 3128), HostPort("2001:db8::1", 3128)]
    asked = replace(SEVEN, keep=keep).url("http://shoal.test/nearest?x=y")
    assert asked == "http://shoal.test/nearest/7/?x=y&keep=192.0.2.1:3128,%5B2001:db8::1%5D:3128"


def test_distances_are_kilometres_only_if_the_server_says_so(directory: parts.Directory) -> None:
    directory.list(SQUID, distance=0.5)
    told = ask([directory.url], SEVEN, 20.0).listing
    directory.distance = ""
    untold = ask([directory.url], SEVEN, 20.0).listing
    assert told is not None
    assert untold is not None
    assert (told.caches[0].distance, untold.caches[0].distance) == (0.5, None)


@pytest.mark.parametrize("state", ["ok", "", "deaf,held"])
def test_the_servers_state_is_read_where_it_tells_one(directory: parts.Directory, state: str) -> None:
    directory.list(SQUID)
    directory.state = state
    told = ask([directory.url], SEVEN, 20.0).listing
    assert told is not None
    assert told.state == state


def test_an_ipv6_address_and_a_place_are_read_where_an_answer_has_them(directory: parts.Directory) -> None:
    directory.list_raw(
        {**ENTRY, "ipv6": "2001:db8::1", "geo_data": {"latitude": 48.4, "longitude": "-123.4", "city": "x"}},
        {**ENTRY, "ipv6": None, "geo_data": {"latitude": 480, "longitude": 1}},
        {**ENTRY, "ipv6": "fe80::1"},
        {**ENTRY, "public_ip": None, "ipv6": "2001:db8::2"},
    )
    answer = ask([directory.url], SEVEN, 20.0)
    assert answer.listing is not None
    first, second, third = answer.listing.caches
    assert (first.ipv6, dict(first.geo)) == ("2001:db8::1", {"latitude": 48.4, "longitude": -123.4})
    assert (second.ipv6, dict(second.geo)) == (None, {})
    assert third.ipv6 == "2001:db8::2"
    assert "ipv6" in answer.troubles[0]


def test_a_listing_is_read(directory: parts.Directory) -> None:
    directory.list(SQUID)
    answer = ask([directory.url], SEVEN, 20.0)
    assert answer.listing is not None
    assert [cache.public_ip for cache in answer.listing.caches] == ["192.0.2.1"]
    assert directory.paths == ["/nearest/7/"]


def test_compact_json_is_read(directory: parts.Directory) -> None:
    directory.body = (
        b'{"0":{"hostname":"sq.test","squid_port":"3128","public_ip":"192.0.2.9","private_ip":null}}'
    )
    answer = ask([directory.url], SEVEN, 20.0)
    assert answer.listing is not None
    assert answer.listing.caches[0].port == 3128


@pytest.mark.parametrize("body", [b"null", b"{}"])
def test_an_empty_list_is_an_answer(directory: parts.Directory, body: bytes) -> None:
    directory.body = body
    answer = ask([directory.url], SEVEN, 20.0)
    assert answer.listing is not None
    assert not answer.listing.caches
    assert "lists no squid" in answer.troubles[0]


@pytest.mark.parametrize(
    "hostile",
    [
        {"public_ip": '192.0.2.1";reboot;"'},
        {"public_ip": "$(reboot)"},
        {"public_ip": "192.0.2.1;DIRECT"},
        {"squid_port": "3128;DIRECT"},
        {"squid_port": "3128\n"},
        {"public_ip": None},
        {"public_ip": 5},
    ],
)
def test_a_hostile_entry_is_refused_and_the_others_are_used(
    directory: parts.Directory, hostile: dict[str, object]
) -> None:
    directory.list_raw({**ENTRY, **hostile}, ENTRY)
    answer = ask([directory.url], SEVEN, 20.0)
    assert answer.listing is not None
    assert [cache.public_ip for cache in answer.listing.caches] == ["192.0.2.9"]
    assert "left out entry 0" in answer.troubles[0]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"caches": []}', b"\xff\xfe", b"[" * 100_000])
def test_an_answer_that_is_no_listing_is_a_trouble(directory: parts.Directory, body: bytes) -> None:
    directory.body = body
    answer = ask([directory.url], SEVEN, 20.0)
    assert answer.listing is None
    assert len(answer.troubles) == 1


def test_an_error_status_is_told(directory: parts.Directory) -> None:
    directory.status = 500
    assert "answered status 500" in ask([directory.url], SEVEN, 20.0).troubles[0]


def test_a_closed_port_is_told_by_name() -> None:
    answer = ask([f"http://{parts.closed()}"], SEVEN, 20.0)
    assert answer.listing is None
    assert "Connection refused" in answer.troubles[0]


def test_a_huge_answer_is_not_read_to_its_end(directory: parts.Directory) -> None:
    directory.body = b'{"0": "' + b"x" * (MAX_ANSWER + 1) + b'"}'
    assert f"more than {MAX_ANSWER} bytes" in ask([directory.url], SEVEN, 20.0).troubles[0]


def test_a_redirect_is_followed(directory: parts.Directory) -> None:
    directory.list(SQUID)

    def redirect(request: BaseHTTPRequestHandler) -> None:
        parts.reply(request, b"", 302, Location=f"{directory.url}{request.path}")

    with parts.serve(redirect) as place:
        answer = ask([f"http://{place}"], SEVEN, 20.0)
    assert answer.listing is not None
    assert len(answer.listing.caches) == 1


@pytest.mark.parametrize(
    "target", ["/nearest/7/", "http://" + "a" * 70 + ".test/", "ftp://x.test/", "http://[/"]
)
def test_a_redirect_that_leads_nowhere_is_a_trouble(target: str) -> None:
    def redirect(request: BaseHTTPRequestHandler) -> None:
        parts.reply(request, b"", 302, Location=target)

    with parts.serve(redirect) as place:
        answer = ask([f"http://{place}"], SEVEN, 20.0)
    assert answer.listing is None
    assert "no answer within" not in answer.troubles[0]


def test_a_black_hole_costs_its_share_and_the_next_server_answers(directory: parts.Directory) -> None:
    directory.list(SQUID)
    start = time.monotonic()
    with parts.black_hole() as hole:
        answer = ask([f"http://{hole}", directory.url], SEVEN, 2.0)
    assert answer.listing is not None
    assert time.monotonic() - start < 2.0


def test_a_server_that_drips_its_answer_ends_with_the_deadline() -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n")
        for _ in range(20):
            request.wfile.write(b"X")
            time.sleep(0.1)

    with parts.serve(drip) as place:
        start = time.monotonic()
        answer = ask([f"http://{place}"], SEVEN, 0.4)
        assert time.monotonic() - start < 1.5
    assert answer.listing is None


def test_a_server_without_squids_gives_way_to_one_that_has_some(directory: parts.Directory) -> None:
    directory.list(SQUID)
    with parts.directory() as fresh:
        answer = ask([fresh.url, directory.url], SEVEN, 20.0)
    assert answer.listing is not None
    assert len(answer.listing.caches) == 1


def test_a_server_with_nothing_for_the_service_gives_way_to_one_that_has_some(
    directory: parts.Directory,
) -> None:
    directory.list(SQUID)
    with parts.directory() as other:
        other.list(HostPort("192.0.2.8", 3128), upstream=Upstream.CVMFS)
        answer = ask([other.url, directory.url], replace(SEVEN, service=Upstream.FRONTIER), 20.0)
    assert answer.listing is not None
    assert [cache.public_ip for cache in answer.listing.caches] == ["192.0.2.1"]
    assert "lists no squid" in answer.troubles[0]


def test_a_server_that_is_asked_for_ipv6_is_asked_so_in_the_query() -> None:
    question = replace(SEVEN, keep=(SQUID,), ipv6=True)
    asked = question.url("http://shoal.test/nearest?x=y")
    assert asked == "http://shoal.test/nearest/7/?x=y&keep=192.0.2.1:3128&ipv6=yes"


def test_all_servers_but_those_that_failed_may_have_more_to_say(directory: parts.Directory) -> None:
    directory.list(SQUID)
    with parts.black_hole() as hole:
        silent, refusing, other = f"http://{hole}", f"http://{parts.closed()}", "http://shoal.test"
        assert ask([directory.url, other], SEVEN, 20.0).further == (directory.url, other)
        assert ask([silent, directory.url], SEVEN, 2.0).further == (silent, directory.url)
        assert ask([refusing, directory.url], SEVEN, 20.0).further == (directory.url,)


def test_the_proxies_of_the_environment_are_not_used(
    directory: parts.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.list(SQUID)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{parts.closed()}")
    assert ask([directory.url], SEVEN, 20.0).listing is not None
