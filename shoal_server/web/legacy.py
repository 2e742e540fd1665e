"""The answers that deployed clients read: `/nearest` and its kin, `/all`, and `/external`.

Routes and statuses are those of the servers before this one (docs/rest.md): the number may follow
with or without a slash, a trailing slash is allowed, and "nothing found" is the body `null` with 200.
"""

import json
from collections.abc import Iterable

from flask import Blueprint, Response, request

from shoal_common.heartbeat import Upstream
from shoal_common.listing import ListedCache, encode
from shoal_server.lookup import ANY_TYPE, SQUIDS
from shoal_server.ranking import Ranked
from shoal_server.squid import Listed, Reach
from shoal_server.web.backend import Backend, endpoints_in_use, requester_address

DEFAULT_COUNT = 5
MOST = 50
"""More than anybody can use; who asks for more gets these."""
SIX = "ipv6"
"""With `yes` for it in the query IPv6 is told too: clients from 2.0 ask so where nothing else works."""

SERVICES = {
    "nearest": (Upstream.BOTH, SQUIDS),
    "nearestverified": (Upstream.BOTH, SQUIDS),
    "nearestcvmfs": (Upstream.CVMFS, ANY_TYPE),
    "nearestconditions": (Upstream.FRONTIER, ANY_TYPE),
}


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("legacy", __name__)

    def nearest(count: int = DEFAULT_COUNT) -> Response:
        name = str(request.endpoint).rpartition(".")[2]
        service, types = SERVICES[name]
        address, six = requester_address(request, backend.trusted_proxies), request.args.get(SIX) == "yes"
        told = backend.lookup.nearest(
            address, service, types, endpoints_in_use(request), count=min(count, MOST), ipv4=not six
        )
        entries = (listed_cache(one.listed, local=one.local, ranked=one, ipv6=six) for one in told)
        return _json(backend, entries)

    def everything(count: int = 0) -> Response:
        """The number is part of the deployed route and has never meant anything."""
        found = backend.lookup.everything(requester_address(request, backend.trusted_proxies))
        told = (
            listed_cache(listed, local=local) for listed, local in found if _has_ipv4(listed, local=local)
        )
        return _json(backend, told)

    @routes.get("/external")
    def external() -> Response:
        """Clients 0.1 ask how the outside sees them."""
        address = requester_address(request, backend.trusted_proxies)
        return Response(json.dumps({"external_ip": address}), mimetype="application/json")

    for name in SERVICES:
        for rule in (f"/{name}", f"/{name}<int:count>", f"/{name}/<int:count>"):
            routes.add_url_rule(rule, name, nearest, strict_slashes=False)
    for rule in ("/all", "/all<int:count>", "/all/<int:count>"):
        routes.add_url_rule(rule, "all", everything, strict_slashes=False)
    return routes


def _has_ipv4(listed: Listed, *, local: bool) -> bool:
    """Deployed clients build `http://ADDRESS:PORT` of what they are told; no IPv6 address survives that."""
    squid = listed.squid
    return bool(squid.public_address or (local and squid.beat.private_ip))


def listed_cache(
    listed: Listed, *, local: bool, ranked: Ranked | None = None, ipv6: bool = False
) -> ListedCache:
    """A squid as the legacy answer shows it; its private address is told to its own site alone, its IPv6
    address to who asks for `ipv6`.
    """
    squid = listed.squid
    return ListedCache(
        hostname=squid.beat.hostname,
        port=squid.beat.port,
        public_ip=squid.public_address,
        private_ip=squid.beat.private_ip if local else None,
        external_ip=squid.beat.external_ip,
        created=squid.created,
        last_active=squid.seen,
        load=squid.beat.load,
        max_load=squid.max_load,
        verified=squid.verification.reach in (Reach.GLOBAL, Reach.LOCAL),
        global_access=squid.verification.reach is Reach.GLOBAL,
        local=local,
        cache_type=squid.beat.cache_type,
        upstream=squid.beat.upstream,
        geo=listed.place.geo_data() if listed.place else {},
        distance=ranked.effective_km if ranked else None,
        ipv6=squid.beat.ipv6 if ipv6 else None,
    )


def _json(backend: Backend, caches: Iterable[ListedCache]) -> Response:
    """The body has no room for anything but caches, so what else there is to say stands in headers."""
    headers = {"X-Shoal-Distance": "km", "X-Shoal-State": backend.state}
    return Response(encode(list(caches)), mimetype="application/json", headers=headers)
