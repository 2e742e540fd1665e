"""Runs the benchmarks and says which limits were kept: `python -m benchmarks [NAME …]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import agent, chain, client, intake
from benchmarks.lookups import run as lookups

BENCHMARKS = {
    "chain": chain.run,
    "client": client.run,
    "agent": agent.run,
    "lookups": lookups.run,
    "intake": intake.run,
}


def main() -> int:
    """The exit code is 1 when a limit was missed."""
    parser = argparse.ArgumentParser(description="Measure Shoal.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHMARKS)} (default: all)"
    )
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    missed = False
    for name in names:
        with tempfile.TemporaryDirectory(prefix="shoal-") as directory:
            Path(directory).chmod(0o755)  # squid, started by root, drops its rights
            for figure in BENCHMARKS[name](Path(directory)):
                print(figure, flush=True)
                missed |= not figure.kept
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
