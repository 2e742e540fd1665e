"""wrk as the crowd of workers: each request from the next of many addresses, by X-Forwarded-For."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
local addresses = {}
for line in io.lines("%s") do addresses[#addresses + 1] = line end
local at = math.random(#addresses)
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


@dataclass(frozen=True, slots=True)
class Load:
    """What came of some seconds of requests: answers a second, latencies in seconds."""

    rate: float
    median: float
    slow: float
    failed: int


def crowd(directory: Path, addresses: Sequence[str], name: str = "crowd") -> Path:
    """The script for wrk."""
    (directory / f"{name}.txt").write_text("\n".join(addresses) + "\n")
    script = directory / f"{name}.lua"
    script.write_text(_SCRIPT % (directory / f"{name}.txt"))
    return script


def run(url: str, script: Path, seconds: float, core: int) -> Load:
    """Ask for so long over 32 kept connections, from one core."""
    argv = ["taskset", "-c", str(core), "wrk", "-t1", "-c32", f"-d{seconds:.0f}s", "-s", str(script), url]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)", done.stdout)
    if not found:
        raise RuntimeError(f"wrk said: {done.stdout}{done.stderr}")
    requests, microseconds, failed = (int(found[index]) for index in (1, 2, 3))
    return Load(requests / (microseconds / 1e6), float(found[4]) / 1e6, float(found[5]) / 1e6, failed)
