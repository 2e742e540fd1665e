"""`/explain`: why a worker at an address gets the squids that it gets, term by term, and why no others."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flask import Blueprint, Response, make_response, render_template, request

from shoal_server.lookup import Explanation
from shoal_server.ranking import ASSUMED_KM, Ranked
from shoal_server.squid import Listed
from shoal_server.web.backend import Backend, requester_address
from shoal_server.web.map import Area, Mark, marks, path
from shoal_server.web.problems import BadQueryError
from shoal_server.web.questions import DEFAULT_COUNT, MOST, Question, answer, strings, unplaced
from shoal_server.web.rows import Row, place_words
from shoal_server.web.words import whole

MOST_NAMED = 200
"""So many of the squids that are not told are named; the others are counted."""
_UNREAD = "it is left out too, and farther away than those whose reasons were looked at"
_FARTHER = "it would do, but comes after those above"


@dataclass(frozen=True, slots=True)
class Told:
    """A squid of the answer: its place in it, and the terms that its effective distance is the sum of."""

    number: int
    row: Row
    ranked: Ranked

    @property
    def assumed(self) -> bool:
        """Whether its distance is not known, but assumed."""
        return self.ranked.distance_km is None

    @property
    def distance_km(self) -> float:
        known = self.ranked.distance_km
        return ASSUMED_KM[self.ranked.relation] if known is None else known

    @property
    def terms(self) -> list[tuple[str, float]]:
        """In the order of the table's columns."""
        one = self.ranked
        return [
            ("distance", self.distance_km),
            ("network", one.network_km + one.metered_km + one.tier_km),
            ("load", one.load_km),
            ("doubt", one.doubt_km),
        ]

    def bar(self, most: float) -> list[tuple[str, float, float]]:
        """The terms as parts of a bar of 100 units for the most effective kilometres."""
        parts, begin = [], 0.0
        for name, km in self.terms:
            length = 100 * km / most if most else 0.0
            parts.append((name, round(begin, 2), round(length, 2)))
            begin += length
        return [part for part in parts if part[2] > 0]


@dataclass(frozen=True, slots=True)
class Other:
    """A squid that is not told, and why."""

    row: Row
    reason: str


@dataclass(frozen=True, slots=True)
class Pictures:
    """The map: where the worker is, ways to the squids it is told of, and all others dimly."""

    worker: tuple[float, float] | None
    ways: Sequence[str]
    told: Sequence[Mark]
    others: Sequence[Mark]
    area: Area

    @classmethod
    def of(cls, found: Explanation, told: Sequence[Told], others: Sequence[Other]) -> "Pictures":
        here = found.requester.place
        there = [place for one in told if (place := one.row.listed.place)]
        area = Area.holding([*there, here] if here else there)
        near = marks((one.row for one in told), area)
        return cls(
            area.spot(here.latitude, here.longitude) if here else None,
            [way for mark in near if (way := path(here, mark.place, area))] if here else [],
            near,
            marks((one.row for one in others), area),
            area,
        )


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("explain", __name__)

    @routes.get("/explain")
    def explain() -> Response:
        own = requester_address(request, backend.trusted_proxies)
        try:
            question = Question.read(request.args, own)
        except BadQueryError as error:
            page = render_template(
                "explain.html",
                own=own,
                mistake=str(error),
                given=request.args,
                most=MOST,
                usual=DEFAULT_COUNT,
            )
            return make_response(page, 400)
        return make_response(_page(backend, question, own))

    return routes


def _page(backend: Backend, question: Question, own: str) -> str:
    now = backend.keeper.now()
    found = answer(backend, question)

    def row(listed: Listed) -> Row:
        return Row.of(listed, now, backend.liveness, local=listed.squid.id in found.open_to_asker)

    best = found.told
    told = [Told(number, row(one.listed), one) for number, one in enumerate(best, 1)]
    others = _others(found, best, row)[:MOST_NAMED]
    requester = found.requester
    return render_template(
        "explain.html",
        own=own,
        question=question,
        given=request.args,
        most=MOST,
        usual=DEFAULT_COUNT,
        requester=requester,
        where=place_words(requester.place) if requester.place else None,
        unplaced=unplaced(backend, requester),
        told=told,
        most_km=max((one.effective_km for one in best), default=0.0),
        others=others,
        hidden=0 if question.address == own else found.hidden,
        untold=found.allowed - len(best) + found.left_out,
        reasons=_reasons(found, best),
        pictures=Pictures.of(found, told, others),
        strings=strings(backend, question),
        state=backend.state,
    )


def _others(found: Explanation, best: Sequence[Ranked], row: Callable[[Listed], Row]) -> list[Other]:
    """First those that might have been told, in their order; then the excluded, the nearest first."""
    told = {one.squid.id for one in best}
    later = [one for one in found.ranked if one.squid.id not in told]
    return [
        *(Other(row(one.listed), f"{_FARTHER}: {whole(one.effective_km)} effective km") for one in later),
        *(Other(row(listed), reason) for listed, reason in found.excluded),
    ]


def _reasons(found: Explanation, best: Sequence[Ranked]) -> Mapping[str, int]:
    """How many squids are not told for each reason, what is peculiar to one of them left aside."""
    counts = Counter(reason.partition(":")[0] for _, reason in found.excluded)
    if farther := found.allowed - len(best):
        counts[_FARTHER] += farther
    if unread := found.left_out - len(found.excluded):
        counts[_UNREAD] += unread
    return dict(counts.most_common())
