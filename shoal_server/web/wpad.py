"""`/wpad.dat` and `/proxy.pac`: PAC files, in the form that CVMFS, Frontier and WLCG's clients read, and
in the one that browsers read.

`PROXY http://host:port` is what all versions of the former accept; browsers want it without the
scheme. Addresses stand for names: an address is what was verified, and a name is whatever the
heartbeat claimed. A Varnish is no forward proxy, so none is listed, whatever the service.
"""

import functools
import ipaddress
import json
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus

from flask import Blueprint, Response, g, request
from msgspec import UNSET, Struct, UnsetType

from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort, is_host_name
from shoal_server.lookup import SQUIDS
from shoal_server.ranking import Ranked
from shoal_server.web.backend import Backend, is_operator, requester_address
from shoal_server.web.parameters import Address, YesNo, read
from shoal_server.web.problems import BadQueryError

MOST = 10
MIMETYPE = "application/x-ns-proxy-autoconfig"
CACHE = "private, max-age=60"
"""Private: each requester has an answer of its own."""
CVMFS_URLS = "*/cvmfs/*"
"""CVMFS asks for URL/.cvmfspublished of its first Stratum 1, Frontier for its first server URL."""

BRIDGES = frozenset({"172.17.0.1", "192.168.122.1"})
"""What docker0 and virbr0 have on every machine: deployed agents report it as their squid's private address,
and to a worker it is its own."""


class Form(StrEnum):
    """How a proxy is written: `PROXY http://host:port`, or `PROXY host:port`."""

    WLCG = "wlcg"
    BROWSER = "browser"


class Empty(StrEnum):
    """What is answered where no squid will do: DIRECT, NONE, or status 400, after which WLCG's clients
    try their next PAC URL."""

    DIRECT = "direct"
    NONE = "none"
    ERROR = "error"


class Wish(Struct, frozen=True, kw_only=True):
    """How somebody wants his PAC file; `ip` is about whom he asks, his own address if empty.

    Without a service all squids that serve either are in one list, as deployed servers have it; with
    `both` the file tells CVMFS's URLs from all others. `direct`: whether DIRECT ends the list. `empty`
    is DIRECT unless that was refused, then NONE.
    """

    ip: Address | UnsetType = UNSET
    service: Upstream | UnsetType = UNSET
    form: Form = Form.WLCG
    direct: YesNo = YesNo.YES
    empty: Empty | UnsetType = UNSET

    @property
    def nothing(self) -> Empty:
        """What is said where no squid will do."""
        return self.empty or (Empty.DIRECT if self.direct is YesNo.YES else Empty.NONE)


PLAIN = Wish()


def blueprint(backend: Backend) -> Blueprint:
    routes = Blueprint("wpad", __name__)
    for path, form in (("/wpad.dat", Form.WLCG), ("/proxy.pac", Form.BROWSER)):
        view = functools.partial(_reply, backend, form)
        for rule in (path, f"{path}/<any(cvmfs, frontier, both):service>"):
            routes.add_url_rule(rule, path[1:].partition(".")[0], view)
    return routes


def pac_by_service(lists: Sequence[Sequence[HostPort]], wish: Wish) -> str:
    """One list for every URL, or one for CVMFS's URLs and one for all others.

    One list alone, as nobody wished otherwise (PLAIN), is the text of deployed servers to the byte.
    """
    chains = list(dict.fromkeys(_chain(proxies, wish) for proxies in lists))
    fork = f'    if (shExpMatch(url, "{CVMFS_URLS}")) return {chains[0]};\n' if len(chains) > 1 else ""
    return f"function FindProxyForURL(url, host)\n{{\n{fork}    return {chains[-1]};\n}}\n"


def _chain(proxies: Sequence[HostPort], wish: Wish) -> str:
    """A list as a string of JavaScript: no blank between proxies of WLCG's form, one before DIRECT.

    Squids behind one NAT have one address to outsiders, and it is named once.
    """
    wlcg = wish.form is Form.WLCG
    different = dict.fromkeys(proxy for proxy in proxies if _is_inert(proxy))
    named = [f"PROXY {'http://' if wlcg else ''}{proxy}" for proxy in different]
    joined = (";" if wlcg else "; ").join(named)
    if not joined:
        return '"DIRECT"' if wish.nothing is Empty.DIRECT else '"NONE"'
    return json.dumps(f"{joined}; DIRECT" if wish.direct is YesNo.YES else joined)


def _is_inert(proxy: HostPort) -> bool:
    """Whether it is a host and nothing else: what came in was validated, and this is the last door."""
    try:
        return "%" not in str(ipaddress.ip_address(proxy.host))
    except ValueError:
        return is_host_name(proxy.host)


def _reply(backend: Backend, form: Form, **path: str) -> Response:
    own = requester_address(request, backend.trusted_proxies)
    known = {name: text for name, text in request.args.items() if name in Wish.__struct_fields__}
    try:
        wish = read(Wish, {"form": form.value, **known, **path})
    except BadQueryError as error:
        return _refusal(str(error))
    services = (Upstream.CVMFS, Upstream.FRONTIER) if wish.service is Upstream.BOTH else (wish.service,)
    lists = [proxies(backend, own, wish.ip, service or Upstream.BOTH) for service in services]
    g.empty = not any(lists)
    if g.empty and wish.nothing is Empty.ERROR:
        return _refusal(f"there is no squid for {wish.ip or own}")
    text = pac_by_service(lists, wish)
    return Response(text, mimetype=MIMETYPE, headers={"Cache-Control": CACHE})


def _refusal(reason: str) -> Response:
    """As WLCG's servers say it."""
    return Response(f"Bad Request: {reason}\n", HTTPStatus.BAD_REQUEST, mimetype="text/plain")


def proxies(backend: Backend, own: str, other: Address | UnsetType, service: Upstream) -> list[HostPort]:
    """The squids for a requester; who asks about another address learns what it may know itself."""
    if other:
        asker = None if is_operator(request, backend.operator_token) else own
        found = backend.lookup.explain(other, asker, service, SQUIDS, count=MOST, ipv4=":" not in other)
        return named(found.told, found.open_to_asker)
    told = backend.lookup.nearest(own, service, SQUIDS, count=MOST, ipv4=":" not in own)
    return named(told, {one.squid.id for one in told})


def named(told: Sequence[Ranked], known: Container[str]) -> list[HostPort]:
    """Where a requester finds each of the squids that he is told of; `known`: the ids of those whose inside
    address may be told.

    Its own site reaches a squid by the inside address, which may be the only one that works there. Where
    there is a public one too, it is not named by the address of a bridge inside its VM, nor by one that
    another squid of the site has as well, as tenants of one cloud may: that leads to one of them at most.
    """
    inside = [_inside(one) if one.squid.id in known else None for one in told]
    uses = Counter(inside)
    places = zip(told, inside, strict=True)
    return [place if place and _will_do(one, place, uses) else _outside(one) for one, place in places]


def _inside(one: Ranked) -> HostPort | None:
    private = one.squid.beat.private_ip if one.local else None
    return HostPort(private, one.squid.beat.port) if private else None


def _outside(one: Ranked) -> HostPort:
    return HostPort(one.squid.address, one.squid.beat.port)


def _will_do(one: Ranked, inside: HostPort, uses: Mapping[HostPort | None, int]) -> bool:
    return one.squid.public_address is None or (inside.host not in BRIDGES and uses[inside] == 1)
