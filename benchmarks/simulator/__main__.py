"""Runs scenarios under policies: `python -m benchmarks.simulator [SCENARIO …] [--seeds N] [--write]`."""

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.simulator import seeds
from benchmarks.simulator.engine import run
from benchmarks.simulator.policies import POLICIES
from benchmarks.simulator.report import Run, write
from benchmarks.simulator.scenarios import SCENARIOS
from benchmarks.simulator.targets import mean_km, verdicts

DOCS = Path("docs")


def main() -> int:
    """The exit code is 1 when the shipped policy missed a target."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulator", description="Simulate the policy."
    )
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=f"of: {', '.join(SCENARIOS)} (all)")
    parser.add_argument("--policy", action="append", choices=list(POLICIES), help="these only (all)")
    parser.add_argument("--seeds", type=int, metavar="N", help="the shipped policy alone, in N other worlds")
    parser.add_argument("--write", action="store_true", help="write docs/policy.md and its images")
    given = parser.parse_args()
    if unknown := set(given.names) - set(SCENARIOS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if given.seeds:
        return _seeds(given.names or SCENARIOS, given.seeds, write=given.write)
    runs = [_run(name, policy) for name in given.names or SCENARIOS for policy in given.policy or POLICIES]
    if given.write:
        write(runs, DOCS)
    return int(any(not one.kept for run in runs if run.policy == "shipped" for one in run.verdicts))


def _seeds(names: Iterable[str], draws: int, *, write: bool) -> int:
    found = [one for name in names for one in seeds.tallies(name, range(1, draws + 1))]
    print(seeds.table(found))
    if write:
        seeds.write(found, DOCS / "policy.md")
    return int(any(one.missed for one in found))


def _run(name: str, policy: str) -> Run:
    began = time.process_time()
    record = run(SCENARIOS[name](), POLICIES[policy])
    done = Run(policy, record, tuple(verdicts(record)), time.process_time() - began)
    print(f"{record.scenario.name}, {policy}: {mean_km(record):.0f} km, {done.seconds:.0f} s of CPU")
    for verdict in done.verdicts:
        print(f"    {verdict}", flush=True)
    return done


if __name__ == "__main__":
    sys.exit(main())
