"""Order and filter of the status page's table: what a query asks for."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from shoal_common.heartbeat import CacheType, Metrics, Upstream
from shoal_server.squid import LivenessRules, Owner, Place, Reach, Verification
from shoal_server.web.map import marks
from shoal_server.web.rows import Row
from shoal_server.web.table import View
from tests.fakes import GENEVA, NOW, VICTORIA, listed

CERN = Owner(513, "CERN")


def row(name: str, place: Place | None = None, owner: Owner = CERN, **changes: object) -> Row:
    check = changes.pop("check", Verification(Reach.GLOBAL, "served", NOW, NOW))
    assert isinstance(check, Verification)
    one = listed(place, check, hostname=name, uuid=name, **changes)
    return Row.of(replace(one, owner=owner), NOW, LivenessRules(), local=False)


FAILED = Verification(Reach.FAILED, "connection refused", NOW, NOW)
ROWS = [
    row("b", VICTORIA, Owner(16462, "UVic"), load=90_000.0, metrics=Metrics(10.0, 9.0), agent="shoal-2"),
    row("c", None, Owner(), load=10_000.0, cache_type=CacheType.VARNISH, upstream=Upstream.CVMFS),
    row("a", GENEVA, load=50_000.0, check=FAILED, metrics=Metrics(10.0, 5.0)),
    row("d", GENEVA, load=20_000.0, max_load=1e6, upstream=Upstream.FRONTIER, timestamp=NOW - 900),
]


def names(rows: Sequence[Row]) -> str:
    return "".join(row.name for row in rows)


def asked(**given: str) -> View:
    return View.read(given)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("name", "abcd"),
        ("-name", "dcba"),
        ("load", "dcab"),
        ("-load", "bacd"),
        ("-capacity", "dabc"),
        ("-state", "abcd"),
        ("-clock", "dabc"),
        ("type", "abdc"),
        ("nonsense", "abcd"),
        ("", "abcd"),
    ],
)
def test_the_table_is_ordered_by_a_column_and_equals_by_name(sort: str, order: str) -> None:
    assert names(asked(sort=sort).ordered(ROWS)) == order


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("site", "adbc"),
        ("-site", "badc"),
        ("hits", "abcd"),
        ("-hits", "bacd"),
        ("-network", "badc"),
        ("agent", "bacd"),
    ],
)
def test_those_without_the_value_come_last_either_way(sort: str, order: str) -> None:
    assert names(asked(sort=sort).ordered(ROWS)) == order


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"q": "GENEVA"}, "ad"),
        ({"q": "geneva refused"}, "a"),
        ({"q": "as16462"}, "b"),
        ({"q": "switzerland"}, "ad"),
        ({"q": "shoal-2"}, "b"),
        ({"q": "nowhere"}, ""),
        ({"state": "failed"}, "a"),
        ({"state": "trouble"}, "a"),
        ({"state": "verified"}, "bcd"),
        ({"state": "nonsense"}, "abcd"),
        ({"country": "CH"}, "ad"),
        ({"country": "xx"}, ""),
        ({"service": "cvmfs"}, "abc"),
        ({"service": "frontier"}, "abd"),
        ({"service": "both"}, "abcd"),
        ({"type": "varnish"}, "c"),
        ({"type": "nonsense"}, "abcd"),
        ({"country": "CH", "service": "cvmfs"}, "a"),
        ({}, "abcd"),
    ],
)
def test_a_filter_leaves_what_is_like_it(given: dict[str, str], found: str) -> None:
    assert names(sorted(asked(**given).select(ROWS), key=lambda row: row.name)) == found


def test_the_squids_of_a_point_of_the_map_can_be_asked_for() -> None:
    view = asked(at="46.23,6.05")
    assert sorted(names(view.within(ROWS, marks(ROWS), list))) == ["a", "d"]
    assert names(asked(at="1,1").within(ROWS, marks(ROWS), list)) == ""
    assert names(asked().within(ROWS, marks(ROWS), list)) == names(ROWS)


def test_a_link_changes_one_thing_and_keeps_the_rest_but_for_the_page() -> None:
    view = asked(q="a b&c", sort="-load", page="3", state="failed")
    assert view.link(sort="name") == "?q=a+b%26c&state=failed"
    assert view.link(page=4) == "?q=a+b%26c&state=failed&sort=-load&page=4"
    assert View().link() == "?"


def test_a_heading_sorts_its_usual_way_first_and_then_the_other() -> None:
    assert asked().sorting("load") == "-load"
    assert asked(sort="-load").sorting("load") == "load"
    assert asked(sort="load").sorting("load") == "-load"
    assert asked().sorting("name") == "-name"
    assert asked().sorting("site") == "site"


def test_a_query_of_any_length_is_cut() -> None:
    assert len(asked(q="x" * 100_000).q) <= 200
