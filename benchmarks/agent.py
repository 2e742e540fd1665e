"""What a running agent costs its squid's VM at the default interval."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.chain import LOCATIONS
from benchmarks.figure import Figure
from testbed.origin import Origin
from testbed.process import wait_until
from testbed.program import Program, ShoalServer
from testbed.squid import Squid

WARM_UP_SECONDS = 5.0
SECONDS = 95.0
"""Three heartbeats of the default interval."""


def run(directory: Path) -> Iterator[Figure]:
    """Resident memory and share of a core, over some heartbeats after the first."""
    with Origin() as origin, Squid(directory / "squid") as squid:
        object_url = f"{origin.url}/cvmfs/atlas.cern.ch/.cvmfspublished"
        server = ShoalServer(directory / "server", cvmfs_url=object_url, locations=LOCATIONS)
        flags = ["--amqp", server.publish_url, "--cache-port", squid.port, "--external-ip", "127.0.0.1"]
        agent = Program(directory / "agent", ["shoal_agent.cli"], [*flags, "--check-urls", object_url])
        with server, agent:
            wait_until(lambda: "publishing" in agent.log.read_text(), 20.0, "the first heartbeat")
            time.sleep(WARM_UP_SECONDS)
            before, began = _cpu_seconds(agent.pid), time.monotonic()
            time.sleep(SECONDS)
            share = (_cpu_seconds(agent.pid) - before) / (time.monotonic() - began)
            yield Figure("agent: resident memory", _resident_mb(agent.pid), "MB", 40.0)
            yield Figure(f"agent: share of a core over {SECONDS:g} s", share * 100, "%", 0.5)


def _cpu_seconds(pid: int) -> float:
    """User and system time (proc(5), stat fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) / 1024
