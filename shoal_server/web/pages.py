"""The status page: the squids as a table that keeps itself fresh, and is whole without JavaScript."""

import math
import time
from dataclasses import dataclass

from flask import Blueprint, render_template, request

from shoal_server.snapshot import Listed
from shoal_server.squid import Liveness, LivenessRules, Reach
from shoal_server.web.backend import Backend, requester_address

ROWS = 20
MOST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One squid as the table shows it."""

    listed: Listed
    local: bool
    liveness: Liveness
    silent: float
    alive_for: str

    @property
    def where(self) -> str:
        place = self.listed.place
        if place is None:
            return "unknown"
        named = [part for part in (place.site, place.city, place.country_code) if part]
        return ", ".join(named) or f"{place.latitude:.1f}, {place.longitude:.1f}"

    @property
    def address(self) -> str:
        squid = self.listed.squid
        inside = squid.beat.private_ip if self.local or squid.private_only else None
        return squid.public_address or inside or squid.beat.ipv6 or ""

    @property
    def state(self) -> str:
        """One word for the eye: how it is heard matters before how it was checked."""
        return self.liveness.value if self.liveness is not Liveness.ALIVE else self.reach.value

    @property
    def reach(self) -> Reach:
        return self.listed.squid.verification.reach


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("pages", __name__)

    def status(rows: int = ROWS) -> str:
        now = time.time()
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
            pages=pages,
            total=len(ordered),
            good=sum(listed.squid.verification.reach is Reach.GLOBAL for listed, _ in ordered),
            connected=backend.connected(),
            held=backend.held(),
            stale=None if backend.keeper.stale_since is None else now - backend.keeper.stale_since,
            heartbeats=backend.heartbeats().get("accepted", 0),
            now=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)),
        )

    for rule in ("/", "/<int:rows>"):
        routes.add_url_rule(rule, "status", status, strict_slashes=False)
    return routes


def _row(listed: Listed, local: bool, rules: LivenessRules, now: float) -> Row:
    squid = listed.squid
    return Row(
        listed, local, squid.liveness(now, rules), max(0.0, now - squid.seen), _span(now - squid.created)
    )


def _span(seconds: float) -> str:
    """A length of time in its largest sensible unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
