"""A server whose clock of the day can be set while it runs; its steady clock is left alone.

`python -m tests.faults.clock FILE MODULE …` runs a program whose `time.time` is ahead of the truth by the
seconds (a double) in FILE.
"""

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path
from typing import Any

from testbed.program import ShoalServer

_AHEAD = struct.Struct("d")


class OddClockServer(ShoalServer):
    """`shoal-server` with such a clock."""

    def __init__(self, directory: Path, **options: Any) -> None:
        super().__init__(directory, **options)
        self._clock = directory / "clock"
        self._modules = ["tests.faults.clock", str(self._clock), "shoal_server.cli"]

    def set_clock(self, ahead: float) -> None:
        """From now on its clock is so many seconds ahead of the true time (negative: behind)."""
        with self._clock.open("r+b") as file:
            file.write(_AHEAD.pack(ahead))

    def prepare(self) -> None:
        super().prepare()
        self._clock.write_bytes(_AHEAD.pack(0.0))


def main() -> None:
    """Run the module in the arguments by the odd clock."""
    with Path(sys.argv[1]).open("rb") as file:
        ahead = mmap.mmap(file.fileno(), _AHEAD.size, access=mmap.ACCESS_READ)
    true_time = time.time
    time.time = lambda: true_time() + float(_AHEAD.unpack_from(ahead)[0])
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
