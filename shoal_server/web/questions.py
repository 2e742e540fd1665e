"""What is asked about an address: the parameters that the API and the explain page share, and the
answer as far as whoever asks may know it.
"""

from collections.abc import Mapping
from typing import Annotated

from flask import request
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_server.lookup import ANY_TYPE, SQUIDS, Explanation
from shoal_server.squid import Squid
from shoal_server.web.backend import Backend, is_operator, requester_address
from shoal_server.web.parameters import Address, YesNo, read

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


def answer(backend: Backend, question: Question) -> Explanation:
    """The whole answer, as far as whoever asks may know it."""
    own = requester_address(request, backend.trusted_proxies)
    asker = None if is_operator(request, backend.operator_token) else own
    types = SQUIDS if question.service is Upstream.BOTH else ANY_TYPE
    return backend.lookup.explain(
        question.address or own, asker, question.service, types, count=question.count
    )


def shown_id(found: Explanation, squid: Squid) -> str:
    """A squid's id for whoever asks: behind a NAT it holds the inside address, which is its site's affair."""
    return id_for(squid, whole=squid.id in found.open_to_asker)


def id_for(squid: Squid, *, whole: bool) -> str:
    """The `whole` id, or what outsiders may know of it; a private-only squid has no other."""
    return squid.id if whole or squid.private_only else str(HostPort(squid.address, squid.beat.port))
