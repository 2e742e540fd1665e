"""Finding and testing at once, against real sockets."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from threading import Event, Thread
from typing import Any

import pytest

from shoal_client import choice, discover
from shoal_client.candidates import Candidate, Source
from shoal_client.gather import Findings, Plan, gather
from shoal_client.probing import probe_squid
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from shoal_common.listing import encode
from shoal_common.probe import Outcome, Target
from testbed import content
from tests.client import parts
from tests.client.test_discover import free_udp_port

TARGET = Target.cvmfs(parts.URL)


def find(directory: parts.Directory, **changes: Any) -> Findings:
    keys: dict[str, Any] = {
        "servers": (directory.url,),
        "service": Upstream.CVMFS,
        "targets": (TARGET,),
        "wanted": 2,
        "now": time.time(),
        "server_deadline": 20.0,
        "probe_deadline": 20.0,
        "grace": 0.1,
        "lan_wait": 0.0,
    }
    return gather(Plan(**{**keys, **changes}))


def remembered(place: HostPort) -> Candidate:
    return Candidate(place, Source.REMEMBERED, str(place), 0.0)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(parts.denying, Outcome.DENIED), (parts.captive, Outcome.WRONG), (parts.foreign, Outcome.WRONG)],
)
def test_a_faulty_proxy_is_not_good(directory: parts.Directory, fault: Any, outcome: Outcome) -> None:
    with parts.serve(fault) as place:
        directory.list(place)
        assert find(directory).verdicts[place].outcome is outcome


def test_a_good_squid_is_good(directory: parts.Directory) -> None:
    with parts.squid() as place:
        directory.list(place)
        findings = find(directory)
    assert findings.answered
    assert findings.verdicts[place].good


def test_black_holes_cost_their_deadline_once(directory: parts.Directory) -> None:
    with ExitStack() as stack:
        holes = [stack.enter_context(parts.black_hole()) for _ in range(5)]
        directory.list(*holes)
        start = time.monotonic()
        findings = find(directory, probe_deadline=0.6)
        assert time.monotonic() - start < 5 * 0.6
    assert {findings.verdicts[hole].outcome for hole in holes} == {Outcome.UNREACHABLE}


def test_a_varnish_does_not_end_the_wait_for_squids(directory: parts.Directory) -> None:
    with parts.squid() as varnish, parts.squid(delay=0.6) as one, parts.squid(delay=0.6) as two:
        entries = [parts.listed(varnish, cache_type=CacheType.VARNISH), parts.listed(one), parts.listed(two)]
        directory.body = encode(entries)
        findings = find(directory, wanted=1)
    assert findings.verdicts[one].good


def test_enough_good_squids_end_the_wait_after_the_grace(directory: parts.Directory) -> None:
    with ExitStack() as stack:
        squids = [stack.enter_context(parts.squid()) for _ in range(2)]
        holes = [stack.enter_context(parts.black_hole()) for _ in range(3)]
        directory.list(*holes, *squids)
        start = time.monotonic()
        findings = find(directory, probe_deadline=20.0)
        assert time.monotonic() - start < 10.0
    assert all(findings.verdicts[squid].good for squid in squids)
    assert findings.verdicts[holes[0]].reason == "did not answer before the wait ended"


def test_a_squid_in_use_is_not_given_up_for_being_later_than_others(directory: parts.Directory) -> None:
    with parts.squid() as one, parts.squid() as two, parts.squid(delay=0.6) as used:
        directory.list(one, two, used)
        findings = find(directory, remembered=(remembered(used),), grace=0.0)
    assert findings.verdicts[used].good


def test_a_second_failure_domain_is_waited_for_longer_once_there_are_squids_in_use(
    directory: parts.Directory,
) -> None:
    with parts.squid() as one, parts.squid() as two, parts.squid(delay=1.5) as far:
        listed = [parts.listed(place, distance=1.0) for place in (one, two)]
        listed.append(parts.listed(far, distance=900.0, geo={"latitude": 1.0, "longitude": 1.0}))
        directory.body = encode(listed)
        used = (remembered(one),)
        assert not find(directory, grace=0.01, remembered=used).verdicts[far].good
        assert find(directory, grace=1.0, remembered=used).verdicts[far].good


def test_squids_in_use_are_named_to_the_server(directory: parts.Directory) -> None:
    place = parts.closed()
    heard = replace(remembered(parts.closed()), heard=True)
    find(directory, remembered=(remembered(place), heard))
    assert directory.paths[0] == f"/nearest/7/?keep={place}"


def test_an_ipv6_squid_is_found_good(directory: parts.Directory) -> None:
    if not parts.has_ipv6():
        pytest.skip("this machine has no IPv6 on loopback")
    with parts.squid(host="::1") as place:
        entry = {"hostname": "a.test", "squid_port": place.port, "public_ip": None, "private_ip": None}
        directory.list_raw({**entry, "ipv6": "::1"})
        findings = find(directory)
    assert findings.verdicts[place].good


def test_a_date_of_another_repository_is_not_told() -> None:
    with parts.squid(dead="away.test") as place:
        away = Target.cvmfs("http://away.test/cvmfs/cms.cern.ch/.cvmfspublished")
        assert probe_squid(place, [TARGET], 2.0).published is not None
        assert probe_squid(place, [away, TARGET], 2.0).published is None


def test_an_origin_that_is_away_does_not_make_a_squid_bad() -> None:
    with parts.squid(dead="away.test") as place:
        away = Target.cvmfs("http://away.test/cvmfs/atlas.cern.ch/.cvmfspublished")
        assert probe_squid(place, [away, TARGET], 2.0).good
        assert probe_squid(place, [away], 2.0).outcome is Outcome.UPSTREAM


def test_a_squid_that_seems_slow_is_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SLUGGISH_SECONDS", 0.5)
    asked: list[str] = []

    def cold(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        if len(asked) == 1:
            time.sleep(1.0)
        parts.reply(request, content.manifest("atlas.cern.ch", datetime.now(UTC)), Via="1.1 squid.test")

    with parts.serve(cold) as place:
        verdict = probe_squid(place, [TARGET], 20.0)
    assert verdict.good
    assert verdict.seconds < 1.0
    assert len(asked) == 2


def test_a_squid_that_is_slow_each_time_is_good_and_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SLUGGISH_SECONDS", 0.2)
    with parts.squid(delay=0.4) as place:
        verdict = probe_squid(place, [TARGET], 20.0)
    assert verdict.good
    assert verdict.seconds >= 0.4


def test_a_second_measurement_ends_with_the_deadline() -> None:
    began = time.monotonic()
    with parts.squid(delay=1.0) as place:
        assert probe_squid(place, [TARGET], 1.2).good
    assert time.monotonic() - began < 1.8


def test_what_is_remembered_is_tested_when_no_server_answers(directory: parts.Directory) -> None:
    directory.status = 500
    with parts.squid() as place:
        findings = find(directory, remembered=(remembered(place),))
    assert not findings.answered
    assert findings.verdicts[place].good


def test_a_server_whose_squids_are_all_dead_gives_way_to_the_others(directory: parts.Directory) -> None:
    with parts.directory() as second, parts.directory() as third, ExitStack() as stack:
        squids = [stack.enter_context(parts.squid()) for _ in range(2)]
        dead = parts.closed()
        directory.list(dead)
        second.list(squids[0])
        third.list(squids[1])
        findings = find(directory, servers=(directory.url, second.url, third.url))
    assert [candidate.place for candidate in findings.candidates] == [dead, *squids]
    assert all(findings.verdicts[squid].good for squid in squids)


@pytest.mark.parametrize("lists", ["nothing", "a dead squid"])
def test_a_server_is_asked_for_ipv6_where_nothing_that_it_lists_works(
    directory: parts.Directory, lists: str
) -> None:
    if lists != "nothing":
        directory.list(parts.closed())
    find(directory)
    assert directory.paths == ["/nearest/7/", "/nearest/7/?ipv6=yes"]


def test_a_server_that_lists_a_good_squid_is_asked_once(directory: parts.Directory) -> None:
    with parts.squid() as place:
        directory.list(place, parts.closed())
        find(directory)
    assert directory.paths == ["/nearest/7/"]


def test_a_server_that_failed_is_not_asked_again(directory: parts.Directory) -> None:
    directory.status = 500
    find(directory)
    assert directory.paths == ["/nearest/7/"]


def test_no_second_server_is_asked_while_a_squid_of_the_first_is_good(directory: parts.Directory) -> None:
    with parts.directory() as second, parts.squid() as place:
        directory.list(place, parts.closed())
        find(directory, servers=(directory.url, second.url))
    assert second.paths == []


def test_squids_that_are_black_holes_leave_time_to_ask_another_server(directory: parts.Directory) -> None:
    with parts.directory() as second, parts.black_hole() as hole, parts.squid() as place:
        directory.list(hole)
        second.list(place)
        findings = find(directory, servers=(directory.url, second.url), probe_deadline=1.0)
    assert findings.verdicts[place].good


def test_a_server_that_is_silent_when_asked_for_more_costs_what_is_left_of_the_servers_time(
    directory: parts.Directory,
) -> None:
    with parts.black_hole() as hole:
        directory.list(parts.closed())
        start = time.monotonic()
        findings = find(directory, servers=(directory.url, f"http://{hole}"), server_deadline=0.5)
        assert time.monotonic() - start < 10.0
    assert any(str(hole) in trouble for trouble in findings.troubles)


def test_a_server_that_is_silent_is_told(directory: parts.Directory) -> None:
    with parts.black_hole() as hole:
        findings = find(directory, servers=(f"http://{hole}",), server_deadline=0.3)
    assert any(
        "no answer within" in trouble or "no server answered" in trouble for trouble in findings.troubles
    )


def test_a_squid_on_the_lan_is_heard_and_tested(directory: parts.Directory) -> None:
    port = free_udp_port()
    with parts.squid(delay=0.2) as listed, parts.squid() as lan, announcing(lan, port):
        directory.list(listed)
        findings = find(directory, lan_wait=10.0, lan_port=port, probe_deadline=5.0)
    assert [candidate.source for candidate in findings.candidates] == [Source.LAN, Source.SERVER]
    assert findings.verdicts[lan].good


def test_the_lan_is_not_waited_for_when_enough_squids_are_good(directory: parts.Directory) -> None:
    with parts.squid() as one, parts.squid() as two:
        directory.list(one, two)
        start = time.monotonic()
        find(directory, lan_wait=30.0, lan_port=free_udp_port())
    assert time.monotonic() - start < 15.0


def test_a_lan_port_in_use_costs_nothing_but_the_lan(directory: parts.Directory) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, parts.squid() as place:
        sock.bind(("", 0))
        directory.list(place)
        findings = find(directory, lan_wait=30.0, lan_port=sock.getsockname()[1])
    assert findings.verdicts[place].good
    assert any("cannot listen" in trouble for trouble in findings.troubles)


HOURS_AGO = time.time() - 9000


def of_the_lan(place: HostPort, announced: float = HOURS_AGO) -> Candidate:
    return replace(remembered(place), heard=True, announced=announced)


def test_a_squid_of_the_lan_in_use_is_listened_for_until_it_announces_itself(
    directory: parts.Directory,
) -> None:
    port, keys = free_udp_port(), {"lan_wait": 0.1, "grace": 0.0, "wanted": 1}
    with parts.squid() as listed, parts.squid() as lan, announcing(lan, port, after=0.5):
        directory.list(listed)
        confirm = frozenset({lan})
        findings = find(directory, remembered=(of_the_lan(lan),), confirm=confirm, lan_port=port, **keys)
    (found,) = [candidate for candidate in findings.candidates if candidate.place == lan]
    assert found.source is Source.LAN
    assert found.announced > HOURS_AGO


def test_a_squid_of_the_lan_is_no_longer_usable_an_hour_after_its_last_announcement(
    directory: parts.Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discover, "PERIOD_SECONDS", 0.2)
    with parts.squid() as listed, parts.squid() as lan:
        directory.list(listed)
        for minutes, usable in ((59, True), (61, False), (-5, False)):
            used = of_the_lan(lan, time.time() - 60 * minutes)
            findings = find(directory, remembered=(used,), confirm=frozenset({lan}), wanted=1)
            (found,) = [candidate for candidate in findings.candidates if candidate.place == lan]
            assert found.usable is usable


@pytest.mark.parametrize("answers", [True, False])
def test_no_announcement_is_waited_for_while_a_squid_in_use_is_bad_or_no_server_answers(
    directory: parts.Directory, answers: bool
) -> None:
    with parts.squid() as listed, parts.squid() as lan:
        directory.list(listed)
        directory.status = 200 if answers else 500
        used = (of_the_lan(lan), remembered(parts.closed() if answers else listed))
        keys = {"lan_wait": 0.1, "lan_port": free_udp_port(), "wanted": 1}
        began = time.monotonic()
        find(directory, remembered=used, confirm=frozenset({lan}), **keys)
    assert time.monotonic() - began < discover.PERIOD_SECONDS / 2


@contextmanager
def announcing(place: HostPort, port: int, after: float = 0.0) -> Iterator[None]:
    """Repeat the announcement of `place`, `after` so many seconds, until the block ends."""
    stop = Event()

    def repeat() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            stop.wait(after)
            while not stop.wait(0.02):
                sock.sendto(f"fna349fn{place}".encode(), ("127.0.0.1", port))

    thread = Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
