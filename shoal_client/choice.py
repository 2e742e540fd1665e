"""Which squids to use, and why each of the others not. Pure.

The server's order decides among those that this host found good: it knows load and capacity, which one
measured time does not show. Only a grossly slower squid loses its place. What is configured now stays
while it is good, unless the change is worth it: every change makes caches colder and costs every
mounted repository a moment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shoal_client.candidates import Candidate, Source
from shoal_common.hosts import HostPort
from shoal_common.probe import Verdict

Groups = tuple[tuple[Candidate, ...], ...]

SLUGGISH_TIMES = 3.0
SLUGGISH_SECONDS = 0.25
"""Grossly slower: by both of these than the fastest."""
GROUP_SHARE = 0.1
GROUP_KM = 50.0
"""Distances this close to the nearest of a group make no difference: CVMFS may balance."""
WORTH_TIMES = 2.0
WORTH_KM = 100.0
"""A change is worth it for a squid that is nearer by both of these."""
MOST_COST = 2.0


@dataclass(frozen=True, slots=True)
class Remark:
    """What became of one candidate, and why: a sentence's second half, for an operator."""

    candidate: Candidate
    taken: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The proxy groups to use, all tested good; empty: none is.

    `kept`: nothing new was decided, what is configured should stay as it is.
    """

    groups: Groups
    kept: bool
    remarks: tuple[Remark, ...]


def decide(
    candidates: Sequence[Candidate],
    verdicts: Mapping[HostPort, Verdict],
    present: Groups,
    wanted: int,
    *,
    answered: bool,
) -> Decision:
    """Choose up to `wanted` of `candidates` (in order of preference), knowing the `present` choice.

    Without a server's list (not `answered`), or without anything new that is good, any good squid of
    the present choice is a reason to change nothing.
    """
    good = [candidate for candidate in candidates if verdicts[candidate.place].good]
    fresh = [candidate for candidate in good if candidate.eligible]
    taken = _first(_by_speed(fresh, verdicts), wanted)
    alive = _only(present, lambda member: any(member.place == candidate.place for candidate in good))
    if alive and (not answered or not fresh):
        groups, kept = alive, True
    elif answered and _steady(present, candidates, verdicts, taken, wanted):
        groups, kept = present, False
    else:
        groups, kept = _grouped(taken, in_kilometres(candidates)), False
    chosen = {member.place for group in groups for member in group}
    remarks = tuple(_remark(candidate, verdicts, chosen, good) for candidate in candidates)
    return Decision(groups, kept, remarks)


def in_kilometres(candidates: Sequence[Candidate]) -> bool:
    """Whether the distances are kilometres: servers before 2.0 give a cost, which hardly exceeds 1."""
    return any(
        candidate.distance is not None and candidate.distance > MOST_COST
        for candidate in candidates
        if candidate.source is Source.SERVER
    )


def _sluggish(candidate: Candidate, verdicts: Mapping[HostPort, Verdict], fastest: float) -> bool:
    limit = max(SLUGGISH_TIMES * fastest, fastest + SLUGGISH_SECONDS)
    return verdicts[candidate.place].seconds > limit


def _fastest(candidates: Sequence[Candidate], verdicts: Mapping[HostPort, Verdict]) -> float:
    return min((verdicts[candidate.place].seconds for candidate in candidates), default=0.0)


def _by_speed(good: Sequence[Candidate], verdicts: Mapping[HostPort, Verdict]) -> list[Candidate]:
    """In the given order, but grossly slower ones last."""
    fastest = _fastest(good, verdicts)
    return sorted(good, key=lambda candidate: _sluggish(candidate, verdicts, fastest))


def _first(candidates: Sequence[Candidate], wanted: int) -> list[Candidate]:
    """The first address of each of the first `wanted` squids."""
    squids: dict[str, Candidate] = {}
    for candidate in candidates:
        squids.setdefault(candidate.squid, candidate)
    return list(squids.values())[:wanted]


def _only(groups: Groups, condition: Callable[[Candidate], bool]) -> Groups:
    kept = (tuple(member for member in group if condition(member)) for group in groups)
    return tuple(group for group in kept if group)


def _grouped(taken: Sequence[Candidate], kilometres: bool) -> Groups:
    """Neighbours in the order whose distances make no difference become one group."""
    groups: list[list[Candidate]] = []
    for candidate in taken:
        if groups and _as_near(groups[-1][0], candidate, kilometres):
            groups[-1].append(candidate)
        else:
            groups.append([candidate])
    return tuple(tuple(group) for group in groups)


def _as_near(first: Candidate, other: Candidate, kilometres: bool) -> bool:
    if kilometres and first.distance is not None and other.distance is not None:
        return abs(other.distance - first.distance) <= max(GROUP_KM, GROUP_SHARE * first.distance)
    return first.local and other.local


def _steady(
    present: Groups,
    candidates: Sequence[Candidate],
    verdicts: Mapping[HostPort, Verdict],
    taken: Sequence[Candidate],
    wanted: int,
) -> bool:
    """Whether the present choice is still good in every respect, and the new one not much nearer."""
    usable = {candidate.place: candidate for candidate in candidates if candidate.eligible}
    members = [usable.get(member.place) for group in present for member in group]
    now = [member for member in members if member and verdicts[member.place].good]
    good = [candidate for candidate in usable.values() if verdicts[candidate.place].good]
    if not now or len(now) < len(members) or not len(taken) <= len(now) <= wanted:
        return False
    fastest = _fastest(good, verdicts)
    if any(_sluggish(member, verdicts, fastest) for member in now):
        return False
    kilometres = in_kilometres(candidates)
    return not any(_worth_it(old, new, kilometres) for old, new in zip(now, taken, strict=False))


def _worth_it(old: Candidate, new: Candidate, kilometres: bool) -> bool:
    if not kilometres or old.distance is None or new.distance is None:
        return False
    return old.distance > WORTH_TIMES * new.distance + WORTH_KM


def _remark(
    candidate: Candidate,
    verdicts: Mapping[HostPort, Verdict],
    chosen: set[HostPort],
    good: Sequence[Candidate],
) -> Remark:
    verdict = verdicts[candidate.place]
    taken = candidate.place in chosen
    if not verdict.good:
        reason = verdict.reason
    elif taken:
        reason = f"{candidate.source}, good in {1000 * verdict.seconds:.0f} ms"
    elif not candidate.eligible:
        reason = "good, but the server no longer lists it"
    elif any(other.squid == candidate.squid and other.place in chosen for other in good):
        reason = "good, but another address of the same squid is used"
    elif _sluggish(candidate, verdicts, _fastest(good, verdicts)):
        reason = f"good, but slow: {1000 * verdict.seconds:.0f} ms"
    else:
        reason = "good, but not needed: enough others come first or are in use"
    return Remark(candidate, taken, reason)
