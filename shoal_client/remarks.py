"""Why each candidate was taken or not, in an operator's words. Pure."""

from dataclasses import dataclass

from shoal_client.candidates import Candidate
from shoal_client.choice import RETURN_SECONDS, Decision, Situation, placed, sluggish, stale
from shoal_common.hosts import HostPort

WAIT = f"{RETURN_SECONDS / 60:.0f} min"


@dataclass(frozen=True, slots=True)
class Remark:
    """What became of one candidate, and why: a sentence's second half."""

    candidate: Candidate
    taken: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.candidate.proxy} {'taken' if self.taken else 'not taken'}: {self.reason}"


def remarks(situation: Situation, decision: Decision) -> tuple[Remark, ...]:
    """One for each candidate, in order of preference."""
    slow, old = sluggish(situation), stale(situation)
    return tuple(_remark(candidate, situation, decision, slow, old) for candidate in situation.candidates)


def _remark(
    candidate: Candidate,
    situation: Situation,
    decision: Decision,
    slow: frozenset[HostPort],
    old: frozenset[HostPort],
) -> Remark:
    verdict = situation.verdicts[candidate.place]
    taken = any(member.place == candidate.place for member in decision.members)
    if not verdict.good:
        reason = verdict.reason
    elif taken:
        reason = _taken(candidate, verdict.seconds, situation, decision)
    elif candidate not in situation.usable:
        reason = f"good, but {_not_usable(candidate, situation)}"
    elif any(member.squid == candidate.squid for member in decision.members):
        reason = "good, but another address of the same squid is used"
    elif candidate.reverse:
        reason = "good, but a Varnish, which has only what its own back end has: others come first"
    elif candidate.place in slow:
        reason = f"good, but slow: {1000 * verdict.seconds:.0f} ms"
    elif candidate.place in old:
        reason = "good, but stale: others have long served a newer manifest"
    elif decision.waits and _is_preferred(candidate, decision):
        reason = f"good, and first {_lasting(situation, decision)}: taken after {WAIT} of that"
    elif candidate.metered and not any(member.metered for member in decision.members):
        reason = "good, but costs money, and those that are used do not"
    else:
        reason = "good, but not needed: enough others come first or are in use"
    return Remark(candidate, taken, reason)


def _not_usable(candidate: Candidate, situation: Situation) -> str:
    if candidate.usable:
        return f"farther away than {situation.farthest:g} km: your own proxies are used"
    return "the LAN no longer announces it" if candidate.heard else "the server no longer lists it"


def _taken(candidate: Candidate, seconds: float, situation: Situation, decision: Decision) -> str:
    words = [candidate.source.value, f"good in {1000 * seconds:.0f} ms"]
    if candidate.distance is not None and not candidate.heard:
        words.append(f"{candidate.distance:.0f} km")
    if candidate.unlisted is not None:
        words.append(f"not listed for {(situation.now - candidate.unlisted) / 60:.0f} min: left after {WAIT}")
    if decision.kept:
        words.append(
            "kept: nothing new is good" if situation.answered else "kept: no server listed any squid"
        )
    elif placed(decision.groups) == placed(situation.present):
        words.append(f"in use, and no other is worth a change{' yet' if decision.waits else ''}")
    elif _is_preferred(candidate, decision):
        words.append(f"first {_lasting(situation, decision)}")
    return ", ".join(words)


def _is_preferred(candidate: Candidate, decision: Decision) -> bool:
    preferred = decision.preferred
    return preferred is not None and any(candidate.place in group for group in preferred.groups)


def _lasting(situation: Situation, decision: Decision) -> str:
    since = decision.preferred.since if decision.preferred else situation.now
    return f"by the server's order for {(situation.now - since) / 60:.0f} min"
