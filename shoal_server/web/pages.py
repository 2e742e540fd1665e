"""The status page: the squids as a table that keeps itself fresh, and is whole without JavaScript."""

import math
import time
from dataclasses import dataclass

from flask import Blueprint, render_template, request

from shoal_common.hosts import HostPort
from shoal_server.snapshot import Listed
from shoal_server.squid import Liveness, LivenessRules, Reach
from shoal_server.web.backend import Backend, requester_address

ROWS = 20
MOST_ROWS = 1000
NEIGHBOURS = 2
"""How many pages before and after the present one are linked, besides the first and the last."""
SKEW_SECONDS = 10.0
"""A smaller difference between two clocks hurts nobody, and may be the message's way."""

WORDS = {
    Reach.GLOBAL: "verified",
    Reach.LOCAL: "own site only",
    Reach.UNVERIFIED: "not checked yet",
    Reach.FAILED: "failed",
    Liveness.SUSPECT: "silent",
    Liveness.DEAD: "gone silent",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One squid as the table shows it."""

    listed: Listed
    local: bool
    liveness: Liveness
    heard: str
    known: str

    @property
    def where(self) -> str:
        place = self.listed.place
        if place is None:
            return "unknown"
        named = [part for part in (place.site, place.city, place.country_code) if part]
        return ", ".join(named) or f"{place.latitude:.1f}, {place.longitude:.1f}"

    @property
    def address(self) -> str:
        """Where it is found; its own site sees the whole id, which may hold the inside address."""
        squid = self.listed.squid
        outside = squid.public_address or squid.beat.ipv6
        return squid.id if self.local or outside is None else str(HostPort(outside, squid.beat.port))

    @property
    def state(self) -> Liveness | Reach:
        """How it is heard matters before how it was checked."""
        alive = self.liveness is Liveness.ALIVE
        return self.listed.squid.verification.reach if alive else self.liveness

    @property
    def words(self) -> str:
        return WORDS[self.state]

    @property
    def reason(self) -> str:
        """Why its check did not end well, if there was one."""
        check = self.listed.squid.verification
        return "" if check.reach is Reach.GLOBAL or check.checked is None else check.reason

    @property
    def clock(self) -> str:
        """How its clock stands to ours."""
        behind = self.listed.squid.clock_skew
        if abs(behind) <= SKEW_SECONDS:
            return "right"
        return f"{_span(abs(behind))} {'behind' if behind > 0 else 'ahead'}"


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("pages", __name__)

    def status(rows: int = ROWS) -> str:
        now = backend.keeper.now()
        found = backend.lookup.everything(requester_address(request, backend.trusted_proxies))
        ordered = sorted(found, key=lambda one: (one[0].squid.beat.hostname, one[0].squid.id))
        per_page = min(max(rows, 1), MOST_ROWS)
        pages = max(1, math.ceil(len(ordered) / per_page))
        page = min(max(request.args.get("page", 1, type=int), 1), pages)
        shown = ordered[(page - 1) * per_page : page * per_page]
        return render_template(
            "status.html",
            rows=[_row(listed, local, backend.liveness, now) for listed, local in shown],
            page=page,
            pages=_linked(page, pages),
            total=len(ordered),
            good=sum(listed.squid.verification.reach is Reach.GLOBAL for listed, _ in ordered),
            connected=backend.reporter.connected,
            held=backend.reporter.held,
            stale=None if backend.keeper.stale_since is None else _span(now - backend.keeper.stale_since),
            heartbeats=backend.reporter.heartbeats.get("accepted", 0),
            now=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)),
        )

    for rule in ("/", "/<int:rows>"):
        routes.add_url_rule(rule, "status", status, strict_slashes=False)
    return routes


def _row(listed: Listed, local: bool, rules: LivenessRules, now: float) -> Row:
    squid = listed.squid
    return Row(listed, local, squid.liveness(now, rules), _span(now - squid.seen), _span(now - squid.created))


def _linked(page: int, pages: int) -> list[int | None]:
    """The numbers of the pages that are linked from this one; None where some are left out."""
    near = range(max(1, page - NEIGHBOURS), min(pages, page + NEIGHBOURS) + 1)
    linked: list[int | None] = []
    for number in sorted({1, *near, pages}):
        if linked and number - (linked[-1] or 0) > 1:
            linked.append(None)
        linked.append(number)
    return linked


def _span(seconds: float) -> str:
    """A length of time in its largest sensible unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
