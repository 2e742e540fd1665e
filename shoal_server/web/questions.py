"""What is asked about an address: the parameters that the API and the explain page share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from flask import request

from shoal_common.heartbeat import Upstream
from shoal_common.hosts import HostPort
from shoal_server.lookup import ANY_TYPE, SQUIDS, Explanation
from shoal_server.squid import Squid
from shoal_server.web.backend import Backend, is_operator, plain_address, requester_address
from shoal_server.web.problems import BadQueryError

DEFAULT_COUNT = 5
MOST = 50


@dataclass(frozen=True, slots=True)
class Question:
    """Which squids, how many at most, is a worker at `address` told of for `service`?

    `explain`: and why not the others?
    """

    address: str
    service: Upstream
    count: int
    explain: bool

    @classmethod
    def read(cls, given: Mapping[str, str], own_address: str) -> "Question":
        """From a query; raises BadQueryError naming the parameter and what it takes."""
        names = [field.name for field in fields(cls)]
        if unknown := set(given) - set(names):
            raise BadQueryError(f"{min(unknown)[:60]!r} is none of {', '.join(names)}")
        return cls(
            _address(given.get("address", "").strip() or own_address),
            _service(given.get("service", "both")),
            _count(given.get("count", str(DEFAULT_COUNT))),
            _yes(given.get("explain", "no")),
        )


def answer(backend: Backend, question: Question) -> Explanation:
    """The whole answer, as far as whoever asks may know it."""
    own = requester_address(request, backend.trusted_proxies)
    asker = None if is_operator(request, backend.operator_token) else own
    types = SQUIDS if question.service is Upstream.BOTH else ANY_TYPE
    return backend.lookup.explain(question.address, asker, question.service, types)


def shown_id(found: Explanation, squid: Squid) -> str:
    """A squid's id for whoever asks: behind a NAT it holds the inside address, which is its site's affair."""
    whole = squid.id in found.open_to_asker or squid.private_only
    return squid.id if whole else str(HostPort(squid.address, squid.beat.port))


def _address(text: str) -> str:
    try:
        return plain_address(text)
    except ValueError:
        raise BadQueryError(f"address: {text[:60]!r} is no IPv4 or IPv6 address") from None


def _service(text: str) -> Upstream:
    try:
        return Upstream(text)
    except ValueError:
        raise BadQueryError(f"service: {text[:60]!r} is none of {', '.join(Upstream)}") from None


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise BadQueryError(f"explain: {text[:60]!r} is neither yes nor no")
    return text == "yes"


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MOST:
        raise BadQueryError(f"count: {text[:60]!r} is not a whole number from 1 to {MOST}")
    return int(text)
