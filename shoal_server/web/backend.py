"""What every page and answer is made from, and who is asking."""

import functools
import hmac
import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flask import Request

from shoal_server.history import History
from shoal_server.lookup import Lookup
from shoal_server.prefixes import Span, parsed, span
from shoal_server.reports import Reporter
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules
from shoal_server.web.counts import LookupCounts

UNCACHED = "private, no-cache"
"""The usual Cache-Control: an answer depends on who asks, and what says nothing of that a Varnish in front
would keep for two minutes, for everybody. Who asked may keep it, and must ask each time whether it holds."""
MOST_KEPT_TEXT = 1000
MOST_COMPLAINTS = 100
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]+|\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?")
"""How some balancers write an address in X-Forwarded-For."""

log = logging.getLogger(__name__)


class Drain(Protocol):
    """`Registry.drain`."""

    def __call__(self, squid_id: str, *, drained: bool, reason: str, now: float) -> None: ...


class Forget(Protocol):
    """`Registry.forget`."""

    def __call__(self, squid_id: str, *, reason: str, now: float) -> None: ...


@dataclass(slots=True)
class Ending:
    """Knows whether the server is ending: `stop` is what ends it, once it runs."""

    stop: threading.Event | None = None

    def __bool__(self) -> bool:
        return self.stop is not None and self.stop.is_set()


def _unknown() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Backend:
    """What the pages and answers are made from.

    Without an `operator_token` nothing can be changed. `geoip_built` tells when the oldest GeoIP database in
    use was made (seconds since 1970; None: there is none), `located` whether the place of an address is
    known, and `attributions` what the licences of the databases demand to be shown.
    """

    lookup: Lookup
    keeper: SnapshotKeeper
    liveness: LivenessRules
    reporter: Reporter
    drain: Drain
    forget: Forget
    history: History
    counts: LookupCounts = field(default_factory=LookupCounts)
    ending: Ending = field(default_factory=Ending)
    geoip_built: Callable[[], float | None] = _unknown
    located: Callable[[str], bool] = bool
    attributions: Callable[[], Sequence[str]] = tuple
    trusted_proxies: Sequence[str] = ()
    operator_token: str = ""

    @property
    def readiness(self) -> str:
        """`ready` for requests; or `starting` until the store was read once, or `draining` before the end."""
        if self.ending:
            return "draining"
        return "ready" if self.keeper.followed else "starting"

    @property
    def state(self) -> str:
        """What an answer made now lacks: `ok`, or some of `deaf`, `stale`, `held` and `filling`, joined by
        commas."""
        lacks = {
            "deaf": not self.reporter.connected,
            "stale": self.keeper.stale_since is not None,
            "held": self.reporter.held,
            "filling": self.keeper.fills,
        }
        return ",".join(name for name, lacking in lacks.items() if lacking) or "ok"


def requester_address(request: Request, trusted: Sequence[str]) -> str:
    """The address of whoever asks.

    X-Forwarded-For is believed from trusted proxies alone, and read from the right: the first
    address that is no trusted proxy is the requester. Everything further left he may have made up.
    """
    return asker(request.remote_addr, request.headers.get("X-Forwarded-For", ""), trusted)[0]


def asker(peer: str | None, hops: str, trusted: Sequence[str]) -> tuple[str, bool]:
    """`requester_address` of a peer and its X-Forwarded-For header, and whether that is a trusted proxy's."""
    number, address = parsed(peer or "0.0.0.0")  # noqa: S104 - what WSGI leaves empty is nobody's
    networks = tuple(trusted)
    for hop in reversed(hops.split(",")):
        if not _within(number, networks):
            return address, False
        try:
            number, address = parsed(_bare(hop.strip()))
        except ValueError:
            if hop:
                _complain(address)
            return address, True
    return address, _within(number, networks)


def _bare(hop: str) -> str:
    """Without a port."""
    found = _WITH_PORT.fullmatch(hop)
    return found[1] or found[2] if found else hop


@functools.lru_cache(MOST_COMPLAINTS)
def _complain(proxy: str) -> None:
    """Say once for each proxy that whoever comes through it cannot be told apart."""
    log.warning("X-Forwarded-For of the trusted proxy %s holds no address: who asks is taken for it", proxy)


def is_trusted(peer: str, trusted: tuple[str, ...]) -> bool:
    """Whether a connection's peer is of one of these networks."""
    return bool(peer) and _within(parsed(peer)[0], trusted)


def _within(number: int, networks: tuple[str, ...]) -> bool:
    for first, last in _spans(networks):  # noqa: SIM110 - any() costs as much again
        if first <= number <= last:
            return True
    return False


@functools.lru_cache(4)
def _spans(networks: tuple[str, ...]) -> tuple[Span, ...]:
    return tuple(span(network) for network in networks)


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
    return parsed(text)[1]
