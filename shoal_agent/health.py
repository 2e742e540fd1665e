"""Is the squid good? Pure: what single tests found, joined into a state that one hiccup does not change."""

from dataclasses import dataclass
from typing import Self

from shoal_common.probe import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Finding:
    """What one self-test found, and why, in a sentence for an operator."""

    good: bool
    reason: str


@dataclass(frozen=True, slots=True)
class HealthRules:
    """How many findings in a row change the state: `rise` good ones, `fall` bad ones."""

    rise: int
    fall: int


@dataclass(frozen=True, slots=True)
class Health:
    """The state after all findings so far; `healthy` is None before the first one.

    `streak` counts the latest findings that contradict the state, `reason` is the latest finding's.
    """

    healthy: bool | None = None
    streak: int = 0
    reason: str = "not tested yet"

    def after(self, finding: Finding, rules: HealthRules) -> Self:
        """The state with one more finding. The first one decides alone: nothing is known to contradict it."""
        cls = type(self)
        if self.healthy is None or finding.good is self.healthy:
            return cls(finding.good, 0, finding.reason)
        streak = self.streak + 1
        if streak >= (rules.rise if finding.good else rules.fall):
            return cls(finding.good, 0, finding.reason)
        return cls(self.healthy, streak, finding.reason)

    @property
    def settled(self) -> bool:
        """Whether the latest finding agrees with the state."""
        return self.healthy is not None and self.streak == 0


def blames_squid(through: Verdict, straight: Verdict) -> bool:
    """Whether the squid is at fault for the failed probe `through` it.

    Only when the same object came `straight` from its origin: otherwise the origin, or our own way
    to it, is broken, and silence about a good squid would make that worse.
    """
    return through.outcome is not Outcome.GOOD and straight.outcome is Outcome.GOOD
