"""What an operator may change: `POST /api/v1/drain` and `/api/v1/undrain`, with the operator's token.

The body is a JSON object: `squid` (an id as the status page shows it), `who` and `why`, which go into
the event log. Errors are problem details (RFC 9457).
"""

from http import HTTPStatus

from flask import Blueprint, Response, request

from shoal_common.errors import Unavailable
from shoal_server.web.backend import Backend, is_operator
from shoal_server.web.problems import problem

LONGEST = 200


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("operator", __name__)

    @routes.post("/api/v1/<any(drain, undrain):change>")
    def drain(change: str) -> Response:
        if refusal := _refusal(backend.operator_token):
            return refusal
        said = request.get_json(silent=True)
        texts = [said.get(name) for name in ("squid", "who", "why")] if isinstance(said, dict) else [None]
        if not all(_is_text(text) for text in texts):
            wanted = f"a JSON object with squid, who and why, each a line of 1 to {LONGEST} characters"
            return problem(HTTPStatus.BAD_REQUEST, f"The body must be {wanted}.")
        squid, who, why = texts
        if squid not in {listed.squid.id for listed in backend.keeper.current.listed}:
            return problem(HTTPStatus.NOT_FOUND, f"There is no squid {squid!r}.")
        try:
            backend.drain(squid, drained=change == "drain", reason=f"{who}: {why}", now=backend.keeper.now())
        except Unavailable as error:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return Response(status=HTTPStatus.NO_CONTENT)

    return routes


def _refusal(token: str) -> Response | None:
    if not token:
        return problem(HTTPStatus.FORBIDDEN, "Nothing can be changed: there is no [http] operator_token.")
    if is_operator(request, token):
        return None
    return problem(HTTPStatus.UNAUTHORIZED, "The operator's token is needed: Authorization: Bearer TOKEN.")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()
