"""What every page and answer is made from, and who is asking."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flask import Request

from shoal_server.lookup import Lookup
from shoal_server.snapshot import SnapshotKeeper
from shoal_server.squid import LivenessRules


@dataclass(frozen=True, slots=True)
class Backend:
    """What the pages and answers are made from.

    `connected`: whether heartbeats can reach the server; `held`: whether expiry is held because
    improbably many squids fell silent.
    """

    lookup: Lookup
    keeper: SnapshotKeeper
    liveness: LivenessRules
    connected: Callable[[], bool]
    held: Callable[[], bool]
    heartbeats: Callable[[], Mapping[str, int]]
    trusted_proxies: Sequence[str] = ()

    @property
    def state(self) -> str:
        """What an answer made now lacks: `ok`, or some of `deaf`, `stale` and `held`, joined by commas."""
        lacks = {
            "deaf": not self.connected(),
            "stale": self.keeper.stale_since is not None,
            "held": self.held(),
        }
        return ",".join(name for name, lacking in lacks.items() if lacking) or "ok"


def requester_address(request: Request, trusted: Sequence[str]) -> str:
    """The address of whoever asks.

    X-Forwarded-For is believed from trusted proxies alone, and read from the right: the first
    address that is no trusted proxy is the requester. Everything further left he may have made up.
    """
    address = request.remote_addr or "0.0.0.0"  # noqa: S104 - what WSGI leaves empty is nobody's address
    networks = [ipaddress.ip_network(network) for network in trusted]
    for hop in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        if not any(ipaddress.ip_address(address) in network for network in networks):
            break
        try:
            address = str(ipaddress.ip_address(hop.strip()))
        except ValueError:
            break
    mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    return str(mapped or address)
