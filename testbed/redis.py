"""A private Redis server."""

from pathlib import Path

from testbed.ports import first_bytes, free_port
from testbed.process import Service


class Redis(Service):
    """Redis on 127.0.0.1; with `persistent` its data survives `kill` and `restart` (append-only file)."""

    program = "redis-server"
    package = "redis-server"

    def __init__(self, directory: Path, *, port: int | None = None, persistent: bool = False) -> None:
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.persistent = persistent

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://{self.host}:{self.port}/0"

    def command(self) -> list[str]:
        return [
            self.executable(),
            *("--port", str(self.port), "--bind", self.host, "--daemonize", "no"),
            *("--save", "", "--dir", str(self.directory), "--databases", "64"),
            *("--appendonly", "yes" if self.persistent else "no", "--appendfsync", "always"),
        ]

    def is_ready(self) -> bool:
        return first_bytes(self.host, self.port, b"PING\r\n").startswith(b"+PONG")
