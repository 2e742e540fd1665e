"""The HTTP door: what is asked becomes a lookup, what is found becomes an answer in the form asked for."""

from flask import Flask, Response

from shoal_common.version import VERSION
from shoal_server.web import api, explain, health, legacy, metrics, operator, pages, wpad
from shoal_server.web.backend import Backend

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(backend: Backend) -> Flask:
    """The WSGI application."""
    app = Flask(__name__)
    app.jinja_env.globals["version"] = VERSION
    for door in (legacy, wpad, api, pages, explain, health, metrics, operator):
        app.register_blueprint(door.blueprint(backend))

    @app.after_request
    def secure(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app
