"""A private nginx."""

import os
from pathlib import Path

from testbed.ports import accepts, free_port
from testbed.process import Service


class Nginx(Service):
    """nginx with the text of one file of its conf.d, which has to listen at 127.0.0.1:`port`."""

    program = "nginx"
    package = "nginx-light"

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.site = ""

    @property
    def url(self) -> str:
        """Its root URL."""
        return f"http://{self.host}:{self.port}"

    def prepare(self) -> None:
        at = self.directory
        temporary = "".join(
            f"    {kind}_temp_path {at}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # Started by root its workers would be another user's, who may not enter every directory.
        user = "user root;\n" if os.geteuid() == 0 else ""
        (at / "site.conf").write_text(self.site)
        (at / "nginx.conf").write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {at}/nginx.pid;\nevents {{}}\n"
            f"http {{\n    access_log off;\n{temporary}    include {at}/site.conf;\n}}\n"
        )

    def command(self) -> list[str]:
        at = str(self.directory)
        return [self.executable(), "-p", at, "-e", "stderr", "-c", f"{at}/nginx.conf"]

    def is_ready(self) -> bool:
        return accepts(self.host, self.port)
