"""A page per squid: what it said, how it was checked, how it has fared, and what has happened to it.

A squid that is gone has a page for as long as something of it is remembered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from flask import Blueprint, Response, make_response, render_template, request

from shoal_common.errors import Unavailable
from shoal_common.hosts import HostPort
from shoal_server.history import Grain, Sample
from shoal_server.registry import Event, EventKind
from shoal_server.squid import is_site_local
from shoal_server.web.backend import Backend, is_operator, requester_address
from shoal_server.web.charts import Chart, hits_chart, load_chart
from shoal_server.web.discretion import beat_for, detail_for, id_for
from shoal_server.web.headline import Mood
from shoal_server.web.map import Area, marks
from shoal_server.web.rows import Row
from shoal_server.web.words import percent, rate, whole

EVENTS = 50
ANOTHER_SECONDS = 300.0
"""The snapshot knows to two minutes alone when another agent was heard."""
ANOTHER = (
    "heard in the last minutes. While two announce one squid, it drains if either says so, and the smaller "
    "capacity counts"
)
SPANS = {"day": Grain.FINE, "month": Grain.COARSE}
MOODS = {
    EventKind.JOINED: Mood.GOOD,
    EventKind.VERIFIED: Mood.GOOD,
    EventKind.LOCAL: Mood.WARN,
    EventKind.DRAINED: Mood.WARN,
    EventKind.EXPIRED: Mood.BAD,
    EventKind.FAILED: Mood.BAD,
}


@dataclass(frozen=True, slots=True)
class Happening:
    """An event as the page shows it."""

    at: float
    kind: str
    detail: str
    mood: Mood | None


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of a squid; `away`: the store could not be asked."""

    samples: Sequence[Sample] = ()
    events: Sequence[Event] = ()
    away: bool = False


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("squid", __name__)

    @routes.get("/squid/<path:shown>")
    def squid(shown: str) -> Response:
        now = backend.keeper.now()
        over = request.args.get("over", "day")
        grain = SPANS.get(over, Grain.FINE)
        row = _present(backend, shown, request.args.get("name"), now)
        past = _past(backend, row.squid.id if row else shown, grain, now)
        operator = is_operator(request, backend.operator_token)
        whole = operator or bool(row and row.local)
        if row is None and not (operator or _is_open(shown, past)):
            past = Past(away=past.away)
        if row is None and not (past.events or past.samples):
            page = render_template("squid.html", row=None, shown=shown, past=past, name=shown)
            return make_response(page, HTTPStatus.SERVICE_UNAVAILABLE if past.away else HTTPStatus.NOT_FOUND)
        capacity = row.squid.max_load if row else None
        charts: list[Chart] = [
            load_chart(past.samples, capacity, grain, now),
            hits_chart(past.samples, grain, now),
        ]
        area = Area.holding([row.listed.place] if row and row.listed.place else [])
        page = render_template(
            "squid.html",
            row=row,
            name=row.name if row else _last_name(past) or shown,
            shown=shown,
            now=now,
            area=area,
            marks=marks([row], area) if row else [],
            charts=charts,
            over="month" if grain is Grain.COARSE else "day",
            past=past,
            happenings=[_told(event, whole=whole, operator=operator) for event in past.events],
            said=_said(row, now, whole=whole) if row else [],
        )
        return make_response(page)

    return routes


def _present(backend: Backend, shown: str, name: str | None, now: float) -> Row | None:
    """The squid of that address which the requester may know; the name tells those of one NAT apart."""
    own = requester_address(request, backend.trusted_proxies)
    for listed, local in backend.lookup.everything(own):
        squid = listed.squid
        if id_for(squid, whole=local) == shown and name in (None, squid.beat.hostname):
            return Row.of(listed, now, backend.liveness, local=local)
    return None


def _past(backend: Backend, squid_id: str, grain: Grain, now: float) -> Past:
    try:
        logged = backend.history.events(squid_id, limit=EVENTS).events
        samples = backend.history.samples(squid_id, grain, now)
    except Unavailable:
        return Past(away=True)
    return Past(samples, [one.event for one in logged])


def _is_open(squid_id: str, past: Past) -> bool:
    """Whether a squid that is gone was everybody's business, as far as that can still be told."""
    reached = next((event.kind for event in past.events if event.kind in _CHECKS), None)
    return not _is_inside(squid_id) and reached is not EventKind.LOCAL


_CHECKS = (EventKind.VERIFIED, EventKind.LOCAL, EventKind.FAILED)


def _is_inside(squid_id: str) -> bool:
    """Whether an id tells an inside address."""
    outside, _, inside = squid_id.partition("/")
    if inside:
        return True
    try:
        return is_site_local(HostPort.parse(outside, 0).host)
    except ValueError:
        return True


def _last_name(past: Past) -> str | None:
    """What a squid that is gone was called."""
    named = (event for event in past.events if event.kind in (EventKind.LEFT, EventKind.JOINED))
    return next((event.detail for event in named), None)


def _told(event: Event, *, whole: bool, operator: bool) -> Happening:
    detail = detail_for(event, whole=whole, operator=operator)
    return Happening(event.at, event.kind.value, detail, MOODS.get(event.kind))


def _said(row: Row, now: float, *, whole: bool) -> list[tuple[str, str]]:
    """What its last heartbeat said."""
    beat = beat_for(row.squid, whole=whole)
    metrics = beat.metrics
    said: list[tuple[str, str | None]] = [
        ("Host name", beat.hostname),
        ("Port", str(beat.port)),
        ("Public address", beat.public_ip),
        ("Seen from outside as", beat.external_ip),
        ("IPv6 address", beat.ipv6),
        ("Private address", beat.private_ip),
        ("Kind", beat.cache_type.value.capitalize()),
        ("Serves", row.services),
        ("Load", rate(beat.load)),
        (
            "Capacity",
            rate(beat.max_load) if beat.max_load else f"not said; {rate(row.squid.max_load)} assumed",
        ),
        ("State", beat.state.value),
        ("Every", f"{beat.interval:g} s" if beat.interval else None),
        ("Agent", beat.agent),
        ("Agent's id", beat.uuid),
        ("Another agent", ANOTHER if now - row.squid.other_seen <= ANOTHER_SECONDS else None),
        ("Requests", _per_second(metrics.requests_per_s)),
        ("Hits", _per_second(metrics.hits_per_s)),
        ("Errors", _per_second(metrics.errors_per_s)),
        ("To clients", rate(metrics.client_kb_per_s) if metrics.client_kb_per_s is not None else None),
        ("Median service time", _of(metrics.median_service_ms, "ms")),
        (
            "File descriptors",
            f"{metrics.fds_used} of {metrics.fds_max}" if metrics.fds_used is not None else None,
        ),
        ("Processor", percent(metrics.cpu_share) + " of a core" if metrics.cpu_share is not None else None),
    ]
    return [(name, text) for name, text in said if text]


def _per_second(number: float | None) -> str | None:
    return _of(number, "/s")


def _of(number: float | None, unit: str) -> str | None:
    return None if number is None else f"{whole(number) if number >= 100 else f'{number:.3g}'} {unit}"
