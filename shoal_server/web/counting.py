"""Counts the lookups that come through the application: what was asked, what came of it, how long it took."""

import time

from flask import Flask, Response, g, request

from shoal_server.web.backend import Backend, requester_address
from shoal_server.web.counts import Kind, Outcome

_KINDS = {
    **{f"legacy.nearest{what}": Kind.NEAREST for what in ("", "verified", "cvmfs", "conditions")},
    "legacy.all": Kind.ALL,
    "api.nearest": Kind.API,
    "wpad.wpad": Kind.WPAD,
    "wpad.proxy": Kind.WPAD,
}


def install(app: Flask, backend: Backend) -> None:
    """Let the application count in `backend.counts`."""

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        kind = _KINDS.get(request.endpoint or "")
        if kind is not None and "began" in g:
            outcome = _outcome(kind, response, backend)
            backend.counts.count(kind, outcome, time.perf_counter() - g.began)
        return response


def _outcome(kind: Kind, response: Response, backend: Backend) -> Outcome:
    if response.status_code >= 500:
        return Outcome.FAILED
    if g.get("empty"):  # a PAC file alone says so itself: it may be a refusal by what was asked
        return Outcome.EMPTY
    if response.status_code >= 400:
        return Outcome.BAD_REQUEST
    if response.status_code == 200 and request.method == "GET" and _is_empty(kind, response.get_data()):
        return Outcome.EMPTY
    asker = requester_address(request, backend.trusted_proxies)
    return Outcome.TOLD if backend.located(asker) else Outcome.UNKNOWN_PLACE


def _is_empty(kind: Kind, body: bytes) -> bool:
    """Whether an answer names no squid."""
    return b'"groups":[]' in body if kind is Kind.API else body == b"null"
