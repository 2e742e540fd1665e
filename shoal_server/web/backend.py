"""What every page and answer is made from, and who is asking."""

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flask import Request

from shoal_server.lookup import Lookup
from shoal_server.reports import Reporter
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules

MOST_KEPT_TEXT = 1000


class Drain(Protocol):
    """`Registry.drain`."""

    def __call__(self, squid_id: str, *, drained: bool, reason: str, now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """What the pages and answers are made from.

    Without an `operator_token` nothing can be changed.
    """

    lookup: Lookup
    keeper: SnapshotKeeper
    liveness: LivenessRules
    reporter: Reporter
    drain: Drain
    trusted_proxies: Sequence[str] = ()
    operator_token: str = ""

    @property
    def state(self) -> str:
        """What an answer made now lacks: `ok`, or some of `deaf`, `stale` and `held`, joined by commas."""
        lacks = {
            "deaf": not self.reporter.connected,
            "stale": self.keeper.stale_since is not None,
            "held": self.reporter.held,
        }
        return ",".join(name for name, lacking in lacks.items() if lacking) or "ok"


def requester_address(request: Request, trusted: Sequence[str]) -> str:
    """The address of whoever asks.

    X-Forwarded-For is believed from trusted proxies alone, and read from the right: the first
    address that is no trusted proxy is the requester. Everything further left he may have made up.
    """
    address = plain_address(request.remote_addr or "0.0.0.0")  # noqa: S104 - what WSGI leaves empty is nobody's
    networks = [ipaddress.ip_network(network) for network in trusted]
    for hop in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        if not any(ipaddress.ip_address(address) in network for network in networks):
            break
        try:
            address = plain_address(hop.strip())
        except ValueError:
            break
    return address


def is_operator(request: Request, token: str) -> bool:
    """Whether the request bears the operator's token; an empty one is nobody's."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    return bool(token) and hmac.compare_digest(given, token.encode())


def endpoints_in_use(request: Request) -> frozenset[str]:
    """What the requester says it uses already (`?keep=ADDRESS:PORT,…`); the end of a long list is ignored."""
    return frozenset(request.args.get("keep", "")[:MOST_KEPT_TEXT].split(","))


def plain_address(text: str) -> str:
    """An address in its usual form, without a zone; one of IPv4 also where a socket for both families
    shows it as IPv6. ValueError if it is none.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
