"""`/nearest` and `/explain`: the whole answer with its reasons, for clients and people that want more
than the legacy text has room for.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from shoal_common.heartbeat import Upstream
from shoal_server.lookup import Explanation
from shoal_server.ranking import ASSUMED_KM, Ranked, Relation
from shoal_server.web.api.operations import Call, get
from shoal_server.web.api.shapes import Km, SquidFacts, State, Where, Whose, facts, where, whose
from shoal_server.web.parameters import YesNo
from shoal_server.web.questions import Question, answer, shown_id, strings, unplaced

KEEP_SECONDS = 600
"""How long to keep an answer: load is smoothed over minutes, and another squid's cache may be cold."""
CACHE = "private, max-age=10"
Further = Annotated[int, Meta(description="How many more squids would do.")]


class Requester(Struct, frozen=True):
    """About whom it was asked."""

    address: str
    place: Where | None
    owner: Whose
    unplaced: Annotated[str | None, Meta(description="Why its place is not known; null if it is.")]


class Terms(Struct, frozen=True):
    """What adds up to the effective distance: kilometres, and what else is worth as much.

    network: a looser relation; metered: a path that costs money; load: what it has to do already; doubt:
    it could not be checked; tier: the operator's table puts it behind its equals.
    """

    distance_km: Km
    network_km: Km
    metered_km: Km
    load_km: Km
    doubt_km: Km
    tier_km: Km


class RankedSquid(SquidFacts, frozen=True, kw_only=True):
    """A squid in an answer, and how its rank came about."""

    relation: Relation
    effective_km: Km
    terms: Terms
    distance_assumed: Annotated[bool, Meta(description="Whether either place is unknown.")]


class Excluded(Struct, frozen=True):
    """A squid that is left out, and why, as a sentence."""

    id: str
    hostname: str
    reason: str


class NearestAnswer(Struct, frozen=True, kw_only=True):
    """Squids, best first; those of one group are near enough to be equals.

    With explain=yes also the nearest of those that are left out, how many there are in all, and how many more
    would do.
    """

    requester: Requester
    service: Upstream
    state: State
    keep_seconds: Annotated[int, Meta(description="How long to keep this answer, in seconds.")]
    groups: list[list[RankedSquid]]
    excluded: list[Excluded] | UnsetType = UNSET
    excluded_total: int | UnsetType = UNSET
    further: Further | UnsetType = UNSET


class Explained(NearestAnswer, frozen=True, kw_only=True):
    """The answer with all its reasons, and the strings that CVMFS, Frontier and PAC readers take.

    The strings name squids alone, since a Varnish is no forward proxy, and to each reader those that
    serve it.
    """

    further: Further
    cvmfs: Annotated[str, Meta(description="CVMFS_HTTP_PROXY; empty if no squid serves CVMFS.")]
    frontier: Annotated[str, Meta(description="For FRONTIER_SERVER; empty if no squid serves Frontier.")]
    pac: Annotated[str, Meta(description="What /wpad.dat answers such a worker for this service.")]


@get("/nearest", cache=CACHE)
def nearest(call: Call, asked: Question) -> NearestAnswer:
    """Which squids a worker is told of, best first.

    Whoever asks about another address learns of those squids alone that it may know of itself.
    """
    return _answer(call, asked.of(call.address))


@get("/explain", cache=CACHE)
def explain(call: Call, asked: Question) -> Explained:
    """Why a worker is told of these squids and of no others.

    The same as `nearest` with explain=yes, which it takes for granted.
    """
    question = structs.replace(asked.of(call.address), explain=YesNo.YES)
    told = _answer(call, question)
    ready = strings(call.backend, question)
    return Explained(
        **structs.asdict(told),
        cvmfs=ready.cvmfs,
        frontier=ready.frontier,
        pac=ready.pac,
    )


OPERATIONS = (nearest, explain)


def _answer(call: Call, question: Question) -> NearestAnswer:
    found = answer(call.backend, question)
    best = found.told
    requester = found.requester
    told = NearestAnswer(
        requester=Requester(
            str(requester.address),
            where(requester.place),
            whose(requester.owner),
            unplaced(call.backend, requester),
        ),
        service=question.service,
        state=call.backend.state,
        keep_seconds=KEEP_SECONDS,
        groups=[[_ranked(call, found, one) for one in group] for _, group in _grouped(best)],
    )
    if question.explain is YesNo.NO:
        return told
    left_out = [
        Excluded(shown_id(found, one.squid), one.squid.beat.hostname, why) for one, why in found.excluded
    ]
    further = found.allowed - len(best)
    return structs.replace(told, excluded=left_out, excluded_total=found.left_out, further=further)


def _grouped(best: Sequence[Ranked]) -> Sequence[tuple[int, list[Ranked]]]:
    return [(number, list(group)) for number, group in groupby(best, lambda one: one.group)]


def _ranked(call: Call, found: Explanation, one: Ranked) -> RankedSquid:
    inside = one.local and one.squid.id in found.open_to_asker
    said = facts(one.listed, call.now, call.backend.liveness, whole=one.squid.id in found.open_to_asker)
    said["private_address"] = one.squid.beat.private_ip if inside else None
    distance = ASSUMED_KM[one.relation] if one.distance_km is None else one.distance_km
    terms = Terms(
        distance_km=round(distance, 1),
        network_km=one.network_km,
        metered_km=one.metered_km,
        load_km=round(one.load_km, 1),
        doubt_km=one.doubt_km,
        tier_km=one.tier_km,
    )
    return RankedSquid(
        **said,
        relation=one.relation,
        effective_km=round(one.effective_km, 1),
        terms=terms,
        distance_assumed=one.distance_km is None,
    )
