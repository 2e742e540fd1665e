"""Shoal's own programs as services, reading no settings but those they are given."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.process import ROOT, Service


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings for Shoal, CVMFS, Frontier or proxies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SHOAL_", "FRONTIER_", "CVMFS_")) and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


def command(module: str, directory: Path, flags: Sequence[object]) -> list[str]:
    """The argument list that runs `python -m module` with an empty settings file and these flags."""
    empty = directory / "empty.conf"
    directory.mkdir(parents=True, exist_ok=True)
    empty.touch()
    return [sys.executable, "-m", module, "--config", str(empty), *map(str, flags)]


class Program(Service):
    """`python -m module` with `flags`; ready when `ready` says so."""

    program = sys.executable
    package = "python3"

    def __init__(
        self, directory: Path, module: str, flags: Sequence[object], ready: Callable[[], bool] = lambda: True
    ) -> None:
        super().__init__(directory)
        self.log = directory / f"{module}.log"
        self._module = module
        self._flags = flags
        self._ready = ready

    def command(self) -> list[str]:
        return command(self._module, self.directory, self._flags)

    def environment(self) -> dict[str, str]:
        return environment()

    def is_ready(self) -> bool:
        return self._ready()
