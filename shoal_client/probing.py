"""Tests one address of a squid against several objects, any of which proves it good."""

import time
from collections.abc import Sequence
from dataclasses import replace

from shoal_client import choice
from shoal_common.hosts import HostPort
from shoal_common.probe import Outcome, Target, Verdict, probe


def probe_squid(place: HostPort, targets: Sequence[Target], seconds: float) -> Verdict:
    """Good as soon as one of `targets` comes through `place`; else what the first of them showed.

    Each target but the last may take half of the time that is left, so that an origin which is away
    does not make its squids look bad. A good verdict's time is that of the good fetch alone, and its
    date is told for the first target only: dates of different repositories compare with nothing.
    """
    deadline = time.monotonic() + seconds
    first: Verdict | None = None
    for further in range(len(targets) - 1, -1, -1):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        target = targets[len(targets) - 1 - further]
        verdict = probe(place, target, timeout=left / 2 if further else left)
        if verdict.good:
            verdict = _timed_again(verdict, place, target, deadline)
            return replace(verdict, published=None) if first else verdict
        first = first or verdict
    return first or Verdict(Outcome.UNREACHABLE, f"{place} was not tested", 0.0)


def _timed_again(good: Verdict, place: HostPort, target: Target, deadline: float) -> Verdict:
    """The faster of two fetches, if one alone would make the squid look slow.

    A manifest lives for 61 s, and who asks next waits for its origin: that says nothing of the squid.
    """
    left = min(deadline - time.monotonic(), good.seconds)
    if good.seconds <= choice.SLUGGISH_SECONDS or left <= 0:
        return good
    again = probe(place, target, timeout=left)
    return again if again.good and again.seconds < good.seconds else good
