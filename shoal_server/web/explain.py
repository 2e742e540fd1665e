"""`/explain`: why a worker at an address gets the squids that it gets, term by term, and why no others."""

from collections.abc import Sequence

from flask import Blueprint, Response, make_response, render_template, request

from shoal_common.hosts import HostPort
from shoal_common.proxylist import ProxyList
from shoal_server.ranking import NETWORK_KM, Ranked, first
from shoal_server.web.backend import Backend, requester_address
from shoal_server.web.problems import BadQueryError
from shoal_server.web.questions import Question, answer, shown_id
from shoal_server.web.wpad import pac


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("explain", __name__)

    @routes.get("/explain")
    def explain() -> Response:
        own = requester_address(request, backend.trusted_proxies)
        try:
            question = Question.read(request.args, own)
        except BadQueryError as error:
            page = render_template("explain.html", own=own, mistake=str(error), given=request.args)
            return make_response(page, 400)
        found = answer(backend, question)
        told = first(found.ranked, question.count)
        proxies = [HostPort(one.squid.address, one.squid.beat.port) for one in told]
        chain = ProxyList.of(_groups(told))
        return make_response(
            render_template(
                "explain.html",
                own=own,
                question=question,
                given=request.args,
                requester=found.requester,
                told=[(one, shown_id(found, one.squid), NETWORK_KM[one.relation]) for one in told],
                further=len(found.ranked) - len(told),
                excluded=[(one, shown_id(found, one.squid), why) for one, why in found.excluded],
                cvmfs=chain.to_cvmfs(),
                frontier=chain.to_frontier(),
                pac=pac(proxies),
                state=backend.state,
            )
        )

    return routes


def _groups(told: Sequence[Ranked]) -> list[list[str]]:
    """The proxies by group, as CVMFS would balance over them."""
    groups: dict[int, list[str]] = {}
    for one in told:
        proxy = f"http://{HostPort(one.squid.address, one.squid.beat.port)}"
        groups.setdefault(one.group, []).append(proxy)
    return list(groups.values())
