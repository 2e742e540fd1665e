"""What the API can be asked: each operation is a function, and its parameters, body and answer are the
types in its signature. The routes and the OpenAPI document are both made from that.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, get_type_hints

import msgspec
from flask import Response, request

from shoal_common.errors import Unavailable
from shoal_server.web.backend import UNCACHED, Backend, is_operator, requester_address
from shoal_server.web.parameters import read, read_body
from shoal_server.web.problems import BadQueryError, ProblemError

ROOT = "/api/v1"
AWAY = "the store is away"
"""What others than operators are told of it: its words may hold an inside address."""


class Nothing(msgspec.Struct, frozen=True):
    """No parameters."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `address` asks at `now` (seconds since 1970); an operator may know everything."""

    backend: Backend
    address: str
    operator: bool
    now: float


@dataclass(frozen=True, slots=True)
class Operation:
    """`handler(call, asked)` or `handler(call, asked, body)`; without an `answer` the reply is 204.

    `path` is as OpenAPI writes it, below `ROOT`; `errors` are the statuses that the handler itself may
    raise; `operators_alone` demands the token.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    asked: type[msgspec.Struct]
    body: type[msgspec.Struct] | None
    answer: Any
    errors: frozenset[HTTPStatus]
    cache: str = UNCACHED
    operators_alone: bool = False

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def rule(self) -> str:
        """The route as Flask writes it; ids may hold a slash."""
        return ROOT + self.path.replace("{", "<path:").replace("}", ">")

    def reply(self, backend: Backend, path: Mapping[str, str]) -> Response:
        """Answer the present request; raises ProblemError."""
        call = _call(backend)
        if self.operators_alone:
            demand_token(backend.operator_token, operator=call.operator)
        asked = read(self.asked, {**_query(), **path})
        said = [read_body(request.get_data(), self.body)] if self.body else []
        try:
            answer = self.handler(call, asked, *said)
        except Unavailable as error:
            why = str(error) if call.operator else AWAY
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, why) from None
        if answer is None:
            return Response(status=HTTPStatus.NO_CONTENT)
        response = Response(msgspec.json.encode(answer), mimetype="application/json")
        response.headers["Cache-Control"] = self.cache
        if further := getattr(answer, "next", None):
            response.headers["Link"] = f'<{further}>; rel="next"'
        response.add_etag()
        response.make_conditional(request)
        return response


def get(path: str, *errors: HTTPStatus, cache: str = UNCACHED) -> Callable[[Callable[..., Any]], Operation]:
    """Something that can be asked."""
    return functools.partial(_operation, "GET", path, errors=errors, cache=cache)


def change(path: str, *errors: HTTPStatus) -> Callable[[Callable[..., Any]], Operation]:
    """Something that an operator may change."""
    return functools.partial(_operation, "POST", path, errors=errors, operators_alone=True)


def _operation(
    method: str, path: str, handler: Callable[..., Any], *, errors: Any, **options: Any
) -> Operation:
    types = get_type_hints(handler, include_extras=True)
    answer = None if types["return"] is type(None) else types["return"]
    return Operation(
        method, path, handler, types["asked"], types.get("body"), answer, frozenset(errors), **options
    )


def demand_token(token: str, *, operator: bool) -> None:
    """Raises ProblemError for everybody but the operator."""
    if not token:
        reason = "Nothing can be changed: there is no [http] operator_token."
        raise ProblemError(HTTPStatus.FORBIDDEN, reason)
    if not operator:
        reason = "The operator's token is needed: Authorization: Bearer TOKEN."
        raise ProblemError(HTTPStatus.UNAUTHORIZED, reason, {"WWW-Authenticate": "Bearer"})


def _call(backend: Backend) -> Call:
    address = requester_address(request, backend.trusted_proxies)
    return Call(backend, address, is_operator(request, backend.operator_token), backend.keeper.now())


def _query() -> Mapping[str, str]:
    given: dict[str, str] = {}
    for name, texts in request.args.lists():
        if len(texts) > 1:
            raise BadQueryError(f"{name[:60]!r} is given {len(texts)} times")
        given[name] = texts[0]
    return given
