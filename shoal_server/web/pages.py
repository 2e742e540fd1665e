"""The status page: whether the world is well, where the squids are, and each of them in a table.

It is whole without JavaScript: filter, order and page stand in the query. With JavaScript the same
page keeps itself fresh.
"""

import gzip
import re
from collections import Counter
from collections.abc import Sequence

from flask import Blueprint, Response, render_template, request

from shoal_server.web import words
from shoal_server.web.backend import Backend, requester_address
from shoal_server.web.headline import Headline
from shoal_server.web.map import AREAS, WORLD, marks
from shoal_server.web.rows import Row, State
from shoal_server.web.table import COLUMNS, ROWS, TROUBLE, Page, View, country

COMPRESSION = 4
FILTERS = (
    words.span,
    words.moment,
    words.stamp,
    words.rate,
    words.whole,
    words.percent,
    words.squids,
    words.sites_own,
)


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("pages", __name__)
    for filter_ in FILTERS:
        routes.add_app_template_filter(filter_)
    routes.app_context_processor(lambda: {"attributions": [_linked(text) for text in backend.attributions()]})

    def status(rows: int = ROWS) -> str:
        now = backend.keeper.now()
        found = backend.lookup.everything(requester_address(request, backend.trusted_proxies))
        unseen = max(0, len(backend.keeper.current.listed) - len(found))
        everything = [Row.of(listed, now, backend.liveness, local=local) for listed, local in found]
        view = View.read(request.args)
        selected = view.select(everything) if view.narrowed else everything
        area = AREAS.get(view.map, WORLD)
        drawn = marks(selected, area)
        shown = view.within(selected, drawn, lambda: marks(everything, area))
        return render_template(
            "status.html",
            now=now,
            headline=Headline.of(backend, everything, now, unseen),
            marks=drawn,
            area=area,
            areas=AREAS,
            nowhere=sum(row.listed.place is None for row in selected),
            view=view,
            columns=COLUMNS,
            states=[(state.token, state.value) for state in State] + [(TROUBLE, "failed or silent")],
            countries=_countries(everything),
            total=len(everything),
            unseen=unseen,
            table=Page.of(view.ordered(shown), view.page, rows),
        )

    @routes.after_request
    def smaller(response: Response) -> Response:
        """A page that is fetched every few seconds is sent in a tenth of its size to who takes that."""
        if request.accept_encodings.quality("gzip"):
            response.set_data(gzip.compress(response.get_data(), COMPRESSION))
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        return response

    for rule in ("/", "/<int:rows>"):
        routes.add_url_rule(rule, "status", status, strict_slashes=False)
    return routes


def _countries(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The countries that there are squids in: code, and name with the number of squids."""
    names = {
        country(row): (row.listed.place and row.listed.place.country_name) or country(row) for row in rows
    }
    counts = Counter(country(row) for row in rows)
    named = sorted((name, code) for code, name in names.items() if code)
    return [(code, f"{name} ({counts[code]})") for name, code in named]


def _linked(text: str) -> tuple[str, str | None]:
    """An attribution, and the address in it that licences want to be a link."""
    found = re.search(r"https?://[^\s,;)\"'<>]+", text)
    return text, found.group() if found else None
