"""The JSON API under `/api/v1`, and the document that describes it, made from the same declarations."""

import functools
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from shoal_server.web.api import changes, nearest, past, squids, status
from shoal_server.web.api.operations import ROOT, Operation
from shoal_server.web.backend import Backend
from shoal_server.web.openapi import document

OPERATIONS: tuple[Operation, ...] = (
    *nearest.OPERATIONS,
    *squids.OPERATIONS,
    *past.OPERATIONS,
    *status.OPERATIONS,
    *changes.OPERATIONS,
)


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("api", __name__)
    for operation in OPERATIONS:
        view = functools.partial(_reply, operation, backend)
        routes.add_url_rule(operation.rule, operation.name, view, methods=[operation.method])

    @routes.get(f"{ROOT}/openapi.json")
    def openapi() -> Response:
        response = Response(msgspec.json.encode(described()), mimetype="application/json")
        response.headers["Cache-Control"] = "public, max-age=3600"
        response.add_etag()
        response.make_conditional(request)
        return response

    return routes


@functools.cache
def described() -> dict[str, Any]:
    """The OpenAPI document."""
    return document(OPERATIONS, ROOT)


def _reply(operation: Operation, backend: Backend, **path: str) -> Response:
    return operation.reply(backend, path)
