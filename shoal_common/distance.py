"""What `distance` in an answer means, to the server that tells it and the client that acts on it. Pure.

Effective kilometres: the way to a squid, and fees on top of it.
"""

FEE_KM = 100_000.0
"""A fee is a multiple of this, and no way: half the globe and all that a way may cost are less. One is for a
squid that costs money, two for one that has no room (docs/rest.md)."""
GROUP_KM = 50.0
GROUP_SHARE = 0.1
"""Distances this close to the nearest of a group, in km or as a part of its way, make no difference."""


def fees(distance: float) -> int:
    """How many fees are in it."""
    return int(distance // FEE_KM)


def costs_money(distance: float) -> bool:
    """Whether one of them is for what the squid's provider charges."""
    return fees(distance) % 2 == 1


def way_km(distance: float) -> float:
    """The distance without its fees."""
    return distance % FEE_KM


def slack_km(way: float) -> float:
    """How much farther than the nearest of a group, with this way (km), others may be and still be in it."""
    return max(GROUP_KM, GROUP_SHARE * way)
