"""What is answered in front of the framework is what the framework would answer."""

import gc
import json
import random
import tracemalloc
import weakref
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from shoal_common.heartbeat import AgentState, CacheType, Upstream
from shoal_server.classic import RankBy
from shoal_server.lookup import SQUIDS
from shoal_server.seat import Wanted
from shoal_server.squid import Owner, Place, Reach, Squid, Verification
from shoal_server.web import answers, fast
from shoal_server.web.counts import Kind
from shoal_server.web.fast import FastPath
from tests.fakes import GENEVA, NOW, VICTORIA, squid
from tests.server.site import Site

LOCAL = Verification(Reach.LOCAL, "refused with 403", checked=NOW)
SOMEWHERE = Place(10.1, 20.1, city="Somewhere", country_code="TD")


def fleet() -> list[Squid]:
    plain = [squid(public_ip=f"192.0.2.{n}", hostname=f"sq{n}", load=900.0 * n) for n in range(1, 13)]
    return [
        *plain,
        squid(public_ip="198.51.100.1", cache_type=CacheType.VARNISH, upstream=Upstream.CVMFS, hostname="v"),
        squid(LOCAL, public_ip="198.51.100.2", private_ip="10.0.0.2", hostname="inside"),
        squid(public_ip=None, ipv6="2001:db8::5", hostname="six"),
    ]


PLACES: dict[str, Place] = {
    **{f"192.0.2.{n}": [VICTORIA, GENEVA, SOMEWHERE][n % 3] for n in range(1, 13)},
    "198.51.100.2": GENEVA,
    **{f"203.0.113.{n}": [VICTORIA, GENEVA, SOMEWHERE][n % 3] for n in range(200)},
}


class Both:
    """A site asked by the fast path and by the framework."""

    def __init__(self, squids: Iterable[Squid], **more: Any) -> None:
        self.site = Site(squids, PLACES, **more)
        self.passed = 0
        framework = self.site.client.application.wsgi_app

        def counted(*args: Any) -> Any:
            self.passed += 1
            return framework(*args)

        self.fast = FastPath(counted, self.site.backend)

    def quick(
        self, path: str, address: str, method: str = "GET", **more: str
    ) -> tuple[bytes, dict[str, str]]:
        answered: dict[str, str] = {}
        base, _, query = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": base,
            "QUERY_STRING": query,
            "REMOTE_ADDR": address,
            "SERVER_NAME": "shoal",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": None,
            **more,
        }

        def start(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
            answered.update(headers, status=status)

        body = b"".join(self.fast(environ, start))
        return body, answered

    def agree(self, path: str, address: str, **more: str) -> None:
        body, headers = self.quick(path, address, **more)
        slow = self.site.get(
            path, address, **{name.removeprefix("HTTP_"): text for name, text in more.items()}
        )
        assert body == slow.data
        for name in ("Content-Type", "Cache-Control", "X-Shoal-Distance", "X-Shoal-State"):
            assert headers[name] == slow.headers[name]
        assert headers.get("Content-Length", str(len(body))) == slow.headers["Content-Length"]


@pytest.fixture
def both() -> Both:
    return Both(fleet())


PATHS = ["/nearest", "/nearest/", "/nearest/7", "/nearest7", "/nearest/2/", "/nearestverified", "/nearest/0"]
PATHS += ["/nearestcvmfs/3", "/nearestconditions", "/nearest/999999999", "/nearest/1"]


@pytest.mark.parametrize("path", PATHS)
def test_every_worker_gets_the_text_of_the_framework(both: Both, path: str) -> None:
    for _ in range(2):
        for last in range(0, 200, 7):
            both.agree(path, f"203.0.113.{last}")
    assert both.passed == 0


@pytest.mark.parametrize("rank_by", RankBy)
def test_it_agrees_while_squids_come_go_and_change(rank_by: RankBy) -> None:
    both = Both(fleet(), rank_by=rank_by)
    chance = random.Random(1)
    for step in range(30):
        number = chance.randrange(1, 13)
        present = both.site.store.get([f"192.0.2.{number}:3128"])
        if present and chance.random() < 0.3:
            both.site.store.put([], list(present), [])
        else:
            load = chance.choice([0.0, 50_000.0, 99_000.0])
            both.site.store.put(
                [squid(public_ip=f"192.0.2.{number}", load=load, hostname=f"sq{number}")], [], []
            )
        both.site.keeper.refresh(NOW + 6 * step)
        for last in range(0, 60, 11):
            both.agree("/nearest/4", f"203.0.113.{last}")


def test_what_an_address_was_told_outlasts_heartbeats_and_shows_what_they_say(both: Both) -> None:
    both.agree("/nearest", "203.0.113.9")
    told = both.fast._texts.sheets
    for load in (100.0, 200.0):
        fresh = [
            replace(one, load=load, beat=replace(one.beat, load=load)) for one in both.site.store.squids()
        ]
        both.site.store.put(fresh, [], [])
        both.site.keeper.refresh(NOW + load)
        both.agree("/nearest", "203.0.113.9")
        assert both.fast._texts.sheets is told
    both.site.store.put([squid(public_ip="192.0.2.50", hostname="more")], [], [])
    both.site.keeper.refresh(NOW + 300)
    both.agree("/nearest", "203.0.113.9")
    assert both.fast._texts.sheets is not told


def test_a_squids_own_machine_is_answered_by_the_framework(both: Both) -> None:
    both.agree("/nearest", "192.0.2.3")
    assert both.passed == 1


def test_an_address_that_becomes_a_squids_is_seen_at_once(both: Both) -> None:
    both.agree("/nearest", "203.0.113.9")
    both.site.show([squid(public_ip="203.0.113.9", hostname="new")])
    both.agree("/nearest", "203.0.113.9")


def test_a_neighbour_whose_address_becomes_a_squids_makes_it_local_to_nobody_else(both: Both) -> None:
    both.agree("/nearest/50", "203.0.113.8")
    both.site.show([squid(public_ip="203.0.113.8", private_ip="10.0.0.9", hostname="new")])
    for last in range(2, 200, 3):
        both.agree("/nearest/50", f"203.0.113.{last}")


def test_what_a_worker_uses_matters_only_while_a_squid_drains(both: Both) -> None:
    both.agree("/nearest?keep=192.0.2.1:3128", "203.0.113.9")
    assert both.passed == 0
    both.site.show([squid(public_ip="192.0.2.1", state=AgentState.DRAINING, hostname="sq1")])
    both.agree("/nearest?keep=192.0.2.1:3128", "203.0.113.9")
    assert both.passed == 1


@pytest.mark.parametrize("query", ["ipv6=yes", "keep=192.0.2.1:3128&ipv6=yes", "%69pv6=yes", "ipv6=no", "x"])
def test_who_asks_for_ipv6_is_answered_as_by_the_framework(both: Both, query: str) -> None:
    both.agree("/nearest/50", "203.0.113.9")
    both.agree(f"/nearest/50?{query}", "203.0.113.9")
    assert (b"2001:db8::5" in both.quick(f"/nearest/50?{query}", "203.0.113.9")[0]) == query.endswith("yes")


def test_the_requester_behind_a_trusted_proxy_is_known(both: Both) -> None:
    behind = Both(fleet(), trusted=["10.9.0.0/16"])
    for last in (1, 2, 3):
        behind.agree("/nearest", "10.9.0.1", HTTP_X_FORWARDED_FOR=f"203.0.113.{last}")
        body, _ = behind.quick("/nearest", "10.9.0.1", HTTP_X_FORWARDED_FOR=f"203.0.113.{last}")
        assert body == both.quick("/nearest", f"203.0.113.{last}")[0]


def test_whoever_is_shown_as_a_mapped_address_is_no_proxy_for_that() -> None:
    behind = Both(fleet(), trusted=["10.9.0.0/16"])
    told = behind.quick("/nearest", "203.0.113.2")[0]
    for _ in range(2):
        behind.quick("/nearest", "203.0.113.1")
        mapped = behind.quick("/nearest", "::ffff:203.0.113.1", HTTP_X_FORWARDED_FOR="203.0.113.2")[0]
        assert mapped != told


def test_nobody_else_is_believed_about_his_address(both: Both) -> None:
    told, _ = both.quick("/nearest", "203.0.113.1", HTTP_X_FORWARDED_FOR="203.0.113.2")
    assert told == both.quick("/nearest", "203.0.113.1")[0]


def test_an_answer_to_head_has_the_length_and_no_body(both: Both) -> None:
    body, headers = both.quick("/nearest", "203.0.113.1", method="HEAD")
    assert body == b""
    assert int(headers["Content-Length"]) == len(both.quick("/nearest", "203.0.113.1")[0])


@pytest.mark.parametrize(
    "path", ["/", "/all", "/nearestx", "/nearest/x", "/nearest/1/2", "/nearest/\xd9\xa3", "//nearest"]
)
def test_everything_else_goes_on_to_the_framework(both: Both, path: str) -> None:
    both.quick(path, "203.0.113.1")
    assert both.passed == 1


def test_a_post_goes_on_to_the_framework(both: Both) -> None:
    _, headers = both.quick("/nearest", "203.0.113.1", method="POST")
    assert headers["status"].startswith("405")


def test_without_squids_the_answer_is_null() -> None:
    empty = Both([])
    empty.agree("/nearest", "203.0.113.1")
    assert empty.quick("/nearest", "203.0.113.1")[0] == b"null"


def test_the_state_of_the_server_is_told(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "STATE_SECONDS", 0.0)
    both.site.connected = False
    _, headers = both.quick("/nearest", "203.0.113.1")
    assert headers["X-Shoal-State"] == "deaf"


def test_the_lookups_are_counted(both: Both) -> None:
    for _ in range(3):
        both.quick("/nearest", "203.0.113.1")
    both.quick("/nearest", "192.168.77.1")
    counted = both.site.backend.counts.lookups().outcomes[Kind.NEAREST.name.lower()]
    assert (counted["told"], counted["unknown_place"]) == (3, 1)


def test_what_is_remembered_is_bounded(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "STATE_SECONDS", 0.0)
    monkeypatch.setattr(fast, "MOST_BYTES", 30_000)
    monkeypatch.setattr(answers, "MOST_PATHS", 3)
    largest = 0
    for number in range(200):
        both.agree(f"/nearest/{number % 9}", f"203.0.113.{number}")
        largest = max(largest, both.fast.remembered)
    assert 15_000 < largest < 60_000
    assert len(both.fast._texts.sheets.by_path) <= 3


def test_nothing_that_a_stranger_says_of_himself_is_remembered() -> None:
    behind = Both(fleet(), trusted=["10.9.0.0/16"])
    for _ in range(9):
        behind.agree("/nearest", "10.9.0.1", HTTP_X_FORWARDED_FOR="none, 203.0.113.1")
    before = behind.fast.remembered
    for number in range(20):
        behind.agree("/nearest", "10.9.0.1", HTTP_X_FORWARDED_FOR=f"{number}{'x' * 500}, 203.0.113.1")
    assert behind.fast.remembered == before


def test_a_proxy_that_another_one_forwarded_is_still_believed_itself() -> None:
    behind = Both(fleet(), trusted=["10.9.0.0/16"])
    behind.agree("/nearest", "10.9.0.1", HTTP_X_FORWARDED_FOR="10.9.0.2")
    behind.agree("/nearest", "10.9.0.2", HTTP_X_FORWARDED_FOR="203.0.113.2")
    behind.agree("/nearest", "10.9.0.2", HTTP_X_FORWARDED_FOR="203.0.113.1, no address")


def test_no_more_than_two_boards_are_kept_alive(both: Both) -> None:
    boards = []
    for step in range(4):
        both.agree("/nearest", f"203.0.113.{step}")
        boards.append(weakref.ref(both.site.keeper.current.board))
        both.site.store.put([squid(public_ip="192.0.2.50", hostname="more", load=step * 20_000.0)], [], [])
        both.site.keeper.refresh(NOW + 6 * step + 6)
    both.agree("/nearest", "203.0.113.9")
    gc.collect()
    assert [board() is None for board in boards] == [True, True, True, False]


def test_what_is_worked_out_on_one_board_serves_the_next_that_tells_the_same(both: Both) -> None:
    both.agree("/nearest", "203.0.113.9")
    before = both.fast._texts
    fresh = [replace(one, load=77.0, beat=replace(one.beat, load=77.0)) for one in both.site.store.squids()]
    both.site.store.put(fresh, [], [])
    both.site.keeper.refresh(NOW + 60)
    both.agree("/nearest", "203.0.113.9")
    after = both.fast._texts
    assert after.sheets is before.sheets
    sheet = before.sheets.of(answers.ListQuestion(Wanted(types=SQUIDS, ipv4=True), 3))
    late = before.answers(sheet, both.site.backend.lookup.requester("203.0.113.8"))
    pick = late.told(before, late.order(before, 5))
    assert b'"load": 77.0' in after.body(pick)
    assert json.loads(after.body(pick)).keys() == {"0", "1", "2"}


def test_a_squid_without_an_inside_address_has_one_text_for_all(both: Both) -> None:
    for last in range(60):
        both.agree("/nearest/50", f"203.0.113.{last}")
    texts = both.fast._texts
    own = texts.pieces[: texts.sheets.first_end]
    told_both_ways = [pair for pair in zip(own[::2], own[1::2], strict=True) if all(pair)]
    assert len(told_both_ways) == 8
    assert all(elsewhere is at_home for elsewhere, at_home in told_both_ways)


CITIES = [Place(n * 7 % 120 - 55, n * 31 % 360 - 180, city=f"City {n}", country_code="CA") for n in range(80)]


@pytest.mark.parametrize(
    ("squids", "asks", "count", "seats"),
    [(240, 500, 50, 1), (240, 1500, 5, 1), (240, 150, 50, 150), (240, 400, 5, 400), (4, 2000, 50, 1)],
)
def test_what_is_remembered_is_counted_as_what_it_takes(
    squids: int, asks: int, count: int, seats: int
) -> None:
    addresses = [f"198.51.100.{n}" for n in range(1, squids + 1)]
    both = Both([])
    both.site.locator.places = {one: CITIES[n % len(CITIES)] for n, one in enumerate(addresses)}
    seated = [replace(CITIES[n % 80], latitude=n / 4 % 60, site=None) for n in range(seats)]
    askers = [f"203.{n >> 8}.{n & 255}.9" for n in range(asks)]
    both.site.locator.places |= {one: seated[n % seats] for n, one in enumerate(askers)}
    both.site.locator.owners = dict.fromkeys(askers, Owner())
    both.site.show(squid(public_ip=one, hostname=f"squid-{one}.example.org", uuid=one) for one in addresses)
    gc.collect()
    tracemalloc.start()
    try:
        for asker in askers:
            both.quick(f"/nearest/{count}", "".join(asker))  # a text of its own, as from a socket
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.6 < taken / both.fast.remembered < 1.2


def test_what_is_forgotten_is_gone_without_the_garbage_collector(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "STATE_SECONDS", 0.0)
    both.agree("/nearest", "203.0.113.9")
    sheets = weakref.ref(both.fast._texts.sheets)
    monkeypatch.setattr(fast, "MOST_BYTES", 1)
    gc.disable()
    try:
        both.quick("/nearest", "203.0.113.9")
        assert sheets() is None
    finally:
        gc.enable()
