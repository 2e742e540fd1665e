"""wrk as the crowd of workers: each request from the next of many addresses, by X-Forwarded-For."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_SCRIPT = """
local addresses = {}
for line in io.lines("%s") do addresses[#addresses + 1] = line end
local at = %s
request = function()
  at = at %% #addresses + 1
  return wrk.format("GET", nil, {["X-Forwarded-For"] = addresses[at], ["Host"] = "shoal"})
end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %%d %%d %%d %%f %%f\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""
_ANYWHERE = "math.random(#addresses)"


@dataclass(frozen=True, slots=True)
class Load:
    """What came of some seconds of requests: answers a second, latencies in seconds."""

    rate: float
    median: float
    slow: float
    failed: int


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many addresses in a file, which ask in turn."""

    addresses: Path
    size: int

    @classmethod
    def of(cls, addresses: Sequence[str], path: Path) -> Self:
        """Write them to a file."""
        path.write_text("\n".join(addresses) + "\n")
        return cls(path, len(addresses))


def run(url: str, crowd: Crowd, seconds: float, core: int, first: int | None = None) -> Load:
    """Ask for so long over 32 kept connections, from one core; from the address after the `first`, or from
    any one on.
    """
    script = crowd.addresses.with_suffix(".lua")
    script.write_text(_SCRIPT % (crowd.addresses, _ANYWHERE if first is None else first))
    argv = ["taskset", "-c", str(core), "wrk", "-t1", "-c32", f"-d{seconds:.0f}s", "-s", str(script), url]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)", done.stdout)
    if not found:
        raise RuntimeError(f"wrk said: {done.stdout}{done.stderr}")
    requests, microseconds, failed = (int(found[index]) for index in (1, 2, 3))
    return Load(requests / (microseconds / 1e6), float(found[4]) / 1e6, float(found[5]) / 1e6, failed)


def once(url: str, crowd: Crowd, core: int) -> float:
    """Let each address ask once, from the first to the last; answers a second."""
    asked = seconds = 0.0
    while asked < crowd.size:
        asked += run(url, crowd, 1.0, core, int(asked)).rate
        seconds += 1.0
    return asked / seconds
