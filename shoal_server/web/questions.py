"""What is asked about an address: the parameters that the API and the explain page share, the answer as
far as whoever asks may know it, and the same as the strings that clients are configured with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

from flask import request
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.proxylist import ProxyList
from shoal_server.lookup import ANY_TYPE, SQUIDS, Explanation
from shoal_server.ranking import Requester
from shoal_server.squid import Squid, is_site_local
from shoal_server.web.backend import Backend, is_operator, requester_address
from shoal_server.web.discretion import id_for
from shoal_server.web.parameters import Address, YesNo, read
from shoal_server.web.wpad import PLAIN, named, pac_by_service, proxies

DEFAULT_COUNT = 5
MOST = 50

_Address = Annotated[
    Address,
    Meta(description="The answer is what a worker there would be told; the requester's own if empty."),
]
_Service = Annotated[Upstream, Meta(description="What the worker needs.")]
_Count = Annotated[int, Meta(ge=1, le=MOST, description="How many squids at most.")]
_Explain = Annotated[YesNo, Meta(description="Also say which squids are left out, each with a sentence.")]


class Question(Struct, frozen=True, kw_only=True):
    """Which squids, how many at most, is a worker at `address` told of for `service`?

    `explain`: and why not the others?
    """

    address: _Address | UnsetType = UNSET
    service: _Service = Upstream.BOTH
    count: _Count = DEFAULT_COUNT
    explain: _Explain = YesNo.NO

    @classmethod
    def read(cls, given: Mapping[str, str], own_address: str) -> "Question":
        """From a query; raises BadQueryError naming the parameter and what it takes."""
        return read(cls, given).of(own_address)

    def of(self, own_address: str) -> "Question":
        """With the requester's own address for one that was not given."""
        return self if self.address else structs.replace(self, address=Address(own_address))


@dataclass(frozen=True, slots=True)
class Strings:
    """What clients take: CVMFS_HTTP_PROXY, Frontier's proxies, and `/wpad.dat` of the question's service.

    Squids alone, since a Varnish is no forward proxy; and to each client those that serve it, whatever the
    question's service. `cvmfs` and `frontier` are empty where there is none.
    """

    cvmfs: str
    frontier: str
    pac: str


def answer(backend: Backend, question: Question) -> Explanation:
    """The whole answer, as far as whoever asks may know it."""
    types = SQUIDS if question.service is Upstream.BOTH else ANY_TYPE
    return _found(backend, question, question.service, types)


def unplaced(backend: Backend, requester: Requester) -> str | None:
    """Why the place of a requester is not known, as a sentence; None if it is."""
    if requester.place:
        return None
    if is_site_local(requester.address):
        why = "it is a private address"
    elif backend.geoip_built() is None:
        why = "there is no GeoIP database"
    else:
        why = "no GeoIP database knows it"
    return f"{why}, and the location table does not hold it; distances are assumed"


def strings(backend: Backend, question: Question) -> Strings:
    """The strings for a worker; whoever asks finds no squid in them that he may not know of.

    A worker that asks by IPv4 may have nothing else, so none of IPv6 alone is named to him.
    """
    own = requester_address(request, backend.trusted_proxies)
    address = question.address or Address(own)
    both, ipv4 = (Upstream.CVMFS, Upstream.FRONTIER), ":" not in address
    cvmfs, frontier = (_chain(_found(backend, question, service, SQUIDS, ipv4=ipv4)) for service in both)
    asked = both if question.service is Upstream.BOTH else (question.service,)
    # The address is named even if it is his own: who reads an explanation is not counted as a worker.
    lists = [proxies(backend, own, address, service) for service in asked]
    return Strings(cvmfs.to_cvmfs(), frontier.to_frontier(), pac_by_service(lists, PLAIN))


def _found(
    backend: Backend,
    question: Question,
    service: Upstream,
    types: frozenset[CacheType],
    *,
    ipv4: bool = False,
) -> Explanation:
    own = requester_address(request, backend.trusted_proxies)
    asker = None if is_operator(request, backend.operator_token) else own
    return backend.lookup.explain(
        question.address or own, asker, service, types, count=question.count, ipv4=ipv4
    )


def _chain(found: Explanation) -> ProxyList:
    """As CVMFS balances over them: the squids of one group are equals."""
    places = zip(found.told, named(found.told, found.open_to_asker), strict=True)
    return ProxyList.of(
        [f"http://{place}" for _, place in group] for _, group in groupby(places, lambda pair: pair[0].group)
    )


def shown_id(found: Explanation, squid: Squid) -> str:
    """A squid's id for whoever asks: behind a NAT it holds the inside address, which is its site's affair."""
    return id_for(squid, whole=squid.id in found.open_to_asker)
