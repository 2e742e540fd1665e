"""What this process takes of its machine: memory, time, descriptors."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

_PROC = Path("/proc/self")
_STARTED_FIELD = 19
"""Of /proc/self/stat, counted from behind the name, in clock ticks since the machine's start (proc(5))."""


def vitals() -> Mapping[str, float]:
    """`cpu_seconds` used so far; where the system tells it (Linux), also `memory_bytes` that are resident,
    `open_fds`, and since when it runs: `start_time_seconds` since 1970.
    """
    found = {"cpu_seconds": time.process_time()}
    try:
        pages = int((_PROC / "statm").read_text().split()[1])
        ticks = float((_PROC / "stat").read_text().rpartition(")")[2].split()[_STARTED_FIELD])
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        found["memory_bytes"] = float(pages * os.sysconf("SC_PAGE_SIZE"))
        found["start_time_seconds"] = round(boot + ticks / os.sysconf("SC_CLK_TCK"))
        found["open_fds"] = float(sum(1 for _ in (_PROC / "fd").iterdir()))
    except (OSError, AttributeError):
        return found
    return found
