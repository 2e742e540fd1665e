"""Are they gone, or are we deaf? Pure rules for when silence may be believed.

Two things make silence meaningless: heartbeats that could not have been noted (`Hearing`), and too
many squids falling silent together to be true (`improbable`). In the second case expiry is held:
each silent squid is then tried directly, and goes if it fails; whatever happens, none is held longer
than the cap. All is derived from when each squid was last heard, so that several servers over one
store come to the same result, and a restarted one too.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from shoal_server.squid import LivenessRules, Squid, Times


@dataclass(frozen=True, slots=True)
class Hearing:
    """Since when heartbeats could be noted without a break (seconds since 1970); None: they cannot now."""

    since: float | None = None

    def after(self, hears: bool, now: float) -> "Hearing":
        """The state once intake link and store were seen up (`hears`) or not at `now`."""
        if not hears:
            return Hearing(None)
        return self if self.since is not None else Hearing(now)

    def believes_silence(self, now: float, dead_after: float) -> bool:
        """Silence means something only when we have listened for as long as it takes to call a squid dead."""
        return self.since is not None and now - self.since >= dead_after


@dataclass(frozen=True, slots=True)
class HoldRules:
    """When silence is improbable: `usual_share` of squids (0..1) are silent at any time in ordinary life,
    and `deviations` standard deviations above that are not ordinary. `cap` bounds a hold (seconds).
    """

    usual_share: float = 0.02
    deviations: float = 3.0
    cap: float = 900.0


@dataclass(frozen=True, slots=True)
class Silence:
    """What a sweep found: how many of how many squids are overdue, whether that is held, and who is gone.

    `kept`: who would be gone if it were not held.
    """

    overdue: int
    total: int
    held: bool
    gone: tuple[str, ...]
    kept: tuple[str, ...] = ()


def improbable(overdue: int, total: int, rules: HoldRules) -> bool:
    """Whether so many silent squids of so many cannot be chance: a binomial count beyond its deviations.

    The one added makes a single death ordinary at any size: of 2 squids 2 are improbable, of 10 from 3,
    of 100 from 8, of 1000 from 35.
    """
    expected = total * rules.usual_share
    spread = math.sqrt(expected * (1 - rules.usual_share))
    return overdue > expected + rules.deviations * spread + 1


def listen(
    squids: Iterable[Squid],
    now: float,
    liveness: LivenessRules,
    rules: HoldRules,
    *,
    lingers: bool = False,
    total: int | None = None,
) -> Silence:
    """Judge all squids at once: who is gone for good, and whether expiry is held.

    `total`: how many there are, where those that were heard lately are left out of `squids`.
    `lingers`: the silence was improbable a moment ago. Those who fell silent together come back one by one,
    and the last of them, few as they are then, must not be taken for ordinary deaths.
    """
    given = list(squids)
    everyone = len(given) if total is None else total
    overdue = [squid for squid in given if now - squid.seen > liveness.suspect_after]
    held = lingers or improbable(len(overdue), everyone, rules)
    gone = tuple(squid.id for squid in overdue if _is_gone(squid, now, liveness, rules.cap if held else None))
    dead = (squid.id for squid in overdue if now - squid.seen > liveness.dead_after)
    kept = tuple(sorted(set(dead) - set(gone))) if held else ()
    return Silence(len(overdue), everyone, held, gone, kept)


def _is_gone(squid: Squid, now: float, liveness: LivenessRules, cap: float | None) -> bool:
    silence = now - squid.seen
    if silence <= liveness.dead_after:
        return False
    return cap is None or silence > liveness.dead_after + cap or refuted(squid, liveness)


def refuted(squid: Squid, liveness: LivenessRules) -> bool:
    """Whether a check made since it fell silent went against it."""
    check = squid.verification
    return bool(check.failures) and (check.checked or 0.0) > squid.seen + liveness.suspect_after


def awaits_check(times: Times, now: float, liveness: LivenessRules) -> bool:
    """Whether it is overdue and has not been tried since, or not for as long: that trial should not wait
    for its turn. What dies while expiry is held makes no other sign.
    """
    since = times.seen + liveness.suspect_after
    return now > since and times.checked < max(since, now - liveness.suspect_after)
