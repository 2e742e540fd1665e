"""`/api/v1/nearest`: the whole answer with its reasons, for clients and people that want more than the
legacy text has room for. Errors are problem details.
"""

from collections.abc import Mapping
from http import HTTPStatus
from itertools import groupby

from flask import Blueprint, Response, jsonify, request

from shoal_server.lookup import Explanation
from shoal_server.ranking import NETWORK_KM, Ranked, first
from shoal_server.squid import Place
from shoal_server.web.backend import Backend, requester_address
from shoal_server.web.problems import BadQueryError, problem
from shoal_server.web.questions import Question, answer, shown_id

KEEP_SECONDS = 600
"""How long to keep an answer: load is smoothed over minutes, and another squid's cache may be cold."""


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("api", __name__)

    @routes.get("/api/v1/nearest")
    def nearest() -> Response:
        try:
            question = Question.read(request.args, requester_address(request, backend.trusted_proxies))
        except BadQueryError as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        found = answer(backend, question)
        told = first(found.ranked, question.count)
        body: dict[str, object] = {
            "requester": {"address": found.requester.address, "place": _place(found.requester.place)},
            "service": question.service.value,
            "state": backend.state,
            "keep_seconds": KEEP_SECONDS,
            "groups": [
                [_squid(found, one) for one in group] for _, group in groupby(told, lambda one: one.group)
            ],
        }
        if question.explain:
            body["excluded"] = [
                {"id": shown_id(found, one.squid), "hostname": one.squid.beat.hostname, "reason": why}
                for one, why in found.excluded
            ]
        response = jsonify(body)
        response.headers["Cache-Control"] = "private, max-age=10"
        return response

    return routes


def _squid(found: Explanation, one: Ranked) -> Mapping[str, object]:
    squid = one.squid
    inside = one.local and squid.id in found.open_to_asker
    return {
        "id": shown_id(found, squid),
        "hostname": squid.beat.hostname,
        "address": squid.address,
        "private_address": squid.beat.private_ip if inside else None,
        "ipv6": squid.beat.ipv6,
        "port": squid.beat.port,
        "cache_type": squid.beat.cache_type.value,
        "upstream": squid.beat.upstream.value,
        "place": _place(one.listed.place),
        "relation": one.relation.value,
        "effective_km": round(one.effective_km, 1),
        "terms": {
            "distance_km": None if one.distance_km is None else round(one.distance_km, 1),
            "network_km": NETWORK_KM[one.relation],
            "load_km": round(one.load_km, 1),
            "doubt_km": one.doubt_km,
        },
        "utilisation": round(squid.utilisation, 4),
        "max_load": round(squid.max_load),
        "draining": squid.draining,
        "verification": {"reach": squid.verification.reach.value, "reason": squid.verification.reason},
    }


def _place(place: Place | None) -> Mapping[str, object] | None:
    if place is None:
        return None
    return {
        "site": place.site,
        "city": place.city,
        "country_code": place.country_code,
        "latitude": place.latitude,
        "longitude": place.longitude,
    }
