"""Errors that a program and a person can read: problem details (RFC 9457)."""

import json
from http import HTTPStatus

from flask import Response


def problem(status: HTTPStatus, detail: str) -> Response:
    """An error that a program and a person can read (RFC 9457)."""
    body = json.dumps({"type": "about:blank", "title": status.phrase, "status": status, "detail": detail})
    return Response(body, status, mimetype="application/problem+json")


class BadQueryError(Exception):
    """A parameter of a request that will not do; the text names it and what it takes."""
