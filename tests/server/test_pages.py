"""The status page: whole without JavaScript, inert whatever a squid says of itself."""

import gzip
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from shoal_common.heartbeat import AgentState, CacheType, Metrics, Upstream
from shoal_server.squid import Place, Reach, Squid, Verification
from shoal_server.web.words import rate, span
from tests.fakes import GENEVA, NOW, VICTORIA, squid
from tests.server.site import STRANGER, Site

ID = "192.0.2.1:3128"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</table></main>",
    "{{ 7 * 7 }}",
    "&lt;b&gt;",
]


class Page(HTMLParser):
    """The elements of a page, and the text of its table's cells by row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._cell = False
        self.feed(text)
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.rows[-1][-1] += data

    @property
    def names(self) -> list[str]:
        """The squids of the table."""
        return [row[0].rpartition(" ")[0] for row in self.rows[1:]]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def many(count: int) -> list[Squid]:
    return [
        squid(hostname=f"sq{n:04}.example.org", public_ip=f"192.0.{n // 250}.{n % 250 + 1}", uuid=f"{n}")
        for n in range(count)
    ]


def page(site: Site, path: str = "/", address: str = STRANGER) -> Page:
    answer = site.get(path, address)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    return Page(answer.text)


def row(address: str = STRANGER, places: dict[str, Place] | None = None, **changes: Any) -> dict[str, str]:
    """What the table says of one squid, by column."""
    heading, cells = page(Site([squid(**changes)], places), "/", address).rows
    name, _, address = cells[0].rpartition(" ")
    return dict(zip(heading, cells, strict=True)) | {"Squid": name, "Address": address}


# --- content ----------------------------------------------------------------------------------------


def test_without_squids_the_page_says_so() -> None:
    shown = page(Site())
    assert "No squid is heard" in shown.text
    assert "0 squids" in shown.text


def test_each_squid_is_a_row_ordered_by_name() -> None:
    assert page(Site(reversed(many(3)))).names == [f"sq{n:04}.example.org" for n in range(3)]


def test_a_row_tells_what_is_known_of_a_squid() -> None:
    told = row(places={"192.0.2.1": VICTORIA}, load=50_000.0, agent="shoal-2.0")
    assert told["Squid"] == "sq1.example.org"
    assert (told["Site"], told["Country"]) == ("uvic Victoria", "CA")
    assert told["Address"] == "192.0.2.1:3128"
    assert "50" in told["Load"]
    assert told["Agent"] == "shoal-2.0"


@pytest.mark.parametrize(
    ("place", "words"),
    [(None, "unknown"), (Place(48.46, -123.31), "48.5, -123.3"), (Place(0.0, 0.0, city="Null"), "Null")],
)
def test_a_place_is_told_as_well_as_it_is_known(place: Place | None, words: str) -> None:
    assert row(places={"192.0.2.1": place} if place else None)["Site"] == words


@pytest.mark.parametrize(
    ("type_", "upstream", "words"),
    [
        (CacheType.SQUID, Upstream.BOTH, "CVMFS, Frontier Squid"),
        (CacheType.VARNISH, Upstream.FRONTIER, "Frontier Varnish"),
    ],
)
def test_what_it_is_and_serves_is_told(type_: CacheType, upstream: Upstream, words: str) -> None:
    assert row(cache_type=type_, upstream=upstream)["Serves"] == words


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (Metrics(requests_per_s=200.0, hits_per_s=180.0), "90 %"),
        (Metrics(requests_per_s=200.0, hits_per_s=900.0), "100 %"),
        (Metrics(requests_per_s=0.0, hits_per_s=0.0), "\u2013"),
        (Metrics(), "\u2013"),
    ],
)
def test_the_hit_ratio_is_told_if_anybody_asked(metrics: Metrics, words: str) -> None:
    assert row(metrics=metrics)["Hits"] == words


def test_the_reason_of_a_failed_check_is_told() -> None:
    failed = squid(Verification(Reach.FAILED, "connection refused", NOW, NOW, 3))
    site = Site([replace(failed, seen=4e9)])
    text = site.get("/").text
    assert "failed" in text
    assert "connection refused" in text


def test_a_squid_that_is_silent_is_shown_so_whatever_its_last_check_found() -> None:
    assert row()["State"] == "gone silent verified"


@pytest.mark.parametrize(
    ("ahead", "words"),
    [(0, "right"), (-9, "right"), (-3600, "1 h behind"), (45, "45 s ahead"), (-1e18, " d behind")],
)
def test_a_wrong_clock_is_shown_with_its_size(ahead: float, words: str) -> None:
    assert row(timestamp=NOW + ahead)["Clock"].endswith(words)


def test_what_the_server_lacks_is_told() -> None:
    site = Site(many(3))
    site.connected, site.held, site.store.away = False, True, True
    site.keeper.refresh(NOW)
    text = " ".join(page(site).text.split())
    assert len(page(site).names) == 3
    assert "away" in text
    assert "held" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (90 * 86400, "90 d")],
)
def test_a_time_is_told_in_its_largest_sensible_unit(seconds: float, words: str) -> None:
    assert span(seconds) == words


# --- what strangers are not told --------------------------------------------------------------------


def test_strangers_see_no_private_squid() -> None:
    site = Site([squid(public_ip=None, private_ip="10.0.0.1", hostname="secret")], {"10.0.0.1": VICTORIA})
    assert "secret" not in site.get("/").text
    assert "10.0.0.1" not in site.get("/").text


def test_its_own_site_sees_a_private_squid_with_its_address() -> None:
    places = {"10.0.0.1": VICTORIA, "203.0.113.8": VICTORIA}
    assert "10.0.0.1" in row("203.0.113.8", places, public_ip=None, private_ip="10.0.0.1")["Address"]


@pytest.mark.parametrize(("requester", "address"), [(STRANGER, ID), ("203.0.113.8", f"{ID}/10.0.0.1")])
def test_of_a_squid_behind_a_nat_only_its_own_site_sees_which_it_is(requester: str, address: str) -> None:
    places = {"192.0.2.1": VICTORIA, "203.0.113.8": VICTORIA}
    nat = {"public_ip": None, "external_ip": "192.0.2.1", "private_ip": "10.0.0.1"}
    assert row(requester, places, **nat)["Address"] == address


def test_a_squid_that_is_drained_is_shown_so() -> None:
    drained = replace(squid(state=AgentState.DRAINING), seen=4e9)
    assert page(Site([drained])).rows[1][1] == "draining verified"


def test_a_squid_with_ipv6_alone_is_shown() -> None:
    assert "2001:db8::1" in row(public_ip=None, ipv6="2001:db8::1", private_ip="10.0.0.1")["Address"]


# --- paging -----------------------------------------------------------------------------------------


def test_a_page_holds_fifty_squids() -> None:
    assert len(page(Site(many(55))).names) == 50


@pytest.mark.parametrize(("path", "count"), [("/10", 10), ("/10/", 10), ("/45", 45), ("/0", 1), ("/007", 7)])
def test_the_path_says_how_many_a_page_holds(path: str, count: int) -> None:
    assert len(page(Site(many(45)), path).names) == count


@pytest.mark.parametrize("path", ["/1000000", "/99999999999999999999"])
def test_a_huge_page_holds_a_thousand_at_most(path: str) -> None:
    assert len(page(Site(many(1001)), path).names) == 1000


def test_pages_together_show_every_squid_once() -> None:
    site = Site(many(45))
    names = [name for number in (1, 2, 3) for name in page(site, f"/20?page={number}").names]
    assert names == [f"sq{n:04}.example.org" for n in range(45)]


@pytest.mark.parametrize("number", ["x", "", "-1", "0", "1.5", "<script>", "1;", "9" * 5000 + "x"])
def test_a_page_that_is_none_is_the_first(number: str) -> None:
    site = Site(many(45))
    answer = site.client.get("/20", query_string={"page": number})
    assert answer.status_code == 200
    assert Page(answer.text).names[0] == "sq0000.example.org"


@pytest.mark.parametrize("number", ["4", "9" * 15])
def test_a_page_beyond_the_last_is_the_last(number: str) -> None:
    assert page(Site(many(45)), f"/20?page={number}").names[-1] == "sq0044.example.org"


def test_a_page_number_of_thousands_of_digits_is_some_page() -> None:
    assert len(page(Site(many(45)), "/20?page=" + "9" * 5000).names) > 0


def test_the_pages_are_linked_and_the_present_one_is_marked() -> None:
    shown = page(Site(many(45)), "/20?page=2")
    assert {link["href"] for link in shown.all("a")} >= {"?", "?page=3"}
    assert [e for e in shown.elements if e[1].get("aria-current") == "page"]


def test_a_thousand_pages_are_not_a_thousand_links() -> None:
    shown = page(Site(many(1000)), "/1?page=500")
    hrefs = [link["href"] for link in shown.all("a") if "page=" in (link["href"] or "?")]
    assert len(hrefs) < 10
    hrefs = [link["href"] for link in shown.all("a")]
    assert {"?", "?page=499", "?page=501", "?page=1000"} <= set(hrefs)


def test_one_page_needs_no_links() -> None:
    assert "Pages" not in Site(many(50)).get("/").text


# --- hostile and strict -----------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_not_obeyed(text: str) -> None:
    """None of it gets past the heartbeat or the operator's table; the page does not count on that."""
    check = Verification(Reach.FAILED, text, NOW, NOW)
    plain = squid(check, agent="shoal-2.0")
    odd = replace(plain, beat=replace(plain.beat, hostname=text, agent=text))
    place = Place(0.0, 0.0, site=text, city=text, country_code=text, country_name=text)
    harmless = page(Site([plain], {"192.0.2.1": VICTORIA}))
    hostile = page(Site([odd], {"192.0.2.1": place}))
    assert [(tag, sorted(attributes)) for tag, attributes in hostile.elements] == [
        (tag, sorted(attributes)) for tag, attributes in harmless.elements
    ]
    assert hostile.names == [text]


def test_the_policy_allows_nothing_but_our_own_files() -> None:
    policy = Site().get("/").headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("frame-ancestors") == "'none'"
    assert set(rules.values()) <= {"'self'", "'none'"}
    assert {"script-src", "style-src", "connect-src", "base-uri", "form-action"} <= set(rules)


@pytest.mark.parametrize("path", ["/", "/nearest", "/wpad.dat", "/healthz", "/missing"])
def test_every_answer_carries_the_protections(path: str) -> None:
    headers = Site().get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Security-Policy" in headers


@pytest.mark.parametrize("path", ["/nearest", "/nearest?keep=192.0.2.1:3128", "/all", "/external"])
def test_no_cache_in_between_gives_one_requesters_answer_to_another(path: str) -> None:
    assert Site([squid()]).get(path).headers["Cache-Control"] == "private, no-cache"


def test_no_script_and_no_style_stands_in_the_page() -> None:
    site = Site(many(45), {"192.0.0.1": GENEVA})
    shown = page(site)
    assert all(script.get("src") for script in shown.all("script"))
    assert re.search(r"<script[^>]*>[^<]", site.get("/").text) is None
    assert shown.all("style") == []
    named = {name for _, attributes in shown.elements for name in attributes}
    assert not {name for name in named if name == "style" or name.startswith("on")}


def test_everything_that_the_page_needs_is_ours_and_there() -> None:
    site = Site(many(3))
    shown = page(site)
    wanted = [a["href"] for a in shown.all("link")] + [a["src"] for a in shown.all("script")]
    assert len(wanted) >= 3
    for path in wanted:
        assert path is not None
        assert path.startswith("/static/")
        with site.get(path) as answer:
            assert answer.status_code == 200


def test_the_page_is_sent_small_to_who_takes_it_so() -> None:
    site = Site(many(45))
    small = site.get("/", Accept_Encoding="gzip, deflate")
    assert small.headers["Content-Encoding"] == "gzip"
    assert len(small.data) < len(site.get("/").data) / 5
    assert len(Page(gzip.decompress(small.data).decode()).names) == 45


@pytest.mark.parametrize("path", ["/", f"/squid/{ID}", "/explain", "/squid/nobody", "/explain?address=x"])
def test_no_cache_on_the_way_keeps_a_page_which_depends_on_who_asks(path: str) -> None:
    assert Site([squid()]).get(path).headers["Cache-Control"] == "private, no-cache"


def test_without_javascript_the_page_asks_to_be_fetched_again() -> None:
    assert re.search(r'<noscript><meta http-equiv="refresh" content="\d+"></noscript>', Site().get("/").text)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (0.0, "0.0 MB/s"),
        (0.34, "0.34 kB/s"),
        (3.0, "3 kB/s"),
        (49.9, "50 kB/s"),
        (50.0, "0.1 MB/s"),
        (12200.0, "12 MB/s"),
        (1220000.0, "1.22 GB/s"),
    ],
)
def test_a_small_load_is_not_told_as_none(load: float, words: str) -> None:
    assert rate(load) == words
