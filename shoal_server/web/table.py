"""What of the table is asked for: filter, order and page, as the query of an address says.

What makes no sense in a query is as if it were not there: a page that an operator has bookmarked
shows something whatever becomes of the parameters.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.web.map import Mark
from shoal_server.web.rows import ORDER, TROUBLED, Row, State

ROWS = 50
MOST_ROWS = 1000
LONGEST = 200
NEIGHBOURS = 2
"""How many pages before and after the present one are linked, besides the first and the last."""
TROUBLE = "trouble"

Key = Callable[[Row], object]


@dataclass(frozen=True, slots=True)
class Column:
    """Something the table may be ordered by; `key` is None where a squid has no such thing.

    `downwards`: the largest are looked for first.
    """

    title: str
    key: Key
    downwards: bool = False

    def first(self, name: str) -> str:
        """The value of `sort` that asks for this column's usual order."""
        return f"-{name}" if self.downwards else name


COLUMNS: Mapping[str, Column] = {
    "name": Column("Squid", lambda row: row.name),
    "state": Column("State", lambda row: ORDER[row.state], downwards=True),
    "site": Column("Site", lambda row: row.listed.place and (row.listed.place.site or row.listed.place.city)),
    "country": Column("Country", lambda row: row.listed.place and row.listed.place.country_code),
    "network": Column("Network", lambda row: row.listed.owner.asn),
    "type": Column("Type", lambda row: row.squid.beat.cache_type.value),
    "services": Column("Serves", lambda row: row.services),
    "port": Column("Port", lambda row: row.squid.beat.port),
    "load": Column("Load", lambda row: row.utilisation, downwards=True),
    "capacity": Column("Capacity", lambda row: row.squid.max_load, downwards=True),
    "hits": Column("Hits", lambda row: row.hit_ratio),
    "heard": Column("Heard", lambda row: row.now - row.squid.seen),
    "known": Column("Known for", lambda row: row.now - row.squid.created),
    "clock": Column("Clock", lambda row: abs(row.squid.clock_skew), downwards=True),
    "agent": Column("Agent", lambda row: row.squid.beat.agent),
}


@dataclass(frozen=True, slots=True)
class View:
    """One view of the table; `sort` is a column, with a minus before it downwards."""

    q: str = ""
    state: str = ""
    country: str = ""
    service: str = ""
    type: str = ""
    at: str = ""
    map: str = ""
    sort: str = "name"
    page: int = 1

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "View":
        """From a query."""
        names = [field.name for field in fields(cls) if field.name != "page"]
        said = {name: given.get(name, "").strip()[:LONGEST] for name in names}
        number = given.get("page", "")
        page = int(number[:9]) if number.isascii() and number.isdigit() else 1
        sort = said.pop("sort")
        return cls(**said, sort=sort if sort.removeprefix("-") in COLUMNS else "name", page=max(1, page))

    def link(self, **changes: str | int) -> str:
        """The query of this view with changes; one other than of the page goes back to the first page."""
        changed = replace(self, **({"page": 1} | changes))  # type: ignore[arg-type]
        default = View()
        said = {field.name: getattr(changed, field.name) for field in fields(changed)}
        return "?" + urlencode({name: text for name, text in said.items() if text != getattr(default, name)})

    def sorting(self, name: str) -> str:
        """The value of `sort` that a click on the column's title asks for."""
        first = COLUMNS[name].first(name)
        second = name if first.startswith("-") else f"-{name}"
        return second if self.sort == first else first

    def direction(self, name: str) -> str | None:
        """How the column is sorted, as `aria-sort` says it."""
        return {name: "ascending", f"-{name}": "descending"}.get(self.sort)

    @property
    def narrowed(self) -> bool:
        """Whether anything is filtered out."""
        return any((self.q, self.state, self.country, self.service, self.type, self.at))

    def select(self, rows: Iterable[Row]) -> list[Row]:
        """Those that pass the filter, its `at` left aside."""
        words = self.q.casefold().split()
        tests: list[Callable[[Row], bool]] = []
        if states := _states(self.state):
            tests.append(lambda row: row.state in states)
        if self.country:
            tests.append(lambda row: country(row) == self.country)
        if self.service in set(Upstream):
            tests.append(lambda row: row.squid.beat.upstream.serves(Upstream(self.service)))
        if self.type in set(CacheType):
            tests.append(lambda row: row.squid.beat.cache_type == self.type)
        if words:
            tests.append(lambda row: _holds(row.words, words))
        return [row for row in rows if all(test(row) for test in tests)]

    def within(
        self, rows: Sequence[Row], marks: Iterable[Mark], unfiltered: Callable[[], Iterable[Mark]]
    ) -> Sequence[Row]:
        """Those of the mark at `at`, if one is asked for.

        A filter may take away the squid that gave a mark its place; then those are meant that were drawn
        there before, in the `unfiltered` marks.
        """
        if not self.at:
            return rows
        found = _at(self.at, marks)
        if found is None:
            there = {row.squid.id for row in _at(self.at, unfiltered()) or ()}
            found = [row for row in rows if row.squid.id in there]
        return found

    def ordered(self, rows: Iterable[Row]) -> list[Row]:
        """In order; those without the value come last either way, equals by name."""
        key = COLUMNS[self.sort.removeprefix("-")].key
        by_name = sorted(rows, key=lambda row: (row.name, row.squid.id))
        known = [row for row in by_name if key(row) is not None]
        known.sort(key=key, reverse=self.sort.startswith("-"))  # type: ignore[arg-type]
        return known + [row for row in by_name if key(row) is None]


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page."""

    rows: Sequence[Row]
    number: int
    pages: int
    total: int

    @classmethod
    def of(cls, rows: Sequence[Row], number: int, per_page: int) -> "Page":
        """Page `number`; beyond the last it is the last."""
        size = min(max(per_page, 1), MOST_ROWS)
        pages = max(1, math.ceil(len(rows) / size))
        number = min(number, pages)
        return cls(rows[(number - 1) * size : number * size], number, pages, len(rows))

    @property
    def links(self) -> list[int | None]:
        """The numbers of the pages that are linked from this one; None where some are left out."""
        near = range(max(1, self.number - NEIGHBOURS), min(self.pages, self.number + NEIGHBOURS) + 1)
        linked: list[int | None] = []
        for number in sorted({1, *near, self.pages}):
            if linked and number - (linked[-1] or 0) > 1:
                linked.append(None)
            linked.append(number)
        return linked


def country(row: Row) -> str:
    """The country's code; empty when it is not known."""
    place = row.listed.place
    return (place and place.country_code) or ""


def _at(place: str, marks: Iterable[Mark]) -> Sequence[Row] | None:
    return next((mark.rows for mark in marks if mark.at == place), None)


def _states(said: str) -> frozenset[State]:
    if said == TROUBLE:
        return TROUBLED
    return frozenset(state for state in State if state.token == said)


def _holds(text: str, words: Sequence[str]) -> bool:
    return all(word in text for word in words)
