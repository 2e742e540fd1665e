"""A private Varnish in front of one origin, as sites run it instead of a squid."""

from pathlib import Path
from typing import Literal

from testbed.ports import accepts, free_port
from testbed.process import Service

Purpose = Literal["cvmfs", "frontier"]

_CVMFS = """
    if (req.url !~ "^/cvmfs/") {
        return (synth(404, "not a repository"));
    }"""
# As deployed: clients of this Varnish need not identify themselves, it does so for them.
_FRONTIER = """
    if (req.url !~ "^/atlr") {
        return (synth(404, "no such servlet"));
    }
    if (!req.http.X-frontier-id) {
        set req.http.X-frontier-id = "varnish";
    }"""


class Varnish(Service):
    """Varnish on 127.0.0.1: a reverse proxy for one `backend` ("host:port") and one purpose.

    It takes absolute-form requests, as a proxy would, and answers every one from its one backend.
    """

    program = "varnishd"
    package = "varnish"

    def __init__(
        self, directory: Path, backend: str, purpose: Purpose = "cvmfs", *, port: int | None = None
    ) -> None:
        super().__init__(directory)
        self.address = "127.0.0.1"
        self.port = port or free_port()
        self.purpose = purpose
        self.workdir = directory / "varnish"
        self._backend_host, _, self._backend_port = backend.rpartition(":")

    @property
    def url(self) -> str:
        """The URL of the instance."""
        return f"http://{self.address}:{self.port}"

    def prepare(self) -> None:
        rules = _CVMFS if self.purpose == "cvmfs" else _FRONTIER
        (self.directory / "default.vcl").write_text(
            "vcl 4.1;\n"
            f'backend default {{ .host = "{self._backend_host}"; .port = "{self._backend_port}"; }}\n'
            f"sub vcl_recv {{{rules}\n}}\n"
        )

    def command(self) -> list[str]:
        return [
            *(self.executable(), "-F", "-j", "none", "-n", str(self.workdir)),
            *("-a", f"{self.address}:{self.port},HTTP", "-T", "none", "-S", "none"),
            *("-f", str(self.directory / "default.vcl"), "-s", "malloc,16m"),
        ]

    def is_ready(self) -> bool:
        return accepts(self.address, self.port)
