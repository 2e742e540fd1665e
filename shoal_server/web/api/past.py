"""`/events`, `/squids/{id}/history`, `/squids/{id}/events` and `/listed`: what was."""

from http import HTTPStatus
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from shoal_common.hosts import HostPort
from shoal_server.history import Grain, LoggedEvent, Sample
from shoal_server.registry import EventKind
from shoal_server.roll import Presence
from shoal_server.squid import Reach, is_site_local
from shoal_server.web.api.operations import Call, get
from shoal_server.web.api.paging import onward, page
from shoal_server.web.api.shapes import Time
from shoal_server.web.api.squids import After, Id, Limit, find, known
from shoal_server.web.discretion import detail_for, id_for
from shoal_server.web.parameters import Moment
from shoal_server.web.problems import BadQueryError, ProblemError

MOST = 500

_Newest = Annotated[int, Meta(ge=1, le=MOST, description="How many at most.")]
_Place = Annotated[str, Meta(pattern="^[0-9]{1,15}-[0-9]{1,15}$", title="the cursor of an event")]
_Older = Annotated[_Place, Meta(description="What came before this event; `next` has it.")]
_Newer = Annotated[
    _Place, Meta(description="What came after this event, oldest first; goes before `cursor`.")
]


class EventsAsked(Struct, frozen=True, kw_only=True):
    """Which events: the newest first, unless `after` is given."""

    limit: _Newest = 50
    cursor: _Older | UnsetType = UNSET
    after: _Newer | UnsetType = UNSET


class SquidEventsAsked(EventsAsked, frozen=True, kw_only=True):
    """Which events of which squid."""

    id: Id


class Happening(Struct, frozen=True):
    """Something that happened to a squid; `detail` is for people, and empty if it is not for the caller."""

    cursor: str
    at: Time
    kind: EventKind
    squid: str
    detail: str


class EventList(Struct, frozen=True):
    """A page of events; it holds fewer than asked for where some are not for the caller."""

    events: list[Happening]
    next: str | None


class HistoryAsked(Struct, frozen=True, kw_only=True):
    """Of which squid, and how fine: a day in spans of 5 minutes, or 30 days in spans of 2 hours."""

    id: Id
    grain: Annotated[Grain, Meta(description="fine: a day, coarse: 30 days.")] = Grain.FINE


class HistoryAnswer(Struct, frozen=True):
    """Load of a squid over time, oldest first; spans in which it was not listed are missing."""

    id: str
    grain: Grain
    seconds: int
    samples: list[Sample]


class ListedAsked(Struct, frozen=True, kw_only=True):
    """At what time."""

    at: Annotated[Moment, Meta(description="A time in the last 30 days, by the server's clock.")]
    limit: Limit = 1000
    cursor: After | UnsetType = UNSET


class Roll(Struct, frozen=True):
    """The squids that were listed at a time; `total` is their number on all pages."""

    at: Time
    total: int
    squids: list[Presence]
    next: str | None


@get("/events", HTTPStatus.SERVICE_UNAVAILABLE)
def events(call: Call, asked: EventsAsked) -> EventList:
    """What happened to the squids that the caller may know of; to operators also of those that are gone."""
    return _events(call, asked, None)


@get("/squids/{id}/events", HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def squid_events(call: Call, asked: SquidEventsAsked) -> EventList:
    """What happened to one squid."""
    return _events(call, asked, _squid_id(call, asked.id))


@get("/squids/{id}/history", HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def squid_history(call: Call, asked: HistoryAsked) -> HistoryAnswer:
    """Load, hit ratio and reach of one squid over time."""
    samples = call.backend.history.samples(_squid_id(call, asked.id), asked.grain, call.now)
    return HistoryAnswer(asked.id, asked.grain, asked.grain.seconds, samples)


@get("/listed", HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def listed(call: Call, asked: ListedAsked) -> Roll:
    """Which squids were listed at a past time: machines vanish, the record stays.

    Who is no operator sees those that anybody could use.
    """
    at = asked.at.timestamp()
    present = call.backend.history.listed_at(at) if at <= call.now else None
    if present is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "Nothing is recorded of that time.")
    open_ones = present if call.operator else [one for one in present if _is_open(one)]
    shown, cursor = page(
        open_ones,
        lambda one: (one.id,),
        order="id",
        descending=False,
        after=asked.cursor or None,
        limit=asked.limit,
    )
    return Roll(at, len(open_ones), shown, onward(cursor))


OPERATIONS = (events, squid_events, squid_history, listed)


def _events(call: Call, asked: EventsAsked, squid_id: str | None) -> EventList:
    after = asked.after or None
    before = None if after else asked.cursor or None
    try:
        found = call.backend.history.events(squid_id, before=before, after=after, limit=asked.limit)
    except ValueError as error:
        raise BadQueryError(f"{'after' if after else 'cursor'}: {error}") from None
    if call.operator:
        told = [_happening(one, one.event.squid_id, whole=True, operator=True) for one in found.events]
    else:
        names = _names(call)
        seen = [one for one in found.events if one.event.squid_id in names]
        told = [_happening(one, *names[one.event.squid_id], operator=False) for one in seen]
    return EventList(told, onward(found.next, "after" if after else "cursor"))


def _names(call: Call) -> dict[str, tuple[str, bool]]:
    """Under which id the caller knows each squid, and whether that is the whole of it."""
    return {one.squid.id: (id_for(one.squid, whole=whole), whole) for one, whole in known(call)}


def _happening(one: LoggedEvent, shown: str, whole: bool, *, operator: bool) -> Happening:
    event = one.event
    detail = detail_for(event, whole=whole, operator=operator)
    return Happening(one.cursor, event.at, event.kind, shown, detail)


def _squid_id(call: Call, shown: str) -> str:
    """The whole id; an operator may ask for one that is gone."""
    return shown if call.operator else find(call, shown)[0].squid.id


def _is_open(one: Presence) -> bool:
    whole = one.id == str(HostPort(one.address, one.port))  # behind a NAT it holds the inside address too
    return one.reach is Reach.GLOBAL and whole and not is_site_local(one.address)
