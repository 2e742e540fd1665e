"""Errors that a program and a person can read: problem details (RFC 9457), everywhere under `/api`."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

API = "/api"
MIMETYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True):
    """Why a request failed (RFC 9457): `title` is the status in words, `detail` what to do about it."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"


class ProblemError(Exception):
    """A request that gets no answer but a status and a sentence."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


class BadQueryError(ProblemError):
    """A parameter of a request that will not do; the text names it and what it takes."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, detail)


def problem(status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as an answer."""
    body = msgspec.json.encode(Problem(status.phrase, status.value, detail))
    return Response(body, status.value, headers, mimetype=MIMETYPE)


def install(app: Flask) -> None:
    """Answer every error under `/api` with problem details, also those that no route has raised."""

    @app.errorhandler(ProblemError)
    def told(error: ProblemError) -> Response:
        return problem(error.status, str(error), error.headers)

    @app.errorhandler(HTTPException)
    def found(error: HTTPException) -> Response | HTTPException:
        if not f"{request.path}/".startswith(f"{API}/"):
            return error
        status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
        kept = {name: text for name, text in error.get_headers() if name == "Allow"}
        return problem(status, error.description or status.description, kept)
