"""A forward proxy from pip, for machines without squid."""

import importlib.util
import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed.ports import accepts, free_port
from testbed.process import ROOT, Missing, Service


class PythonCache(Service):
    """The `proxy.py` library as a stand-in for a squid: same names, same manners, no caching.

    Its answers carry `Via: 1.1 NAME (proxy.py)`, the proof that they came through a proxy. `hosts` maps
    the names of origins to addresses.
    """

    program = "proxy.py"
    package = "proxy.py"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        listen: Sequence[str] = ("127.0.0.1",),
        hosts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory)
        self.listen = tuple(listen)
        self.address = self.listen[0]
        self.port = port or free_port(*self.listen)
        self.name = f"shoal{secrets.token_hex(4)}"
        self.visible_hostname = f"{self.name}.squid.test"
        self._hosts = dict(hosts or {})

    @classmethod
    def executable(cls) -> str:
        if not cls.available():
            raise Missing(cls.program, cls.package)
        return sys.executable

    @classmethod
    def available(cls) -> bool:
        return importlib.util.find_spec("proxy") is not None

    @property
    def url(self) -> str:
        """The proxy's URL at its first address."""
        return f"http://{self.address}:{self.port}"

    def command(self) -> list[str]:
        return [
            *(self.executable(), "-m", "testbed.viaproxy", "--port", str(self.port)),
            *("--data", str(self.directory / "proxy.py"), "--name", self.visible_hostname),
            *("--hosts", json.dumps(self._hosts), *self.listen),
        ]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(ROOT)}

    def stop(self) -> None:
        # It has nothing to save, and takes a second to say goodbye.
        self.kill()

    def is_ready(self) -> bool:
        return all(accepts(address, self.port) for address in self.listen)
