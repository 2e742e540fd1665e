"""`/healthz`: is the process well, and what does it lack? `/readyz`: are requests to be sent to it?

A balancer asks for readiness; whoever would restart a process that hangs asks for health. They differ
where a restart would not help: at the beginning, until the store was read once, and at the end.
"""

from flask import Blueprint, Response, jsonify

from shoal_server.web.backend import Backend


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        """Always 200 while lookups are answered: a server that lacks its broker or store still serves."""
        stale_since = backend.keeper.stale_since
        connected = backend.reporter.connected
        return jsonify(
            status="ok" if connected and stale_since is None else "degraded",
            hold=backend.reporter.held,
            intake="connected" if connected else "away",
            store="ok" if stale_since is None else "away",
            stale_seconds=0 if stale_since is None else round(backend.keeper.now() - stale_since, 1),
            squids=len(backend.keeper.current.listed),
            heartbeats=dict(backend.reporter.heartbeats),
        )

    @routes.get("/readyz")
    def readyz() -> Response:
        """503 before the store was read for the first time, and from when the server is told to end."""
        response = jsonify(status=backend.readiness)
        response.status_code = 200 if backend.readiness == "ready" else 503
        response.headers["Cache-Control"] = "no-store"
        return response

    return routes
