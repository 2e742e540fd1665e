"""The HTTP door: what is asked becomes a lookup, what is found becomes an answer in the form asked for."""

from typing import TYPE_CHECKING

from flask import Flask, Response
from werkzeug.routing import IntegerConverter

from shoal_common.version import VERSION
from shoal_server.web import (
    api,
    counting,
    explain,
    flatlist,
    health,
    legacy,
    metrics,
    pages,
    problems,
    squid_page,
    wpad,
)
from shoal_server.web.backend import UNCACHED, Backend
from shoal_server.web.fast import FastPath

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

MOST_BYTES = 16 * 1024
"""No request has a longer body."""


class Number(IntegerConverter):
    """A number in a path, of the digits 0 to 9 alone; the framework takes those of every script."""

    regex = "[0-9]+"


def application(backend: Backend) -> "WSGIApplication":
    """The application that is served: plain lookups in front of the framework, which does the rest."""
    return FastPath(create_app(backend).wsgi_app, backend).__call__  # a bound method is called sooner


def create_app(backend: Backend) -> Flask:
    """The pages and answers by the framework."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.url_map.converters["int"] = Number
    counting.install(app, backend)
    problems.install(app)
    app.jinja_env.globals["version"] = VERSION
    for door in (legacy, wpad, flatlist, api, pages, squid_page, explain, health, metrics):
        app.register_blueprint(door.blueprint(backend))

    @app.after_request
    def secure(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", UNCACHED)
        return response

    return app
