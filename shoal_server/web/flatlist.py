"""`/wlcg-squids.json`: the squids that WLCG's proxy auto-discovery may use beside those of sites.

Its reader (wlcg-wpad) takes an object keyed by squid name with flat values: public_ip, and where known
city and country_code. It reads no port and takes 3128, puts private_ip into everybody's PAC file if it
is there, and fails on null.
"""

from collections.abc import Iterable

import msgspec
from flask import Blueprint, Response, request
from msgspec import UNSET, Struct, UnsetType

from shoal_common.heartbeat import CacheType, Upstream
from shoal_server.squid import Listed, Reach
from shoal_server.web.backend import Backend

PATH = "/wlcg-squids.json"
PORT = 3128
CACHE = "public, max-age=60"


class FlatSquid(Struct, frozen=True):
    """A squid as that reader takes it; what is not known is left out."""

    public_ip: str
    city: str | UnsetType = UNSET
    country_code: str | UnsetType = UNSET


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("flatlist", __name__)

    @routes.get(PATH)
    def squids() -> Response:
        body = msgspec.json.encode(flat(backend.keeper.current.listed))
        response = Response(body, mimetype="application/json", headers={"Cache-Control": CACHE})
        response.add_etag()
        response.make_conditional(request)
        return response

    return routes


def flat(listed: Iterable[Listed]) -> dict[str, FlatSquid]:
    """Those that everybody can use for everything, by name; a name that is taken has the address added."""
    told: dict[str, FlatSquid] = {}
    for one in sorted(filter(_is_fit, listed), key=lambda one: (one.squid.beat.hostname, one.squid.id)):
        address, name = str(one.squid.public_address), one.squid.beat.hostname
        place = one.place
        city, country = (place.city, place.country_code) if place else (None, None)
        key = f"{name} {address}" if name in told else name
        told[key] = FlatSquid(address, city or UNSET, country or UNSET)
    return told


def _is_fit(one: Listed) -> bool:
    squid = one.squid
    beat, check = squid.beat, squid.verification
    return (
        beat.port == PORT
        and squid.public_address is not None
        and beat.cache_type is CacheType.SQUID
        and beat.upstream is Upstream.BOTH
        and check.reach is Reach.GLOBAL
        and not check.lacks
        and not squid.draining
    )
