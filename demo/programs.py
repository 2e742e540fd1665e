"""Shoal's own programs as processes of the demo, with short intervals so that nobody has to wait."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from demo.sites import Site
from testbed.ports import accepts, free_port
from testbed.process import ROOT, Service


def environment(**more: str) -> Mapping[str, str]:
    """This process's environment without settings for Shoal or for proxies: the demo makes its own."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SHOAL_", "FRONTIER_", "CVMFS_")) and not name.lower().endswith("_proxy")
    }
    return own | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


def no_settings(directory: Path) -> Path:
    """An empty settings file, so that none of this machine's own is read."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "empty.conf"
    path.touch()
    return path


class _Program(Service):
    program = sys.executable
    package = "python3"

    def environment(self) -> dict[str, str]:
        return dict(environment())


class ShoalServer(_Program):
    """`shoal-server` on 127.0.0.1; `amqp` and `store` are URLs as it takes them."""

    def __init__(self, directory: Path, *, amqp: str, store: str, locations: Path, cvmfs_url: str) -> None:
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.port = free_port()
        self.amqp = amqp
        self.store = store
        self._locations = locations
        self._cvmfs_url = cvmfs_url

    @property
    def url(self) -> str:
        """Where lookups are answered; the status page is its root."""
        return f"http://{self.host}:{self.port}"

    def command(self) -> list[str]:
        return [
            *(self.executable(), "-m", "shoal_server.cli", "--config", str(no_settings(self.directory))),
            *("--listen", f"{self.host}:{self.port}", "--amqp", self.amqp, "--store", self.store),
            *("--locations", str(self._locations), "--cvmfs-urls", self._cvmfs_url),
            *("--verify-interval", "10"),
        ]

    def is_ready(self) -> bool:
        return accepts(self.host, self.port)


class ShoalAgent(_Program):
    """`shoal-agent` beside the squid of a site, which listens at `cache_port`."""

    def __init__(self, directory: Path, site: Site, *, amqp: str, cache_port: int, cvmfs_url: str) -> None:
        super().__init__(directory)
        self._site = site
        self._amqp = amqp
        self._cache_port = cache_port
        self._cvmfs_url = cvmfs_url

    def command(self) -> list[str]:
        return [
            *(self.executable(), "-m", "demo.vm", self._site.squid_address, "shoal_agent.cli"),
            *("--config", str(no_settings(self.directory)), "--amqp", self._amqp, "--interval", "1"),
            *("--hostname", self._site.squid_name, "--external-ip", self._site.squid_address),
            *("--interface", "lo", "--max-load", "122000", "--cache-port", str(self._cache_port)),
            *("--check-urls", self._cvmfs_url, "--check-interval", "1", "--check-retry", "0.3"),
            *("--check-rise", "1", "--check-fall", "2"),
        ]

    def is_ready(self) -> bool:
        # It listens nowhere; that it works shows in the server's list.
        return True
