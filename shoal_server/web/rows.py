"""One squid as the pages show it: its state in one word, and the reason for it."""

from dataclasses import dataclass
from enum import StrEnum

from flask import url_for

from shoal_common.heartbeat import Upstream
from shoal_server.balance import LEAST_SHARE
from shoal_server.crowding import openings
from shoal_server.squid import Listed, Liveness, LivenessRules, Place, Reach, Squid, Verification
from shoal_server.web.discretion import id_for
from shoal_server.web.words import percent, span

SKEW_SECONDS = 10.0
"""A smaller difference between two clocks hurts nobody, and may be the message's way."""
LITTLE = 0.005
"""A share so near to 1 would be shown as 100 %."""


class State(StrEnum):
    """What matters most about a squid, best first; a draining one is heard and did not fail."""

    VERIFIED = "verified"
    LOCAL = "own site only"
    UNCHECKABLE = "could not be checked"
    UNVERIFIED = "not checked yet"
    DRAINING = "draining"
    SILENT = "silent"
    GONE = "gone silent"
    FAILED = "failed"

    @property
    def token(self) -> str:
        """The state as a class of the style sheet and a word of a query."""
        return self.name.lower()


SERVING = frozenset({State.VERIFIED, State.LOCAL, State.UNCHECKABLE})
"""Workers may be told of these; where nothing is checked, also of those not checked yet."""
TROUBLED = frozenset({State.SILENT, State.GONE, State.FAILED})
ORDER = {state: number for number, state in enumerate(State)}

_BY_REACH = {
    Reach.GLOBAL: State.VERIFIED,
    Reach.LOCAL: State.LOCAL,
    Reach.UNVERIFIED: State.UNVERIFIED,
    Reach.FAILED: State.FAILED,
}
_SERVICES = {Upstream.BOTH: "CVMFS, Frontier", Upstream.CVMFS: "CVMFS", Upstream.FRONTIER: "Frontier"}


@dataclass(frozen=True, slots=True)
class Row:
    """A squid at `now`; `local`: whoever looks may know its inside address."""

    listed: Listed
    local: bool
    state: State
    now: float

    @classmethod
    def of(cls, listed: Listed, now: float, rules: LivenessRules, *, local: bool) -> "Row":
        return cls(listed, local, state_of(listed.squid, now, rules), now)

    @property
    def squid(self) -> Squid:
        return self.listed.squid

    @property
    def name(self) -> str:
        return self.listed.squid.beat.hostname

    @property
    def address(self) -> str:
        """Where it is found; its own site sees the whole id, which may hold the inside address."""
        return id_for(self.listed.squid, whole=self.local)

    @property
    def url(self) -> str:
        """Its page. Behind one NAT there may be several; outsiders tell them apart by name."""
        name = None if self.address == self.squid.id else self.name
        return url_for("squid.squid", shown=self.address, name=name)

    @property
    def place(self) -> str:
        return place_words(self.listed.place)

    @property
    def network(self) -> str:
        """The autonomous system and whose it is."""
        owner = self.listed.owner
        return " ".join(part for part in (f"AS{owner.asn}" if owner.asn else "", owner.organisation) if part)

    @property
    def services(self) -> str:
        return _SERVICES[self.squid.beat.upstream]

    @property
    def utilisation(self) -> float:
        return self.listed.squid.utilisation

    @property
    def hit_ratio(self) -> float | None:
        return self.squid.hit_ratio

    @property
    def outcome(self) -> str:
        """How its checks ended, in a word."""
        return _as_checked(self.squid.verification).value

    @property
    def reason(self) -> str:
        """What else is to be said of its state: how it was checked, and why that did not end well."""
        check = self.squid.verification
        found = _as_checked(check)
        known = "" if self.state is found else found.value
        why = "" if check.reach is Reach.GLOBAL or check.checked is None else check.reason
        return ": ".join(part for part in (known, why) if part)

    @property
    def heard(self) -> str:
        return span(self.now - self.squid.seen)

    @property
    def known(self) -> str:
        return span(self.now - self.squid.created)

    @property
    def clock(self) -> str:
        """How its clock stands to ours."""
        behind = self.squid.clock_skew
        if abs(behind) <= SKEW_SECONDS:
            return "right"
        return f"{span(abs(behind))} {'behind' if behind > 0 else 'ahead'}"

    @property
    def room(self) -> str:
        """Whom its place has room for (`crowding`)."""
        locals_, guests = openings(self.squid.takes)
        if guests >= 1:
            return "all who ask"
        if guests > 0:
            return f"its own place, {percent(guests)} of others"
        return f"{percent(locals_)} of its own place"

    @property
    def weight(self) -> str:
        """Its share among the squids of its place, if that is not what its capacity says (`balance`)."""
        share = self.squid.share
        if abs(share - 1) < LITTLE:
            return ""
        why = f"was used {'less' if share > 1 else 'more'}"
        if share < LEAST_SHARE:
            why = "was full though few workers were told of it: others load it, or its max_load is too low"
        return f"{percent(share)} of what its capacity says, for it {why}"

    @property
    def words(self) -> str:
        """All of it that a search may look for, in small letters."""
        beat, place = self.squid.beat, self.listed.place
        parts = [self.name, self.address, self.place, self.network, self.services, beat.cache_type.value]
        parts += [self.state.value, self.reason, beat.agent or "", (place and place.country_name) or ""]
        return " ".join(parts).casefold()


def state_of(squid: Squid, now: float, rules: LivenessRules) -> State:
    """How it is heard matters before how it was checked, and both before what is planned for it."""
    liveness = squid.liveness(now, rules)
    if liveness is not Liveness.ALIVE:
        return State.GONE if liveness is Liveness.DEAD else State.SILENT
    found = _as_checked(squid.verification)
    return State.DRAINING if squid.draining and found is not State.FAILED else found


def _as_checked(check: Verification) -> State:
    """What its checks alone say; where no origin could be reached, they say nothing for or against it."""
    if check.reach is Reach.UNVERIFIED and check.checked is not None:
        return State.UNCHECKABLE
    return _BY_REACH[check.reach]


def place_words(place: Place | None) -> str:
    """A place as well as it is known."""
    if place is None:
        return "unknown"
    named = [part for part in (place.site, place.city, place.country_code) if part]
    return ", ".join(named) or f"{place.latitude:.1f}, {place.longitude:.1f}"
