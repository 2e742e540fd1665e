"""Shoal's own programs as services, reading no settings but those they are given."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.ports import accepts, free_port
from testbed.process import ROOT, Service


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings for Shoal, CVMFS, Frontier or proxies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SHOAL_", "FRONTIER_", "CVMFS_")) and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


def command(modules: Sequence[str], directory: Path, flags: Sequence[object]) -> list[str]:
    """The argument list that runs `python -m MODULES…` with these flags and an empty settings file."""
    empty = directory / "empty.conf"
    directory.mkdir(parents=True, exist_ok=True)
    empty.touch()
    return [sys.executable, "-m", *modules, "--config", str(empty), *map(str, flags)]


class Program(Service):
    """`python -m MODULES… FLAGS…`; the first module may be one that runs the second in its own way."""

    program = sys.executable
    package = "python3"

    def __init__(
        self,
        directory: Path,
        modules: Sequence[str],
        flags: Sequence[object],
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(directory)
        self._modules = modules
        self._flags = flags
        self._ready = ready

    def command(self) -> list[str]:
        return command(self._modules, self.directory, self._flags)

    def environment(self) -> dict[str, str]:
        return environment()

    def is_ready(self) -> bool:
        return self._ready()


class ShoalServer(Program):
    """`shoal-server` on 127.0.0.1; `amqp` and `store` are URLs as it takes them, None its own defaults of
    a listener and a memory. `locations` is the text of its location table.
    """

    def __init__(
        self,
        directory: Path,
        *,
        cvmfs_url: str,
        locations: str,
        amqp: str | None = None,
        store: str = "memory://",
        flags: Sequence[object] = (),
    ) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.amqp = amqp or f"embedded://127.0.0.1:{free_port()}"
        self.store = store
        self._table = directory / "locations.csv"
        self._locations = locations
        own = ["--listen", f"{self.host}:{self.port}", "--amqp", self.amqp, "--store", store]
        own += ["--locations", str(self._table), "--cvmfs-urls", cvmfs_url]
        super().__init__(
            directory, ["shoal_server.cli"], [*own, *flags], lambda: accepts(self.host, self.port)
        )

    @property
    def url(self) -> str:
        """Where lookups are answered; the status page is its root."""
        return f"http://{self.host}:{self.port}"

    @property
    def publish_url(self) -> str:
        """The AMQP URL for those who publish to it."""
        return self.amqp.replace("embedded:", "amqp:")

    def is_ready(self) -> bool:
        return accepts(self.host, self.port)

    def prepare(self) -> None:
        self._table.write_text(self._locations)
