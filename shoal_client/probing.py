"""Tests one address of a squid against several objects, any of which proves it good."""

import time
from collections.abc import Sequence
from dataclasses import replace

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
        verdict = probe(place, targets[len(targets) - 1 - further], timeout=left / 2 if further else left)
        if verdict.good:
            return replace(verdict, published=None) if first else verdict
        first = first or verdict
    return first or Verdict(Outcome.UNREACHABLE, f"{place} was not tested", 0.0)
