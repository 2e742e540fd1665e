"""The origin as a process of its own, so that it can be killed, paused and measured apart."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from testbed.origin import REPOSITORIES, Fault
from testbed.origin_http import Request
from testbed.ports import accepts, free_port
from testbed.process import ROOT, Service


class OriginProcess(Service):
    """`python -m testbed.origin` on 127.0.0.1, steered and read like an `Origin` of this process."""

    program = sys.executable
    package = "python3"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        repositories: Sequence[str] = REPOSITORIES,
        object_bytes: int = 20480,
    ) -> None:
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self._repositories = tuple(repositories)
        self._object_bytes = object_bytes

    @property
    def url(self) -> str:
        """The root URL by address."""
        return f"http://{self.host}:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """Every request that arrived, in order."""
        return [Request(*seen) for seen in self._control("requests")]

    def set_fault(self, fault: Fault, *, rate: int = 100) -> None:
        """From the next request on be broken in this way; `rate` (bytes/s) is for `Fault.SLOW`."""
        self._control("fault", name=fault.value, rate=rate)

    def count(self, path: str) -> int:
        """How many requests for `path` (with its query) arrived, faults included."""
        return sum(request.path == path for request in self.requests)

    def forget(self) -> None:
        """Count from zero again."""
        self._control("forget")

    def command(self) -> list[str]:
        return [
            *(self.executable(), "-m", "testbed.origin", "--port", str(self.port)),
            *("--object-bytes", str(self._object_bytes), *self._repositories),
        ]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(ROOT)}

    def is_ready(self) -> bool:
        return accepts(self.host, self.port)

    def _control(self, action: str, **values: object) -> Any:
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{self.url}/testbed/{action}?{urlencode(values)}", timeout=5) as reply:
            return json.load(reply)
