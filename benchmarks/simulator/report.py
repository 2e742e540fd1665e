"""The results as docs/policy.md with its plots."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks.simulator import clients, fleet, targets, workload, world
from benchmarks.simulator.engine import Record
from benchmarks.simulator.sites import SITES
from benchmarks.simulator.targets import Verdict, fleet_load, mean_km, optimum, unevenness
from shoal_common import distance
from shoal_server import balance, crowding, ranking, rendezvous, surge

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
SHOWN = ("together", "flood", "lone", "failures")
"""The scenarios whose course is plotted."""


@dataclass(frozen=True, slots=True)
class Run:
    """One policy in one scenario; `seconds` of CPU."""

    policy: str
    record: Record
    verdicts: tuple[Verdict, ...]
    seconds: float


def write(runs: Sequence[Run], docs: Path) -> None:
    """The tables between the marks in docs/policy.md, and its images."""
    page = docs / "policy.md"
    tables = "\n\n".join([_setting(), _targets(runs), _comparison(runs), _constants(), _images(runs)])
    page.write_text(between(page.read_text(encoding="utf-8"), BEGIN, END, tables), encoding="utf-8")
    plot(runs, docs / "images")


def between(text: str, begin: str, end: str, new: str) -> str:
    """The text with something new between two marks."""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{new}\n\n{end}{after}"


def _setting() -> str:
    return (
        f"{len(SITES)} sites; {world.IN_ORDER:.0%} of the workers take the list in order at every lookup, "
        f"the others run CVMFS under the shoal-client, {clients.MOUNTS} repositories each; a worker's demand "
        f"is log-normal (sigma {world.FAT_TAIL}), it varies by {fleet.BURST:.0%} between heartbeats; "
        f"a booting worker asks for {workload.COLD_WORKER_TIMES:.0f} times as much for "
        f"{workload.COLD_WORKER_SECONDS / 60:.0f} minutes; a squid that starts sends at most "
        f"{fleet.COLD_CAPACITY:.0%} of its capacity, all of it after {fleet.COLD_SECONDS / 60:.0f} minutes. "
        f"The optimum fills squids to {targets.ROOM:.0%}."
    )


def _targets(runs: Sequence[Run]) -> str:
    rows = ["| scenario | target | figure | at most | |", "|---|---|---|---|---|"]
    rows += [
        f"| {one.record.scenario.name} | {verdict.target} | {verdict.value:.3g} | {verdict.limit:.3g} "
        f"| {'kept' if verdict.kept else '**missed**'} |"
        for one in runs
        if one.policy == "shipped"
        for verdict in one.verdicts
    ]
    return "### The shipped ranking against the targets\n\n" + "\n".join(rows)


def _comparison(runs: Sequence[Run]) -> str:
    rows = [
        (
            "| scenario | fleet load | policy | mean km | of the optimum | highest / mean of equals | peak "
            "| told anew, per lookup | changed squid, per lookup | without squid |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(one) for one in runs),
    ]
    scenarios = {one.record.scenario.name: one.record.scenario.what for one in runs}
    legend = "\n".join(f"- **{name}**: {what}" for name, what in scenarios.items())
    return f"### Beside others\n\n{legend}\n\n" + "\n".join(rows)


def _row(run: Run) -> str:
    record = run.record
    best, even = optimum(record, targets.ROOM), unevenness(record)
    lookups = max(record.lookups, 1)
    cells = (
        record.scenario.name,
        f"{fleet_load(record):.0%}",
        run.policy,
        f"{mean_km(record):.0f}",
        f"{mean_km(record) / max(best, 1.0):.2f}" if best is not None else "no room",
        f"{even:.2f}" if even is not None else "",
        f"{record.peak:.0%}",
        f"{record.told_moves / lookups:.1%}",
        f"{record.configured_moves / lookups:.1%}",
        f"{record.stranded / max(record.served + record.stranded, 1e-9):.2%}",
    )
    return "| " + " | ".join(cells) + " |"


def _constants() -> str:
    seen: dict[tuple[str, float], str] = {}
    for module in (distance, rendezvous, ranking, crowding, balance, surge):
        for one in _numbers(module).items():
            seen.setdefault(one, module.__name__.rpartition(".")[2])  # others import it
    rows = [f"| {module}.{name} | {value:g} |" for (name, value), module in seen.items()]
    return "### The constants of this run\n\n| constant | value |\n|---|---|\n" + "\n".join(rows)


def _numbers(module: ModuleType) -> dict[str, float]:
    """Its constants that are plain numbers."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int | float)
    }


def _images(runs: Sequence[Run]) -> str:
    names = {one.record.scenario.name: one.record.scenario.what for one in runs}
    shown = [f"![{names[name]}](images/policy-{name}.svg)" for name in SHOWN if name in names]
    return "\n\n".join(["### Plots", "![Mean distances](images/policy-distance.svg)", *shown])


def plot(runs: Sequence[Run], images: Path) -> None:
    """For scenarios in SHOWN the fullest squid over time, under each policy; for all the distances."""
    import matplotlib as mpl  # noqa: PLC0415 - the tables alone need no plotting library

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "shoal"
    images.mkdir(exist_ok=True)
    for name in SHOWN:
        chosen = [one for one in runs if one.record.scenario.name == name]
        if chosen:
            _plot_course(chosen, images / f"policy-{name}.svg")
    _plot_distances(runs, images / "policy-distance.svg")


def _plot_course(runs: Sequence[Run], path: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for one in runs:
        highest = np.array(one.record.highest)
        hours = np.arange(len(highest)) * fleet.STEP / 3600
        axes.plot(hours, highest, label=one.policy, linewidth=2 if one.policy == "shipped" else 1)
    axes.axhline(1, color="black", linestyle=":", linewidth=1)
    axes.set(title=runs[0].record.scenario.what, xlabel="hours", ylabel="demand / capacity, fullest squid")
    axes.set_ylim(0, min(5, axes.get_ylim()[1]))
    axes.legend(fontsize="small", ncols=3)
    figure.savefig(path, metadata={"Date": None})


def _plot_distances(runs: Sequence[Run], path: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415

    scenarios = list(dict.fromkeys(one.record.scenario.name for one in runs))
    policies = list(dict.fromkeys(one.policy for one in runs))
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for number, policy in enumerate(policies):
        at, km = zip(*_distances(runs, policy, scenarios), strict=True)
        axes.bar(np.array(at) + number / (len(policies) + 1), km, 1 / (len(policies) + 1), label=policy)
    axes.set_xticks(np.arange(len(scenarios)) + 0.4, scenarios, rotation=30, ha="right")
    axes.set(title="Mean distance from worker to squid", ylabel="km (log)", yscale="log")
    axes.legend(fontsize="small", ncols=3)
    figure.savefig(path, metadata={"Date": None})


def _distances(runs: Sequence[Run], policy: str, scenarios: Sequence[str]) -> Iterator[tuple[int, float]]:
    for one in runs:
        if one.policy == policy:
            yield scenarios.index(one.record.scenario.name), max(mean_km(one.record), 1.0)
