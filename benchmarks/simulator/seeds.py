"""The shipped ranking in other worlds of the same kind: how often, and by how much, it misses its targets.

The scenarios' figures are of one draw each. A rule that was fitted to that draw shows here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.simulator.engine import run
from benchmarks.simulator.policies import POLICIES
from benchmarks.simulator.report import between
from benchmarks.simulator.scenarios import SCENARIOS
from benchmarks.simulator.targets import Verdict, verdicts

BEGIN, END = "<!-- seeds -->", "<!-- end of seeds -->"


@dataclass(frozen=True, slots=True)
class Tally:
    """One target in several draws of a scenario."""

    scenario: str
    verdicts: tuple[Verdict, ...]

    @property
    def missed(self) -> int:
        """In how many of them it was missed."""
        return sum(not one.kept for one in self.verdicts)

    @property
    def row(self) -> str:
        """Of the table in docs/policy.md."""
        values = [one.value for one in self.verdicts]
        target, limit = self.verdicts[0].target, self.verdicts[0].limit
        missed = f"**{self.missed}** of {len(values)}" if self.missed else f"none of {len(values)}"
        cells = (self.scenario, target, missed, f"{median(values):.3g}", f"{max(values):.3g}", f"{limit:.3g}")
        return "| " + " | ".join(cells) + " |"


def tallies(name: str, draws: Iterable[int]) -> Iterator[Tally]:
    """Every target of a scenario that applies in one of the draws; says on stdout how each draw went."""
    found: dict[str, list[Verdict]] = {}
    for draw in draws:
        for verdict in verdicts(run(SCENARIOS[name](draw), POLICIES["shipped"])):
            found.setdefault(verdict.target, []).append(verdict)
            print(f"{name}, draw {draw}: {verdict}", flush=True)
    for several in found.values():
        yield Tally(name, tuple(several))


def table(found: Sequence[Tally]) -> str:
    """For docs/policy.md."""
    head = ["| scenario | target | missed | median | worst | at most |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *(one.row for one in found)])


def write(found: Sequence[Tally], page: Path) -> None:
    """The table between its marks in a page."""
    page.write_text(between(page.read_text(encoding="utf-8"), BEGIN, END, table(found)), encoding="utf-8")
