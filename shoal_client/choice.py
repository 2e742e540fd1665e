"""Which squids to use. Pure.

The server's order decides among those that this host found good: it knows load and capacity, which one
measured time does not show. Only a lame squid loses its place: one that is grossly slower than the
fastest, or serves what others have long replaced. What is configured now stays while it is good, unless
the change is worth it: every change makes caches colder and costs every mounted repository a moment.
What the server has preferred for long, and this host found good all the while, is worth it too: without
that whoever left a squid that failed would never come back, and a new squid would get few workers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shoal_client import node
from shoal_client.candidates import TWO_RUNS, Candidate, Source
from shoal_common.distance import fees, slack_km, way_km
from shoal_common.hosts import HostPort
from shoal_common.probe import Verdict

Groups = tuple[tuple[Candidate, ...], ...]
Verdicts = Mapping[HostPort, Verdict]

SLUGGISH_TIMES = 3.0
SLUGGISH_SECONDS = 0.25
"""Grossly slower: by both of these than the fastest."""
IN_USE_TIMES = 2.0
"""What is in use stays until it takes so many times longer: two squids near the limit would take turns."""
STALE_SECONDS = 3600.0
"""How long a newer manifest must have been out before an older one is held against a squid."""
WORTH_TIMES = 2.0
WORTH_KM = 100.0
"""A change is worth it for a squid whose way is shorter by both of these, at the same fees."""
RETURN_SECONDS = TWO_RUNS
"""So long a server must have preferred other squids before that alone is worth a change: a squid that comes
and goes attracts nobody."""


@dataclass(frozen=True, slots=True)
class Preference:
    """What a node would choose if it had no choice yet, while it uses something else.

    `since` (seconds since 1970) every run that a server answered has chosen the same, and found it good.
    """

    groups: tuple[frozenset[HostPort], ...]
    since: float


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision is made of: the candidates in order of preference, all of them tested.

    `present` is the choice of the last run; `wanted` how many squids to use; `answered` whether a server
    listed any; `node` this node's identity; `now` in seconds since 1970; `preferred` what the last run would
    rather have chosen; `farthest` how far away (effective km) those may be that are used.
    """

    candidates: Sequence[Candidate]
    verdicts: Verdicts
    present: Groups
    wanted: int
    answered: bool
    node: str
    now: float
    preferred: Preference | None = None
    farthest: float = math.inf

    @property
    def good(self) -> list[Candidate]:
        """Those that this run found good."""
        return [candidate for candidate in self.candidates if self.verdicts[candidate.place].good]

    @property
    def usable(self) -> list[Candidate]:
        """Those of them that may be used."""
        return [one for one in self.good if one.usable and one.within(self.farthest)]


@dataclass(frozen=True, slots=True)
class Decision:
    """The proxy groups to use, all tested good; empty: none is.

    `kept`: nothing new was decided, what is configured should stay as it is. `preferred`: what the server
    prefers to the present choice, which stays for now, or gave way to it. `too_far`: there are good squids,
    but none near enough.
    """

    groups: Groups
    kept: bool
    preferred: Preference | None = None
    too_far: bool = False

    @property
    def waits(self) -> bool:
        """Whether the server prefers something else, but not for long enough yet."""
        return self.preferred is not None and self.preferred.groups != placed(self.groups)

    @property
    def members(self) -> tuple[Candidate, ...]:
        """All squids in it."""
        return tuple(member for group in self.groups for member in group)

    @property
    def near(self) -> tuple[Candidate, ...]:
        """Those of the first group, and those that are in one failure domain with its first."""
        first = self.groups[0] if self.groups else ()
        return tuple(
            member
            for member in self.members
            if member in first or (member.domain and member.domain == first[0].domain)
        )


def decide(situation: Situation) -> Decision:
    """Choose up to `wanted` squids.

    Without a server's list, or without anything new that is good, any good squid of the present choice
    is a reason to change nothing. What is lame, or not vouched for, comes last, a Varnish in place of a proxy
    after all others: CVMFS takes what that lacks for gone, and asks no other member of its group.
    """
    fresh = any(candidate.eligible for candidate in situation.good)
    if fresh and not situation.usable:
        return Decision((), kept=False, too_far=True)
    good = {candidate.place for candidate in situation.good if candidate.within(situation.farthest)}
    alive = _only(situation.present, lambda member: member.place in good)
    if alive and (not situation.answered or not fresh):
        return Decision(alive, kept=True)
    lame = sluggish(situation) | stale(situation)
    reverse = frozenset(candidate.place for candidate in situation.usable if candidate.reverse)
    behind = lame | reverse | _unvouched(situation, lame)
    ranked = sorted(situation.usable, key=lambda one: (one.reverse, one.place in behind))
    taken = _taken(ranked, behind, situation)
    groups = tuple(_shuffled(group, situation.node) for group in _grouped(taken, lame | reverse))
    if not situation.answered or not _steady(situation, taken):
        return Decision(groups, kept=False)
    preferred = _preferred(groups, lame, situation)
    ripe = preferred is not None and situation.now - preferred.since >= RETURN_SECONDS
    return Decision(groups if ripe else _as_found(situation), kept=False, preferred=preferred)


def sluggish(situation: Situation, times: float = 1.0) -> frozenset[HostPort]:
    """The good squids that are grossly slower than the fastest that may be chosen, or so many times that."""
    fastest = min((situation.verdicts[c.place].seconds for c in situation.usable), default=0.0)
    limit = times * max(SLUGGISH_TIMES * fastest, fastest + SLUGGISH_SECONDS)
    return frozenset(c.place for c in situation.good if situation.verdicts[c.place].seconds > limit)


def stale(situation: Situation) -> frozenset[HostPort]:
    """The good squids whose manifest at least half of the others have long replaced by a newer one.

    Half of them, so that one squid that lies about a date cannot put all the others behind itself.
    """
    told = {candidate.place: situation.verdicts[candidate.place].published for candidate in situation.good}
    dates = {place: date for place, date in told.items() if date is not None}
    latest = situation.now - STALE_SECONDS
    return frozenset(
        place
        for place, date in dates.items()
        if (newer := sum(date < other < latest for other in dates.values())) and 2 * newer >= len(dates)
    )


def _unvouched(situation: Situation, lame: frozenset[HostPort]) -> frozenset[HostPort]:
    """What the LAN announces, if the server lists enough of the own site: anybody can announce anything."""
    ours = {one.squid for one in situation.usable if one.local and not one.heard and one.place not in lame}
    heard = (one.place for one in situation.usable if one.heard)
    return frozenset(heard if len(ours) >= situation.wanted else ())


def _taken(ranked: Sequence[Candidate], behind: frozenset[HostPort], situation: Situation) -> list[Candidate]:
    """The first address of each of the first `wanted` squids, in two failure domains if there are two.

    Servers since 2.0 (which tell kilometres) spread requesters over squids that are equally near, by
    spare capacity; where nobody has done so this node's own shuffle does.
    """
    squids: dict[str, Candidate] = {}
    for candidate in ranked:
        squids.setdefault(candidate.squid, candidate)
    pool: list[Candidate] = []
    for group in _grouped(list(squids.values()), behind):
        unspread = any(member.distance is None or member.heard for member in group)
        pool += _shuffled(group, situation.node) if unspread else group
    taken = pool[: situation.wanted]
    if len(taken) > 1 and _domains(taken) == 1:
        taken[-1:] = [next((c for c in pool if _is_second_domain(c, taken[0])), taken[-1])]
    return taken


def _is_second_domain(other: Candidate, first: Candidate) -> bool:
    """As servers have it: one is not worth money while free squids will do."""
    if other.domain == first.domain or other.reverse:
        return False
    return first.metered or not other.metered


def _domains(members: Sequence[Candidate]) -> int:
    return len({member.domain for member in members})


def _shuffled(group: Sequence[Candidate], name: str) -> tuple[Candidate, ...]:
    """In an order that is the same in each run on this node, and another on other nodes."""
    return tuple(sorted(group, key=lambda member: node.share(name, member.squid)))


def _only(groups: Groups, condition: Callable[[Candidate], bool]) -> Groups:
    kept = (tuple(member for member in group if condition(member)) for group in groups)
    return tuple(group for group in kept if group)


def _as_found(situation: Situation) -> Groups:
    """The present choice, with what this run was told of its squids."""
    found = {candidate.place: candidate for candidate in situation.candidates}
    return tuple(tuple(found[member.place] for member in group) for group in situation.present)


def _grouped(taken: Sequence[Candidate], lame: frozenset[HostPort]) -> Groups:
    """Neighbours in the order whose distances make no difference become one group."""
    groups: list[list[Candidate]] = []
    for candidate in taken:
        first = groups[-1][0] if groups else None
        if first and _as_near(first, candidate) and (first.place in lame) == (candidate.place in lame):
            groups[-1].append(candidate)
        else:
            groups.append([candidate])
    return tuple(tuple(group) for group in groups)


def _as_near(first: Candidate, other: Candidate) -> bool:
    if first.distance is not None and other.distance is not None:
        return abs(other.distance - first.distance) <= slack_km(way_km(first.distance))
    return first.local and other.local


def _steady(situation: Situation, taken: Sequence[Candidate]) -> bool:
    """Whether the present choice is still good in every respect, and the new one not much nearer."""
    usable = {candidate.place: candidate for candidate in situation.usable}
    members = [usable.get(member.place) for group in situation.present for member in group]
    now = [member for member in members if member]
    if not now or len(now) < len(members) or not len(taken) <= len(now) <= situation.wanted:
        return False
    lame = sluggish(situation, IN_USE_TIMES) | stale(situation)
    if _domains(taken) > _domains(now) or any(member.place in lame for member in now):
        return False
    if sum(member.reverse for member in taken) < sum(member.reverse for member in now):
        return False
    return not any(_worth_it(old, new) for old, new in zip(now, taken, strict=False))


def _preferred(groups: Groups, lame: frozenset[HostPort], situation: Situation) -> Preference | None:
    """What would be chosen anew, if that differs from the present choice, and since when.

    Only servers since 2.0 (which tell kilometres) spread requesters; of others, and of what the LAN
    announces, the order tells nothing that would last. Nor does an order that slowness has made.
    """
    members = [member for group in groups for member in group]
    places, present = placed(groups), placed(situation.present)
    used = frozenset[HostPort]().union(*present)
    new = [member for member in members if member.place not in used]
    spread = all(member.source is Source.SERVER and member.distance is not None for member in new)
    fewer = len(members) < sum(map(len, present))
    if places == present or fewer or not spread or lame & used.union(member.place for member in members):
        return None
    before = situation.preferred
    same = before is not None and before.groups == places and before.since <= situation.now
    return before if same else Preference(places, situation.now)


def placed(groups: Groups) -> tuple[frozenset[HostPort], ...]:
    """The addresses in each group."""
    return tuple(frozenset(member.place for member in group) for group in groups)


def _worth_it(old: Candidate, new: Candidate) -> bool:
    """Lower fees alone are not: room comes and goes. What has lower fees for long is returned to."""
    if old.distance is None or new.distance is None or fees(old.distance) != fees(new.distance):
        return False
    return way_km(old.distance) > WORTH_TIMES * way_km(new.distance) + WORTH_KM
