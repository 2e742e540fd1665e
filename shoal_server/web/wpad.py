"""`/wpad.dat`: the PAC file in the form that CVMFS, Frontier and WLCG's clients read.

`PROXY http://host:port` is what all versions of those clients accept; browsers want it without the
scheme. Addresses stand for names: an address is what was verified, and a name is whatever the
heartbeat claimed.
"""

from flask import Blueprint, Response, request

from shoal_common.hosts import HostPort
from shoal_server.ranking import Ranked
from shoal_server.web.backend import Backend, requester_address
from shoal_server.web.legacy import SERVICES, usable

MOST = 10
MIMETYPE = "application/x-ns-proxy-autoconfig"


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("wpad", __name__)

    @routes.get("/wpad.dat")
    def wpad() -> Response:
        service, types = SERVICES["nearest"]
        ranked = backend.lookup.nearest(requester_address(request, backend.trusted_proxies), service, types)
        return Response(pac([_proxy(one) for one in usable(ranked)[:MOST]]), mimetype=MIMETYPE)

    return routes


def pac(proxies: list[HostPort]) -> str:
    """The text of deployed servers to the byte: no blank between proxies, one before DIRECT."""
    chain = "".join(f"PROXY http://{proxy};" for proxy in proxies)
    return f'function FindProxyForURL(url, host)\n{{\n    return "{chain}{" " if chain else ""}DIRECT";\n}}\n'


def _proxy(one: Ranked) -> HostPort:
    """Its own site reaches a squid by the inside address, which may be the only one that works there."""
    inside = one.squid.beat.private_ip if one.local else None
    return HostPort(inside or one.squid.address, one.squid.beat.port)
