"""`/squids`: the squids that whoever asks may know of, as a list and one by one."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.squid import Listed, Liveness, Reach
from shoal_server.web.api.operations import Call, get
from shoal_server.web.api.paging import Key, onward, page
from shoal_server.web.api.shapes import SquidDetail, SquidFacts, State, detail, facts
from shoal_server.web.discretion import id_for
from shoal_server.web.parameters import Cursor, Word, YesNo
from shoal_server.web.problems import ProblemError

MOST = 1000
Limit = Annotated[int, Meta(ge=1, le=MOST, description="How many on a page at most.")]
After = Annotated[Cursor, Meta(description="`next` of the page before has it.")]
Id = Annotated[str, Meta(description="As `id` in the list says; its slash may be escaped or not.")]


class Sort(StrEnum):
    """By what a list is sorted; what is not known comes first."""

    ID = "id"
    HOSTNAME = "hostname"
    SITE = "site"
    COUNTRY = "country"
    LOAD = "load"
    UTILISATION = "utilisation"
    HIT_RATIO = "hit_ratio"
    SEEN = "seen"
    CREATED = "created"
    CLOCK_SKEW = "clock_skew"


class Order(StrEnum):
    """Which way a list is sorted."""

    ASCENDING = "ascending"
    DESCENDING = "descending"


class SquidsAsked(Struct, frozen=True, kw_only=True):
    """Which squids, in what order; all conditions hold together."""

    state: Annotated[Liveness, Meta(description="How recently they were heard.")] | UnsetType = UNSET
    reach: Annotated[Reach, Meta(description="How their checks ended.")] | UnsetType = UNSET
    draining: Annotated[YesNo, Meta(description="Whether they are draining.")] | UnsetType = UNSET
    service: (
        Annotated[
            Upstream, Meta(description="cvmfs, frontier: those that serve it; both: those that serve both.")
        ]
        | UnsetType
    ) = UNSET
    cache_type: Annotated[CacheType, Meta(description="The kind of cache.")] | UnsetType = field(
        default=UNSET, name="type"
    )
    site: Annotated[Word, Meta(description="The operator's name of the place.")] | UnsetType = UNSET
    country: Annotated[Word, Meta(description="Its two-letter code, or its name.")] | UnsetType = UNSET
    text: (
        Annotated[Word, Meta(description="A part of the name, id, place, owner or agent, in any case.")]
        | UnsetType
    ) = UNSET
    sort: Annotated[Sort, Meta(description="By what.")] = Sort.HOSTNAME
    order: Annotated[Order, Meta(description="Which way.")] = Order.ASCENDING
    limit: Limit = 100
    cursor: After | UnsetType = UNSET


class SquidPage(Struct, frozen=True, kw_only=True):
    """A page of squids: `total` match on all pages, `next` is the path of the next page."""

    state: State
    total: int
    squids: list[SquidFacts]
    next: str | None


class SquidAsked(Struct, frozen=True, kw_only=True):
    """Which squid; the hostname tells those behind one NAT apart that share an address and a port."""

    id: Id
    hostname: Annotated[Word, Meta(description="Only if it has this name.")] | UnsetType = UNSET


@get("/squids")
def squids(call: Call, asked: SquidsAsked) -> SquidPage:
    """The squids that the caller may know of.

    Squids and addresses that are private to a site are told to that site alone, and to operators.
    """
    found = [one for one in known(call) if _matches(asked, *one, call)]
    shown, cursor = page(
        found,
        lambda one: _key(asked.sort, *one),
        order=f"{asked.sort} {asked.order}",
        descending=asked.order is Order.DESCENDING,
        after=asked.cursor or None,
        limit=asked.limit,
    )
    rules = call.backend.liveness
    told = [SquidFacts(**facts(listed, call.now, rules, whole=whole)) for listed, whole in shown]
    return SquidPage(state=call.backend.state, total=len(found), squids=told, next=onward(cursor))


@get("/squids/{id}", HTTPStatus.NOT_FOUND)
def squid(call: Call, asked: SquidAsked) -> SquidDetail:
    """Everything that is known of one squid."""
    listed, whole = find(call, asked.id, asked.hostname or None)
    return detail(listed, call.now, call.backend.liveness, whole=whole)


OPERATIONS = (squids, squid)


def known(call: Call) -> list[tuple[Listed, bool]]:
    """The squids that the caller may know of, and whether of each the inside address too."""
    if call.operator:
        return [(listed, True) for listed in call.backend.keeper.current.listed]
    return list(call.backend.lookup.everything(call.address))


def find(call: Call, shown: str, hostname: str | None = None) -> tuple[Listed, bool]:
    """The squid that the caller sees under this id. Raises ProblemError."""
    for listed, whole in known(call):
        if id_for(listed.squid, whole=whole) == shown and hostname in (None, listed.squid.beat.hostname):
            return listed, whole
    raise ProblemError(HTTPStatus.NOT_FOUND, f"There is no squid {shown[:100]!r}.")


def _matches(asked: SquidsAsked, listed: Listed, whole: bool, call: Call) -> bool:
    squid, place, upstream = listed.squid, listed.place, listed.squid.beat.upstream
    return (
        (not asked.reach or squid.verification.reach is asked.reach)
        and (not asked.state or squid.liveness(call.now, call.backend.liveness) is asked.state)
        and (not asked.draining or squid.draining is (asked.draining is YesNo.YES))
        and (not asked.service or asked.service is upstream or Upstream.BOTH is upstream)
        and (not asked.cache_type or squid.beat.cache_type is asked.cache_type)
        and (not asked.site or bool(place and place.site == asked.site))
        and (not asked.country or _is_country(asked.country, listed))
        and (not asked.text or asked.text.casefold() in _words(listed, whole))
    )


def _is_country(text: str, listed: Listed) -> bool:
    place = listed.place
    names = (place.country_code, place.country_name) if place else ()
    return text.casefold() in [name.casefold() for name in names if name]


def _words(listed: Listed, whole: bool) -> str:
    beat, place, owner = listed.squid.beat, listed.place, listed.owner
    words = [beat.hostname, id_for(listed.squid, whole=whole), beat.agent, owner.organisation, owner.domain]
    words += [place.site, place.city, place.country_name] if place else []
    return "\n".join(word for word in words if word).casefold()


_VALUES: Mapping[Sort, Callable[[Listed], str | float]] = {
    Sort.ID: lambda listed: "",
    Sort.HOSTNAME: lambda listed: listed.squid.beat.hostname,
    Sort.SITE: lambda listed: (listed.place and listed.place.site) or "",
    Sort.COUNTRY: lambda listed: (listed.place and listed.place.country_code) or "",
    Sort.LOAD: lambda listed: listed.squid.load,
    Sort.UTILISATION: lambda listed: listed.squid.utilisation,
    Sort.HIT_RATIO: lambda listed: listed.squid.hit_ratio or 0.0,
    Sort.SEEN: lambda listed: listed.squid.seen,
    Sort.CREATED: lambda listed: listed.squid.created,
    Sort.CLOCK_SKEW: lambda listed: listed.squid.clock_skew,
}


def _key(sort: Sort, listed: Listed, whole: bool) -> Key:
    """Ids as outsiders see them need not be unique behind a NAT; with name and time of joining they are."""
    squid = listed.squid
    return _VALUES[sort](listed), id_for(squid, whole=whole), squid.beat.hostname, float(squid.created)
