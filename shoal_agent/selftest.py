"""One test of the squid beside us: does it serve a real object of each service that it is meant for?"""

import socket
from collections.abc import Sequence

from shoal_agent.health import Finding, blames_squid
from shoal_common.hosts import HostPort
from shoal_common.probe import Outcome, Target, Verdict, probe

_KNOCK_SECONDS = 1.0


def examine(place: HostPort, services: Sequence[Sequence[Target]], timeout: float) -> Finding:
    """Test the squid at `place`; each of `services` lists the objects of one, any of which proves it.

    Every probe has `timeout` seconds. When no object can be had even without the squid, its open port
    has to do.
    """
    reason = ""
    for targets in services:
        finding = _serves_one(place, targets, timeout)
        if not finding.good:
            return finding
        reason = reason or finding.reason
    return Finding(True, reason) if reason else _is_there(place, "nothing is configured to be fetched")


def _serves_one(place: HostPort, targets: Sequence[Target], timeout: float) -> Finding:
    blamed: Verdict | None = None
    for target in targets:
        verdict = probe(place, target, timeout=timeout)
        if verdict.good:
            return Finding(True, verdict.reason)
        if verdict.outcome is Outcome.UNREACHABLE and not _accepts(place):
            return Finding(False, verdict.reason)
        if blamed is None and blames_squid(verdict, probe(None, target, timeout=timeout)):
            blamed = verdict
    if blamed is not None:
        return Finding(False, f"{place}: {blamed.reason}")
    return _is_there(place, "no origin can be reached, with or without the squid")


def _is_there(place: HostPort, why: str) -> Finding:
    if _accepts(place):
        return Finding(True, f"{place} accepts connections; {why}")
    return Finding(False, f"{place} does not accept connections")


def _accepts(place: HostPort) -> bool:
    try:
        socket.create_connection((place.host, place.port), timeout=_KNOCK_SECONDS).close()
    except OSError:
        return False
    return True
